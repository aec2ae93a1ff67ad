"""What nodes say to each other: batches, and the frames in them (layer wire, version 1).

A batch is one channel-layer message, a plain dict that every serializer with bytes can carry
(L0.1). Its frames travel as one MessagePack array, so that the layer's own serializer meets a
handful of scalars and one byte string, however many frames there are. A frame is an array of its
tag, the number of its session, which the edge gives and which is unique within the link, and the
rest (L4.1).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from .json_text import sendable

__all__ = [
    "BATCH",
    "VERSION",
    "Accept",
    "Batch",
    "Binary",
    "Carrier",
    "Close",
    "Context",
    "Credit",
    "Frame",
    "Grant",
    "Move",
    "Reset",
    "Text",
    "Unreadable",
    "decode_frames",
    "encode_frames",
    "fault_of",
    "parse_batch",
    "read_frames",
]

#: The version of the layer wire. It stands in each batch, open and claim (L0.2).
VERSION = 1
#: The channel-layer message type of a batch.
BATCH = "demux.batch"
#: A trace context in text, as HTTP headers have it: ``traceparent`` and what goes with it.
Carrier: TypeAlias = dict[str, str]


class Grant(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=0):
    """Edge to worker: the session whose open you claimed is yours."""

    session: int
    ref: str


class Accept(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=1):
    """Worker to edge: the consumer has accepted, payloads may come."""

    session: int


class Text(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=2):
    """Either way: one text payload."""

    session: int
    text: str


class Binary(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=3):
    """Either way: one binary payload."""

    session: int
    data: bytes


class Close(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=4):
    """Either way: the sender's last frame of this session. Answered with the receiver's own."""

    session: int
    code: int
    reason: str = ""


class Credit(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=5):
    """Either way: so many more frames of this session have been taken."""

    session: int
    frames: int


class Reset(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=6):
    """Either way: there is no such session here."""

    session: int


class Move(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=7):
    """Worker to edge: close this session and open another, with somebody else."""

    session: int


class Context(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=8):
    """Edge to worker: the trace context of the payloads that follow; none where it is empty."""

    session: int
    carrier: Carrier


Frame: TypeAlias = Grant | Accept | Text | Binary | Close | Credit | Reset | Move | Context


class Unreadable(msgspec.Struct, frozen=True):
    """Stands for a frame that cannot be decoded, where its session can; never on the wire."""

    session: int
    fault: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Frame]).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_int = msgspec.msgpack.Decoder(int).decode
#: The head of a MessagePack array of one element.
_ONE = b"\x91"


def encode_frames(frames: list[Frame]) -> bytes:
    """Encode the frames of one batch.

    Args:
        frames: The frames, in order. A lone surrogate in a text becomes U+FFFD.

    Returns:
        One MessagePack array.
    """
    try:
        return _encode(frames)
    except UnicodeEncodeError:
        # One consumer's broken text must not take along what shares the batch with it.
        return _encode([_sendable(frame) for frame in frames])


def _sendable(frame: Frame) -> Frame:
    if isinstance(frame, Text):
        return Text(frame.session, sendable(frame.text))
    if isinstance(frame, Close):
        return Close(frame.session, frame.code, sendable(frame.reason))
    if isinstance(frame, Context):
        carrier = {sendable(key): sendable(value) for key, value in frame.carrier.items()}
        return Context(frame.session, carrier)
    return frame


def decode_frames(data: bytes) -> list[Frame]:
    """Decode the frames of one batch.

    Args:
        data: What encode_frames() made.

    Returns:
        The frames, in order.

    Raises:
        msgspec.DecodeError: It is nothing that encode_frames() makes.
    """
    try:
        return _decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def fault_of(frame: Frame) -> str | None:
    """Say why a frame cannot be sent; None where it can.

    Args:
        frame: A frame whose fields may hold anything.

    Returns:
        What is wrong with it, to be logged.
    """
    try:
        # Some values have an encoding and yet are not what the peer expects in their place.
        decode_frames(encode_frames([frame]))
    except Exception as error:  # a foreign type may raise anything
        return f"a {type(frame).__name__.lower()} frame cannot be encoded: {error}"
    return None


def read_frames(data: bytes) -> list[Frame | Unreadable]:
    """Decode the frames of a batch one by one, for when `decode_frames` refuses them together.

    Args:
        data: What a peer sent as the frames of one batch.

    Returns:
        The frames in order, with an `Unreadable` for each that cannot be decoded.

    Raises:
        msgspec.DecodeError: It is no array, or nobody can tell whose frame it is that is wrong.
    """
    frames: list[Frame | Unreadable] = []
    for raw in _split(data):
        try:
            frames += decode_frames(_ONE + bytes(raw))
        except msgspec.DecodeError as error:
            frames.append(Unreadable(_session_of(raw), f"a frame cannot be decoded: {error}"))
    return frames


def _session_of(raw: msgspec.Raw) -> int:
    head = _split(raw)[:2]
    if len(head) < 2:
        raise msgspec.DecodeError("a frame has no session's number")
    return _decode_int(head[1])


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of one batch, as they stand in the channel-layer message (L3.1)."""

    version: int
    #: The link's id, and which end of it the batch is for (one node may be both).
    link: str
    to_edge: bool
    #: The node channel of the sender: where an answer goes.
    channel: str
    #: The batch's sequence number, from 1; 0 for one without frames, which is not acknowledged.
    seq: int
    #: The lowest sequence number that the sender still keeps. A receiver that does not know the
    #: link may take it up only where this is 1: all else was for a predecessor (L3.2).
    base: int
    #: All batches up to this one have arrived, and these later ones.
    ack: int
    early: list[int]
    #: This is a retransmission: acknowledge it at once (L3.4).
    again: bool
    #: The sender's PEER_TIMEOUT in seconds; 0 from senders that do not tell it (L3.7).
    peer_timeout: float = 0.0
    #: Of a retransmission: the group that the batch was published to first, empty where it went to
    #: the channel (L3.11). None in other batches, and from senders that do not tell it.
    group: str | None = None
    frames: bytes

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this batch."""
        message = {"type": BATCH, **msgspec.structs.asdict(self)}
        if self.group is None:
            del message["group"]
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
