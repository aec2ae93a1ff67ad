"""Whether this process is ready, and a small HTTP server for a worker's health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import NamedTuple
from weakref import WeakKeyDictionary

from channels_demux_layer.conf import get_settings
from channels_demux_layer.logs import about
from channels_demux_layer.protocol.report import PROBE
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, running_nodes

__all__ = [
    "Page",
    "Pages",
    "find_problems",
    "health_page",
    "health_pages",
    "join_in_time",
    "serve_pages",
]

logger = logging.getLogger(__name__)

#: How long a client may take to send its request and to read the response, in seconds.
LIMIT = 5.0
#: The maximum size of a request line with its headers, in bytes.
MAX_REQUEST = 16_384
#: How many clients are served at a time. Connections of others are closed.
MAX_CLIENTS = 32


class Page(NamedTuple):
    """A response."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


#: For each path, the function that makes its page. Its argument is the Accept header.
Pages = Mapping[str, Callable[[str], Awaitable[Page]]]


async def serve_pages(pages: Pages, host: str, port: int) -> asyncio.Server:
    """Return a server that serves pages until it is closed.

    Args:
        pages: The pages by path.
        host: The address to listen on.
        port: The port; 0 for any free one.

    Raises:
        OSError: The address or the port is not available.
    """
    server = await asyncio.start_server(_Desk(pages).serve, host, port, limit=MAX_REQUEST)
    for socket in server.sockets:
        where = _address(socket.getsockname())
        logger.info("Serving %s on %s.", ", ".join(pages), where, extra=about())
    return server


def _address(name: tuple[str, int]) -> str:
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


class _Desk:
    """Answers one request on each connection.

    Args:
        pages: The pages by path.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._clients = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a client."""
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                await asyncio.wait_for(self._answer(reader, writer), LIMIT)
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError) as error:
            text = "A request for a page failed, and its connection was closed: %r."
            logger.debug(text, error, extra=about())
        finally:
            self._clients -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *headers = head.splitlines()
        method, _, target = line.partition(" ")
        page = await self._page(method, target.partition(" ")[0], _accept(headers))
        writer.write(_encode(page, with_body=method != "HEAD"))
        await writer.drain()

    async def _page(self, method: str, target: str, accept: str) -> Page:
        if method not in ("GET", "HEAD"):
            return Page(b"Use GET.\n", HTTPStatus.METHOD_NOT_ALLOWED)
        make = self._pages.get(target.partition("?")[0])
        if make is None:
            known = ", ".join(self._pages)
            return Page(f"There is no such page. Pages: {known}.\n".encode(), HTTPStatus.NOT_FOUND)
        try:
            return await make(accept)
        except Exception:
            logger.exception("Page %s failed. The client gets status 500.", target, extra=about())
            return Page(b"This page failed. The worker's log has the traceback.\n", 500)


def _accept(headers: list[str]) -> str:
    pairs = (header.partition(":") for header in headers)
    return ", ".join(value.strip() for name, _, value in pairs if name.lower() == "accept")


def _encode(page: Page, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (page.body if with_body else b"")


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
