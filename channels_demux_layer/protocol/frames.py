"""Batches and the frames in them (layer wire, version 1).

A batch is one channel-layer message: a plain dict that every serializer with bytes can carry
(L0.1). Its frames are one MessagePack array in a byte string. So the layer's own serializer sees a
few scalars and one byte string, for any number of frames. A frame is an array of its tag, the
number of its session, and its fields (L4.1). The edge numbers sessions, uniquely within a link.
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

#: The version of the layer wire, as in each batch, open and claim (L0.2).
VERSION = 1
#: The channel-layer message type of a batch.
BATCH = "demux.batch"
#: A trace context as HTTP headers: ``traceparent`` and related ones.
Carrier: TypeAlias = dict[str, str]


class Grant(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=0):
    """Edge to worker: the session that you claimed under this ref is yours."""

    session: int
    ref: str


class Accept(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=1):
    """Worker to edge: the consumer accepted the session, and payloads may follow."""

    session: int


class Text(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=2):
    """Both ways: a text payload."""

    session: int
    text: str


class Binary(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=3):
    """Both ways: a binary payload."""

    session: int
    data: bytes


class Close(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=4):
    """Both ways: the sender's last frame of this session. The receiver answers with its own."""

    session: int
    code: int
    reason: str = ""


class Credit(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=5):
    """Both ways: this many more frames of the session were taken."""

    session: int
    frames: int


class Reset(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=6):
    """Both ways: the sender does not know this session."""

    session: int


class Move(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=7):
    """Worker to edge: close this session, and continue the stream on another worker."""

    session: int


class Context(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=8):
    """Edge to worker: the trace context of the next payloads; an empty one ends the trace."""

    session: int
    carrier: Carrier


Frame: TypeAlias = Grant | Accept | Text | Binary | Close | Credit | Reset | Move | Context


class Unreadable(msgspec.Struct, frozen=True):
    """Replaces a frame that cannot be decoded but whose session is known. Never sent."""

    session: int
    fault: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Frame]).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_int = msgspec.msgpack.Decoder(int).decode
#: The first byte of a MessagePack array with one element.
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
        # One consumer's invalid text must not discard the other frames of its batch.
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
        data: The result of encode_frames().

    Returns:
        The frames, in order.

    Raises:
        msgspec.DecodeError: The data is not such a result.
    """
    try:
        return _decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def fault_of(frame: Frame) -> str | None:
    """Return why a frame cannot be sent, for a log line; None if it can.

    Args:
        frame: The frame. Its fields may contain any values.
    """
    try:
        # Decode it too: some values can be encoded but have the wrong type for the peer.
        decode_frames(encode_frames([frame]))
    except Exception as error:  # a value's own type may raise anything
        return f"a {type(frame).__name__.lower()} frame cannot be encoded: {error}"
    return None


def read_frames(data: bytes) -> list[Frame | Unreadable]:
    """Decode the frames of a batch one by one, after `decode_frames` refused them.

    Args:
        data: The frames of a batch from a peer.

    Returns:
        The frames in order, with an `Unreadable` for each that cannot be decoded.

    Raises:
        msgspec.DecodeError: The data is not an array, or the session of an invalid frame cannot be
            read either.
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
    """The fields of a batch in its channel-layer message (L3.1)."""

    version: int
    #: The link's id, and the end that the batch is for: one node may be both ends.
    link: str
    to_edge: bool
    #: The channel of the sender's node, for answers.
    channel: str
    #: The sequence number, from 1; 0 for a batch without frames, which is not acknowledged.
    seq: int
    #: The lowest sequence number that the sender still keeps. A receiver that does not know the
    #: link accepts it only if this is 1. Any other batch was for a predecessor (L3.2).
    base: int
    #: All batches up to this one have arrived, and these later ones have, too.
    ack: int
    early: list[int]
    #: Whether this is a retransmission, to be acknowledged at once (L3.4).
    again: bool
    #: The sender's PEER_TIMEOUT in seconds; 0 from releases that do not send it (L3.7).
    peer_timeout: float = 0.0
    #: In a retransmission, the group that the batch was published to first; empty for the peer's
    #: channel (L3.11). None in other batches, and from releases that do not send it.
    group: str | None = None
    frames: bytes

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this batch."""
        message = {"type": BATCH, **msgspec.structs.asdict(self)}
        if self.group is None:
            del message["group"]
        return message


def parse_batch(message: dict[str, Any]) -> Batch:
    """Return the batch in a channel-layer message.

    Args:
        message: A message of type ``demux.batch``.

    Returns:
        The batch. Its frames are not decoded yet.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    return msgspec.convert(message, Batch)
