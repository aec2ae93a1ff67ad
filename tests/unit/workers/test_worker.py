"""The worker's side, where no edge leads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.middleware import BaseMiddleware

from channels_demux_layer import Stream
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.scope import pack_scope
from channels_demux_layer.logs import MOST_LINES
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import Open
from channels_demux_layer.protocol.report import NODES
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node, stop_nodes
from channels_demux_layer.transport.steadfast import SteadfastLayer
from channels_demux_layer.transport.tally import Tally, get_tally
from channels_demux_layer.workers import worker as worker_module
from channels_demux_layer.workers.session import WorkerSession
from channels_demux_layer.workers.worker import ClaimDesk, StreamWorker
from tests.integration.harness import until

SCOPE = {"type": "channel", "channel": "demux.s"}


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Accept, say what comes, and stop."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if "text" in message:
            await send({"type": "websocket.send", "text": message["text"]})


@pytest.fixture
async def node(settings: Any) -> AsyncIterator[Node]:
    """The process's node."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    node = await get_node("default")
    await until(lambda: node.reporter.has_joined)
    yield node
    await stop_nodes()


async def an_open(ref: str = "ref", channel: str = "edge!1") -> Open:
    """An open."""
    return Open(
        version=VERSION,
        ref=ref,
        connection="0" * 32,
        stream="s",
        channel=channel,
        edge_group="demux.e",
        stream_group="demux.s",
        attempt=1,
        expires_at=time.time() + 60,
        scope=await pack_scope({"type": "websocket"}),
    )


def a_tally() -> Tally:
    """The tally of the stream."""
    return Tally("worker", "demux.s", "s")


class Port:
    """The worker's end of a session.

    Attributes:
        said: What the worker said, in order.
    """

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.window = SendWindow(1, 100)

    def attach(self, owner: Any, group: str) -> None:
        """Take the owner."""

    def accept(self) -> None:
        """Note it."""
        self.said.append("accept")

    def send(self, data: str | bytes) -> None:
        """Note it."""
        self.said.append(data)

    def take(self, size: int) -> None:
        """Note it."""
        self.said.append(size)

    def close(self, code: int, reason: str) -> None:
        """Note it."""
        self.said.append((code, reason))

    def move(self) -> None:
        """Note it."""
        self.said.append("move")

    def reset(self) -> None:
        """Note it."""
        self.said.append("reset")


async def test_a_worker_without_a_layer_fails(settings: Any) -> None:
    """That is a fault of the project's, and no trying helps."""
    settings.CHANNEL_LAYERS = {}
    worker = StreamWorker(Stream(raw))
    with pytest.raises(ConfigurationError):
        await _first(worker)


async def _first(worker: StreamWorker) -> None:
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "anything"})
    await worker(SCOPE, messages.get, None)


