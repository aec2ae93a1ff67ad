"""The Python client against a real WebSocket server: streams, events, ends, and leaving."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from channels_demux_layer.client import Backoff, ClientStream, ConnectFailed, Event, StreamClosed
from channels_demux_layer.codes import ServerEvent
from tests.acceptance.harness.waiting import LIMIT

from .peer import PeerServer, dial, everything, opening, quiet, soon, until


class Price(msgspec.Struct):
    """What a typed stream carries."""

    symbol: str
    value: float


# Payloads


async def test_payloads_go_both_ways(server: PeerServer) -> None:
    """JSON and bytes of two streams on one socket reach the other end, in order."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat, upload = demux.stream("chat"), demux.stream("upload")
        assert demux.is_connected
        await chat.send({"text": "hello"})
        await upload.send(b"\x00\xff")
        await chat.send(None)
        await peer.expect(
            *opening("chat", "upload"),
            {"stream": "chat", "payload": {"text": "hello"}},
            b"\x06upload\x00\xff",
            {"stream": "chat", "payload": None},
        )
        await peer.send("chat", 1, b"two", [3])
        await peer.send("upload", "done")
        assert [await chat.receive() for _ in range(3)] == [1, b"two", [3]]
        assert await upload.receive() == "done"
    assert not demux.is_connected


async def test_typed_payloads(server: PeerServer) -> None:
    """JSON is decoded to the stream's type; what isn't of it raises and doesn't end the stream."""
    async with dial(server) as demux:
        peer = await server.accepted()
        prices = demux.stream("prices", type=Price)
        raw = demux.stream("raw", type=msgspec.Raw)
        await peer.send("prices", {"symbol": "A", "value": 1}, "nothing", b"bytes")
        await peer.send("raw", [1])
        assert await prices.receive() == Price("A", 1.0)
        with pytest.raises(msgspec.ValidationError):
            await prices.receive()
        assert await prices.receive() == b"bytes"
        assert bytes(await raw.receive()) == b"[1]"
        await prices.send(Price("B", 2.0))
        await peer.expect(
            *opening("prices", "raw"),
            {"stream": "prices", "payload": {"symbol": "B", "value": 2.0}},
        )


async def test_plain_text(server: PeerServer) -> None:
    """A stream of plain text takes strings and bytes alone, and carries strings as they are."""
    async with dial(server) as demux:
        peer = await server.accepted()
        text = demux.stream("text", text=True)
        await text.send('{"not": "JSON"}')
        with pytest.raises(TypeError, match="plain text"):
            await text.send({"json": True})
        await peer.expect(*opening("text"), {"stream": "text", "payload": '{"not": "JSON"}'})
        await peer.send("text", "1")
        assert await text.receive() == "1"


async def test_what_has_no_json_raises_at_send(server: PeerServer) -> None:
    """A payload that JSON can't say raises where it is sent, and the stream goes on."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        with pytest.raises(TypeError):
            await chat.send(object())
        await chat.send(1)
        await peer.expect(*opening("chat"), {"stream": "chat", "payload": 1})


async def test_streams_nobody_asked_for(server: PeerServer) -> None:
    """Payloads of a stream that was not asked for are discarded and hold nobody up."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.send("clock", *range(100))
        await peer.send("chat", "hello")
        assert await chat.receive() == "hello"


async def test_keys_of_the_server(server: PeerServer) -> None:
    """A client speaks with the keys that the server's settings name."""
    keys = {"stream_key": "channel", "payload_key": "data", "event_key": "what"}
    async with dial(server, **keys) as demux:
        peer = await server.accepted()
        await demux.stream("chat").send(1)
        await peer.expect({"channel": "chat", "what": "open"}, {"channel": "chat", "data": 1})


# Bounds


async def test_send_waits_for_room(server: PeerServer) -> None:
    """While as much waits to be sent as may, send() waits; nothing of it is lost."""
    block, numbers, sent = "x" * 1_000_000, range(64), []

    async def write(chat: ClientStream[Any]) -> None:
        for number in numbers:
            await chat.send([number, block])
            sent.append(number)

    async with dial(server, window_frames=2, compression=None) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.expect(*opening("chat"))
        peer.socket.transport.pause_reading()
        writing = asyncio.ensure_future(write(chat))
        await quiet()
        # The kernel holds some megabytes for a socket; the rest waits with its sender.
        assert len(sent) < len(numbers)
        peer.socket.transport.resume_reading()
        for number in numbers:
            assert (await peer.receive())["payload"] == [number, block]
        await soon(writing)


