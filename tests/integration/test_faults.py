"""What happens when the layer, a worker or an edge fails: a pause, and nothing lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer import Stream
from channels_demux_layer.protocol.report import NODES
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport import calls as calls_module
from channels_demux_layer.transport import nodes as nodes_module
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, stop_nodes
from channels_demux_layer.transport.ports import SessionPort

from . import consumers
from .harness import LIMIT, Place, closed, configure, demultiplexer, lone_worker, until, within

QUICK = {"PEER_TIMEOUT": 0.8, "OPEN_RETRY": 0.1}


class Shaky:
    """A channel layer that fails as it is told to.

    Attributes:
        is_down: Whether every call but receive() raises.
        receive_failures: How many of the next calls of receive() raise.
        join_failures: How many of the next calls of group_add() raise.
        loss: The probability that a message is lost in silence, or comes twice.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._random = random.Random(1)
        self.is_down = False
        self.receive_failures = 0
        self.join_failures = 0
        self.loss = 0.0

    def _check(self) -> None:
        if self.is_down:
            raise ConnectionError("the layer is down")

    async def new_channel(self) -> Any:
        self._check()
        return await self._layer.new_channel()

    async def receive(self, channel: str) -> Any:
        if self.receive_failures:
            self.receive_failures -= 1
            raise ConnectionError("the layer is down")
        return await self._layer.receive(channel)

    async def send(self, channel: str, message: Any) -> None:
        self._check()
        for _ in range(self._copies()):
            await self._layer.send(channel, message)

    async def group_send(self, group: str, message: Any) -> None:
        self._check()
        for _ in range(self._copies()):
            await self._layer.group_send(group, message)

    def _copies(self) -> int:
        return self._random.choice((0, 2)) if self._random.random() < self.loss else 1

    async def group_add(self, group: str, channel: str) -> None:
        self._check()
        if self.join_failures:
            self.join_failures -= 1
            raise ConnectionError("the layer is down")
        await self._layer.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._check()
        await self._layer.group_discard(group, channel)


@pytest.fixture
def shaky(monkeypatch: pytest.MonkeyPatch) -> Shaky:
    """The layer as nodes see it; workers listen to the sound one."""
    layers: list[Shaky] = []

    def get(alias: str) -> Shaky:
        if not layers:
            layers.append(Shaky(get_channel_layer(alias)))
        return layers[0]

    monkeypatch.setattr(nodes_module, "get_channel_layer", get)
    monkeypatch.setattr(calls_module, "BACK_OFF", (0.01, 0.02))
    monkeypatch.setattr("channels_demux_layer.workers.worker.JOIN_PAUSE", 0.01)
    return get("default")


@pytest.fixture
def places_shaky(memory: Place, shaky: Shaky) -> tuple[Place, Shaky]:
    """Workers over an in-memory layer that fails as it is told to."""
    return memory, shaky


@pytest.fixture
async def worker_nodes(
    memory: Place, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Node]]:
    """Workers have nodes of their own, as in processes of their own: one for each stream."""
    configure(settings, QUICK)
    nodes: list[Node] = []

    async def get_node(alias: str) -> Node:
        node = Node(get_channel_layer(alias), nodes_module.link_config())
        nodes.append(node)
        await node.start()
        return node

    monkeypatch.setattr("channels_demux_layer.workers.worker.get_node", get_node)
    yield nodes
    for node in nodes:
        await node.stop()


async def crash(node: Node) -> None:
    """End a node without a last word, as the end of its process would."""

    async def say_nothing(*args: Any) -> bool:
        return False

    node.publish = say_nothing  # type: ignore[method-assign]
    await node.stop()


async def test_a_layer_that_fails_for_a_while_loses_nothing(
    places_shaky: tuple[Place, Shaky], caplog: pytest.LogCaptureFixture
) -> None:
    """What is said while the layer is down arrives when it is back; the log has one line each."""
    place, layer = places_shaky
    caplog.set_level("INFO", "channels_demux_layer")
    async with place.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 0)
        assert await client.receive_from("echo") == 0
        layer.is_down = True
        for number in range(1, 100):
            await client.send_to("echo", number)
        await until(lambda: "Cannot publish on the channel layer" in caplog.text)
        layer.is_down = False
        assert [await client.receive_from("echo") for _ in range(99)] == list(range(1, 100))
    assert caplog.messages.count("Can publish on the channel layer again.") == 1
    assert caplog.text.count("Cannot publish on the channel layer: the layer is down.") == 1


async def test_a_layer_that_is_down_at_first_opens_streams_later(
    places_shaky: tuple[Place, Shaky], caplog: pytest.LogCaptureFixture
) -> None:
    """A client that connects while the layer is down is accepted, and served when it is back."""
    place, layer = places_shaky
    caplog.set_level("INFO", "channels_demux_layer")
    layer.is_down = True
    async with place.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        await until(lambda: "Cannot join the channel layer" in caplog.text)
        layer.is_down = False
        assert await client.receive_from("echo") == 1
        await until(lambda: "Can join the channel layer again." in caplog.messages)


