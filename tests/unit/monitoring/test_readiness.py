"""A process knows whether it is ready, and a worker serves its pages over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.monitoring import readiness
from channels_demux_layer.monitoring.readiness import (
    CUT_OFF,
    DEAF,
    DRAINING,
    NOT_JOINED,
    SILENT,
    Page,
    find_problems,
    health_page,
    health_pages,
    join_in_time,
    serve_pages,
)
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node, stop_nodes
from tests.integration.harness import until

LIMIT = 20.0


async def hello(accept: str) -> Page:
    """Say who is greeted."""
    return Page(f"hello {accept}".encode())


async def broken(accept: str) -> Page:
    """Fail."""
    raise ZeroDivisionError


async def unwell(accept: str) -> Page:
    """Say that all is not well."""
    return Page(b"{}", 503, "application/json")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server with a few pages."""
    pages = {"/hello": hello, "/broken": broken, "/unwell": unwell}
    server = await serve_pages(pages, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def ask(port: int, request: bytes) -> str:
    """Send a request as it is, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), LIMIT)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_a_page_is_answered(port: int) -> None:
    """The answer has the page's body, its length, and nothing after it."""
    request = b"GET /hello?x=1 HTTP/1.1\r\nHost: x\r\nAccept: you\r\nAccept: me\r\n\r\n"
    head, _, body = (await ask(port, request)).partition("\r\n\r\n")
    assert head.splitlines() == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Length: 13",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    assert body == "hello you, me"


@pytest.mark.parametrize(
    ("request_line", "first", "body"),
    [
        ("HEAD /hello", "HTTP/1.1 200 OK", ""),
        ("GET /unwell", "HTTP/1.1 503 Service Unavailable", "{}"),
        (
            "GET /other",
            "HTTP/1.1 404 Not Found",
            "There is no such page. Pages: /hello, /broken, /unwell.\n",
        ),
        ("POST /hello", "HTTP/1.1 405 Method Not Allowed", "Use GET.\n"),
        ("nonsense", "HTTP/1.1 405 Method Not Allowed", "Use GET.\n"),
        (
            "GET",
            "HTTP/1.1 404 Not Found",
            "There is no such page. Pages: /hello, /broken, /unwell.\n",
        ),
    ],
)
async def test_what_is_asked_otherwise(port: int, request_line: str, first: str, body: str) -> None:
    """Each request has its answer, the nonsensical ones too."""
    answer = await ask(port, f"{request_line} HTTP/1.1\r\n\r\n".encode())
    assert answer.splitlines()[0] == first
    assert answer.partition("\r\n\r\n")[2] == body


async def test_a_page_that_fails(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks hears that it failed, and the log has why."""
    answer = await ask(port, b"GET /broken HTTP/1.1\r\n\r\n")
    assert answer.startswith("HTTP/1.1 500 ")
    assert "ZeroDivisionError" not in answer
    assert caplog.records[-1].exc_info


@pytest.mark.parametrize("request_", [b"GET /hello HT", b"GET /" + b"x" * 20_000 + b"\r\n\r\n"])
async def test_requests_that_never_end(port: int, request_: bytes) -> None:
    """Who leaves in the middle, or sends too much, is let go; the next one is served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), LIMIT) == b""
    writer.close()
    assert "200 OK" in await ask(port, b"GET /hello HTTP/1.1\r\n\r\n")


async def test_who_says_nothing_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing is not waited for."""
    monkeypatch.setattr(readiness, "LIMIT", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), LIMIT) == b""
    writer.close()


async def test_a_crowd_is_turned_away(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many clients at a time, none is served."""
    monkeypatch.setattr(readiness, "MAX_CLIENTS", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), LIMIT) == b""
    writer.close()


