"""What makes bytes of a node's messages, and messages of bytes, on channels_redis' layers."""

from __future__ import annotations

import random
from typing import Any, Protocol

from channels_demux_layer.link.frames import Batch

from . import packing
from .stock import find_class, is_unchanged

__all__ = ["Serializer", "serializer_of"]

SERIALIZERS = "channels_redis.serializers"
#: Who has changed these wants it so.
METHODS = ("serialize", "deserialize")
INNER = ("as_bytes", "from_bytes", *METHODS)


class Serializer(Protocol):
    """Makes bytes of messages, and messages of bytes."""

    def serialize(self, message: dict[str, Any]) -> list[bytes]:
        """Return a message's bytes, in one part or in several."""

    def deserialize(self, data: bytes | memoryview) -> dict[str, Any] | Batch:
        """Return the message; what it says, if it is a batch."""


class _LayerSerializer:
    """As the layer does it, whatever that is.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def serialize(self, message: dict[str, Any]) -> list[bytes]:
        return [self._layer.serialize(message)]

    def deserialize(self, data: bytes | memoryview) -> dict[str, Any]:
        message: dict[str, Any] = self._layer.deserialize(bytes(data))
        return message


class _MessagePack:
    """The same bytes as the layer's, with fewer copies.

    Args:
        prefix_length: How many random bytes are in front, which make each message another one.
    """

    def __init__(self, prefix_length: int) -> None:
        self._prefix_length = prefix_length

    def serialize(self, message: dict[str, Any]) -> list[bytes]:
        if not self._prefix_length:
            return packing.serialize(message)
        return [random.randbytes(self._prefix_length), *packing.serialize(message)]

    def deserialize(self, data: bytes | memoryview) -> dict[str, Any] | Batch:
        rest = memoryview(data)[self._prefix_length :] if self._prefix_length else data
        return packing.deserialize(rest)


def serializer_of(layer: Any, stock: Any) -> Serializer:
    """Return what makes bytes of messages on a layer of channels_redis.

    Args:
        layer: The layer.
        stock: The class of channels_redis that it is of.

    Returns:
        What writes and reads MessagePack, where the layer does so and does not encrypt; else what
        asks the layer.
    """
    inner: Any = getattr(layer, "_serializer", None)
    is_plain = (
        is_unchanged(layer, stock, METHODS)
        and is_unchanged(inner, find_class(SERIALIZERS, "MsgPackSerializer"), INNER)
        and getattr(inner, "crypter", True) is None
    )
    return _MessagePack(inner.random_prefix_length) if is_plain else _LayerSerializer(layer)