async def test_a_layer_that_does_not_deliver_is_listened_to_again(
    places_shaky: tuple[Place, Shaky], caplog: pytest.LogCaptureFixture
) -> None:
    """A receive() that raises is tried again, for as long as it takes."""
    place, layer = places_shaky
    caplog.set_level("INFO", "channels_demux_layer")
    async with place.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        layer.receive_failures = 3
        await client.send_to("echo", 2)
        assert await client.receive_from("echo") == 2
        await until(lambda: "Can receive on the channel layer again." in caplog.messages)
    assert caplog.text.count("Cannot receive on the channel layer") == 1


async def test_a_worker_that_cannot_join_a_group_gives_its_session_back(
    places_shaky: tuple[Place, Shaky], caplog: pytest.LogCaptureFixture
) -> None:
    """The edge opens the stream again, and its client notices nothing."""
    place, layer = places_shaky
    caplog.set_level("INFO", "channels_demux_layer")
    streams = {"echo": consumers.Json, "lazy": Stream(consumers.Json, lazy=True)}
    async with place.client(streams) as client:
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1  # the edge has joined its own group
        layer.join_failures = 1
        await client.send_to("lazy", 2)
        assert await client.receive_from("lazy") == 2
        assert await client.receive_nothing()
    assert "Can join a group on the channel layer again." in caplog.messages


async def test_groups_that_cannot_be_left_are_told_of_once(
    places_shaky: tuple[Place, Shaky], caplog: pytest.LogCaptureFixture
) -> None:
    """A layer that fails while a connection ends costs a line in the log, and nothing else."""
    place, layer = places_shaky
    caplog.set_level("INFO", "channels_demux_layer")
    streams = {"one": consumers.Json, "two": consumers.Json}
    cls = demultiplexer(streams)
    async with place.run(cls):
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            for stream in streams:
                await client.send_to(stream, 1)
                await client.receive_from(stream)
            discard = layer.group_discard

            async def fail(group: str, channel: str) -> None:
                raise ConnectionError("the layer is down")

            layer.group_discard = fail  # type: ignore[method-assign]
            await client.close("one")
            await client.receive_event("one")
            await until(lambda: "Cannot leave a group on the channel layer" in caplog.text)
            layer.group_discard = discard  # type: ignore[method-assign]
        await until(lambda: "Can leave a group on the channel layer again." in caplog.messages)
    assert caplog.text.count("Cannot leave a group") == 1


@pytest.mark.parametrize("loss", [0.05, 0.3])
async def test_a_lossy_layer_delivers_once_and_in_order(
    places_shaky: tuple[Place, Shaky], loss: float
) -> None:
    """Lost and repeated layer messages, opens and claims among them, are made good."""
    place, layer = places_shaky
    layer.loss = loss
    async with place.client({"json": consumers.Json, "sync": consumers.SyncJson}) as client:
        for number in range(100):
            for stream in ("json", "sync"):
                await client.send_to(stream, number)
        for stream in ("json", "sync"):
            assert [await client.receive_from(stream) for _ in range(100)] == list(range(100))


class Holding(consumers.Json):
    """Takes nothing on its first attempt, and says what it hears on the next."""

    attempts: list[int]
    heard: list[Any]

    async def connect(self) -> None:
        self.attempts.append(self.scope["demux"]["attempt"])
        await self.accept()

    async def receive_json(self, content: Any) -> None:
        self.heard.append(content)
        if len(self.attempts) == 1:
            await asyncio.Event().wait()
        await self.send_json(content)


def holding() -> type[Holding]:
    """Make a consumer with lists of its own."""
    return type("Holding", (Holding,), {"attempts": [], "heard": []})


async def test_a_session_that_is_lost_goes_on_with_another_consumer(quick_layer: Place) -> None:
    """The client is told, and what the first consumer had not taken reaches the second."""
    consumer = holding()
    async with quick_layer.client({"hold": consumer}) as client:
        for number in range(3):
            await client.send_to("hold", number)
        await until(lambda: consumer.attempts)
        node = find_node("default")
        (wire,) = [wire for (_, is_edge), wire in node._wires.items() if not is_edge]
        await until(lambda: wire.link.sessions)
        (session,) = wire.link.sessions.values()
        await until(lambda: session.owner._host._in_hand)  # all has arrived, nothing is taken
        session.owner.lost(peer_is_dead=False)
        SessionPort(wire, session).reset()
        assert await client.receive_event("hold") == {"stream": "hold", "event": "reopened"}
        assert [await client.receive_from("hold") for _ in range(3)] == [0, 1, 2]
        assert consumer.attempts == [1, 2]


