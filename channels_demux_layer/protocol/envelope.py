"""What clients send and get: envelopes taken apart and put together, payloads left as they are.

Text, both ways (C2.1)::

    {"stream": "echo", "payload": <any JSON>}

Binary, both ways: one byte with the length of the stream's name, the name in UTF-8, the payload
(C3.1).

Events, told from payloads by their key (C5.1): ``{"stream": "echo", "event": "close"}`` from a
client, ``{"stream": "echo", "event": "closed", "code": 1000, "reason": ""}`` from the server.

An envelope with a payload is a payload, whatever else it has (C2.4). Other keys are ignored, but no
key may stand twice: two readers could take it for two different frames (C2.3). A payload is
validated and never decoded (C2.2). Whatever a client sends, it is either understood or refused with
`BadFrame`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import msgspec
from msgspec import Raw

from channels_demux_layer.codes import EVENT_FIELDS, ClientEvent, ErrorCode
from channels_demux_layer.exceptions import BadFrame, ConfigurationError

from .frame_limit import FrameLimit
from .json_text import (
    REFUSALS,
    decode_members,
    decode_string,
    explain,
    has_more,
    has_repeated_key,
    is_deeper,
    quote,
    sendable,
    validate,
)

__all__ = ["MAX_DEPTH", "EnvelopeCodec", "Incoming"]

#: Nested arrays and objects that an envelope may have (C2.5). Consumers decode with json.loads,
#: which gives up near 1,000 levels, less the call stack, on Python 3.10: this leaves room for both,
#: and is the same on every Python, where msgspec's own limit is anything from 900 to 10,000.
MAX_DEPTH = 500

#: How much of a wrong value is shown, in characters.
_SHOWN = 40


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One frame of a client, taken apart.

    Attributes:
        stream: Name of the stream; whether there is such a stream is for the caller to see.
        data: The payload, as JSON text or as bytes; None for an event.
        event: The client's event; None for a payload.
    """

    stream: str
    data: str | bytes | None
    event: ClientEvent | None


class _Envelope(msgspec.Struct):
    """The static type of what the decoder of an `EnvelopeCodec` makes."""

    stream: str
    payload: Raw


