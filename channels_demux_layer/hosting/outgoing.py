"""Makes what applications send into what a WebSocket carries: exact text, exact bytes, a close.

ASGI servers take more than ``str`` and ``bytes``: Django's ``SafeString``, translations that are
lazy, whatever has a buffer. Encoders are stricter, and one value that cannot be encoded would be
found far from whoever sent it. So values are converted, or refused, where they are handed over:
the traceback of a refusal is that of the application which sent the value.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.logs import RepeatedLog, about
from channels_demux_layer.protocol.json_text import as_json, as_string, is_json, mend, sendable
from channels_demux_layer.streams import Stream

__all__ = [
    "MAX_REASON",
    "can_close_with",
    "exact_bytes",
    "exact_close",
    "exact_disconnect",
    "exact_message",
    "exact_reason",
    "exact_text",
    "text_writer",
]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: The most bytes of UTF-8 that the reason of a close may have: a control frame has 125 (RFC 6455,
#: section 5.5), and the code takes two.
MAX_REASON = 123

#: The largest code that a close frame has room for.
MAX_CODE = 0xFFFF

#: The names of fields in a buffer's format (PEP 3118), which stand between colons.
_FIELD_NAME = re.compile(":[^:]*:")

_noticed: set[tuple[str, str]] = set()
"""What a warning of this process has said, by stream."""


def exact_text(value: Any) -> str:
    """Return the text that an application sends, as an exact ``str``.

    Args:
        value: A ``str`` or a subclass of it; something lazy that stands for one; bytes that hold
            JSON, as ``orjson.dumps()`` makes them.

    Returns:
        The text; of a member of a ``str`` enum its value.

    Raises:
        TypeError: The value is no text.
        ValueError: It is bytes that do not hold JSON in UTF-8.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if issubclass(kind, str):
        return str.__str__(value)
    if _has_buffer(value):
        return _text_of_bytes(exact_bytes(value))
    return _text_of(value)


def exact_bytes(value: Any) -> bytes:
    """Return the binary payload that an application sends, as exact ``bytes``.

    Args:
        value: Anything with a buffer: ``bytes``, a ``bytearray``, a ``memoryview`` even if it is
            strided, an ``array``, an array of numpy.

    Returns:
        A copy, in C order: the application may write to its buffer again.

    Raises:
        TypeError: The value has no buffer, or one of Python objects.
        ValueError: Its buffer cannot be read, as that of a ``memoryview`` that was released.
    """
    if type(value) is bytes:
        return value
    if not _has_buffer(value):
        raise TypeError(
            f"{_named(value)} cannot be sent as bytes. Pass bytes as bytes_data, or a str as "
            "text_data."
        )
    with memoryview(value) as view:
        if "O" in _FIELD_NAME.sub("", view.format):
            raise TypeError(
                f"{_named(value)} cannot be sent as bytes: it holds Python objects, of which only "
                "addresses would be sent."
            )
        return view.tobytes()


def exact_message(message: Any) -> dict[str, Any]:
    """Return the WebSocket message that a hook of the project has made, with exact values.

    Args:
        message: A message of type ``websocket.send``.

    Raises:
        TypeError: It is no such message, or what it holds can be no payload.
        ValueError: It has neither text nor bytes.
    """
    if not isinstance(message, Mapping) or message.get("type") != "websocket.send":
        raise TypeError(f"{message!r} is not a message of type 'websocket.send'.")
    text, data = message.get("text"), message.get("bytes")
    if text is None and data is None:
        raise ValueError("The message has neither text nor bytes.")
    if text is None:
        return {"type": "websocket.send", "bytes": exact_bytes(data)}
    return {"type": "websocket.send", "text": sendable(exact_text(text))}


