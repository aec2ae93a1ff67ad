"""The client's codec for envelopes. `envelope_format` describes them.

The client is tolerant: it ignores frames that it does not know (C5.9). Payloads stay undecoded
JSON. The tools for tests use this codec, too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from channels_demux_layer.codes import ClientEvent, ServerEvent
from channels_demux_layer.exceptions import BadFrame

from .envelope_format import EnvelopeFormat, split_binary
from .json_text import (
    REFUSALS,
    decode_members,
    decode_string,
    mend_escapes,
    sendable,
    validate,
)

__all__ = ["NO_STATUS", "ClientCodec", "Event", "Payload"]

#: The code of a close without one (RFC 6455, section 7.1.5).
NO_STATUS = 1005

Value = TypeVar("Value")

_decode_integer = msgspec.json.Decoder(int).decode
_decode_event_name = msgspec.json.Decoder(ServerEvent).decode
_decode_code = msgspec.json.Decoder(int | str).decode


class Payload(NamedTuple):
    """A payload from the server.

    Attributes:
        stream: Name of the stream.
        data: The payload as undecoded JSON, or the bytes of a binary payload.
    """

    stream: str
    data: Raw | bytes


class Event(NamedTuple):
    """An event from the server.

    Attributes:
        stream: The stream's name; None for an ``error`` without a stream.
        event: The event's name.
        code: The close code of ``closed`` (an int) or the error code of ``error`` (an
            `ErrorCode`); None for others.
        reason: The close reason of ``closed``; empty for others.
        message: The text of ``error`` for the client's developer; empty for others.
    """

    stream: str | None
    event: ServerEvent
    code: int | str | None = None
    reason: str = ""
    message: str = ""


class ClientCodec(EnvelopeFormat):
    """Encodes the client's frames and decodes the server's. It keeps no state between frames."""

    __slots__ = ()

    def encode_payload(self, stream: str, payload: Any) -> str | bytes:
        """Encode a payload as a frame.

        A lone surrogate in a string, or escaped in a `msgspec.Raw`, becomes U+FFFD (C2.9).

        Args:
            stream: The stream's name.
            payload: Bytes for a binary frame, or anything that msgspec can encode as JSON. Wrap
                encoded JSON in `msgspec.Raw`.

        Returns:
            The frame, text or binary.

        Raises:
            TypeError: The payload, or a part of it, has no JSON.
            ValueError: A nested string contains a lone surrogate.
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
        """Encode an event for the server (C5.2).

        Args:
            stream: The stream's name.
            event: The event.

        Returns:
            The frame.
        """
        members = {self.stream_key: stream, self.event_key: str(event)}
        return msgspec.json.encode(members).decode()

    def decode(self, frame: str | bytes) -> Payload | Event | None:
        """Decode a frame from the server.

        Args:
            frame: The frame, text or binary. It need not be valid.

        Returns:
            The payload or event; None for a frame that this release does not know.
        """
        if isinstance(frame, bytes):
            try:
                return Payload(*split_binary(frame))
            except BadFrame:
                return None
        incoming = self._decode_text(frame)
        if incoming is None and "\\u" in frame:  # servers may send escaped lone surrogates (C2.7)
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
        event = _member(members, self.event_key, _decode_event_name, None)
        stream = _member(members, self.stream_key, decode_string, None)
        if event is None or (stream is None and self.stream_key in members):
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


def _checked(payload: Raw) -> Raw:
    """Validate raw JSON. Anything else could close the envelope and inject another one."""
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
    """Decode one member of an object. Return the default if it is missing or of another type."""
    try:
        return decode(members[key])
    except (KeyError, *REFUSALS):
        return default
