"""Nothing grows without bound, nothing is dropped, and who is slow holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer

from channels_demux_layer import Stream
from channels_demux_layer.exceptions import PayloadTooLarge
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import LIMIT, Place, configure, demultiplexer, until, within
from .test_lifecycle import closed


class Gate(AsyncJsonWebsocketConsumer):
    """Takes nothing until its gate opens, then says what it hears."""

    gate: asyncio.Event
    taken: list[Any]

    async def receive_json(self, content: Any) -> None:
        self.taken.append(content)
        await self.gate.wait()
        await self.send_json(content)


def gated() -> type[Gate]:
    """Make a consumer with a gate of its own, which is closed."""
    return type("Gated", (Gate,), {"gate": asyncio.Event(), "taken": []})


async def test_a_slow_consumer_holds_up_no_other(place: Place) -> None:
    """While one consumer is busy, others on the same socket and their clients are served."""
    slow = gated()
    async with place.client({"slow": slow, "quick": consumers.Json}) as client:
        await client.send_to("slow", 1)
        await until(lambda: slow.taken)
        for number in range(20):
            await client.send_to("quick", number)
            assert await client.receive_from("quick") == number
        slow.gate.set()
        assert await client.receive_from("slow") == 1


async def test_a_blocking_synchronous_consumer_holds_up_no_other(quick_place: Place) -> None:
    """A synchronous consumer that blocks its thread leaves other synchronous ones theirs."""
    blocked, release = threading.Event(), threading.Event()

    class Blocking(consumers.SyncJson):
        def receive_json(self, content: Any) -> None:
            blocked.set()
            release.wait(LIMIT)
            self.send_json(content)

    streams = {"block": Blocking, "sync": consumers.SyncJson, "async": consumers.Json}
    async with quick_place.client(streams) as client:
        await client.send_to("block", 1)
        await until(blocked.is_set)
        for stream in ("sync", "async"):
            await client.send_to(stream, 2)
            assert await client.receive_from(stream) == 2
        release.set()
        assert await client.receive_from("block") == 1


async def test_the_edge_stops_taking_for_a_consumer_that_does_not(
    quick_place: Place, settings: Any
) -> None:
    """A window's worth of payloads is taken from the client, and no more until there is room."""
    configure(settings, {"WINDOW_FRAMES": 4})
    slow = gated()
    async with quick_place.client({"slow": slow, "quick": consumers.Json}) as client:
        for number in range(50):
            await client.send_to("slow", number)
        await client.send_to("quick", "behind them")
        await until(lambda: slow.taken)  # A window fills before there is a consumer, too.
        # One in the consumer's hand and three that wait for it make four; the fifth the edge has.
        await until(lambda: client.input_queue.qsize() == 46)
        assert await client.receive_nothing()
        assert client.input_queue.qsize() == 46
        assert slow.taken == [0]
        slow.gate.set()
        assert await client.receive_from("quick") == "behind them"
        assert [await client.receive_from("slow") for _ in range(50)] == list(range(50))


async def test_large_payloads_fill_a_window_as_well(quick_place: Place, settings: Any) -> None:
    """The window counts bytes too: payloads larger than it pass one at a time."""
    configure(settings, {"WINDOW_BYTES": 1000})
    slow = gated()
    async with quick_place.client({"slow": slow}) as client:
        for _ in range(5):
            await client.send_to("slow", "x" * 2000)
        await until(lambda: client.input_queue.qsize() == 3)
        assert await client.receive_nothing()
        assert client.input_queue.qsize() == 3
        slow.gate.set()
        for _ in range(5):
            assert len(await client.receive_from("slow")) == 2000


