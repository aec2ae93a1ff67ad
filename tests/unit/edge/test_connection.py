"""What one client's WebSocket carries."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer import Stream
from channels_demux_layer.codes import ClientEvent, ServerEvent
from channels_demux_layer.edge.connection import Connection
from channels_demux_layer.edge.limits import Limits
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.protocol.envelope import EnvelopeCodec, Incoming
from channels_demux_layer.transport.nodes import find_node, stop_nodes
from tests.integration.harness import until

LIMIT = 20.0


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Say what comes."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if "text" in message:
            await send({"type": "websocket.send", "text": message["text"]})


class Edge:
    """The demultiplexer, as far as a connection needs it.

    Attributes:
        closed: How the socket was closed.
    """

    channel_prefix = "demux"
    send_events = True

    def __init__(self) -> None:
        self.scope = {"type": "websocket"}
        self.closed: list[Any] = []
        self.written: asyncio.Queue[Any] = asyncio.Queue()

    @classmethod
    def hosting_of(cls, name: str) -> str:
        """All are hosted here, but those that are not."""
        return "workers" if name.startswith("remote") else "inline"

    def wrap_payload(self, stream: str, data: str | bytes) -> dict[str, Any]:
        """Show what is wrapped."""
        return {stream: data}

    async def pack_scope(self) -> bytes:
        """Nothing travels."""
        return b""

    def hang_up(self, code: int, reason: str) -> None:
        """Note the close."""
        self.closed.append((code, reason))

    async def read(self) -> Any:
        """What the client reads next."""
        return await asyncio.wait_for(self.written.get(), LIMIT)


@pytest.fixture
def edge() -> Edge:
    """The demultiplexer."""
    return Edge()


def connect(edge: Edge, **streams: Stream) -> Connection:
    """Make a connection with its streams open."""
    connection = Connection(edge, streams, EnvelopeCodec(), edge.written.put)  # type: ignore[arg-type]
    connection.open_streams()
    return connection


async def test_connections_have_ids_of_their_own(edge: Edge) -> None:
    """An id is 32 hexadecimal digits, as names of groups need it."""
    ids = {connect(edge).id for _ in range(10)}
    assert len(ids) == 10
    assert all(len(bytes.fromhex(one)) == 16 for one in ids)


async def test_events_tell_of_what_happens_to_a_stream(edge: Edge) -> None:
    """The client hears that a stream is unavailable, or goes on elsewhere."""
    connection = connect(edge)
    connection.session_unavailable("s")
    connection.session_reopened("s")
    assert await edge.read() == {
        "type": "websocket.send",
        "text": '{"stream":"s","event":"unavailable"}',
    }
    assert '"reopened"' in (await edge.read())["text"]


async def test_without_events_nothing_is_told(edge: Edge) -> None:
    """The switch of the demultiplexer holds for all of them."""
    edge.send_events = False
    connection = connect(edge)
    connection.send_event(ServerEvent.ERROR, None, code="x")
    await connection.outbox.drain(LIMIT)
    assert edge.written.empty()


async def test_the_last_stream_closes_the_socket(edge: Edge) -> None:
    """With the code of the stream that was last; nothing is done or opened after it."""
    connection = connect(edge, one=Stream(echo), two=Stream(echo))
    for name in ("one", "two"):
        assert not edge.closed
        connection.receive(Incoming(name, None, ClientEvent.CLOSE))
        assert '"closed"' in (await edge.read())["text"]
    assert edge.closed == [(1000, "")]
    connection.receive(Incoming("one", None, ClientEvent.OPEN))
    connection.receive(Incoming("none", "1", None))
    await connection.end(1000, "")
    assert edge.written.empty()


async def test_a_lazy_stream_that_was_never_opened_keeps_the_socket(edge: Edge) -> None:
    """It may still be asked for."""
    connection = connect(edge, one=Stream(echo), lazy=Stream(echo, lazy=True))
    connection.receive(Incoming("one", None, ClientEvent.CLOSE))
    await edge.read()
    assert not edge.closed
    connection.receive(Incoming("lazy", "1", None))
    assert await edge.read() == {"lazy": "1"}
    await connection.end(1000, "")


async def test_a_stream_is_opened_again_in_the_context_of_its_connection(edge: Edge) -> None:
    """What the consumer before has activated, or who noticed its end, is not active in the next."""
    activated = contextvars.ContextVar("activated", default="")
    seen: list[str] = []

    async def activate(scope: Any, receive: Any, send: Any) -> None:
        seen.append(activated.get())
        activated.set("by the consumer")
        await echo(scope, receive, send)

    activated.set("by middleware")
    connection = connect(edge, one=Stream(activate), other=Stream(echo))
    await until(lambda: len(seen) == 1)
    connection.receive(Incoming("one", None, ClientEvent.CLOSE))
    connection.receive(Incoming("one", None, ClientEvent.OPEN))
    await until(lambda: len(seen) == 2)
    assert seen == ["by middleware"] * 2
    await connection.end(1000, "")


async def test_a_name_that_no_stream_can_have_is_cut_short(edge: Edge) -> None:
    """A client does not get back as much nonsense as it sends."""
    connection = connect(edge)
    with pytest.raises(BadFrame) as refusal:
        connection.receive(Incoming("x" * 1000, "1", None))
    assert connection.refuse(refusal.value) is None
    text = (await edge.read())["text"]
    assert "x" * 255 in text
    assert "x" * 256 not in text


async def test_nobody_waits_for_a_consumer_that_hangs(edge: Edge, settings: Any) -> None:
    """The end takes CONSUMER_CLOSE_TIMEOUT at most; what hangs is abandoned."""
    settings.CHANNELS_DEMUX_LAYER = {"CONSUMER_CLOSE_TIMEOUT": 0.01}
    release, ended = asyncio.Event(), asyncio.Event()

    async def hang(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        ended.set()

    connection = connect(edge, hang=Stream(hang))
    await asyncio.sleep(0)
    await asyncio.wait_for(connection.end(1000, ""), LIMIT)
    connection.abandon()
    release.set()
    await asyncio.wait_for(ended.wait(), LIMIT)
    assert edge.written.empty()


@pytest.mark.parametrize("backend", ["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"])
async def test_a_server_leaves_the_projects_layer_alone(
    edge: Edge, settings: Any, backend: str
) -> None:
    """Views, tasks and inline consumers have the object that Channels has made, unchanged."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"channels_redis.{backend}"}}
    project = get_channel_layer()
    before = dict(vars(project))
    layers: list[Any] = []

    async def ask(scope: Any, receive: Any, send: Any) -> None:
        layers.append(get_channel_layer())

    connection = connect(edge, one=Stream(ask), remote=Stream(ask, lazy=True))
    assert find_node("default").layer is project
    await until(lambda: len(layers) == 1)
    assert layers == [project]
    assert get_channel_layer() is project
    assert vars(project) == before
    connection.abandon()
    await stop_nodes()