class EnvelopeCodec:
    """Reads and writes the frames of one kind of demultiplexer; keeps no state between frames.

    Args:
        stream_key: Key of the stream's name.
        payload_key: Key of the payload.
        event_key: Key of an event.
        manage_envelope: Whether consumers are spared the envelope. If not, they get whole
            envelopes, which are checked all the same, and what they send passes unchanged (C7.1).
        max_payload: The most bytes that a payload may have. Frames that are longer than any
            envelope of such a payload are refused before they are read.

    Attributes:
        limit: Refuses those.

    Raises:
        ConfigurationError: The keys cannot be told apart from one another or from other keys
            of an event.
    """

    __slots__ = (
        "_before",
        "_binary_head",
        "_decode",
        "_event_key",
        "_example",
        "_largest_plain",
        "_longest",
        "_payload_key",
        "_shortest",
        "_stream_key",
        "_text_head",
        "_whole",
        "limit",
    )

    def __init__(
        self,
        stream_key: str = "stream",
        payload_key: str = "payload",
        event_key: str = "event",
        manage_envelope: bool = True,
        max_payload: int = 786_432,
    ) -> None:
        _check_configured_keys(stream_key, payload_key, event_key)
        # The encoder takes no subclass of str.
        stream_key, payload_key, event_key = map(str.__str__, (stream_key, payload_key, event_key))
        self._stream_key = stream_key
        self._payload_key = payload_key
        self._event_key = event_key
        self._whole = not manage_envelope
        self.limit = FrameLimit(max_payload, stream_key)
        self._longest = self.limit.longest
        self._decode = _envelope_decoder(stream_key, payload_key)
        self._largest_plain = _largest_plain(stream_key, payload_key)
        self._example = f'{{{quote(stream_key)}: "<name>", {quote(payload_key)}: <any JSON>}}'
        self._shortest = _shortest(stream_key, payload_key)
        self._before = before = f"{{{quote(stream_key)}:"
        after = f",{quote(payload_key)}:"
        self._text_head = lru_cache(1024)(lambda stream: f"{before}{quote(stream)}{after}")
        self._binary_head = lru_cache(1024)(_binary_head)

    def decode_text(self, text: str) -> Incoming:
        """Take a text frame apart.

        Args:
            text: The frame, any string.

        Returns:
            The stream and its payload's JSON, byte for byte as the client wrote it, or the
            client's event.

        Raises:
            BadFrame: It is no envelope.
        """
        if len(text) > self._longest:
            self.limit.check(text)
        try:
            envelope = self._decode(text)
        except REFUSALS:
            return self._decode_event(text)
        stream, payload = envelope.stream, envelope.payload
        is_ascii = text.isascii()
        if is_ascii:
            rest = len(text) - len(stream) - len(payload)
        else:
            rest = len(text.encode()) - len(stream.encode()) - len(payload)
        if len(text) > MAX_DEPTH * 2:
            self._check_depth(text)
        if rest > self._largest_plain:
            self._check_keys(text, decode_members(text))
        if self._whole:
            return Incoming(stream, text, None)
        if is_ascii and rest == self._shortest and text.startswith(self._before):
            # With nothing else in it, the payload is all but the head: half the cost of decoding.
            return Incoming(stream, text[-1 - len(payload) : -1], None)
        return Incoming(stream, str(payload, "utf-8"), None)

    def decode_binary(self, data: bytes) -> Incoming:
        """Take a binary frame apart.

        Args:
            data: The frame, any bytes.

        Returns:
            The stream and its payload's bytes.

        Raises:
            BadFrame: It does not start with a stream's name.
        """
        if not data:
            raise _invalid_binary("The frame is empty")
        self.limit.check(data)
        end = 1 + data[0]
        if end == 1:
            raise _invalid_binary("The frame's first byte says that the name has no bytes")
        if len(data) < end:
            raise _invalid_binary(
                f"The frame's first byte says that the name has {end - 1} bytes, but "
                f"{len(data) - 1} follow"
            )
        try:
            stream = str(data[1:end], "utf-8")
        except UnicodeDecodeError:
            raise _invalid_binary("The name is not UTF-8") from None
        return Incoming(stream, data if self._whole else data[end:], None)

    def decode_string(self, payload_json: str, stream: str) -> str:
        """Decode the payload of a stream of plain text (C2.8).

        Args:
            payload_json: The payload's JSON, as `decode_text` gives it.
            stream: The stream's name, for the refusal.

        Returns:
            The bare string; a whole envelope unchanged, where envelopes are not managed.

        Raises:
            BadFrame: The payload is not a string.
        """
        if self._whole:
            return payload_json
        try:
            return decode_string(payload_json)
        except REFUSALS:
            raise BadFrame(
                ErrorCode.NOT_A_STRING,
                f"This stream takes plain text. Make {self._payload_key!r} a JSON string.",
                stream,
            ) from None

    def encode_text(self, stream: str, payload: str) -> str:
        """Put a payload into an envelope, as it is.

        Args:
            stream: The stream's name, as in the demultiplexer's table.
            payload: The payload's JSON: what whoever hosts the consumer has made of its text.

        Returns:
            The frame.
        """
        return payload if self._whole else f"{self._text_head(stream)}{payload}}}"

    def encode_binary(self, stream: str, data: bytes) -> bytes:
        """Put a consumer's bytes behind the stream's name.

        Args:
            stream: The stream's name, as in the demultiplexer's table.
            data: What the consumer sends.

        Returns:
            The frame.
        """
        return data if self._whole else self._binary_head(stream) + data

    def encode_event(self, event: str, stream: str | None, **fields: str | int) -> str:
        """Write an event for the client (C5.5).

        Args:
            event: A `ServerEvent`.
            stream: The stream that it is about; None for one about the connection, which then
                has no such key.
            **fields: What else it says, such as ``code`` and ``reason``.

        Returns:
            The frame.
        """
        named = {} if stream is None else {self._stream_key: stream}
        members: dict[str, str | int] = {**named, self._event_key: event, **fields}
        return msgspec.json.encode(
            {
                key: sendable(value) if isinstance(value, str) else value
                for key, value in members.items()
            }
        ).decode()

    def _decode_event(self, text: str) -> Incoming:
        """Read what is no envelope with a payload: an event, or why it is neither (C6.3)."""
        members = self._members(text)
        stream = self._string(members, self._stream_key, None)
        if stream is None:
            raise self._bad(ErrorCode.MISSING_KEY, f"The key {self._stream_key!r} is missing.")
        event = self._string(members, self._event_key, stream)
        if event is None:
            problem = f"The key {self._payload_key!r} is missing."
            raise self._bad(ErrorCode.MISSING_KEY, problem, stream)
        try:
            return Incoming(stream, None, ClientEvent(event))
        except ValueError:
            known = ", ".join(repr(str(known)) for known in ClientEvent)
            problem = f"{event[:_SHOWN]!r} is no event that a client can send: those are {known}."
            raise self._bad(ErrorCode.UNKNOWN_EVENT, problem, stream) from None

    def _members(self, text: str) -> dict[str, Raw]:
        try:
            validate(text)
            members = decode_members(text)
        except msgspec.ValidationError:
            raise self._bad(ErrorCode.NOT_AN_OBJECT, "The frame is not a JSON object.") from None
        except RecursionError:
            raise self._too_deep() from None
        except REFUSALS as error:
            problem = explain(text, error)
            raise self._bad(ErrorCode.INVALID_JSON, problem) from None
        self._check_depth(text)
        self._check_keys(text, members)
        return members

    def _string(self, members: dict[str, Raw], key: str, stream: str | None) -> str | None:
        if key not in members:
            return None
        try:
            return decode_string(members[key])
        except msgspec.ValidationError:
            problem = f"The value of {key!r} is not a string."
            raise self._bad(ErrorCode.WRONG_TYPE, problem, stream) from None

    def _check_depth(self, text: str) -> None:
        # Many frames have too few brackets to be deep, in strings or not: do not take them apart.
        has_many = any(has_more(text, bracket, MAX_DEPTH // 2) for bracket in "[{")
        if has_many and is_deeper(text, MAX_DEPTH):
            raise self._too_deep()

    def _check_keys(self, text: str, members: dict[str, Raw]) -> None:
        if has_repeated_key(text, members):
            problem = "A key stands twice in the envelope, and its values may differ."
            raise self._bad(ErrorCode.DUPLICATE_KEY, problem)

    def _too_deep(self) -> BadFrame:
        problem = f"The frame nests arrays and objects more than {MAX_DEPTH} levels deep."
        return self._bad(ErrorCode.TOO_DEEP, problem)

    def _bad(self, code: ErrorCode, problem: str, stream: str | None = None) -> BadFrame:
        return BadFrame(code, f"{problem} Send {self._example}.", stream)


def _check_configured_keys(stream_key: str, payload_key: str, event_key: str) -> None:
    keys = (stream_key, payload_key, event_key)
    if not all(isinstance(key, str) and key and sendable(key) == key for key in keys):
        raise ConfigurationError(
            f"The keys of the envelope {keys!r} are not all non-empty strings. Change "
            "MULTIPLEX_KEY, PAYLOAD_KEY or EVENT_KEY."
        )
    if len(set(keys)) < len(keys):
        raise ConfigurationError(
            f"The keys of the envelope {keys!r} are not all different. Change MULTIPLEX_KEY, "
            "PAYLOAD_KEY or EVENT_KEY."
        )
    if taken := EVENT_FIELDS.intersection((stream_key, event_key)):
        raise ConfigurationError(
            f"{', '.join(map(repr, sorted(taken)))} stands for something else in events. Change "
            "MULTIPLEX_KEY or EVENT_KEY."
        )


def _envelope_decoder(stream_key: str, payload_key: str) -> Callable[[str], _Envelope]:
    struct = msgspec.defstruct(
        "Envelope",
        [("stream", str), ("payload", Raw)],
        rename={"stream": stream_key, "payload": payload_key},
        gc=False,
    )
    return cast(Callable[[str], _Envelope], msgspec.json.Decoder(struct).decode)


def _shortest(stream_key: str, payload_key: str) -> int:
    """Return how long an envelope, less name and payload, is with nothing else in it."""
    return len('{"":"","":}') + len(stream_key.encode()) + len(payload_key.encode())


def _largest_plain(stream_key: str, payload_key: str) -> int:
    """Return how long an envelope, less name and payload, can be without room for a repeated key.

    The shortest repetition is either a second ``"stream":0,`` or ``"payload":0,``, or twice
    ``"":0,`` beside both. Anything longer (white space, escapes, other keys) is looked at closely.
    """
    shorter_key = min(len(stream_key.encode()), len(payload_key.encode()))
    repetition = min(2 * len('"":0,'), len('"":0,') + shorter_key)
    return _shortest(stream_key, payload_key) + repetition - 1


def _binary_head(stream: str) -> bytes:
    name = stream.encode()
    return bytes([len(name)]) + name


def _invalid_binary(problem: str) -> BadFrame:
    return BadFrame(
        ErrorCode.INVALID_BINARY,
        f"{problem}. Send one byte with the length of the stream's name in bytes, the name in "
        "UTF-8, then the payload.",
    )