class Socket:
    """A server's socket whose client reads nothing until it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.messages: list[dict[str, Any]] = []
        self.input: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, message: dict[str, Any]) -> None:
        """Take a message, once the client reads."""
        if message["type"] == "websocket.send":
            await self.reads.wait()
        self.messages.append(message)

    def texts(self) -> list[str]:
        """What the client has read."""
        return [m["text"] for m in self.messages if m["type"] == "websocket.send"]


class Pushing(AsyncWebsocketConsumer):
    """Sends many payloads as fast as it is let."""

    sent: list[int]
    total = 50

    async def connect(self) -> None:
        await self.accept()
        for number in range(self.total):
            await self.send(str(number))
            self.sent.append(number)


async def test_a_client_that_does_not_read_holds_up_its_consumer(
    quick_place: Place, settings: Any
) -> None:
    """A consumer's send() waits while the client's socket takes nothing."""
    configure(settings, {"WINDOW_FRAMES": 4})
    pushing = type("Pushing", (Pushing,), {"sent": []})
    cls = demultiplexer({"push": pushing})
    async with quick_place.run(cls):
        socket = Socket()
        await socket.input.put({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/", "headers": []}
        edge = asyncio.ensure_future(cls.as_asgi()(scope, socket.input.get, socket.send))
        await until(lambda: len(pushing.sent) == 4)
        await asyncio.wait([edge], timeout=0.1)
        assert len(pushing.sent) == 4
        socket.reads.set()
        await until(lambda: len(socket.texts()) == 50)
        assert socket.texts() == [f'{{"stream":"push","payload":{n}}}' for n in range(50)]
        await socket.input.put({"type": "websocket.disconnect", "code": 1000})
        await within(edge)


async def test_a_client_that_never_reads_loses_its_stream(
    quick_place: Place, settings: Any
) -> None:
    """After STALL_TIMEOUT a consumer that waits for its client is closed, and says goodbye."""
    configure(settings, {"WINDOW_FRAMES": 4, "STALL_TIMEOUT": 0.2})
    codes: list[int] = []

    async def disconnect(self: Any, code: int) -> None:
        codes.append(code)

    pushing = type("Pushing", (Pushing,), {"sent": [], "disconnect": disconnect})
    cls = demultiplexer({"push": pushing, "echo": consumers.Json})
    async with quick_place.run(cls):
        socket = Socket()
        await socket.input.put({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/", "headers": []}
        edge = asyncio.ensure_future(cls.as_asgi()(scope, socket.input.get, socket.send))
        await until(lambda: codes)
        assert codes == [4408]
        assert pushing.sent == list(range(50))  # none of them was told, as with any lost client
        socket.reads.set()
        await until(lambda: any("closed" in text for text in socket.texts()))
        assert '"code":4408' in socket.texts()[-1]
        await socket.input.put({"type": "websocket.disconnect", "code": 1000})
        await within(edge)


async def test_a_consumer_that_takes_nothing_loses_its_stream(
    quick_place: Place, settings: Any
) -> None:
    """After STALL_TIMEOUT a stream whose window stays full is closed, and the others go on."""
    configure(settings, {"WINDOW_FRAMES": 2, "STALL_TIMEOUT": 0.2})
    slow = gated()
    async with quick_place.client({"slow": slow, "quick": consumers.Json}) as client:
        for number in range(4):
            await client.send_to("slow", number)
        await client.send_to("quick", "goes on")
        assert await client.receive_from("quick") == "goes on"
        event = await client.receive_event("slow")
        if event["event"] == "error":  # the fourth came after the end
            event = await client.receive_event("slow")
        assert event == closed("slow", 4408, "the consumer takes nothing")


async def test_a_payload_of_the_client_may_be_too_large(quick_place: Place, settings: Any) -> None:
    """A payload over MAX_PAYLOAD is refused with an event; bytes of UTF-8 count."""
    configure(settings, {"MAX_PAYLOAD": 100})
    async with quick_place.client({"echo": consumers.Plain}) as client:
        for payload in ("x" * 99, "ü" * 50, b"x" * 101):
            await client.send_to("echo", payload)
            event = await client.receive_event("echo")
            assert event["code"] == "too_large"
            assert "100 are allowed" in event["message"]
        for payload in ("x" * 98, b"x" * 100):
            await client.send_to("echo", payload)
            assert await client.receive_from("echo") == payload


async def test_a_payload_of_the_consumer_may_be_too_large(
    quick_place: Place, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """send() raises for a payload over MAX_PAYLOAD; the stream goes on where that is caught.

    Text counts as it travels: what is not JSON as a JSON string.
    """
    configure(settings, {"MAX_PAYLOAD": 100})

    class Careful(consumers.Json):
        async def receive_json(self, content: Any) -> None:
            try:
                await self.send("x" * content)
            except PayloadTooLarge as error:
                await self.send_json(error.size)

    class Careless(consumers.Json):
        async def receive_json(self, content: Any) -> None:
            await self.send(bytes_data=b"x" * content)

    async with quick_place.client({"careful": Careful, "careless": Careless}) as client:
        await client.send_to("careful", 99)
        await client.send_to("careless", 101)
        assert await client.receive_from("careful") == 101
        assert await client.receive_event("careless") == closed("careless", 1009)
    assert "raise CHANNELS_DEMUX_LAYER['MAX_PAYLOAD']" in caplog.text


async def test_payloads_of_the_full_size_pass(place: Place) -> None:
    """The largest payload that the defaults allow travels both ways over every layer."""
    payload = b"\xff" * 786_432
    async with place.client({"echo": consumers.Plain}) as client:
        await client.send_to("echo", payload)
        assert await client.receive_from("echo") == payload


async def test_what_was_sent_before_the_client_left_is_handled(place: Place) -> None:
    """A client that connects, sends and leaves at once has its payloads handled, in order."""
    handled: list[Any] = []
    ended = asyncio.Event()

    class Noting(consumers.Json):
        async def receive_json(self, content: Any) -> None:
            handled.append(content)

        async def disconnect(self, code: int) -> None:
            handled.append(code)
            ended.set()

    cls = demultiplexer({"note": Noting, "lazy": Stream(consumers.Json, lazy=True)})
    async with place.run(cls):
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            for number in range(3):
                await client.send_to("note", number)
        await within(ended.wait())
    assert handled == [0, 1, 2, 1000]


async def test_a_payload_before_a_close_is_handled_wherever_it_waits(place: Place) -> None:
    """A lazy stream that gets one payload and a close answers before it ends."""
    lazy = Stream(consumers.Json, lazy=True)
    async with place.client({"lazy": lazy, "echo": consumers.Json}) as client:
        await client.send_to("lazy", 1)
        await client.close("lazy")
        assert await client.receive_from("lazy") == 1
        assert await client.receive_event("lazy") == closed("lazy", 1000)
