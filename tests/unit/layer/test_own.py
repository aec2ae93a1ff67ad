"""A node's own layer object: when there is one, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_demux_layer.layer.own import OwnLayer, close_layer, maker_of
from channels_demux_layer.layer.steadfast import RememberingLayer
from channels_demux_layer.testing.faulty import FaultyLayer

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
    monkeypatch.setattr("channels_demux_layer.layer.own.InMemoryChannelLayer", type(None))
    backend = f"{Remote.__module__}.{Remote.__qualname__}"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    layer: Remote = get_channel_layer()
    return layer


async def test_both_memories_are_joined_again(remote: Remote) -> None:
    """The node's groups on its own object, those of consumers on theirs."""
    project = RememberingLayer(remote)
    own = OwnLayer("default", project, 10.0)
    assert own.forgets
    await own.groups.group_add("of-node", "n")
    await project.group_add("of-consumer", "c")
    await remote.flush()
    await own.typed.inner.flush()
    await own.rejoin()
    await own.settle()
    assert set(own.typed.inner.groups) == {"of-node"}
    assert set(remote.groups) == {"of-consumer"}


async def test_only_its_own_object_is_closed(remote: Remote) -> None:
    """What consumers use stays open."""
    own = OwnLayer("default", RememberingLayer(remote), 10.0)
    await own.close()
    assert (own.typed.inner.closed, remote.closed) == (1, 0)
    shared = Recorder()
    await OwnLayer("missing", shared, 10.0).close()
    assert shared.closed == 0


async def test_a_layer_that_forgets_nothing() -> None:
    """Without a memory in front of the project's object there is one group list to join."""
    own = OwnLayer("missing", InMemoryChannelLayer(), 0.1)
    assert not own.forgets
    await own.rejoin()
    await own.settle()


@pytest.mark.parametrize(("peer_timeout", "limit"), [(10.0, 5.0), (0.1, 1.0)])
async def test_limits_of_calls(peer_timeout: float, limit: float) -> None:
    """A call has half of the time after which a peer counts as dead, and a second at least."""
    own = OwnLayer("missing", InMemoryChannelLayer(), peer_timeout)
    assert own.typed._limit.seconds == limit
