"""A node's own layer object: when there is one, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.report import NODES, PROBE
from channels_demux_layer.testing.faulty import FaultyLayer
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.own import OwnLayer, close_layer, maker_of
from channels_demux_layer.transport.steadfast import RememberingLayer
from tests.integration.harness import until

CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
FAULTY = "channels_demux_layer.testing.faulty.FaultyLayer"
MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


class Recorder(InMemoryChannelLayer):
    """A layer that records who joins, leaves, rejoins and closes, and is no in-memory one."""

    closed = 0

    async def close_pools(self) -> None:
        """Count."""
        self.closed += 1


class Remote(Recorder):
    """What stands for a layer over a network."""


@pytest.mark.parametrize("backend", [CORE, PUBSUB])
def test_a_configured_layer_is_made_again(settings: Any, backend: str) -> None:
    """Another object of the same class, with the same configuration."""
    settings.CHANNEL_LAYERS = {"x": {"BACKEND": backend, "CONFIG": {"hosts": [("h", 1)]}}}
    shared = get_channel_layer("x")
    make = maker_of("x", shared)
    assert make is not None
    assert type(make()) is type(shared)
    assert make() is not shared


@pytest.mark.parametrize(
    "layer",
    [
        InMemoryChannelLayer(),
        FaultyLayer(InMemoryChannelLayer()),
        RedisPubSubChannelLayer(),
        object(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_another_object_would_not_reach_is_shared(settings: Any, layer: Any) -> None:
    """What is in this process's memory, and what a test has put in place of what is configured."""
    settings.CHANNEL_LAYERS = {"core": {"BACKEND": CORE}, "faulty": {"BACKEND": FAULTY}}
    for alias in ("core", "faulty", "missing"):
        assert maker_of(alias, layer) is None


def test_closing_deletes_nothing() -> None:
    """What is called closes connections; a flush() that deletes is not called."""
    core, pubsub, memory = RedisChannelLayer(), RedisPubSubChannelLayer(), InMemoryChannelLayer()
    assert close_layer(core) == core.close_pools
    closes = close_layer(pubsub)
    assert closes is not None
    assert closes.args[1] == "flush"  # type: ignore[attr-defined]
    assert close_layer(memory) is None


