"""Nodes speak with Redis over connections of their own, and with whoever uses the layer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer

from channels_demux_layer.layer.inbox import inbox_of
from channels_demux_layer.layer.publisher import Publisher, publisher_of
from tests.batches import make_batch

from .conftest import FAKE, REDIS, params
from .harness import Place, within

BATCH = make_batch(to_edge=True, early=[2], frames=b"\x90" * 300_000)
MESSAGES: list[dict[str, Any]] = [
    {"type": "x", "n": 1, "data": b"\x00", "list": ["a", None]},
    BATCH.to_message(),
]
layers = pytest.mark.parametrize("layered", params((*FAKE, *REDIS)), indirect=True)
core_layers = pytest.mark.parametrize("layered", params((FAKE[0], REDIS[0])), indirect=True)
#: Channels of two keys of the core layer, in one of which there is room for three messages.
CHANNELS = ("specific.one!a", "specific.one!b", "specific.two!c")
CAPACITY = {"specific.one*": 3}
#: One whose place in a group has expired.
GONE = "specific.gone!d"


@layers
@pytest.mark.parametrize("message", MESSAGES, ids=["small", "large"])
async def test_the_layer_receives_what_a_node_publishes(
    layered: Place, message: dict[str, Any]
) -> None:
    """On a channel and in a group."""
    layer = get_channel_layer()
    publisher = publisher_of(layer)
    assert publisher is not layer
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await within(publisher.send(channel, dict(message)))
    assert await within(layer.receive(channel)) == message
    await within(publisher.group_send("group", dict(message)))
    assert await within(layer.receive(channel)) == message


@layers
async def test_a_node_receives_what_the_layer_publishes(layered: Place) -> None:
    """A batch as such, with its frames."""
    layer = get_channel_layer()
    inbox = inbox_of(layer)
    assert inbox is not layer
    channel = await inbox.new_channel()
    await inbox.group_add("group", channel)
    await within(layer.send(channel, dict(MESSAGES[0])))
    assert await within(inbox.receive(channel)) == MESSAGES[0]
    await within(layer.group_send("group", BATCH.to_message()))
    received: Any = await within(inbox.receive(channel))
    assert received.to_message() == BATCH.to_message()
    await inbox.group_discard("group", channel)


@pytest.fixture
async def core_pair(layered: Place) -> AsyncIterator[tuple[RedisChannelLayer, RedisChannelLayer]]:
    """Two core layers on one server, as it is left by somebody who has been there long ago."""
    layer = get_channel_layer()
    pair = [
        RedisChannelLayer(hosts=layer.hosts, prefix=f"{layer.prefix}{n}", channel_capacity=CAPACITY)
        for n in range(2)
    ]
    for one in pair:
        for channel in CHANNELS:
            await one.group_add("group", channel)
        redis = one.connection(0)
        await redis.zadd(one._group_key("group"), {GONE: 1})
        await redis.zadd(f"{one.prefix}specific.one!", {b"old": 1})
    yield pair[0], pair[1]
    for one in pair:
        await one.close_pools()


async def read_server(layer: RedisChannelLayer) -> dict[str, tuple[bool, list[Any]]]:
    """Return what a core layer has on its server: by key, whether it expires, and what is in it."""
    redis = layer.connection(0)
    found = {}
    for key in await redis.keys(f"{layer.prefix}*"):
        members = await redis.zrange(key, 0, -1)
        content = members if b":group:" in key else [layer.deserialize(one) for one in members]
        does_expire = await redis.ttl(key) > 0
        found[key.decode().removeprefix(layer.prefix)] = (does_expire, content)
    return found


@core_layers
async def test_a_core_server_is_left_as_the_layer_leaves_it(
    core_pair: tuple[RedisChannelLayer, RedisChannelLayer],
) -> None:
    """What is expired is gone, what is full stays so, and each message says whom it is for."""
    left = []
    for layer, publisher in zip(core_pair, (core_pair[0], publisher_of(core_pair[1])), strict=True):
        await publish_some(publisher)
        left.append(await read_server(layer))
    assert publisher is not layer
    assert left[0] == left[1]
    assert {key: len(content) for key, (_, content) in left[1].items()} == {
        ":group:group": 3,
        "specific.one!": 3,
        "specific.two!": 3,
        "normal": 1,
    }


async def publish_some(publisher: Publisher) -> None:
    """Publish in every way, and one message too many."""
    await within(publisher.send("normal", {"type": "x", "n": 0}))
    for n in range(1, 3):
        await within(publisher.group_send("group", {"type": "x", "n": n}))
    await within(publisher.send(CHANNELS[0], {"type": "x", "n": 3}))
    with pytest.raises(ChannelFull):
        await within(publisher.send(CHANNELS[1], {"type": "x", "n": 4}))
    await within(publisher.group_send("group", {"type": "x", "n": 5}))
