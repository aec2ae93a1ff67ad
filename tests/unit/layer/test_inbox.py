"""How a node receives."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_demux_layer.layer.inbox import CoreInbox, inbox_of
from channels_demux_layer.layer.steadfast import RememberingLayer
from channels_demux_layer.testing.faulty import FaultyLayer


class Changed(RedisChannelLayer):
    """A core layer that receives in a way of its own."""

    async def receive_single(self, channel: str) -> Any:
        """Receive."""


@pytest.fixture
def layer() -> RedisChannelLayer:
    """A core layer, the connections to whose servers are doubles."""
    layer = RedisChannelLayer(hosts=["redis://a", "redis://b"], prefix="p")
    servers = [AsyncMock(), AsyncMock()]
    layer.connection = servers.__getitem__
    layer.servers = servers
    return layer


def test_the_core_layer_is_received_from_directly(layer: RedisChannelLayer) -> None:
    """Also where its groups are remembered."""
    assert isinstance(inbox_of(layer), CoreInbox)
    assert isinstance(inbox_of(RememberingLayer(layer)), CoreInbox)


@pytest.mark.parametrize(
    "other",
    [
        InMemoryChannelLayer(),
        RedisPubSubChannelLayer(),
        Changed(),
        FaultyLayer(RedisChannelLayer()),
    ],
    ids=lambda other: type(other).__name__,
)
def test_other_layers_receive_themselves(other: Any) -> None:
    """Whatever is not the core layer, wraps it, or changes how it receives."""
    assert inbox_of(other) is other
    remembering = RememberingLayer(other)
    assert inbox_of(remembering) is remembering


def test_a_core_layer_without_what_is_needed_receives_itself(
    layer: RedisChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later release may have other parts."""
    monkeypatch.delattr(RedisChannelLayer, "brpop_timeout")
    assert inbox_of(layer) is layer


async def test_channels_have_keys_of_their_own(layer: RedisChannelLayer) -> None:
    """What Redis keeps for one is never what another waits for; names stay within their bound."""
    inbox = inbox_of(layer)
    names = [await inbox.new_channel(), await inbox.new_channel(), await layer.new_channel()]
    assert len({layer.non_local_name(name) for name in names}) == len(names)
    assert all(layer.require_valid_channel_name(name) for name in names)
    assert all(name.startswith("specific.") for name in names)


async def test_all_that_is_sent_to_a_channel_goes_to_one_server(layer: RedisChannelLayer) -> None:
    """The one that its messages are waited for at, whether sent to the channel or to a group."""
    inbox = inbox_of(layer)
    names = [await inbox.new_channel() for _ in range(20)]
    assert all(
        layer.consistent_hash(name) == layer.consistent_hash(layer.non_local_name(name))
        for name in names
    )


async def test_a_message_takes_one_command(layer: RedisChannelLayer) -> None:
    """It comes from the server that messages to the channel's key go to, however late."""
    inbox = inbox_of(layer)
    channel = await inbox.new_channel()
    key = layer.non_local_name(channel)
    server = layer.servers[layer.consistent_hash(key)]
    sent = layer.serialize({"type": "x", "n": 1, "__asgi_channel__": [channel]})
    server.bzpopmin.side_effect = [None, (key.encode(), sent, 1.0)]
    assert await inbox.receive(channel) == {"type": "x", "n": 1}
    assert server.mock_calls == [server.mock_calls[0]] * 2
    server.bzpopmin.assert_awaited_with(f"p{key}", timeout=layer.brpop_timeout)
