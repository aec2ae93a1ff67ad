"""The frames that a client under test receives: payloads, events, and others."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from channels_demux_layer.codes import ServerEvent
from channels_demux_layer.conf import get_settings

__all__ = ["Arrival", "Kind", "sort"]

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200
_brief.maxdict = _brief.maxlist = 20


class Kind(Enum):
    """The kind of a frame."""

    PAYLOAD = "payload"
    EVENT = "event"
    OTHER = "frame that is no envelope"


class Arrival(NamedTuple):
    """One received frame.

    Attributes:
        kind: The frame's kind.
        stream: The stream that the frame names, or None.
        content: The payload, the whole event, or the frame.
        frame: The unchanged frame.
    """

    kind: Kind
    stream: str | None
    content: Any
    frame: str | bytes

    def is_event(self, name: ServerEvent) -> bool:
        """Return whether the frame is an event with this name."""
        return self.kind is Kind.EVENT and self.content[get_settings().EVENT_KEY] == name

    def __str__(self) -> str:
        origin = "" if self.stream is None else f" of {self.stream!r}"
        return f"{self.kind.value}{origin}: {_brief.repr(self.content)}"


def sort(frame: str | bytes, decode: Callable[[str | bytes], Any]) -> Arrival:
    """Decode a frame and return it with its kind.

    Args:
        frame: The frame.
        decode: Decodes the envelope of a text frame, or raises ValueError.
    """
    if isinstance(frame, bytes):
        return _sort_binary(frame)
    try:
        envelope = decode(frame)
    except ValueError:
        return _other(frame)
    return _sort_envelope(envelope, frame) if isinstance(envelope, dict) else _other(frame)


def _sort_envelope(envelope: dict[str, Any], frame: str) -> Arrival:
    settings = get_settings()
    stream = envelope.get(settings.MULTIPLEX_KEY)
    if stream is not None and settings.PAYLOAD_KEY in envelope:
        return Arrival(Kind.PAYLOAD, stream, envelope[settings.PAYLOAD_KEY], frame)
    if settings.EVENT_KEY in envelope:
        return Arrival(Kind.EVENT, stream, envelope, frame)
    return _other(frame)


def _sort_binary(frame: bytes) -> Arrival:
    end = 1 + frame[0] if frame else 1
    try:
        name = frame[1:end].decode()
    except UnicodeDecodeError:
        return _other(frame)
    if len(frame) < end or not name:
        return _other(frame)
    return Arrival(Kind.PAYLOAD, name, frame[end:], frame)


def _other(frame: str | bytes) -> Arrival:
    return Arrival(Kind.OTHER, None, frame, frame)