@pytest.fixture
def remote(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """The project's object of a layer that nodes make again."""
    for module in ("node", "own"):
        target = f"channels_demux_layer.transport.{module}.InMemoryChannelLayer"
        monkeypatch.setattr(target, type(None))
    backend = f"{Remote.__module__}.{Remote.__qualname__}"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    layer: Remote = get_channel_layer()
    return layer


async def test_both_memories_are_joined_again(remote: Remote) -> None:
    """The node's groups on its own object, those of consumers on theirs."""
    project = RememberingLayer(remote)
    node = Node(remote, LinkConfig())
    node.memories.append(project)
    own = node._own.typed.inner
    await node.start()
    await project.group_add("of-consumer", "c")
    await until(lambda: node.reporter.has_joined)
    await remote.flush()
    await own.flush()
    node._reconnected()
    await until(lambda: own.groups and remote.groups)
    assert set(own.groups) == {NODES}
    assert set(remote.groups) == {"of-consumer"}
    await node.stop()


async def test_only_its_own_object_is_closed(remote: Remote) -> None:
    """What consumers use stays open."""
    own = OwnLayer("default", remote, 10.0)
    await own.close()
    assert (own.typed.inner.closed, remote.closed) == (1, 0)
    shared = Recorder()
    await OwnLayer("missing", shared, 10.0).close()
    assert shared.closed == 0


@pytest.mark.parametrize(("peer_timeout", "limit"), [(15.0, 5.0), (0.1, 1.0)])
async def test_limits_of_calls(peer_timeout: float, limit: float) -> None:
    """A call has a third of the time after which a peer counts as dead, and a second at least."""
    own = OwnLayer("missing", InMemoryChannelLayer(), peer_timeout)
    assert own.typed.limit == limit


async def test_calls_end_in_time_for_the_most_impatient_peer() -> None:
    """A call that hangs leaves time for the heartbeats that a less patient peer expects."""
    own = OwnLayer("missing", InMemoryChannelLayer(), 15.0)
    limits = []
    for peer_timeout in (30.0, 6.0, 12.0, 0.1):
        own.shorten_calls(peer_timeout)
        limits.append(own.typed.limit)
    assert limits == [5.0, 2.0, 2.0, 1.0]


class Prefixed(Remote):
    """A layer that receives on channels with its own prefix alone, as many do."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Prefixed.made += 1
        self.client_prefix = f"client{Prefixed.made}"

    async def close_pools(self) -> None:
        """Fail, as where a connection hangs."""
        await super().close_pools()
        raise OSError


@pytest.fixture
def own(remote: Remote, settings: Any) -> OwnLayer:
    """A node's object of a layer that can be replaced."""
    backend = f"{Prefixed.__module__}.{Prefixed.__qualname__}"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    return OwnLayer("default", get_channel_layer(), 10.0)


async def test_an_object_is_replaced(own: OwnLayer) -> None:
    """The other one receives on the same channels, and the first one is closed."""
    first = own.typed.inner
    assert own.can_renew
    own.renew()
    assert own.typed.inner is not first
    assert own.typed.inner.client_prefix == first.client_prefix
    await until(lambda: first.closed)
    await own.close()
    assert own.typed.inner.closed == 1


async def test_what_is_received_goes_on(own: OwnLayer) -> None:
    """Whoever waits for a message waits on the other object from then on."""
    receiving = asyncio.ensure_future(own.receive("demux.echo"))
    await asyncio.sleep(0)
    own.renew()
    while "demux.echo" not in own.typed.inner.channels:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await own.typed.send("demux.echo", {"n": 1})
    assert await asyncio.wait_for(receiving, 60) == {"n": 1}
    receiving = asyncio.ensure_future(own.receive("demux.echo"))
    await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert not own._listeners
    await own.close()


async def test_an_object_that_hangs_as_it_closes(
    own: OwnLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up when the node ends."""
    monkeypatch.setattr(own.typed.inner, "close_pools", asyncio.Event().wait)
    own.renew()
    await own.close()
    assert all(closing.done() for closing in own._closing)


@pytest.mark.parametrize(
    ("backend", "can"), [(CORE, True), (PUBSUB, True), (MEMORY["BACKEND"], False)]
)
async def test_which_objects_are_replaced(settings: Any, backend: str, can: bool) -> None:
    """Those that can receive on each other's channels."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    assert OwnLayer("default", get_channel_layer(), 10.0).can_renew is can


async def test_a_pubsub_object_is_replaced(settings: Any) -> None:
    """It receives on whatever it is told to; it knows no prefix of its own."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB}}
    own = OwnLayer("default", get_channel_layer(), 10.0)
    first = own.typed.inner
    own.renew()
    assert own.typed.inner is not first
    await own.close()


async def test_what_cannot_be_closed_is_left(own: OwnLayer) -> None:
    """Attributes are those of the layer; one without connections needs no end."""
    assert own.channels == {}
    own.typed.inner = InMemoryChannelLayer()
    await own.close()


async def test_a_node_goes_on_with_other_connections(own: OwnLayer) -> None:
    """It receives on its channel, and its listeners on theirs; nothing is made anew but these."""
    node = Node(get_channel_layer(), LinkConfig(), "default")
    await node.start()
    assert not node.may_be_deaf
    listening = asyncio.ensure_future(anext(node.messages("demux.echo")))
    await until(lambda: node._own._listeners)
    node._renew()
    layer = node._own.typed
    await until(lambda: {node.channel, "demux.echo"} <= layer.inner.channels.keys())
    heard_at = node.heard_at
    assert node._hearing is not None
    await layer.send(node.channel, {"type": PROBE, "ref": node._hearing._ref})
    await layer.send("demux.echo", {"type": "open"})
    assert await asyncio.wait_for(listening, 60) == {"type": "open"}
    await until(lambda: node.heard_at > heard_at)
    await node.stop()


class Hanging(Remote):
    """A layer that cannot be replaced, and whose first receive() never ends."""

    calls = 0

    async def receive(self, channel: str) -> Any:
        """Hang, and work from the second call on."""
        Hanging.calls += 1
        if Hanging.calls == 1:
            await asyncio.Event().wait()
        return await super().receive(channel)


async def test_a_layer_that_hangs_and_cannot_be_replaced_is_asked_again(
    remote: Remote, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A line says where, receive() is called again, and the node hears."""
    backend = f"{Hanging.__module__}.{Hanging.__qualname__}"
    settings.CHANNEL_LAYERS = {"hanging": {"BACKEND": backend}}
    caplog.set_level("INFO", "channels_demux_layer")
    node = Node(get_channel_layer("hanging"), LinkConfig(peer_timeout=0.12), "hanging")
    await node.start()
    own = node._own.typed.inner
    what = "receive this process's own messages on the channel layer 'hanging'"
    await until(lambda: f"Can {what} again." in caplog.messages)
    assert f"Cannot {what}: nothing arrived" in caplog.text
    assert node._own.typed.inner is own
    await node.stop()
