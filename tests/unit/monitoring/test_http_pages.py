"""A few pages over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from channels_demux_layer.monitoring import http_pages
from channels_demux_layer.monitoring.http_pages import Page, serve_pages

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
    monkeypatch.setattr(http_pages, "LIMIT", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), LIMIT) == b""
    writer.close()


async def test_a_crowd_is_turned_away(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many clients at a time, none is served."""
    monkeypatch.setattr(http_pages, "MAX_CLIENTS", 0)
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
    assert http_pages._address(("::1", 80)) == "http://[::1]:80"


async def test_a_port_that_is_taken(port: int) -> None:
    """Whoever starts the server hears that it cannot."""
    with pytest.raises(OSError, match="in use"):
        await serve_pages({}, "127.0.0.1", port)
