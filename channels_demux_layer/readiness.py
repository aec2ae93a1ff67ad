"""Whether this process is ready for work: what orchestrators ask of servers and workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from weakref import WeakKeyDictionary

from .conf import get_settings
from .http_pages import Page, Pages
from .layer.node import Node
from .layer.nodes import find_node, running_nodes
from .reports.report import PROBE

__all__ = ["find_problems", "health_page", "health_pages", "join_in_time"]

#: How long the channel layer may take to take a message, in seconds.
PROBE_LIMIT = 2.0

NOT_JOINED = "It has not joined the channel layer yet."
DRAINING = "It is draining: its sessions move to other workers."
CUT_OFF = "The channel layer fails."
SILENT = "The channel layer does not answer in time."


async def find_problems(node: Node) -> list[str]:
    """Find what keeps a node from its work.

    The channel layer is tried, with one message of the node to itself: a layer that has nothing to
    say for a while does not show by itself that it has gone.

    Args:
        node: The node.

    Returns:
        The problems, a sentence each; none where it is ready.
    """
    problems = [DRAINING] if node.is_draining else []
    if not node.reporter.has_joined:
        return [*problems, NOT_JOINED]
    if not await _probe(node):
        return [*problems, SILENT]
    return [*problems, CUT_OFF] if node.is_cut_off else problems


#: One probe of each node at a time: a layer that hangs is not asked again and again.
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
    """Return this event loop's node, which joins the channel layer if it can do so in time.

    Raises:
        ConfigurationError: There is no channel layer.
    """
    node = find_node(get_settings().CHANNEL_LAYER)
    starting = asyncio.ensure_future(node.start())
    await asyncio.wait([starting], timeout=PROBE_LIMIT)
    if starting.done():
        starting.exception()  # What it is will show: the node has not joined.
    else:
        starting.cancel()
    return node


def health_page(problems: list[str]) -> Page:
    """Return the page that says whether a process is ready, and what keeps it from that."""
    body = json.dumps({"ready": not problems, "problems": problems}) + "\n"
    return Page(body.encode(), 503 if problems else 200, "application/json")


def health_pages(streams: Collection[str]) -> Pages:
    """Return the pages ``/live`` and ``/ready`` of a worker.

    Args:
        streams: The channels of the streams that it hosts; without any it needs no node.
    """

    async def live(accept: str) -> Page:
        return Page(b"live\n")

    async def ready(accept: str) -> Page:
        nodes = [node for node in running_nodes() if node.channel]
        problems = [problem for node in nodes for problem in await find_problems(node)]
        return health_page(problems if nodes or not streams else [NOT_JOINED])

    return {"/live": live, "/ready": ready}
