"""What OpenTelemetry sees of a frame, from the edge to the consumer's handler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer import tracing
from channels_demux_layer.protocol.backlog import Backlog
from channels_demux_layer.protocol.frames import Context, Frame, Text
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport.nodes import find_node
from channels_demux_layer.transport.ports import SessionPort
from tests.spans import Spans, current_id, parent_id, recorded, span_id

from . import consumers
from .harness import LIMIT, Place, demultiplexer, until


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What is traced during the test."""
    with recorded() as found:
        yield found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """All frames that links are given to send, in order."""
    found: list[Frame] = []
    original = Backlog.put

    def put(self: Backlog, frame: Frame, group: str | None = None) -> None:
        found.append(frame)
        original(self, frame, group)

    monkeypatch.setattr(Backlog, "put", put)
    return found


@contextlib.asynccontextmanager
async def traced_client(
    place: Place, spans: Spans, streams: dict[str, Any]
) -> AsyncIterator[DemuxCommunicator]:
    """Connect through what makes a span of the connection."""
    cls = demultiplexer(streams)
    async with (
        place.run(cls),
        DemuxCommunicator(spans.around(cls.as_asgi()), timeout=LIMIT) as client,
    ):
        yield client


class Async(consumers.Plain):
    """Says which span is current when it handles a frame."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=str(current_id()))


class Sync(consumers.SyncPlain):
    """Says which span is current when it handles a frame, in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=str(current_id()))


class Spawning(consumers.Plain):
    """Says which span is current in a task that its handler starts."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await asyncio.ensure_future(self.answer())

    async def answer(self) -> None:
        await self.send(text_data=str(current_id()))


async def raw(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that says which span is current when it has a frame in hand."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(current_id())})


async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A consumer behind middleware that has a coroutine of its own around receive()."""

    async def receive_through() -> Any:
        return await receive()

    await Async.as_asgi()(scope, receive_through, send)


KINDS = [Async, Sync, Spawning, raw, wrapped]


@pytest.mark.parametrize("consumer", KINDS)
async def test_a_frame_is_handled_in_its_own_span(
    quick_place: Place, spans: Spans, consumer: Any
) -> None:
    """Each frame has one span, current in whatever handles it; its parent is the edge's span."""
    async with traced_client(quick_place, spans, {"tell": consumer}) as client:
        seen = []
        for number in range(3):
            await client.send_to("tell", number)
            seen.append(await client.receive_from("tell"))
        await until(lambda: len(spans.named("process tell")) == 3)
    (connection,) = spans.named("websocket")
    frames = spans.named("process tell")
    assert [span_id(frame) for frame in frames] == seen
    assert [parent_id(frame) for frame in frames] == [span_id(connection)] * 3


async def test_frames_that_wait_for_a_consumer_have_their_context(
    memory: Place, spans: Spans, sent: list[Frame]
) -> None:
    """The context goes once, before the first payload, though that was sent before the accept."""
    async with traced_client(memory, spans, {"tell": Async}) as client:
        for number in range(3):
            await client.send_to("tell", number)
        for _ in range(3):
            await client.receive_from("tell")
        await until(lambda: len(spans.named("process tell")) == 3)
    (connection,) = spans.named("websocket")
    assert {parent_id(frame) for frame in spans.named("process tell")} == {span_id(connection)}
    inward = [f for f in sent if isinstance(f, Context) or (isinstance(f, Text) and f.text < "9")]
    assert [type(frame) for frame in inward][:4] == [Context, Text, Text, Text]
    assert [type(frame) for frame in sent].count(Context) == 1


async def test_contexts_that_change_keep_to_their_frames(memory: Place, spans: Spans) -> None:
    """Where each frame has a context of its own at the edge, each is the parent of its own span."""
    edge_ids = []

    def spanned(application: Any) -> Any:
        async def traced(scope: Any, receive: Any, send: Any) -> None:
            cls = application

            class Spanning(cls):  # type: ignore[misc]
                async def websocket_receive(self, message: Any) -> None:
                    if "2" in message["text"]:
                        await super().websocket_receive(message)
                        return
                    with spans.tracer.start_as_current_span("frame"):
                        edge_ids.append(current_id())
                        await super().websocket_receive(message)

            await Spanning.as_asgi()(scope, receive, send)

        return traced

    cls = demultiplexer({"tell": Async})
    async with (
        memory.run(cls),
        DemuxCommunicator(spanned(cls), timeout=LIMIT) as client,
    ):
        for number in range(4):
            await client.send_to("tell", number)
        for _ in range(4):
            await client.receive_from("tell")
        await until(lambda: len(spans.named("process tell")) == 4)
    parents = [parent_id(frame) for frame in spans.named("process tell")]
    assert parents == [edge_ids[0], edge_ids[1], None, edge_ids[2]]


