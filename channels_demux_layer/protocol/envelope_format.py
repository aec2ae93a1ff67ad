"""The format of the client wire's envelopes, which the codecs of server and client share.

Text, both ways (C2.1)::

    {"stream": "echo", "payload": <any JSON>}

Binary, both ways: one byte with the length of the stream's name, the name in UTF-8, the payload
(C3.1).

Events have another key instead of the payload (C5.1): ``{"stream": "echo", "event": "close"}`` from
a client, ``{"stream": "echo", "event": "closed", "code": 1000, "reason": ""}`` from the server.

An envelope with a payload is a payload, whatever other keys it has (C2.4). Other keys are ignored.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import msgspec
from msgspec import Raw

from channels_demux_layer.codes import EVENT_FIELDS, ErrorCode
from channels_demux_layer.exceptions import BadFrame, ConfigurationError

from .json_text import quote, sendable

__all__ = ["MAX_STREAM_NAME", "EnvelopeFormat", "check_name", "split_binary"]

#: Maximum length of a stream name in bytes of UTF-8: binary frames use one byte for it (C1.5).
MAX_STREAM_NAME = 255


class _Envelope(msgspec.Struct):
    """The static type of what the decoder of an `EnvelopeFormat` returns."""

    stream: str
    payload: Raw


class EnvelopeFormat:
    """The envelopes with one set of keys, as both codecs encode and decode them.

    Args:
        stream_key: The key of the stream's name.
        payload_key: The key of the payload.
        event_key: The key of an event.

    Raises:
        ConfigurationError: The keys are invalid, equal, or used by events.
    """

    __slots__ = (
        *("_before", "_binary_head", "_decode", "_text_head"),
        *("event_key", "payload_key", "stream_key"),
    )

    def __init__(
        self, stream_key: str = "stream", payload_key: str = "payload", event_key: str = "event"
    ) -> None:
        _check_keys(stream_key, payload_key, event_key)
        # msgspec's encoder rejects subclasses of str.
        stream_key, payload_key, event_key = map(str.__str__, (stream_key, payload_key, event_key))
        self.stream_key = stream_key
        self.payload_key = payload_key
        self.event_key = event_key
        self._decode = _envelope_decoder(stream_key, payload_key)
        self._before = before = f"{{{quote(stream_key)}:"
        after = f",{quote(payload_key)}:"
        self._text_head = lru_cache(1024)(lambda stream: f"{before}{quote(stream)}{after}")
        self._binary_head = lru_cache(1024)(_binary_head)


def split_binary(frame: bytes) -> tuple[str, bytes]:
    """Return the stream's name and the payload of a binary frame (C3.1).

    Args:
        frame: Any bytes.

    Raises:
        BadFrame: The frame does not start with a stream's name.
    """
    end = 1 + frame[0] if frame else 0
    if not frame:
        problem = "The frame is empty"
    elif end == 1:
        problem = "The frame's first byte says that the name has no bytes"
    elif len(frame) < end:
        problem = f"The frame's first byte says that the name has {end - 1} bytes, but "
        problem += f"{len(frame) - 1} follow"
    else:
        try:
            return str(frame[1:end], "utf-8"), frame[end:]
        except UnicodeDecodeError:
            problem = "The name is not UTF-8"
    raise BadFrame(
        ErrorCode.INVALID_BINARY,
        f"{problem}. Send one byte with the length of the stream's name in bytes, the name in "
        "UTF-8, then the payload.",
    )


def check_name(stream: str) -> None:
    """Raise ValueError for an invalid stream name.

    Args:
        stream: The name.

    Raises:
        ValueError: The name is empty, has more than 255 bytes, or contains a lone surrogate.
    """
    if sendable(stream) != stream or not 0 < len(stream.encode()) <= MAX_STREAM_NAME:
        raise ValueError(
            f"{stream!r} is not a valid stream name. A name has 1 to 255 bytes of UTF-8."
        )


def _check_keys(stream_key: str, payload_key: str, event_key: str) -> None:
    keys = (stream_key, payload_key, event_key)
    change = "Change MULTIPLEX_KEY, PAYLOAD_KEY or EVENT_KEY."
    if not all(isinstance(key, str) and key and sendable(key) == key for key in keys):
        raise ConfigurationError(
            f"The keys of the envelope {keys!r} are not all non-empty strings. {change}"
        )
    if len(set(keys)) < len(keys):
        raise ConfigurationError(
            f"The keys of the envelope {keys!r} are not all different. {change}"
        )
    if taken := EVENT_FIELDS.intersection((stream_key, event_key)):
        raise ConfigurationError(
            f"{', '.join(map(repr, sorted(taken)))} has another meaning in events. Change "
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


def _binary_head(stream: str) -> bytes:
    name = stream.encode()
    return bytes([len(name)]) + name
