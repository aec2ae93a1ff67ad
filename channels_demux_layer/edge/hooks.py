"""What a subclass of the demultiplexer has overridden, and what its hooks give."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels_demux_layer.codes import ErrorCode
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.hosting.outgoing import exact_message

__all__ = ["checked_scope", "encode_content", "exactly", "has_own_events", "overrides"]

Message = dict[str, Any]


def overrides(cls: type[Any], base: type[Any], name: str) -> bool:
    """Tell whether a class has another attribute of a name than its base.

    Args:
        cls: The class.
        base: The class that it is derived from.
        name: The attribute's name.
    """
    return inspect.getattr_static(cls, name) is not inspect.getattr_static(base, name)


def has_own_events(cls: type[Any], base: type[Any]) -> bool:
    """Tell whether a class has groups, or handlers of events beside those of its base.

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
    """Check what a project's portable_scope() gives.

    Args:
        scope: What it has returned.
        owner: The demultiplexer's name, for the message.

    Returns:
        The scope.

    Raises:
        TypeError: It is no mapping, but the coroutine of an asynchronous method, for example.
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
    """Encode again what a project's decode_json() has made of a frame.

    Args:
        content: The envelope.

    Returns:
        Its JSON.

    Raises:
        BadFrame: It has none.
    """
    try:
        # Not msgspec, which makes null of NaN: this leaves it for the codec to refuse.
        return json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadFrame(ErrorCode.INVALID_JSON, f"The envelope is no JSON: {error}.") from error


def exactly(
    wrap: Callable[[str, str | bytes], Message | Awaitable[Message]],
) -> Callable[[str, str | bytes], Awaitable[Message]]:
    """Check what a project's wrap_payload() gives: no server takes just any message.

    Args:
        wrap: Makes the WebSocket message of a stream's payload, or what to await for it.

    Returns:
        The same, which raises where the message cannot be sent.
    """

    async def checked(stream: str, data: str | bytes) -> Message:
        message: Any = wrap(stream, data)
        return exact_message(await message if inspect.isawaitable(message) else message)

    return checked
