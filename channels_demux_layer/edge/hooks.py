"""What a project's subclass of the demultiplexer overrides, and what its hooks return."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from channels_demux_layer.codes import ErrorCode
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.hosting.outgoing import exact_message

__all__ = [
    "checked_scope",
    "encode_content",
    "exactly",
    "has_own_events",
    "overrides",
    "trim_scope",
]

Message = dict[str, Any]

COOKIE = b"cookie"


def overrides(cls: type[Any], base: type[Any], name: str) -> bool:
    """Return whether a class overrides an attribute of its base.

    Args:
        cls: The class.
        base: The class that it is derived from.
        name: The attribute's name.
    """
    return inspect.getattr_static(cls, name) is not inspect.getattr_static(base, name)


def has_own_events(cls: type[Any], base: type[Any]) -> bool:
    """Return whether a class has groups, or event handlers that its base does not have.

    Args:
        cls: The class.
        base: The class that it is derived from.
    """
    return bool(cls.groups) or any(
        _is_handler(cls, name)
        for name in dir(cls)
        if not (name.startswith("_") or hasattr(base, name))
    )


def _is_handler(cls: type[Any], name: str) -> bool:
    method = inspect.getattr_static(cls, name)
    return inspect.iscoroutinefunction(method) and len(inspect.signature(method).parameters) == 2


def checked_scope(scope: Any, owner: str) -> Mapping[str, Any]:
    """Check what a project's portable_scope() returned.

    Args:
        scope: What it has returned.
        owner: The demultiplexer's name, for the message.

    Returns:
        The scope.

    Raises:
        TypeError: It is not a mapping. It may be the coroutine of an asynchronous method.
    """
    if isinstance(scope, Mapping):
        return scope
    if inspect.iscoroutine(scope):
        scope.close()
    raise TypeError(
        f"{owner}.portable_scope() returned a {type(scope).__name__}. Make it a plain method that "
        "returns a dict."
    )


def encode_content(content: Any) -> str:
    """Encode what a project's decode_json() returned for a frame.

    Args:
        content: The envelope.

    Returns:
        Its JSON.

    Raises:
        BadFrame: It cannot be encoded.
    """
    try:
        # msgspec would encode NaN as null. The codec is to refuse NaN.
        return json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadFrame(ErrorCode.INVALID_JSON, f"The envelope is no JSON: {error}.") from error


def exactly(
    wrap: Callable[[str, str | bytes], Message | Awaitable[Message]],
) -> Callable[[str, str | bytes], Awaitable[Message]]:
    """Check what a project's wrap_payload() returns: servers fail on a malformed message.

    Args:
        wrap: Makes the WebSocket message of a stream's payload, or what to await for it.

    Returns:
        A function that does the same, and raises if the message cannot be sent.
    """

    async def checked(stream: str, data: str | bytes) -> Message:
        message: Any = wrap(stream, data)
        return exact_message(await message if inspect.isawaitable(message) else message)

    return checked


def trim_scope(
    scope: Mapping[str, Any], headers: Iterable[str] | None, cookies: Iterable[str] | None
) -> dict[str, Any]:
    """Cut a scope's headers and cookies.

    Args:
        scope: The scope; it is not changed.
        headers: Names of the headers to keep, in any case; None for all.
        cookies: Names of the cookies to keep, in the parsed ones and in the header; None for all.

    Returns:
        The scope with the rest left out.
    """
    trimmed = dict(scope)
    if headers is not None and "headers" in scope:
        kept = {name.lower().encode("latin-1", "replace") for name in headers}
        trimmed["headers"] = [
            pair for pair in scope["headers"] if _is_header(pair) and pair[0].lower() in kept
        ]
    if cookies is not None:
        names = frozenset(cookies)
        if "cookies" in scope:
            trimmed["cookies"] = {
                name: value for name, value in scope["cookies"].items() if name in names
            }
        if "headers" in scope:
            trimmed["headers"] = _trim_cookies(trimmed["headers"], names)
    return trimmed


def _trim_cookies(headers: Iterable[Any], names: frozenset[str]) -> list[Any]:
    kept = []
    for header in headers:
        if not _is_header(header):
            continue
        name, value = header
        if name.lower() != COOKIE:
            kept.append((name, value))
        elif pairs := [pair for pair in value.split(b";") if _cookie_name(pair) in names]:
            kept.append((name, b";".join(pairs).strip()))
    return kept


def _is_header(header: Any) -> bool:
    """Whether an entry is a pair of byte strings, as in ASGI. Middleware may add anything."""
    return (
        isinstance(header, (list, tuple))
        and len(header) == 2
        and all(isinstance(part, bytes) for part in header)
    )


def _cookie_name(pair: bytes) -> str:
    # As Django reads them: a pair without an equals sign is the value of a cookie without a name.
    name, equals, _ = pair.partition(b"=")
    return name.strip().decode("utf-8", "replace") if equals else ""
