"""Checks whether this process is ready, for the health checks of orchestrators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from weakref import WeakKeyDictionary

from channels_demux_layer.conf import get_settings
from channels_demux_layer.protocol.report import PROBE
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, running_nodes

from .http_pages import Page, Pages

__all__ = ["find_problems", "health_page", "health_pages", "join_in_time"]

#: How long the channel layer may take to accept a message, in seconds.
PROBE_LIMIT = 2.0

NOT_JOINED = "This process has not joined the channel layer yet."
DRAINING = "This process is draining: its sessions move to other workers."
CUT_OFF = "Calls to the channel layer fail."
DEAF = "This process does not receive what it sends itself over the channel layer."
SILENT = f"The channel layer did not accept a message within {PROBE_LIMIT:g} s."


async def find_problems(node: Node) -> list[str]:
    """Return why a node is not ready.

    The node sends one message to itself over the channel layer. An idle node would otherwise not
    notice that the layer is down.

    Args:
        node: The node.

    Returns:
        The problems, one sentence each; an empty list if the node is ready.
    """
    problems = [DRAINING] if node.is_draining else []
    if not node.reporter.has_joined:
        return [*problems, NOT_JOINED]
    if not await _probe(node):
        return [*problems, SILENT]
    if node.is_deaf:
        return [*problems, DEAF]
    return [*problems, CUT_OFF] if node.is_cut_off else problems


#: The latest probe of each node. It is shared while it runs, so that probes of a layer that hangs
#: do not pile up.
_probes: WeakKeyDictionary[Node, asyncio.Task[None]] = WeakKeyDictionary()


async def _probe(node: Node) -> bool:
    probe = _probes.get(node)
    if probe is None or probe.done():
        probe = _probes[node] = node.start_task(_publish(node))
    await asyncio.wait([probe], timeout=PROBE_LIMIT)
    return probe.done()


async def _publish(node: Node) -> None:
    await node.publish(None, node.channel, {"type": PROBE})


async def join_in_time() -> Node:
    """Return this event loop's node, after an attempt to join the channel layer.

    Raises:
        ConfigurationError: There is no channel layer.
    """
    node = find_node(get_settings().CHANNEL_LAYER)
    starting = asyncio.ensure_future(node.start())
    await asyncio.wait([starting], timeout=PROBE_LIMIT)
    if starting.done():
        starting.exception()  # retrieve it; find_problems() reports that the node has not joined
    else:
        starting.cancel()
    return node


def health_page(problems: list[str]) -> Page:
    """Return the page that shows whether a process is ready, and its problems."""
    body = json.dumps({"ready": not problems, "problems": problems}) + "\n"
    return Page(body.encode(), 503 if problems else 200, "application/json")


def health_pages(streams: Collection[str]) -> Pages:
    """Return the pages ``/live`` and ``/ready`` of a worker.

    Args:
        streams: The channels of the streams that the worker hosts. Without any, it is always ready.
    """

    async def live(accept: str) -> Page:
        return Page(b"live\n")

    async def ready(accept: str) -> Page:
        nodes = [node for node in running_nodes() if node.channel]
        problems = [problem for node in nodes for problem in await find_problems(node)]
        return health_page(problems if nodes or not streams else [NOT_JOINED])

    return {"/live": live, "/ready": ready}
