"""What waits to be written to one client's socket."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from channels_demux_layer.edge import outbox as outbox_module
from channels_demux_layer.edge.outbox import Outbox


class Socket:
    """A socket that takes messages while it is open to them.

    Attributes:
        written: The messages taken.
        is_open: Messages wait for it.
        failure: What it raises, if anything.
    """

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.failure: Exception | None = None

    async def send(self, message: Any) -> None:
        """Take a message."""
        await self.is_open.wait()
        if self.failure is not None:
            raise self.failure
        self.written.append(message)


class Source:
    """Counts what was taken of a session.

    Attributes:
        taken: The sizes, in order.
    """

    def __init__(self) -> None:
        self.taken: list[int] = []

    def take(self, size: int) -> None:
        """Note a size."""
        self.taken.append(size)


def wrap_at_once(stream: str, data: str | bytes) -> dict[str, Any]:
    """Make a message that shows what was wrapped."""
    if data == "bad":
        raise ValueError("a fault of the project's")
    if data == "off":
        raise asyncio.CancelledError("a fault of the project's")
    return {stream: data}


async def wrap(stream: str, data: str | bytes) -> dict[str, Any]:
    """Make that message, for who awaits it."""
    return wrap_at_once(stream, data)


@pytest.fixture
def socket() -> Socket:
    """The socket."""
    return Socket()


@pytest.fixture
def outbox(socket: Socket) -> Outbox:
    """The outbox of it."""
    return Outbox(wrap, socket.send)


async def test_messages_are_written_in_order(socket: Socket, outbox: Outbox) -> None:
    """Payloads and other messages share one line; a payload is taken when it is written."""
    source = Source()
    socket.is_open.clear()
    outbox.put_payload("a", "1", source)
    outbox.put_message({"event": 1})
    outbox.put_payload("b", b"22", source)
    await asyncio.sleep(0)
    assert source.taken == []
    socket.is_open.set()
    await outbox.drain(20.0)
    assert socket.written == [{"a": "1"}, {"event": 1}, {"b": b"22"}]
    assert source.taken == [1, 2]


async def test_what_comes_together_is_written_by_one_task(
    socket: Socket, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all of it is there, or something else is to be written; more often does no harm."""
    starts: list[None] = []
    start = outbox_module._start
    monkeypatch.setattr(outbox_module, "_start", lambda *args: starts.append(None) or start(*args))
    source = Source()
    for data in ("1", "2", "3"):
        outbox.put_payload("a", data, source, more=True)
    assert (socket.written, starts) == ([], [])
    outbox.write()
    outbox.write()
    await outbox.drain(20.0)
    outbox.write()
    assert socket.written == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert len(starts) == 1
    outbox.put_payload("a", "4", source, more=True)
    outbox.put_message({"event": 1})
    await outbox.drain(20.0)
    assert socket.written[3:] == [{"a": "4"}, {"event": 1}]
    assert source.taken == [1, 1, 1, 1]


async def test_nothing_is_written_after_the_last_message(socket: Socket, outbox: Outbox) -> None:
    """What comes later is taken, and not written."""
    source = Source()
    outbox.put_last({"close": 1})
    outbox.put_message({"event": 1})
    outbox.put_payload("a", "1", source)
    await outbox.drain(20.0)
    assert socket.written == [{"close": 1}]
    assert source.taken == [1]


async def test_a_client_who_has_left_takes_everything(socket: Socket, outbox: Outbox) -> None:
    """A socket that raises ends the writing, and everybody's credit comes back."""
    source = Source()
    socket.failure = OSError()
    for _ in range(3):
        outbox.put_payload("a", "1", source)
    outbox.put_message({"event": 1})
    await outbox.drain(20.0)
    outbox.put_payload("a", "22", source)
    assert source.taken == [1, 1, 1, 2]
    assert socket.written == []