async def test_send_that_waits_hears_of_the_end(server: PeerServer) -> None:
    """A send() that waits for room raises when its stream ends, and doesn't wait on."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.expect(*opening("chat"))
        await server.stop()
        await until(lambda: not demux.is_connected)
        await chat.send("waits for a socket")
        waiting = asyncio.ensure_future(chat.send("waits for room"))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(chat.close())
        with pytest.raises(StreamClosed) as raised:
            await soon(waiting)
        assert raised.value.code == 1000
        await server.start()
        peer = await server.accepted()
        await peer.expect(
            *opening("chat"),
            {"stream": "chat", "payload": "waits for a socket"},
            {"stream": "chat", "event": "close"},
        )
        await peer.say(stream="chat", event="closed", code=1000, reason="")
        await soon(closing)


async def test_who_does_not_read_holds_up_the_socket(server: PeerServer) -> None:
    """A stream that isn't read stops the socket, so that nothing grows; all comes, in order."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        slow, other = demux.stream("slow"), demux.stream("other")
        await peer.send("slow", *range(10))
        await peer.send("other", "after all")
        waiting = asyncio.ensure_future(other.receive())
        await quiet()
        assert [await slow.receive() for _ in range(5)] == [0, 1, 2, 3, 4]
        await quiet()
        assert not waiting.done()
        assert [await slow.receive() for _ in range(5)] == [5, 6, 7, 8, 9]
        assert await soon(waiting) == "after all"


# Ends


async def test_a_normal_end_is_quiet(server: PeerServer) -> None:
    """A stream closed with 1000 ends the iteration after its last payload, and takes no more."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.send("chat", 1, 2)
        await peer.say(stream="chat", event="closed", code=1000, reason="enough")
        assert await soon(everything(chat)) == [1, 2]
        assert (chat.close_code, chat.close_reason) == (1000, "enough")
        with pytest.raises(StreamClosed, match="1000: enough"):
            await chat.receive()
        with pytest.raises(StreamClosed, match="1000: enough"):
            await chat.send(3)


async def test_another_end_raises(server: PeerServer) -> None:
    """A stream closed with another code raises it, after its last payload, from all its calls."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        assert (chat.close_code, chat.close_reason) == (None, None)
        assert repr(chat) == "<ClientStream 'chat' open>"
        await peer.send("chat", 1)
        await peer.say(stream="chat", event="closed", code=4001, reason="bye")
        assert await chat.receive() == 1
        for call in (chat.receive(), chat.send(1), everything(chat)):
            with pytest.raises(StreamClosed) as raised:
                await soon(call)
            assert (raised.value.code, raised.value.reason) == (4001, "bye")
        await chat.close()
        assert repr(chat) == "<ClientStream 'chat' closed 4001>"


async def test_close_waits_until_the_consumer_has_ended(server: PeerServer) -> None:
    """close() comes after all that was sent, and returns with the stream's `closed` event."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat, other = demux.stream("chat"), demux.stream("other")
        await chat.send(1)
        await peer.send("chat", "before")
        await peer.send("other", "mark")
        assert await other.receive() == "mark"
        closing = [asyncio.ensure_future(chat.close()) for _ in range(2)]
        await peer.expect(
            *opening("chat", "other"),
            {"stream": "chat", "payload": 1},
            {"stream": "chat", "event": "close"},
        )
        with pytest.raises(StreamClosed):
            await chat.send(2)
        with pytest.raises(ValueError, match="is closing"):
            demux.stream("chat")
        await peer.send("chat", "discarded")
        await peer.say(stream="chat", event="unavailable")
        await peer.send("other", "still here")
        assert await other.receive() == "still here"
        assert not any(task.done() for task in closing)
        await peer.say(stream="chat", event="closed", code=1000, reason="")
        await soon(asyncio.gather(*closing))
        assert await everything(chat) == ["before"]
        assert [event.event async for event in chat.events()] == ["unavailable"]


async def test_close_frees_who_holds_up_the_socket(server: PeerServer) -> None:
    """Closing a stream with more unread than may wait lets the others go on."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        slow, other = demux.stream("slow"), demux.stream("other")
        await peer.send("slow", *range(10))
        await peer.send("other", "after all")
        assert await slow.receive() == 0
        closing = asyncio.ensure_future(slow.close())
        assert await soon(other.receive()) == "after all"
        await peer.say(stream="slow", event="closed", code=1000, reason="")
        await soon(closing)


