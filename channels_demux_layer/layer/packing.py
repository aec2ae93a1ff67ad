"""Messages as channels_redis' serializer for MessagePack writes and reads them, with fewer copies.

Who reads one with the other gets the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from channels_demux_layer.link.frames import FRAMES, Batch, unpack_batch

__all__ = ["deserialize", "serialize"]

#: Frames of so many bytes are not copied: from here on their length takes four bytes.
LARGE = 65_536
#: What MessagePack writes for no bytes, and before the length of many.
NO_BYTES, MANY_BYTES = b"\xc4\x00", b"\xc6"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def serialize(message: dict[str, Any]) -> list[bytes]:
    """Write a message.

    Args:
        message: The message.

    Returns:
        Its bytes, in one part or in several.
    """
    frames = message.get(FRAMES)
    if not isinstance(frames, bytes) or len(frames) < LARGE:
        return [_encode(message)]
    # They stand last, so that they need not be copied.
    others = {key: value for key, value in message.items() if key != FRAMES}
    head = _encode({**others, FRAMES: b""}).removesuffix(NO_BYTES)
    return [head + MANY_BYTES + len(frames).to_bytes(4, "big"), frames]


def deserialize(data: bytes | memoryview) -> dict[str, Any] | Batch:
    """Read a message.

    Args:
        data: Its bytes.

    Returns:
        The message, which may be no dict where it was forged; what it says, if it is a well-formed
        batch, whose frames are a view.

    Raises:
        msgspec.DecodeError: It is not MessagePack.
    """
    try:
        return unpack_batch(data)
    except msgspec.ValidationError:
        # Another message, or a batch with a fault that somebody else is to tell.
        message: dict[str, Any] = _decode(data)
        return message