async def test_workers_without_a_layer_leave_inline_streams_alone(
    edge: Edge, settings: Any
) -> None:
    """What is missing is said when the stream is opened."""
    settings.CHANNEL_LAYERS = {}
    connection = connect(edge, one=Stream(echo), remote=Stream(echo, lazy=True))
    connection.receive(Incoming("one", "1", None))
    assert await edge.read() == {"one": "1"}
    connection.abandon()


class Deaf(Edge):
    """An edge whose client reads nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()

    async def write(self, message: Any) -> None:
        """Write to the socket."""
        await self.reads.wait()
        await self.written.put(message)


async def closing(scope: Any, receive: Any, send: Any) -> None:
    """Reject."""
    await send({"type": "websocket.close"})


async def greeting(scope: Any, receive: Any, send: Any) -> None:
    """Send as much as the window takes, and end with the client's close."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '"' + "x" * 100_000 + '"'})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def no(scope: Any) -> bool:
    """Let nobody in."""
    return False


@pytest.mark.parametrize(
    "stream",
    [
        Stream(echo, lazy=True),
        Stream(closing, lazy=True),
        Stream(greeting, lazy=True),
        Stream(echo, lazy=True, permission=no),
    ],
    ids=["opened and closed", "rejected", "greeted", "not permitted"],
)
@pytest.mark.parametrize("frames", ["open", "open close", "payload open", "open payload close"])
async def test_a_client_that_reads_nothing_gets_no_further(stream: Stream, frames: str) -> None:
    """Whatever it sends to be answered: the edge stops reading before much waits."""
    edge = Deaf()
    streams = {"s": stream, "other": Stream(echo, lazy=True)}  # Else the last end closes all.
    connection = Connection(edge, streams, EnvelopeCodec(), edge.write)  # type: ignore[arg-type]
    room = None
    for _ in range(2_000):
        for frame in frames.split():
            event = None if frame == "payload" else ClientEvent(frame)
            incoming = Incoming("s", "1" if event is None else None, event)
            try:
                room = connection.receive(incoming)
            except BadFrame as error:
                room = connection.refuse(error)
            if room is not None:
                break
            await asyncio.sleep(0)
        if room is not None:
            break
    # A stream that is open already answers to no further open.
    if room is None:
        assert frames in ("open", "payload open")
        assert stream.target is not closing
    else:
        waiting = [one for one in connection.outbox._waiting if isinstance(one, tuple)]
        assert len(connection.outbox._waiting) <= 200
        assert sum(len(data) for _, data, _ in waiting) <= 1_500_000
        edge.reads.set()
        await asyncio.wait_for(room, LIMIT)
    edge.reads.set()
    await connection.end(1000, "")
    connection.abandon()


@pytest.mark.parametrize("answer", [True, False])
async def test_the_payloads_that_wait_for_a_permission_hold_nobody_up(
    edge: Edge, answer: bool
) -> None:
    """Another stream's are read on, and those that waited come first, or are refused."""
    may_answer = asyncio.Event()

    async def permission(scope: Any) -> bool:
        await may_answer.wait()
        return answer

    connection = connect(edge, free=Stream(echo), guarded=Stream(echo, permission=permission))
    for payload in ("1", "2"):
        assert connection.receive(Incoming("guarded", payload, None)) is None
    assert connection.receive(Incoming("free", "0", None)) is None
    assert await edge.read() == {"free": "0"}
    may_answer.set()
    if answer:
        assert [await edge.read(), await edge.read()] == [{"guarded": "1"}, {"guarded": "2"}]
    else:
        texts = [(await edge.read())["text"] for _ in range(3)]
        assert ["not_permitted" in text for text in texts] == [True, True, False]
    connection.abandon()


async def test_payloads_that_wait_for_a_permission_count_as_buffered(edge: Edge) -> None:
    """The session has the very window that they have waited in, and leaves it when it ends."""
    stream = Stream(echo, lazy=True, permission=lambda scope: True)
    limits = Limits(buffered_bytes=10)
    send = edge.written.put
    streams = {"s": stream, "other": stream}
    connection = Connection(edge, streams, EnvelopeCodec(), send, limits)  # type: ignore[arg-type]
    assert connection.receive(Incoming("s", "12345", None)) is None
    assert connection._inflow is not None
    assert connection._inflow.used == 5
    assert await edge.read() == {"s": "12345"}
    connection.receive(Incoming("s", None, ClientEvent.CLOSE))
    await edge.read()
    assert connection._inflow.used == 0
    connection.abandon()
