"""What makes bytes of a node's messages, and messages of bytes."""

from __future__ import annotations

from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from cryptography.fernet import InvalidToken
from msgspec import DecodeError

from channels_demux_layer.layer.calls import is_unreadable
from channels_demux_layer.layer.serializer import serializer_of
from channels_demux_layer.link.frames import Batch
from tests.batches import make_batch

BATCH = make_batch(to_edge=True)
MESSAGE = {"type": "demux.claim", "data": b"\x00", "list": ["a", 1, None]}


class Changed(RedisPubSubChannelLayer):
    """A layer that writes in a way of its own."""

    def serialize(self, message: dict[str, Any]) -> bytes:
        """Write a message."""
        return bytes(reversed(super().serialize(message)))

    def deserialize(self, message: bytes) -> Any:
        """Read a message."""
        return super().deserialize(bytes(reversed(message)))


#: Layers, and whether batches are read from their messages without a dict.
LAYERS: dict[str, tuple[Any, bool]] = {
    "pubsub": (RedisPubSubChannelLayer(), True),
    "core": (RedisChannelLayer(), True),
    "core-prefix": (RedisChannelLayer(random_prefix_length=3), True),
    "changed": (Changed(), False),
    "encrypted": (RedisPubSubChannelLayer(symmetric_encryption_keys=["key"]), False),
    "core-encrypted": (RedisChannelLayer(symmetric_encryption_keys=["key"]), False),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Any:
    """A layer of channels_redis."""
    return LAYERS[request.param][0]


@pytest.fixture
def serializer(layer: Any) -> Any:
    """What a node has for that layer."""
    stock = RedisChannelLayer if isinstance(layer, RedisChannelLayer) else RedisPubSubChannelLayer
    return serializer_of(layer, stock)


@pytest.mark.parametrize("frames", [b"\x90", b"\x90" * 100_000], ids=["small", "large"])
def test_the_layer_reads_what_is_written(layer: Any, serializer: Any, frames: bytes) -> None:
    """Whatever it is, also where it is written in parts."""
    for message in (MESSAGE, {**BATCH.to_message(), "frames": frames, "more": 1}):
        assert layer.deserialize(b"".join(serializer.serialize(message))) == message


def test_what_the_layer_writes_is_read(layer: Any, serializer: Any) -> None:
    """As bytes, and out of a view of more bytes."""
    data = layer.serialize(MESSAGE)
    assert serializer.deserialize(data) == MESSAGE
    assert serializer.deserialize(memoryview(b"." + data + b".")[1:-1]) == MESSAGE


@pytest.mark.parametrize("name", LAYERS)
def test_batches_are_read_at_once(name: str) -> None:
    """Where the layer writes MessagePack; elsewhere they come as any message does."""
    layer, is_plain = LAYERS[name]
    stock = RedisChannelLayer if isinstance(layer, RedisChannelLayer) else RedisPubSubChannelLayer
    read = serializer_of(layer, stock).deserialize(layer.serialize(BATCH.to_message()))
    if is_plain:
        assert isinstance(read, Batch)
        assert (read.seq, bytes(read.frames)) == (1, b"\x90")
    else:
        assert read == BATCH.to_message()


def test_each_message_is_another_one_where_the_layer_says_so() -> None:
    """The core layer keeps messages in a set."""
    serializer = serializer_of(RedisChannelLayer(), RedisChannelLayer)
    assert len({b"".join(serializer.serialize(MESSAGE)) for _ in range(20)}) == 20


def test_what_cannot_be_read_is_known_as_such(serializer: Any) -> None:
    """It says nothing about how the layer is."""
    with pytest.raises((DecodeError, InvalidToken, ValueError)) as caught:
        serializer.deserialize(b"\xc1" * 20)
    assert is_unreadable(caught.value)
