"""What a client writes and reads: envelopes put together, and those of the server taken apart.

The other end of `channels_demux_layer.edge.envelope`. A client ignores what it does not know
(C5.9): a frame is a payload, an event, or nothing. Payloads are taken out of their envelopes and
not decoded.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Raw

from channels_demux_layer.codes import ClientEvent, ServerEvent
from channels_demux_layer.json_text import (
    REFUSALS,
    decode_members,
    decode_string,
    mend_escapes,
    quote,
    sendable,
    validate,
)

__all__ = ["MAX_STREAM_NAME", "NO_STATUS", "ClientCodec", "Event", "Payload", "check_name"]

#: Length of the longest stream name, in bytes of UTF-8: a binary frame has one byte for it (C1.5).
MAX_STREAM_NAME = 255
#: The code of a close that gave none (RFC 6455, section 7.1.5).
NO_STATUS = 1005

Value = TypeVar("Value")

_decode_integer = msgspec.json.Decoder(int).decode
_decode_event_name = msgspec.json.Decoder(ServerEvent).decode
_decode_code = msgspec.json.Decoder(int | str).decode


class Payload(NamedTuple):
    """A payload from the server.

    Attributes:
        stream: Name of the stream.
        data: The payload's JSON, not decoded, or the bytes of a binary one.
    """

    stream: str
    data: Raw | bytes


class Event(NamedTuple):
    """An event from the server.

    Attributes:
        stream: Name of the stream that it is about; None for an error that names none.
        event: What has happened.
        code: The close code of ``closed`` (an int), the error code of ``error`` (an
            `ErrorCode`); None for others.
        reason: The reason of ``closed``; empty for others.
        message: What ``error`` tells the developer of the client; empty for others.
    """

    stream: str | None
    event: ServerEvent
    code: int | str | None = None
    reason: str = ""
    message: str = ""


class _Envelope(msgspec.Struct):
    """The static type of what the decoder of a `ClientCodec` makes."""

    stream: str
    payload: Raw


class ClientCodec:
    """Writes a client's frames and reads the server's; keeps no state between frames.

    Args:
        stream_key: Key of the stream's name.
        payload_key: Key of the payload.
        event_key: Key of an event.
    """

    __slots__ = ("_binary_head", "_decode", "_event_key", "_stream_key", "_text_head")

    def __init__(
        self, stream_key: str = "stream", payload_key: str = "payload", event_key: str = "event"
    ) -> None:
        self._stream_key = stream_key
        self._event_key = event_key
        self._decode = _envelope_decoder(stream_key, payload_key)
        before, after = f"{{{quote(stream_key)}:", f",{quote(payload_key)}:"
        self._text_head = lru_cache(1024)(lambda stream: f"{before}{quote(stream)}{after}")
        self._binary_head = lru_cache(1024)(_binary_head)

    def encode_payload(self, stream: str, payload: Any) -> str | bytes:
        """Put a payload into a frame.

        Args:
            stream: The stream's name.
            payload: Bytes for a binary frame; else whatever msgspec can write as JSON, with
                `msgspec.Raw` for what is JSON already. In a string, and in such JSON as an
                escape, half a surrogate pair becomes U+FFFD (C2.9).

        Returns:
            The frame, text or binary.

        Raises:
            TypeError: The payload, or a part of it, has no JSON.
            ValueError: A string inside of it has half a surrogate pair.
            msgspec.DecodeError: The `msgspec.Raw` is not JSON.
        """
        if isinstance(payload, (bytes, bytearray, memoryview)):
            return b"".join((self._binary_head(stream), payload))
        if isinstance(payload, Raw):
            payload = _checked(payload)
        elif isinstance(payload, str):
            payload = sendable(payload)
        return f"{self._text_head(stream)}{msgspec.json.encode(payload).decode()}}}"

    def encode_event(self, stream: str, event: ClientEvent) -> str:
        """Write an event for the server (C5.2).

        Args:
            stream: The stream that it is about.
            event: The event.

        Returns:
            The frame.
        """
        members = {self._stream_key: stream, self._event_key: str(event)}
        return msgspec.json.encode(members).decode()

    def decode(self, frame: str | bytes) -> Payload | Event | None:
        """Take a frame of the server apart.

        Args:
            frame: The frame, text or binary, any.

        Returns:
            What it says; None for what this release does not know.
        """
        if isinstance(frame, bytes):
            return _decode_binary(frame)
        incoming = self._decode_text(frame)
        if incoming is None and "\\u" in frame:  # escaped halves of surrogate pairs are sent (C2.7)
            return self._decode_text(mend_escapes(frame))
        return incoming

    def _decode_text(self, frame: str) -> Payload | Event | None:
        try:
            envelope = self._decode(frame)
        except REFUSALS:
            return self._decode_event(frame)
        return Payload(envelope.stream, envelope.payload)

    def _decode_event(self, frame: str) -> Event | None:
        try:
            members = decode_members(frame)
        except REFUSALS:
            return None
        event = _member(members, self._event_key, _decode_event_name, None)
        stream = _member(members, self._stream_key, decode_string, None)
        if event is None or (stream is None and self._stream_key in members):
            return None
        if event == ServerEvent.CLOSED:
            code = _member(members, "code", _decode_integer, NO_STATUS)
            return Event(stream, event, code, _member(members, "reason", decode_string, ""))
        return Event(
            stream,
            event,
            _member(members, "code", _decode_code, None),
            message=_member(members, "message", decode_string, ""),
        )


def check_name(stream: str) -> None:
    """Refuse what cannot be a stream's name.

    Args:
        stream: The name.

    Raises:
        ValueError: It is empty, has more than 255 bytes, or half a surrogate pair.
    """
    if sendable(stream) != stream or not 0 < len(stream.encode()) <= MAX_STREAM_NAME:
        raise ValueError(f"{stream!r} can be no stream's name: that has 1 to 255 bytes of UTF-8.")


def _checked(payload: Raw) -> Raw:
    """Refuse what is not JSON: it could close the envelope and begin another."""
    try:
        validate(payload)
        return payload
    except REFUSALS:
        mended = mend_escapes(str(payload, "utf-8"))
        validate(mended)
        return Raw(mended)


def _member(
    members: dict[str, Raw], key: str, decode: Callable[[Raw], Value], default: Value
) -> Value:
    """Decode one member of an object; what is missing or of another type has the default."""
    try:
        return decode(members[key])
    except (KeyError, *REFUSALS):
        return default


def _decode_binary(frame: bytes) -> Payload | None:
    end = 1 + frame[0] if frame else 0
    if end < 2 or len(frame) < end:
        return None
    try:
        return Payload(str(frame[1:end], "utf-8"), frame[end:])
    except UnicodeDecodeError:
        return None


def _envelope_decoder(stream_key: str, payload_key: str) -> Callable[[str], _Envelope]:
    struct = msgspec.defstruct(
        "Envelope",
        [("stream", str), ("payload", Raw)],
        rename={"stream": stream_key, "payload": payload_key},
        gc=False,
    )
    return cast(Callable[[str], _Envelope], msgspec.json.Decoder(struct).decode)


def _binary_head(stream: str) -> bytes:
    name = stream.encode()
    return bytes([len(name)]) + name
