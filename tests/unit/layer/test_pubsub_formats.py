"""How a node's messages are written on channels_redis' pub/sub layer, and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_demux_layer.layer.calls import is_unreadable
from channels_demux_layer.layer.pubsub import PubSubInbox, PubSubPublisher
from tests.integration.harness import within
from tests.unit.layer.redis.server import ScriptedServer

MESSAGE = {"type": "x", "n": 1, "text": "ä"}


class Wrapped(RedisPubSubChannelLayer):
    """A pub/sub layer that writes its messages in a way of its own."""

    def serialize(self, message: dict[str, Any]) -> bytes:
        """Write a message."""
        return b"<" + super().serialize(message) + b">"

    def deserialize(self, message: bytes) -> Any:
        """Read a message."""
        assert type(message) is bytes
        return super().deserialize(message[1:-1])


def json(make: Callable[..., Any], host: Any) -> Any:
    """A layer that writes JSON."""
    return make(host, serializer_format="json")


def encrypted(make: Callable[..., Any], host: Any) -> Any:
    """A layer that encrypts."""
    pytest.importorskip("cryptography")
    return make(host, symmetric_encryption_keys=["secret"])


def changed(make: Callable[..., Any], host: Any) -> Any:
    """A layer with a serializer of a project's own."""
    return make(host, cls=Wrapped)


def prefixed(make: Callable[..., Any], host: Any) -> Any:
    """A layer that puts random bytes in front."""
    layer = make(host)
    layer._serializer.random_prefix_length = 12
    return layer


def plain(make: Callable[..., Any], host: Any) -> Any:
    """A layer that writes MessagePack and nothing else."""
    return make(host)


LAYERS = [plain, prefixed, json, encrypted, changed]


@pytest.mark.parametrize("kind", LAYERS)
async def test_a_node_and_the_layer_understand_each_other(
    server: ScriptedServer, make_layer: Callable[..., Any], kind: Callable[..., Any]
) -> None:
    """However the project has messages written."""
    layer = kind(make_layer, server.host())
    inbox, publisher = PubSubInbox(layer), PubSubPublisher(layer)
    channel = await within(inbox.new_channel())
    await within(inbox.group_add("g", channel))
    await within(publisher.send(channel, MESSAGE))
    await within(publisher.group_send("g", MESSAGE))
    published = [command[2] for end in server.ends for command in end.heard if len(command) == 3]
    assert [layer.deserialize(content) for content in published] == [MESSAGE] * 2
    await within(layer.send(channel, MESSAGE))
    await within(layer.group_send("g", MESSAGE))
    assert [await within(inbox.receive(channel)) for _ in range(4)] == [MESSAGE] * 4


@pytest.mark.parametrize("kind", LAYERS)
async def test_what_no_layer_can_read_is_told_as_such(
    server: ScriptedServer, make_layer: Callable[..., Any], kind: Callable[..., Any]
) -> None:
    """Whatever its way to read raises."""
    inbox = PubSubInbox(kind(make_layer, server.host()))
    channel = await within(inbox.new_channel())
    server.deliver(channel.encode(), b"\xc1" * 20)
    (error,) = await within(asyncio.gather(inbox.receive(channel), return_exceptions=True))
    assert isinstance(error, Exception)
    assert is_unreadable(error)
