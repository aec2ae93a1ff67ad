"""How a node publishes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import (
    RedisPubSubChannelLayer,
    RedisPubSubLoopLayer,
    RedisSingleShardConnection,
)

from channels_demux_layer.layer.publisher import publisher_of
from channels_demux_layer.layer.pubsub import PubSubPublisher
from channels_demux_layer.layer.redis.pipeline import Pipeline
from channels_demux_layer.layer.steadfast import RememberingLayer
from channels_demux_layer.testing.faulty import FaultyLayer

HOSTS = ["redis://a", "redis://b", "redis://c"]


class Named(RedisPubSubChannelLayer):
    """A pub/sub layer with something of its own that has no part in publishing."""


class Changed(RedisPubSubChannelLayer):
    """A pub/sub layer that publishes in a way of its own."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send."""


class ChangedCore(RedisChannelLayer):
    """A core layer that publishes in a way of its own."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send."""


@pytest.mark.parametrize("layer", [RedisPubSubChannelLayer(), Named()], ids=["itself", "named"])
def test_the_pubsub_layers_servers_are_published_to_directly(layer: Any) -> None:
    """Also where its groups are remembered."""
    assert isinstance(publisher_of(layer), PubSubPublisher)
    assert isinstance(publisher_of(RememberingLayer(layer)), PubSubPublisher)


@pytest.mark.parametrize(
    "other",
    [
        InMemoryChannelLayer(),
        Changed(),
        ChangedCore(),
        FaultyLayer(RedisChannelLayer()),
        FaultyLayer(RedisPubSubChannelLayer()),
    ],
    ids=lambda other: type(other).__name__,
)
def test_other_layers_publish_themselves(other: Any) -> None:
    """Whatever is none of channels_redis' layers, wraps one, or changes how it publishes."""
    assert publisher_of(other) is other
    remembering = RememberingLayer(other)
    assert publisher_of(remembering) is remembering


@pytest.mark.parametrize(
    ("cls", "part"),
    [
        (RedisPubSubLoopLayer, "_get_shard"),
        (RedisPubSubLoopLayer, "_get_group_channel_name"),
        (RedisSingleShardConnection, "_ensure_redis"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_pubsub_layer_without_what_is_needed_publishes_itself(
    cls: type, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later release may have other parts."""
    layer = RedisPubSubChannelLayer()
    monkeypatch.delattr(cls, part)
    assert publisher_of(layer) is layer


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str, bytes]]:
    """What pipelines were given: the connection they are for, the name, the message."""
    given: list[tuple[Any, str, bytes]] = []

    async def publish(self: Pipeline, name: str, data: list[bytes]) -> None:
        given.append((self._own._shard, name, b"".join(data)))

    monkeypatch.setattr(Pipeline, "publish", publish)
    return given


async def test_messages_go_where_the_layer_would_send_them(
    published: list[tuple[Any, str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the server of several that it has for the name, under its name there, and as it writes."""
    layer = RedisPubSubChannelLayer(hosts=HOSTS, prefix="p")
    expected: list[tuple[Any, str, bytes]] = []

    async def publish(self: Any, name: str, data: bytes) -> None:
        expected.append((self, name, data))

    monkeypatch.setattr(RedisSingleShardConnection, "publish", publish)
    publisher = publisher_of(layer)
    for number in range(20):
        message = {"type": "x", "n": number, "data": b"\x00"}
        for target in (layer, publisher):
            await target.send(f"channel{number}", message)
            await target.group_send(f"group{number}", message)
    assert published == expected
    assert len({shard for shard, _, _ in published}) == len(HOSTS)


def test_each_event_loop_has_servers_of_its_own(
    published: list[tuple[Any, str, bytes]],
) -> None:
    """As the layer has."""
    layer = RedisPubSubChannelLayer()
    for _ in range(2):
        asyncio.run(publisher_of(layer).send("channel", {"type": "x"}))
    (first, *_), (second, *_) = published
    assert first is not second
