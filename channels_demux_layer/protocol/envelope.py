"""The server's codec for envelopes. `envelope_format` describes them.

The server is strict. No key of an envelope may appear twice, because two readers could see two
different frames (C2.3). Payloads are validated but never decoded (C2.2). A frame that is not
understood raises `BadFrame`.
"""

import re

import msgspec
from msgspec import Raw

from channels_demux_layer.codes import ClientEvent, ErrorCode
from channels_demux_layer.exceptions import BadFrame

from .envelope_format import EnvelopeFormat, split_binary
from .json_text import (
    REFUSALS,
    decode_members,
    decode_string,
    explain,
    has_repeated_key,
    is_deeper,
    quote,
    sendable,
    validate,
)

__all__ = [
    "ENVELOPE_ROOM",
    "MAX_DEPTH",
    "EnvelopeCodec",
    "Incoming",
]

#: The maximum depth of an envelope's arrays and objects (C2.5). Consumers decode with json.loads.
#: On Python 3.10 it fails near 1,000 levels, minus the depth of the call stack. msgspec's own limit
#: is between 900 and 10,000, depending on the release of Python.
MAX_DEPTH = 500
#: How much longer than its payload a frame may be (C2.6). This is the room for the stream's name,
#: keys, white space, and ignored keys.
ENVELOPE_ROOM = 65_536
#: The part of a long frame that is searched for the stream's name, in characters. The longest name
#: has 255 characters, and each may be an escape of six.
_HEAD = 2_048
#: The maximum length of an invalid value in an error message, in characters.
_SHOWN = 40


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A decoded frame of a client.

    Attributes:
        stream: The stream's name. The caller checks that the stream exists.
        data: The payload as JSON text or as bytes; None for an event.
        event: The client's event; None for a payload.
    """

    stream: str
    data: str | bytes | None
    event: ClientEvent | None


class EnvelopeCodec(EnvelopeFormat):
    """The server's codec for one kind of demultiplexer. It keeps no state between frames.

    Args:
        stream_key: The key of the stream's name.
        payload_key: The key of the payload.
        event_key: The key of an event.
        manage_envelope: Whether consumers receive and send bare payloads. Otherwise they receive
            whole envelopes, still validated, and what they send passes unchanged (C7.1).
        max_payload: The maximum size of a payload in bytes. Longer frames than any envelope of such
            a payload are refused before they are parsed.

    Raises:
        ConfigurationError: The keys are invalid, equal, or used by events.
    """

    __slots__ = ("_example", "_largest_plain", "_longest", "_shortest", "_stream_at_head", "_whole")

    def __init__(
        self,
        stream_key: str = "stream",
        payload_key: str = "payload",
        event_key: str = "event",
        manage_envelope: bool = True,
        max_payload: int = 786_432,
    ) -> None:
        super().__init__(stream_key, payload_key, event_key)
        stream, payload = quote(self.stream_key), quote(self.payload_key)
        self._whole = not manage_envelope
        self._longest = max_payload + ENVELOPE_ROOM
        self._stream_at_head = re.compile(rf'\s*{{\s*{re.escape(stream)}\s*:\s*("(?:[^"\\]|\\.)*")')
        self._largest_plain = _largest_plain(self.stream_key, self.payload_key)
        self._shortest = _shortest(self.stream_key, self.payload_key)
        self._example = f'{{{stream}: "<name>", {payload}: <any JSON>}}'

    def decode_text(self, text: str) -> Incoming:
        """Decode a text frame.

        Args:
            text: The frame, any string.

        Returns:
            The stream, and the payload's JSON as the client wrote it or the client's event.

        Raises:
            BadFrame: The frame is not a valid envelope.
        """
        if len(text) > self._longest:
            self.check_length(text)
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
        if len(text) > MAX_DEPTH * 2 and is_deeper(text, MAX_DEPTH):
            raise self._too_deep()
        if rest > self._largest_plain:
            self._check_repeats(text, decode_members(text))
        if self._whole:
            return Incoming(stream, text, None)
        if is_ascii and rest == self._shortest and text.startswith(self._before):
            # The payload is everything after the head. A slice costs half as much as decoding it.
            return Incoming(stream, text[-1 - len(payload) : -1], None)
        return Incoming(stream, str(payload, "utf-8"), None)

    def decode_binary(self, data: bytes) -> Incoming:
        """Decode a binary frame.

        Args:
            data: The frame, any bytes.

        Returns:
            The stream and the payload's bytes.

        Raises:
            BadFrame: The frame does not start with a stream's name.
        """
        if len(data) > self._longest:
            self.check_length(data)
        stream, payload = split_binary(data)
        return Incoming(stream, data if self._whole else payload, None)

    def check_length(self, frame: str | bytes) -> None:
        """Refuse a frame that is too long for any envelope of a payload of the maximum size.

        The length is checked before anything is parsed: 16 MiB of JSON would block the event loop
        for seconds.

        Args:
            frame: A text or binary frame.

        Raises:
            BadFrame: The frame is too long. It has the stream if the frame starts with its name.
        """
        if len(frame) > self._longest:
            problem = f"The frame's length is {len(frame)}, and {self._longest} are allowed."
            text = f"{problem} Send the payload in parts."
            raise BadFrame(ErrorCode.TOO_LARGE, text, self._guess_stream(frame))

    def decode_string(self, payload_json: str, stream: str) -> str:
        """Decode the payload of a stream of plain text (C2.8).

        Args:
            payload_json: The payload's JSON, from `decode_text`.
            stream: The stream's name, for the error.

        Returns:
            The string; a whole envelope unchanged if envelopes are not managed.

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
                f"This stream takes plain text. Make {self.payload_key!r} a JSON string.",
                stream,
            ) from None

    def encode_text(self, stream: str, payload: str) -> str:
        """Encode a text frame.

        Args:
            stream: The stream's name, as in the demultiplexer's table.
            payload: The payload's JSON, which is inserted unchanged.

        Returns:
            The frame.
        """
        return payload if self._whole else f"{self._text_head(stream)}{payload}}}"

    def encode_binary(self, stream: str, data: bytes) -> bytes:
        """Encode a binary frame.

        Args:
            stream: The stream's name, as in the demultiplexer's table.
            data: The payload.

        Returns:
            The frame.
        """
        return data if self._whole else self._binary_head(stream) + data

    def encode_event(self, event: str, stream: str | None, **fields: str | int) -> str:
        """Encode an event for the client (C5.5).

        Args:
            event: A `ServerEvent`.
            stream: The stream's name; None for an event about the connection, which has no such
                key.
            **fields: Further members, such as ``code`` and ``reason``.

        Returns:
            The frame.
        """
        named = {} if stream is None else {self.stream_key: stream}
        members: dict[str, str | int] = {**named, self.event_key: event, **fields}
        return msgspec.json.encode(
            {
                key: sendable(value) if isinstance(value, str) else value
                for key, value in members.items()
            }
        ).decode()

    def _decode_event(self, text: str) -> Incoming:
        """Decode a frame without a payload, or raise what is wrong with it (C6.3)."""
        members = self._members(text)
        stream = self._string(members, self.stream_key, None)
        if stream is None:
            raise self._bad(ErrorCode.MISSING_KEY, f"The key {self.stream_key!r} is missing.")
        event = self._string(members, self.event_key, stream)
        if event is None:
            problem = f"The key {self.payload_key!r} is missing."
            raise self._bad(ErrorCode.MISSING_KEY, problem, stream)
        try:
            return Incoming(stream, None, ClientEvent(event))
        except ValueError:
            known = ", ".join(repr(str(known)) for known in ClientEvent)
            problem = f"{event[:_SHOWN]!r} is not an event of clients. Those are {known}."
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
            raise self._bad(ErrorCode.INVALID_JSON, explain(text, error)) from None
        if is_deeper(text, MAX_DEPTH):
            raise self._too_deep()
        self._check_repeats(text, members)
        return members

    def _string(self, members: dict[str, Raw], key: str, stream: str | None) -> str | None:
        if key not in members:
            return None
        try:
            return decode_string(members[key])
        except msgspec.ValidationError:
            problem = f"The value of {key!r} is not a string."
            raise self._bad(ErrorCode.WRONG_TYPE, problem, stream) from None

    def _check_repeats(self, text: str, members: dict[str, Raw]) -> None:
        if has_repeated_key(text, members):
            problem = "A key appears twice in the envelope, and its values may differ."
            raise self._bad(ErrorCode.DUPLICATE_KEY, problem)

    def _too_deep(self) -> BadFrame:
        problem = f"The frame nests arrays and objects more than {MAX_DEPTH} levels deep."
        return self._bad(ErrorCode.TOO_DEEP, problem)

    def _bad(self, code: ErrorCode, problem: str, stream: str | None = None) -> BadFrame:
        return BadFrame(code, f"{problem} Send {self._example}.", stream)

    def _guess_stream(self, frame: str | bytes) -> str | None:
        try:
            if isinstance(frame, bytes):
                return str(frame[1 : 1 + frame[0]], "utf-8") or None
            found = self._stream_at_head.match(frame[:_HEAD])
            return found and decode_string(found[1])
        except REFUSALS:
            return None


def _shortest(stream_key: str, payload_key: str) -> int:
    """Return the length of the shortest envelope, without name and payload."""
    return len('{"":"","":}') + len(stream_key.encode()) + len(payload_key.encode())


def _largest_plain(stream_key: str, payload_key: str) -> int:
    """Return the maximum length of an envelope, without name and payload, that repeats no key.

    The shortest repetition is a second ``"stream":0,`` or ``"payload":0,``, or two ``"":0,``. In a
    longer envelope (white space, escapes, other keys), the keys are checked one by one.
    """
    shorter_key = min(len(stream_key.encode()), len(payload_key.encode()))
    repetition = min(2 * len('"":0,'), len('"":0,') + shorter_key)
    return _shortest(stream_key, payload_key) + repetition - 1
