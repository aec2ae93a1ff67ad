"""A session in the server's process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer import Stream
from channels_demux_layer.conf import get_settings
from channels_demux_layer.edge.inline import InlineSession
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport.tally import Tally
from tests.integration.harness import deliver, until

LIMIT = 20.0


class Listener:
    """The connection.

    Attributes:
        told: What it was told, in order.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def new_window(self, name: str) -> SendWindow:
        """Return the default one."""
        return SendWindow(get_settings().WINDOW_FRAMES, get_settings().WINDOW_BYTES)

    def session_received(self, name: str, data: str | bytes, source: Any) -> None:
        """Note a payload; its source is told at once."""
        self.told.append(data)
        source.take(len(data))

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """Note an end."""
        self.told.append((code, reason))

    def session_unavailable(self, name: str) -> None:
        """Note it."""
        self.told.append("unavailable")


@pytest.fixture
def listener() -> Listener:
    """The connection."""
    return Listener()


def a_session(application: Any, listener: Listener, **options: Any) -> InlineSession:
    """Start a session."""
    scope = {"type": "websocket", "demux": {"stream": "s"}}
    tally = Tally("inline", "demux.s", "s")
    return InlineSession("s", Stream(application, **options), scope, listener, tally)  # type: ignore[arg-type]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Say what comes."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if "text" in message:
            await send({"type": "websocket.send", "text": message["text"]})


@pytest.mark.parametrize("own_thread", [None, True, False])
async def test_what_was_delivered_is_answered_before_the_end(
    listener: Listener, own_thread: bool | None
) -> None:
    """The end comes after all payloads before, with the first code that was said."""
    session = a_session(echo, listener, own_thread=own_thread)
    for text in ("1", "2"):
        await deliver(session, text)
    session.end(4000, "r")
    await deliver(session, "too late")
    session.abandon()
    await asyncio.wait_for(session.ended, LIMIT)
    assert listener.told == ["1", "2", (4000, "r")]


async def test_an_end_is_told_once(listener: Listener) -> None:
    """A consumer that closes and then ends has ended with what it closed with."""

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4001})

    session = a_session(closing, listener)
    await asyncio.wait_for(session.ended, LIMIT)
    assert listener.told == [(4001, "")]


async def test_a_client_that_does_not_read_costs_its_stream(
    listener: Listener, settings: Any
) -> None:
    """After STALL_TIMEOUT the stream is closed, and its consumer gets its disconnect."""
    settings.CHANNELS_DEMUX_LAYER = {"STALL_TIMEOUT": 0.01, "WINDOW_FRAMES": 1}
    seen: list[Any] = []

    async def pushing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        for text in ("1", "2", "3"):
            await send({"type": "websocket.send", "text": text})
        await receive()
        seen.append(await receive())

    listener.session_received = lambda *args: listener.told.append(args[1])  # type: ignore[method-assign]
    session = a_session(pushing, listener)
    await asyncio.wait_for(session.ended, LIMIT)
    assert listener.told == ["1", (4408, "the client does not read")]
    assert seen[0]["code"] == 4408


async def test_a_stream_that_cannot_be_imported_ends(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """It is its consumer's fault and no other's, with the reason in the log."""
    session = a_session("channels_demux_layer.nowhere.App", listener)
    await asyncio.wait_for(session.ended, LIMIT)
    assert listener.told == [(1011, "")]
    assert "channels_demux_layer.nowhere.App" in caplog.text


async def test_a_consumer_that_does_not_accept_is_pending(
    listener: Listener, settings: Any
) -> None:
    """Its client gets `unavailable` after OPEN_TIMEOUT, and what it has sent once it accepts."""
    settings.CHANNELS_DEMUX_LAYER = {"OPEN_TIMEOUT": 0.01}
    may_accept = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await may_accept.wait()
        await echo(scope, receive, send)

    session = a_session(slow, listener)
    await deliver(session, "1")
    await until(lambda: bool(listener.told))
    assert listener.told == ["unavailable"]
    assert session.is_pending
    may_accept.set()
    await until(lambda: not session.is_pending)
    session.end(1000, "")
    await asyncio.wait_for(session.ended, LIMIT)
    assert listener.told == ["unavailable", "1", (1000, "")]