async def test_the_log_says_where(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where pages are served is in the log, for a port that was free too."""
    with caplog.at_level("INFO"):
        server = await serve_pages({"/hello": hello}, "127.0.0.1", 0)
    (written,) = caplog.messages
    assert written == f"Serving /hello on http://127.0.0.1:{server.sockets[0].getsockname()[1]}."
    server.close()
    await server.wait_closed()
    assert readiness._address(("::1", 80)) == "http://[::1]:80"


async def test_a_port_that_is_taken(port: int) -> None:
    """Whoever starts the server hears that it cannot."""
    with pytest.raises(OSError, match="in use"):
        await serve_pages({}, "127.0.0.1", port)


@pytest.fixture
async def node(settings: Any) -> AsyncIterator[Node]:
    """A node that has joined the layer."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    node = await get_node("default")
    await until(lambda: node.reporter.has_joined)
    yield node
    await stop_nodes()


async def test_a_node_that_works_is_ready(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It sends itself a message, which says nothing to anybody."""
    heard_at = node.heard_at
    assert await find_problems(node) == []
    await until(lambda: node.heard_at > heard_at)
    assert not caplog.messages


async def test_a_node_that_drains_is_not_ready(node: Node) -> None:
    """It takes no session any more."""
    node.is_draining = True
    assert await find_problems(node) == [DRAINING]


async def test_a_node_that_hears_nothing_is_not_ready(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers could not answer it."""
    monkeypatch.setattr(Node, "is_deaf", True)
    assert await find_problems(node) == [DEAF]


async def test_a_node_that_has_not_joined_is_not_ready(node: Node) -> None:
    """Nobody can find it."""
    assert await find_problems(Node(node.layer, node.config)) == [NOT_JOINED]


async def test_a_layer_that_has_gone_is_found_out(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nothing was to be said, and again when it is back."""
    send = node.layer.send

    async def fail(channel: str, message: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(node.layer, "send", fail)
    assert await find_problems(node) == [CUT_OFF]
    monkeypatch.setattr(node.layer, "send", send)
    assert await find_problems(node) == []


async def test_a_layer_that_hangs_is_asked_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often somebody asks, one message waits; when it gets through, all is well."""
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 0.01)
    gate, sent = asyncio.Event(), []

    async def hang(channel: str, message: Any) -> None:
        sent.append(message)
        await gate.wait()

    monkeypatch.setattr(node.layer, "send", hang)
    assert [await find_problems(node) for _ in range(3)] == [[SILENT]] * 3
    assert len(sent) == 1
    gate.set()
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 20.0)
    assert await find_problems(node) == []


async def test_joining_takes_no_longer_than_it_may(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that hangs or fails gives a node that has not joined, and no error."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 0.01)
    layer = get_channel_layer()
    new_channel, gate = layer.new_channel, asyncio.Event()

    async def hang() -> Any:
        await gate.wait()
        raise ConnectionError

    monkeypatch.setattr(layer, "new_channel", hang)
    assert not (await join_in_time()).channel
    gate.set()
    assert not (await join_in_time()).channel
    monkeypatch.setattr(layer, "new_channel", new_channel)
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 20.0)
    node = await join_in_time()
    assert node.channel
    assert node is find_node("default")
    await stop_nodes()


def test_the_page_says_what_is_wrong() -> None:
    """200 and no problems, or 503 and all of them, as JSON."""
    good, bad = health_page([]), health_page([CUT_OFF])
    assert (good.status, bad.status) == (200, 503)
    assert json.loads(good.body) == {"ready": True, "problems": []}
    assert json.loads(bad.body) == {"ready": False, "problems": [CUT_OFF]}
    assert bad.content_type == "application/json"


async def test_a_worker_of_streams_needs_a_node(node: Node) -> None:
    """It is ready with a node that is; before that it is not, and lives all the same."""
    pages = health_pages(["demux.a"])
    assert (await pages["/live"]("")).body == b"live\n"
    assert (await pages["/ready"]("")).status == 200
    node.is_draining = True
    assert json.loads((await pages["/ready"]("")).body)["problems"] == [DRAINING]
    await stop_nodes()
    assert json.loads((await pages["/ready"]("")).body)["problems"] == [NOT_JOINED]


async def test_a_worker_of_other_channels_needs_none() -> None:
    """Without streams there is nothing to join."""
    assert (await health_pages([])["/ready"]("")).status == 200
