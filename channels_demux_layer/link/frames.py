"""What nodes say to each other: batches, and the frames in them (layer wire, version 1).

A batch is one channel-layer message, a plain dict that every serializer with bytes can carry.
Its frames travel as one MessagePack array, so that the layer's own serializer meets a handful
of scalars and one byte string, however many frames there are.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

__all__ = [
    "BATCH",
    "VERSION",
    "Accept",
    "Batch",
    "Binary",
    "Close",
    "Credit",
    "Frame",
    "Grant",
    "Reset",
    "Text",
    "decode_frames",
    "encode_frames",
    "parse_batch",
]

#: The version of the layer wire. It stands in each batch, open and claim.
VERSION = 1
#: The channel-layer message type of a batch.
BATCH = "demux.batch"


class _Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    #: The session's number, given by the edge, unique within its link.
    session: int


class Grant(_Frame, tag=0):
    """Edge to worker: the session whose open you claimed is yours."""

    ref: str


class Accept(_Frame, tag=1):
    """Worker to edge: the consumer has accepted, payloads may come."""


class Text(_Frame, tag=2):
    """Either way: one text payload."""

    text: str


class Binary(_Frame, tag=3):
    """Either way: one binary payload."""

    data: bytes


class Close(_Frame, tag=4):
    """Either way: the sender's last frame of this session. Answered with the receiver's own."""

    code: int
    reason: str = ""


class Credit(_Frame, tag=5):
    """Either way: so many more frames of this session have been taken."""

    frames: int


class Reset(_Frame, tag=6):
    """Either way: there is no such session here."""


Frame: TypeAlias = Grant | Accept | Text | Binary | Close | Credit | Reset

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Frame]).decode


def encode_frames(frames: list[Frame]) -> bytes:
    """Encode the frames of one batch.

    Args:
        frames: The frames, in order.

    Returns:
        One MessagePack array.
    """
    return _encode(frames)


def decode_frames(data: bytes) -> list[Frame]:
    """Decode the frames of one batch.

    Args:
        data: What encode_frames() made.

    Returns:
        The frames, in order.

    Raises:
        msgspec.DecodeError: It is nothing that encode_frames() makes.
    """
    return _decode(data)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of one batch, as they stand in the channel-layer message."""

    version: int
    #: The link's id, and which end of it the batch is for (one node may be both).
    link: str
    to_edge: bool
    #: The node channel of the sender: where an answer goes.
    channel: str
    #: The batch's sequence number, from 1; 0 for one without frames, which is not acknowledged.
    seq: int
    #: The lowest sequence number that the sender still keeps. A receiver that does not know the
    #: link may take it up only where this is 1: all else was for a predecessor.
    base: int
    #: All batches up to this one have arrived, and these later ones.
    ack: int
    early: list[int]
    #: This is a retransmission: acknowledge it at once.
    again: bool
    frames: bytes

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this batch."""
        message = msgspec.structs.asdict(self)
        message["type"] = BATCH
        return message


def parse_batch(message: dict[str, Any]) -> Batch:
    """Read a batch out of a channel-layer message.

    Args:
        message: A message of type ``demux.batch``.

    Returns:
        The batch; its frames are not decoded yet.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    return msgspec.convert(message, Batch)