def can_close_with(code: int) -> bool:
    """Tell whether a WebSocket can carry a close code (RFC 6455, section 7.4, and its registry).

    Args:
        code: Any integer.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def exact_close(code: Any, reason: Any, stream: str | None = None) -> tuple[int, str]:
    """Return the code and the reason of a close, as a WebSocket can carry them (C5.6).

    Args:
        code: What the application gave as its code; None for 1000.
        reason: What it gave as its reason.
        stream: The stream's name; None where the whole connection is closed.

    Returns:
        The code, 1011 where no WebSocket carries the one given, which a warning says; the reason,
        cut to 123 bytes of UTF-8.

    Raises:
        TypeError: The reason is no text.
    """
    if code is None:
        code = CloseCode.NORMAL
    number = code.__index__() if hasattr(type(code), "__index__") else None
    if type(number) is not int or not can_close_with(number):
        where = "the connection" if stream is None else f"stream {stream!r}"
        text = (
            "The close code %s of %s became 1011: a WebSocket carries the integers 1000 to 1003, "
            "1007 to 1014 and 3000 to 4999."
        )
        shown = _named(code) if number is None else _brief(number)
        repeated.warning(where, text, shown, where, extra=about(stream=stream))
        number = CloseCode.INTERNAL_ERROR
    return int(number), exact_reason(reason)


def exact_disconnect(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a server says of a client that has left, with a code and a reason that are exact.

    Args:
        message: A message of type ``websocket.disconnect``.

    Returns:
        The same. The code is 1005 where the server gives none, as ASGI has it, and 1006 where that
        is no code; the reason is empty where it is no text.
    """
    code, reason = message.get("code"), message.get("reason")
    if type(code) is not int:
        code = 1005 if code is None else int(code) if isinstance(code, int) else -1
    return {
        **message,
        "code": code if 0 <= code <= MAX_CODE else CloseCode.ABNORMAL.value,
        "reason": exact_reason(reason) if isinstance(reason, str) else "",
    }


def exact_reason(reason: Any) -> str:
    """Return the reason of a close, cut to what a WebSocket can carry.

    Args:
        reason: A text, as `exact_text` takes it; nothing, where it is false.

    Raises:
        TypeError: It is no text.
    """
    if type(reason) is not str:
        if not reason:
            return ""
        try:
            reason = _text_of(reason)
        except TypeError:
            problem = f"{_named(reason)} cannot be the reason of a close. Pass a str."
            raise TypeError(problem) from None
    encoded = sendable(reason).encode()
    return encoded[:MAX_REASON].decode("utf-8", "ignore")


def text_writer(stream: Stream, *, manage_envelope: bool, name: str = "") -> Callable[[str], str]:
    """Return what makes a payload of a consumer's text.

    It is done where the consumer runs, and not at the edge, which then only puts an envelope
    around it.

    Args:
        stream: The consumer's stream.
        manage_envelope: Whether consumers are spared the envelope. If not, they write it.
        name: The stream's name, for a warning.

    Returns:
        A function that gives the text which stands in the client's frame.
    """
    if not manage_envelope:
        return sendable
    if stream.text:
        return as_string

    def notice(problem: str) -> None:
        _notice(name, problem)

    def write(text: str) -> str:
        return text if is_json(text) else as_json(text, notice)

    return write


def _notice(stream: str, problem: str) -> None:
    if (stream, problem) not in _noticed:
        _noticed.add((stream, problem))
        text = "A text that the consumer of stream %r sent %s. This is said once for each stream."
        logger.warning(text, stream, problem, extra=about(stream=stream))


def _text_of(value: Any) -> str:
    # What servers call. Something lazy has it where it stands for text, and only there.
    encode = getattr(value, "encode", None)
    encoded = encode("utf-8", "surrogatepass") if callable(encode) else None
    if type(encoded) is not bytes:
        raise TypeError(
            f"{_named(value)} cannot be sent as text. Pass a str as text_data, or bytes as "
            "bytes_data."
        )
    return encoded.decode("utf-8", "surrogatepass")


def _text_of_bytes(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if mend(text) is None:
        raise ValueError(
            "Bytes were sent as text and do not hold JSON in UTF-8. Decode them first, or pass "
            "them as bytes_data."
        )
    return text


def _has_buffer(value: Any) -> bool:
    try:
        memoryview(value).release()
    except TypeError:
        return False
    return True


def _named(value: Any) -> str:
    kind = type(value)
    return f"A value of type {kind.__module__}.{kind.__qualname__}"


def _brief(number: int) -> str:
    return str(number) if abs(number) < 10**9 else "of more than nine digits"