async def test_a_stateful_session_that_is_lost_is_for_the_client_to_open(
    quick_layer: Place,
) -> None:
    """The client gets 1012, nothing is sent again, and its open gives it a new consumer."""
    consumer = holding()
    streams = {"hold": Stream(consumer, stateful=True), "echo": consumers.Json}
    async with quick_layer.client(streams) as client:
        await client.send_to("hold", 1)
        await until(lambda: consumer.attempts)
        node = find_node("default")
        (wire,) = [wire for (_, is_edge), wire in node._wires.items() if not is_edge]
        sessions = wire.link.sessions.values()
        owned = [session for session in sessions if session.owner._opening.stream == "hold"]
        await until(lambda: owned[0].owner._host._in_hand)
        owned[0].owner.lost(peer_is_dead=False)
        SessionPort(wire, owned[0]).reset()
        event = {"event": "closed", "code": 1012, "reason": "its worker is gone"}
        assert await client.receive_event("hold") == {"stream": "hold", **event}
        await client.open("hold")
        await client.send_to("hold", 2)
        assert await client.receive_from("hold") == 2
        assert consumer.attempts == [1, 1]


async def test_a_worker_that_dies_is_replaced(
    memory: Place, worker_nodes: list[Node], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """After PEER_TIMEOUT the edge opens the dead worker's sessions elsewhere."""
    configure(settings, {**QUICK, "HOSTING": "workers"})
    consumer = holding()
    cls = demultiplexer({"hold": consumer})
    async with lone_worker(cls) as kill:
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        await client.connect()
        await client.send_to("hold", 1)
        await until(lambda: consumer.heard)  # So the edge knows that it has accepted.
        kill()
        await crash(worker_nodes[0])
        async with lone_worker(cls):
            assert (await client.receive_event("hold"))["event"] == "reopened"
            assert await client.receive_from("hold") == 1
            await client.disconnect()
    await stop_nodes()
    assert "has been silent for" in caplog.text


async def test_consumers_of_an_edge_that_dies_are_disconnected(
    memory: Place, worker_nodes: list[Node]
) -> None:
    """After PEER_TIMEOUT a worker tells its consumers that their client is gone: 1006."""
    codes: asyncio.Queue[int] = asyncio.Queue()

    class Noting(consumers.Json):
        async def disconnect(self, code: int) -> None:
            codes.put_nowait(code)

    cls = demultiplexer({"note": Noting})
    async with memory.run(cls):
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        await client.connect()
        await client.send_to("note", 1)
        await client.receive_from("note")
        await crash(find_node("default"))
        assert await within(codes.get()) == 1006
        client.stop()
        await asyncio.wait([client.future])


async def test_the_last_link_of_a_node_is_forgotten(
    memory: Place, worker_nodes: list[Node]
) -> None:
    """A link that carries no session for a while leaves nothing behind, at both ends."""
    cls = demultiplexer({"echo": consumers.Json})
    async with memory.run(cls):
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            await client.send_to("echo", 1)
            await client.receive_from("echo")
        edge, (worker,) = find_node("default"), worker_nodes
        assert edge._wires
        assert worker._wires
        await until(lambda: not edge._wires and not edge._edge_wires)
        await until(lambda: not worker._wires)
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            await client.send_to("echo", 2)
            assert await client.receive_from("echo") == 2


async def test_nothing_is_left_on_the_layer(quick_layer: Place) -> None:
    """When clients have gone, the groups of their connections are gone too."""
    cls = demultiplexer({"one": consumers.Json, "two": consumers.Json})
    async with quick_layer.run(cls):
        for _ in range(3):
            async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
                await client.send_to("one", 1)
                await client.receive_from("one")
            async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT):
                pass  # leaves while everything is being joined
        groups = find_node("default").groups
        await until(lambda: groups._touched == {NODES} and not groups._turns)
        assert groups._wanted.keys() == {NODES}
        layer = get_channel_layer()
        if hasattr(layer, "groups") and not hasattr(layer, "hosts"):
            await until(lambda: not [name for name in layer.groups if "demux." in name])


async def test_a_scope_that_cannot_be_unpacked_ends_its_stream(
    memory: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that cannot host a session says so to the client and in its log."""

    def enter(*args: Any) -> Any:
        raise ValueError("not a packed scope")

    monkeypatch.setattr("channels_demux_layer.workers.session.enter_scope", enter)
    async with memory.client({"echo": consumers.Json}) as client:
        assert await client.receive_close() == (1011, "")
        assert (await client.receive_event("echo"))["code"] == 1011
    assert "Stream 'echo' could not be hosted." in caplog.messages


@pytest.mark.parametrize("is_on", [True, False])
async def test_consumers_in_workers_outlast_their_layer(settings: Any, is_on: bool) -> None:
    """They stay, and rejoin their groups. With the setting off they end, as stock consumers do."""
    inner = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    backend = "channels_demux_layer.testing.faulty.FaultyLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"layer": inner}}}
    configure(settings, {"STEADFAST_LAYERS": is_on})
    project = get_channel_layer()
    cls = demultiplexer({"chat": consumers.Chat})
    client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
    async with lone_worker(cls), client:
        await client.send_to("chat", 1)
        assert await client.receive_from("chat") == 1
        await project.go_down()
        project.come_back()
        if is_on:
            await until(lambda: project.groups.get("chat"))
            await client.send_to("chat", 2)
            assert await client.receive_from("chat") == 2
        else:
            event = await client.receive_event("chat")
            assert event == closed("chat", 1011)
    await stop_nodes()