async def test_failover_keeps_order_and_contexts(memory: Place, spans: Spans) -> None:
    """What is sent again to another consumer comes in order, with the context that it had."""

    class Holding(consumers.Json):
        attempts: list[int] = []

        async def connect(self) -> None:
            self.attempts.append(self.scope["demux"]["attempt"])
            await super().connect()

        async def receive_json(self, content: Any) -> None:
            if len(self.attempts) == 1:
                await asyncio.Event().wait()
            await super().receive_json(content)

    async with traced_client(memory, spans, {"hold": Holding}) as client:
        for number in range(3):
            await client.send_to("hold", number)
        await until(lambda: Holding.attempts)
        node = find_node("default")
        (wire,) = [wire for (_, is_edge), wire in node._wires.items() if not is_edge]
        await until(lambda: wire.link.sessions)
        (session,) = wire.link.sessions.values()
        await until(lambda: session.owner._host._in_hand)
        session.owner.lost(peer_is_dead=False)
        SessionPort(wire, session).reset()
        assert (await client.receive_event("hold"))["event"] == "reopened"
        assert [await client.receive_from("hold") for _ in range(3)] == [0, 1, 2]
        await until(lambda: len(spans.named("process hold")) == 3)
    (connection,) = spans.named("websocket")
    frames = [
        frame
        for frame in spans.named("process hold")
        if frame.attributes and frame.attributes["demux.attempt"] == 2
    ]
    assert [parent_id(frame) for frame in frames] == [span_id(connection)] * 3


async def test_without_a_span_at_the_edge_there_is_no_context(
    memory: Place, spans: Spans, sent: list[Frame]
) -> None:
    """Where nothing is current at the edge no context is sent, and frames begin traces."""
    async with memory.client({"tell": Async}) as client:
        await client.send_to("tell", 1)
        await client.receive_from("tell")
        await until(lambda: spans.named("process tell"))
    (frame,) = spans.named("process tell")
    assert frame.parent is None
    assert not [each for each in sent if isinstance(each, Context)]


class Greeting(consumers.Plain):
    """Says at once which span is current when it connects."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(text_data=str(current_id()))


async def test_what_a_worker_does_beside_frames_is_nobodys(
    quick_place: Place, spans: Spans
) -> None:
    """No span is current in a worker's connect(), though the first client had its node started."""
    async with traced_client(quick_place, spans, {"greet": Greeting}) as client:
        seen = await client.receive_from("greet")
    (connection,) = spans.named("websocket")
    assert seen == (span_id(connection) if quick_place.is_inline else 0)


async def test_off_means_off(memory: Place, sent: list[Frame]) -> None:
    """Where the project has not asked for it, no context is sent, whatever is current."""
    spans = Spans()
    async with traced_client(memory, spans, {"tell": Async}) as client:
        await client.send_to("tell", 1)
        await client.receive_from("tell")
    assert [each for each in sent if isinstance(each, Text)]
    assert not [each for each in sent if isinstance(each, Context)]


class Grouped(consumers.Plain):
    """Is sent an event of a group while it handles a frame, and says what is current there."""

    groups = ["everybody"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await get_channel_layer().group_send("everybody", {"type": "called"})
        # Let the event arrive, so that it is handled right after this frame.
        for _ in range(10):
            await asyncio.sleep(0)

    async def called(self, event: Any) -> None:
        await self.send(text_data=str(current_id()))


async def test_what_is_no_frame_has_no_part_in_its_span(inline: Place, spans: Spans) -> None:
    """An event of the channel layer that follows a frame is not handled in the frame's span."""
    async with traced_client(inline, spans, {"group": Grouped}) as client:
        await client.send_to("group", 1)
        seen = await client.receive_from("group")
        await until(lambda: spans.named("process group"))
    (connection,) = spans.named("websocket")
    assert seen == span_id(connection)


async def test_replies_are_written_in_the_connections_span(quick_place: Place) -> None:
    """Whatever brings a reply to the edge, the span that is current for its send is the client's.

    Two clients, one after the other: the first had the node started.
    """
    with recorded() as spans:
        seen: list[int] = []

        def noting(application: Any) -> Any:
            async def noted(scope: Any, receive: Any, send: Any) -> None:
                async def send_noted(message: Any) -> None:
                    if message.get("text"):
                        seen.append(current_id())
                    await send(message)

                await application(scope, receive, send_noted)

            return noted

        cls = demultiplexer({"tell": Async})
        async with quick_place.run(cls):
            for _ in range(2):
                application = spans.around(noting(cls.as_asgi()))
                async with DemuxCommunicator(application, timeout=LIMIT) as client:
                    await client.send_to("tell", 1)
                    await client.receive_from("tell")
        assert seen == [span_id(connection) for connection in spans.named("websocket")]


@pytest.mark.parametrize("method", ["current", "inject", "extract", "host"])
async def test_a_tracer_that_raises_ends_no_connection(
    quick_place: Place, spans: Spans, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Each payload arrives and is answered, inline and in a worker."""

    def fail(*args: Any) -> Any:
        raise RuntimeError("a fault of the tracer's")

    monkeypatch.setattr(tracing.tracer, method, fail)
    async with traced_client(quick_place, spans, {"echo": consumers.Json}) as client:
        for number in range(3):
            await client.send_to("echo", number)
            assert await client.receive_from("echo") == number
