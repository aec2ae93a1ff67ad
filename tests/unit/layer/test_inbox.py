"""How a node receives."""

from __future__ import annotations

from typing import Any

import channels_redis.core
import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import (
    RedisPubSubChannelLayer,
    RedisPubSubLoopLayer,
    RedisSingleShardConnection,
)
from redis.asyncio.connection import AbstractConnection

from channels_demux_layer.layer.core import CoreInbox
from channels_demux_layer.layer.inbox import inbox_of
from channels_demux_layer.layer.pubsub import PubSubInbox
from channels_demux_layer.layer.steadfast import RememberingLayer
from channels_demux_layer.testing.faulty import FaultyLayer


class Changed(RedisChannelLayer):
    """A core layer that receives in a way of its own."""

    async def receive_single(self, channel: str) -> Any:
        """Receive."""


class ChangedPubSub(RedisPubSubChannelLayer):
    """A pub/sub layer that receives in a way of its own."""

    async def receive(self, channel: str) -> Any:
        """Receive."""


class Named(RedisPubSubChannelLayer):
    """A pub/sub layer with something of its own that has no part in receiving."""


def test_the_core_layer_is_received_from_directly() -> None:
    """Also where its groups are remembered."""
    layer = RedisChannelLayer()
    assert isinstance(inbox_of(layer), CoreInbox)
    assert isinstance(inbox_of(RememberingLayer(layer)), CoreInbox)


@pytest.mark.parametrize("pubsub", [RedisPubSubChannelLayer(), Named()], ids=["itself", "named"])
def test_the_pubsub_layers_servers_are_listened_to_directly(pubsub: Any) -> None:
    """Also where its groups are remembered."""
    assert isinstance(inbox_of(pubsub), PubSubInbox)
    assert isinstance(inbox_of(RememberingLayer(pubsub)), PubSubInbox)


@pytest.mark.parametrize(
    "other",
    [
        InMemoryChannelLayer(),
        Changed(),
        ChangedPubSub(),
        FaultyLayer(RedisChannelLayer()),
        FaultyLayer(RedisPubSubChannelLayer()),
    ],
    ids=lambda other: type(other).__name__,
)
def test_other_layers_receive_themselves(other: Any) -> None:
    """Whatever is none of channels_redis' layers, wraps one, or changes how it receives."""
    assert inbox_of(other) is other
    remembering = RememberingLayer(other)
    assert inbox_of(remembering) is remembering


@pytest.mark.parametrize(
    ("layer", "cls", "part"),
    [
        (RedisChannelLayer, RedisChannelLayer, "brpop_timeout"),
        (RedisChannelLayer, channels_redis.core, "RedisLoopLayer"),
        (RedisChannelLayer, AbstractConnection, "_reader"),
        (RedisPubSubChannelLayer, RedisPubSubLoopLayer, "_get_shard"),
        (RedisPubSubChannelLayer, RedisPubSubLoopLayer, "_get_group_channel_name"),
        (RedisPubSubChannelLayer, RedisSingleShardConnection, "_ensure_redis"),
        (RedisPubSubChannelLayer, AbstractConnection, "_reader"),
        (RedisPubSubChannelLayer, AbstractConnection, "_writer"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_layer_without_what_is_needed_receives_itself(
    layer: Any, cls: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later release, of channels_redis or of redis-py, may have other parts."""
    layer = layer()
    monkeypatch.delattr(cls, part)
    assert inbox_of(layer) is layer