async def test_a_worker_tries_until_it_can_join_the_layer(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A layer that cannot be reached is tried again, with one line in the log."""
    monkeypatch.setattr(worker_module, "JOIN_PAUSE", 0.0)
    caplog.set_level("INFO", "channels_demux_layer")
    tries = [3]

    async def fail(node: Node) -> None:
        tries[0] -= 1
        if tries[0]:
            raise ConnectionError("refused")

    monkeypatch.setattr(Node, "start", fail)
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "first"})
    running = asyncio.ensure_future(StreamWorker(Stream(raw))(SCOPE, messages.get, None))
    await until(lambda: len(caplog.messages) == 3)
    running.cancel()
    await asyncio.wait([running])
    assert caplog.messages == [
        "Cannot join the channel layer: refused. Retrying.",
        "Can join the channel layer again.",
        "A message of type 'first' is not for us; ignored.",
    ]


async def test_a_claim_that_the_layer_refuses_is_sent_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edge whose channel is full is not gone; what has lapsed meanwhile is not sent."""
    monkeypatch.setattr(worker_module, "CLAIM_PAUSE", 0.0)
    layer = get_channel_layer()
    edge = await layer.new_channel()
    desk = ClaimDesk(node, "demux.s", raw, Stream(raw))
    publish, refusals = node.publish, [2]

    async def refuse(group: str | None, channel: str, message: Any) -> bool:
        refusals[0] -= 1
        if refusals[0] == 1:
            node.grantable.pop("lapsed")
        return refusals[0] < 0 and await publish(group, channel, message)

    monkeypatch.setattr(node, "publish", refuse)
    for ref in ("kept", "lapsed", "kept"):
        desk.consider(await an_open(ref, edge))
    claim = await asyncio.wait_for(layer.receive(edge), 20.0)
    assert claim["refs"] == ["kept"]


async def run_session(node: Node, *inputs: tuple[Any, ...]) -> list[Any]:
    """Run a session whose edge has said all this before its consumer starts."""
    port = Port()
    session = WorkerSession(await an_open(), port, node, a_tally())  # type: ignore[arg-type]
    for name, *arguments in inputs:
        options = {"peer_is_dead": False} if name == "lost" else {}
        getattr(session, name)(*arguments, **options)
    await asyncio.wait_for(session.run(raw, Stream(raw), own_thread=False), 20.0)
    assert not node.hosted
    return port.said


async def test_a_session_that_ends_before_it_begins_has_its_consumer(node: Node) -> None:
    """The consumer gets its connect and its disconnect; the edge hears no accept any more."""
    assert await run_session(node, ("closed", 4000, "r")) == [(1000, "")]


async def test_what_cannot_come_yet_is_nothing(node: Node) -> None:
    """Payloads follow the accept, and an accept is no edge's to send."""
    early = ("received", "text")
    assert await run_session(node, early, ("accepted",), ("closed", 1000, "")) == [(1000, "")]


async def test_a_context_is_nothing_to_who_does_not_trace(node: Node) -> None:
    """An edge may trace where its workers do not."""
    context = ("traced", {"traceparent": "00-1-2-01"})
    assert await run_session(node, context, ("closed", 1000, "")) == [(1000, "")]


async def test_a_session_that_is_spoiled_ends_its_consumer(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets a disconnect with 1011, and the log names its stream (L4.10)."""
    assert await run_session(node, ("spoiled", "a frame cannot be decoded: it is odd")) == [
        (1000, "")
    ]
    assert "Stream 's' ends with 1011: a frame cannot be decoded: it is odd." in caplog.text


async def test_a_client_that_does_not_read_is_closed(node: Node, settings: Any) -> None:
    """A send() without room for STALL_TIMEOUT says goodbye, and sends nothing more."""
    settings.CHANNELS_DEMUX_LAYER = {"STALL_TIMEOUT": 0.01}
    port = Port()
    session = WorkerSession(await an_open(), port, node, a_tally())  # type: ignore[arg-type]
    for text in ("1", "2", "3"):
        if (room := session.send(text)) is not None:
            await room
    session.accept()
    session.consumed(1)
    session.writable()
    assert port.said == ["1", (4408, "the client does not read"), "accept", 1]


async def test_a_session_whose_group_cannot_be_joined_is_disowned(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No consumer starts, and a join that was done after all is undone, however long it takes."""
    layer = get_channel_layer()
    leave, failures = layer.group_discard, iter([ConnectionError, ConnectionError, None])

    async def join(group: str, channel: str) -> None:
        layer.groups[group] = {channel: 0}
        raise ConnectionError

    async def leave_late(group: str, channel: str) -> None:
        if failure := next(failures):
            raise failure
        await leave(group, channel)

    monkeypatch.setattr(layer, "group_add", join)
    monkeypatch.setattr(layer, "group_discard", leave_late)
    assert await run_session(node) == ["reset"]
    await until(lambda: layer.groups.keys() == {NODES})


async def test_a_session_is_known_from_its_grant(node: Node) -> None:
    """A drain finds it, even before its first step."""
    desk = ClaimDesk(node, "demux.s", raw, Stream(raw))
    desk.consider(await an_open())
    node.grantable["ref"](Port())  # type: ignore[arg-type]
    (session,) = node.hosted
    session.move()
    assert not session.over.is_set()


async def test_a_session_that_never_began_leaves_nothing(node: Node) -> None:
    """The node ends before its first step."""
    desk = ClaimDesk(node, "demux.s", raw, Stream(raw))
    desk.consider(await an_open())
    tally = get_tally("worker", "demux.s", "s")
    node.grantable["ref"](Port())  # type: ignore[arg-type]
    (session,) = node.hosted
    assert session in tally.sessions
    await node.stop()
    await until(session.over.is_set)
    assert not node.hosted
    assert not tally.sessions


@pytest.mark.parametrize("is_ours", [False, True])
async def test_a_session_that_is_lost_before_it_begins_has_no_consumer(
    node: Node, is_ours: bool
) -> None:
    """Its edge took it for dead and went elsewhere, or is dead itself; or a drain disowned it."""
    begun: list[Any] = []

    async def noting(*args: Any) -> None:
        begun.append(args)

    session = WorkerSession(await an_open(), Port(), node, a_tally())  # type: ignore[arg-type]
    session.disown() if is_ours else session.lost(peer_is_dead=False)
    await session.run(noting, Stream(noting), own_thread=False)
    assert session.over.is_set()
    assert not begun


async def test_late_opens_are_told_of_a_few_times(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """None is claimed; a backlog of thousands, or who forges them, does not fill the log."""
    caplog.set_level("INFO")
    desk = ClaimDesk(node, "demux.s", raw, Stream(raw))
    opening = await an_open()
    for _ in range(100):
        desk.consider(msgspec.structs.replace(opening, expires_at=0.0, stream="\n"))
    assert not node.grantable
    late = [text for text in caplog.messages if "that expired" in text]
    assert len(late) == MOST_LINES


class OtherLayer:
    """A layer that can fail."""

    def __init__(self, **config: Any) -> None:
        self.config = config


class Progress(AsyncWebsocketConsumer):
    """A consumer with a layer of its own."""

    channel_layer_alias = "progress"


async def test_the_layers_of_consumers_are_steadfast(settings: Any) -> None:
    """Also those that no node is on, whatever stands around the consumer; no others."""
    memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    other = {"BACKEND": f"{__name__}.OtherLayer"}
    settings.CHANNEL_LAYERS = {"default": memory, "progress": other, "unused": other}
    worker = StreamWorker(Stream(BaseMiddleware(Progress.as_asgi())))
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "foreign"})
    running = asyncio.ensure_future(worker(SCOPE, messages.get, None))
    await until(lambda: isinstance(get_channel_layer("progress"), SteadfastLayer))
    assert isinstance(get_channel_layer("unused"), OtherLayer)
    running.cancel()
    await stop_nodes()


@pytest.mark.parametrize("is_on", [True, False])
async def test_the_groups_of_consumers_are_rejoined(settings: Any, is_on: bool) -> None:
    """The node joins them again with its own. A setting leaves layers and groups alone."""
    memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    faulty = {"BACKEND": "channels_demux_layer.testing.faulty.FaultyLayer"}
    settings.CHANNEL_LAYERS = {"default": {**faulty, "CONFIG": {"layer": memory}}}
    settings.CHANNELS_DEMUX_LAYER = {"STEADFAST_LAYERS": is_on}
    project = get_channel_layer()
    node = await get_node("default")
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "foreign"})
    running = asyncio.ensure_future(StreamWorker(Stream(raw))(SCOPE, messages.get, None))
    await until(lambda: "demux.s" in node.serves)
    layer = get_channel_layer()
    assert node.memories == ([layer.unsteady] if is_on else [])
    assert (layer is project) is not is_on
    await layer.group_add("room", "consumer!1")
    assert find_node("default") is node
    await until(lambda: node.reporter.has_joined)
    await project.forget()
    node._reconnected()
    await until(lambda: NODES in project.groups and ("room" in project.groups) is is_on)
    running.cancel()
    await stop_nodes()