async def test_a_server_that_confirms_no_close(
    server: PeerServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no `closed` event comes within close_timeout the stream ends all the same."""
    async with dial(server, close_timeout=0.05) as demux:
        await server.accepted()
        chat = demux.stream("chat")
        await chat.close()
        assert chat.close_code == 1000
        assert "did not confirm within" in caplog.text
        assert demux.stream("chat") is not chat


async def test_an_ended_stream_can_be_opened_again(server: PeerServer) -> None:
    """Asking once more for a stream that has ended opens it, with a new object for it."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.say(stream="chat", event="closed", code=4001, reason="")
        with pytest.raises(StreamClosed):
            await chat.receive()
        again = demux.stream("chat")
        await peer.send("chat", "new")
        assert await again.receive() == "new"
        await peer.expect(*opening("chat", "chat"))


async def test_an_open_stream_is_given_as_it_is(server: PeerServer) -> None:
    """Asking twice for an open stream gives the same one, unless it is for another type."""
    async with dial(server) as demux:
        peer = await server.accepted()
        prices = demux.stream("prices", type=Price)
        assert demux.stream("prices", type=Price) is prices
        with pytest.raises(ValueError, match="another type"):
            demux.stream("prices")
        text = demux.stream("text", text=True)
        with pytest.raises(ValueError, match="another type"):
            demux.stream("text", type=str)
        assert demux.stream("text", text=True) is text
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            demux.stream("")
        await peer.expect(*opening("prices", "text"))


async def test_a_stream_that_there_is_not(server: PeerServer) -> None:
    """A stream that the server doesn't have ends with what the server says of it."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chatt")
        await peer.say(stream="chatt", event="error", code="unknown_stream", message="No such.")
        with pytest.raises(StreamClosed, match="1006: No such"):
            await chat.receive()
        assert [event.code async for event in chat.events()] == ["unknown_stream"]


# Events


async def test_events_are_heard(server: PeerServer) -> None:
    """Each event of a stream is called back in order with payloads, and can be iterated over."""
    heard: list[Any] = []
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat", on_event=heard.append)
        await peer.say(stream="chat", event="unavailable")
        await peer.say(stream="chat", event="error", code="too_large", message="Too much.")
        await peer.say(stream="chat", event="later", news=1)
        events = chat.events()
        expected = [
            Event("chat", ServerEvent.UNAVAILABLE),
            Event("chat", ServerEvent.ERROR, "too_large", message="Too much."),
        ]
        assert [await soon(anext(events)) for _ in expected] == expected
        assert heard == expected
        last = asyncio.ensure_future(anext(events))
        await peer.say(stream="chat", event="closed", code=1000, reason="")
        with pytest.raises(StopAsyncIteration):
            await soon(last)


async def test_unread_events_are_bounded(server: PeerServer) -> None:
    """Of events that nobody reads the newest are kept, and they hold nothing up."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        for number in range(200):
            await peer.say(stream="chat", event="error", code="later", message=str(number))
        await peer.say(stream="chat", event="closed", code=1000, reason="")
        assert await soon(everything(chat)) == []
        kept = [int(event.message) async for event in chat.events()]
        assert kept == list(range(200 - 64, 200))


async def test_a_callback_that_raises(server: PeerServer, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged, and neither the stream nor the client ends of it."""

    def fail(event: Event) -> None:
        raise RuntimeError(f"no liking for {event.event}")

    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat", on_event=fail)
        await peer.say(stream="chat", event="unavailable")
        await peer.send("chat", 1)
        assert await chat.receive() == 1
    assert "no liking for unavailable" in caplog.text


async def test_what_concerns_no_stream_is_logged(
    server: PeerServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An error without a stream, and a frame that is no envelope, are in the log."""
    caplog.set_level(logging.INFO, "channels_demux_layer.client")
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.say(event="error", code="invalid_json", message="Not JSON.")
        await peer.socket.send("neither")
        await peer.say(stream="nobody", event="closed", code=1000)
        await peer.send("chat", 1)
        assert await chat.receive() == 1
    assert "Not JSON." in caplog.text
    assert "Ignored an unknown frame from the server: 'neither'" in caplog.text


# Leaving


async def test_leaving_sends_what_waits(server: PeerServer) -> None:
    """The end of the block sends all that was given to send(), then closes with 1000."""
    frames = [*opening("chat"), *({"stream": "chat", "payload": n} for n in range(500))]
    async with dial(server, window_frames=1000) as demux:
        peer = await server.accepted()
        reading = asyncio.ensure_future(peer.expect(*frames))
        chat = demux.stream("chat")
        for number in range(500):
            await chat.send(number)
    await soon(reading)
    assert await peer.closed() == 1000
    assert await everything(chat) == []
    with pytest.raises(StreamClosed):
        demux.stream("chat")


async def test_an_exception_leaves_at_once(server: PeerServer) -> None:
    """An exception in the block passes through, and the server is told that the client goes."""
    with pytest.raises(RuntimeError, match="mine"):
        async with dial(server):
            raise RuntimeError("mine")
    assert await (await server.accepted()).closed() == 1001


async def test_cancellation_leaves_at_once(server: PeerServer) -> None:
    """A block that is cancelled ends its streams for other tasks and leaves nothing running."""
    streams: asyncio.Queue[ClientStream[Any]] = asyncio.Queue()

    async def work() -> None:
        async with dial(server) as demux:
            streams.put_nowait(demux.stream("chat"))
            await demux.stream("chat").receive()

    task = asyncio.ensure_future(work())
    chat = await soon(streams.get())
    peer = await server.accepted()
    elsewhere = asyncio.ensure_future(everything(chat))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert await soon(elsewhere) == []
    assert await peer.closed() == 1001


async def test_cancellation_while_leaving(server: PeerServer) -> None:
    """A block that is cancelled while it waits to send what is left lets go of everything."""
    leaving = asyncio.Event()

    async def work() -> None:
        async with dial(server, backoff=Backoff(first=LIMIT)) as demux:
            await server.stop()
            await until(lambda: not demux.is_connected)
            await demux.stream("chat").send("never sent")
            leaving.set()

    task = asyncio.ensure_future(work())
    await soon(leaving.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_a_server_that_does_not_take_leave(server: PeerServer) -> None:
    """A block that is cancelled while the server is silent about the close drops the socket."""
    deaf, leaving = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with dial(server):
            await deaf.wait()
            leaving.set()

    task = asyncio.ensure_future(work())
    peer = await server.accepted()
    peer.socket.transport.pause_reading()
    deaf.set()
    await soon(leaving.wait())
    await quiet()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    # The library's own task ends with the socket; that of the server has none.
    assert not [left for left in asyncio.all_tasks() if "keepalive" in repr(left)]
    peer.drop()


async def test_leaving_while_away_says_what_is_lost(
    server: PeerServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be sent before the end of the block is counted in the log."""
    async with dial(server, close_timeout=0.05) as demux:
        await server.accepted()
        await server.stop()
        await until(lambda: not demux.is_connected)
        chat = demux.stream("chat")
        await chat.send("never sent")
    assert "2 frames were not sent" in caplog.text


async def test_leaving_with_much_unread(server: PeerServer) -> None:
    """Leaving while a stream holds up the socket waits for nobody to read it."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.send("chat", *range(100))
        assert await chat.receive() == 0
    assert await peer.closed() == 1000


async def test_a_client_connects_once(server: PeerServer) -> None:
    """A client can't be entered a second time, and says so."""
    client = dial(server)
    async with client:
        with pytest.raises(RuntimeError, match="connects only once"):
            await client.__aenter__()


async def test_streams_asked_for_before_the_block(server: PeerServer) -> None:
    """Streams may be asked for, and sent to, before the client connects."""
    client = dial(server)
    chat = client.stream("chat")
    await chat.send(1)
    async with client:
        peer = await server.accepted()
        await peer.expect(*opening("chat"), {"stream": "chat", "payload": 1})


async def test_a_failed_first_connect_leaves_nothing(server: PeerServer) -> None:
    """Where the first connect fails the block is not entered, and the address is not told."""
    await server.stop()
    with pytest.raises(ConnectFailed) as raised:
        async with dial(server, url=f"{server.url}?token=secret"):
            pytest.fail("It was entered.")
    assert raised.value.status is None
    assert isinstance(raised.value.__cause__, OSError)
    assert "secret" not in str(raised.value)