@pytest.mark.parametrize("wrapping", [wrap, wrap_at_once])
@pytest.mark.parametrize("fault", ["bad", "off"])
async def test_a_payload_that_cannot_be_wrapped_is_left_out(
    socket: Socket, wrapping: Any, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in the project's encode_json() costs that payload, with a traceback.

    A CancelledError is a fault like others, unless somebody has cancelled the writer.
    """
    source, outbox = Source(), Outbox(wrapping, socket.send)
    for data in (fault, "good"):
        outbox.put_payload("a", data, source)
    await outbox.drain(20.0)
    assert socket.written == [{"a": "good"}]
    assert source.taken == [3, 4]
    assert "a fault of the project's" in caplog.text


async def test_a_writer_that_is_cancelled_ends(socket: Socket) -> None:
    """As at the end of an event loop: its cancellation is no fault of the payload."""

    async def hang(stream: str, data: str | bytes) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    begun = asyncio.Event()
    source, outbox = Source(), Outbox(hang, socket.send)
    outbox.put_payload("a", "1", source)
    await asyncio.wait_for(begun.wait(), 20.0)
    writer = outbox._writer
    assert writer is not None
    writer.cancel()
    await asyncio.wait([writer])
    assert writer.cancelled()
    assert source.taken == [1]


async def test_who_waits_for_an_idle_outbox_waits_for_nothing(outbox: Outbox) -> None:
    """Neither draining nor easing takes any time where nothing waits."""
    await outbox.drain(20.0)
    assert outbox.ease() is None


@pytest.mark.parametrize("is_much", ["messages", "bytes"])
async def test_a_client_that_does_not_read_is_held_up(
    socket: Socket, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, is_much: str
) -> None:
    """By the number of messages or the bytes of payloads, until half of it has been read."""
    monkeypatch.setattr(outbox_module, "MUCH", 4 if is_much == "messages" else 100)
    monkeypatch.setattr(outbox_module, "MUCH_BYTES", 4 if is_much == "bytes" else 100)
    source = Source()
    socket.is_open.clear()
    while (room := outbox.ease()) is None:
        outbox.put_payload("a", "1", source)
    easing = asyncio.ensure_future(room)
    await asyncio.sleep(0)
    waited = len(outbox._waiting)
    assert waited >= 4
    assert not easing.done()
    other = asyncio.ensure_future(outbox.ease() or asyncio.sleep(0))
    socket.is_open.set()
    await asyncio.wait_for(asyncio.gather(easing, other), 20.0)
    assert len(socket.written) >= waited - 2
    assert outbox.ease() is None


@pytest.mark.parametrize("end", ["stop", "put_last", "failure"])
async def test_nobody_is_held_up_for_a_socket_that_ends(
    socket: Socket, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Its client has left or is told to go: the rest of what it sends is to be read."""
    monkeypatch.setattr(outbox_module, "MUCH", 1)
    socket.is_open.clear()
    while (room := outbox.ease()) is None:
        outbox.put_message({"event": 1})
    easing = asyncio.ensure_future(room)
    await asyncio.sleep(0)
    if end == "stop":
        outbox.stop()
    elif end == "put_last":
        outbox.put_last({"close": 1})
    else:
        socket.failure = OSError()
        socket.is_open.set()
    await asyncio.wait_for(easing, 20.0)
    assert outbox.ease() is None
    socket.is_open.set()
    await outbox.drain(20.0)


async def test_draining_has_a_limit(socket: Socket, outbox: Outbox) -> None:
    """A client that does not read does not hold up the end for ever."""
    socket.is_open.clear()
    outbox.put_message({"event": 1})
    await outbox.drain(0.01)
    assert socket.written == []
    socket.is_open.set()
    await outbox.drain(20.0)


async def test_what_is_written_is_written_in_the_connections_context(socket: Socket) -> None:
    """Context variables are those of whoever made the outbox, and not of who puts something."""
    variable = contextvars.ContextVar("variable", default="nobody")
    seen = []

    async def send(message: Any) -> None:
        seen.append(variable.get())
        await socket.send(message)

    variable.set("connection")
    outbox = Outbox(wrap, send)
    variable.set("somebody")
    for _ in range(2):
        outbox.put_message({})
        await outbox.drain(20.0)
    assert seen == ["connection", "connection"]
