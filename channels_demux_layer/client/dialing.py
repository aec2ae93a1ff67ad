"""Opening a client's WebSocket: where to, as whom, and what it means when it can't be opened."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar, Union, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import (
    InvalidHeader,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    SecurityError,
    WebSocketException,
)

from channels_demux_layer.exceptions import ConnectFailed

from .reconnect import is_final_status

__all__ = ["Dialer", "Headers", "Renewed"]

Value = TypeVar("Value")

#: A value, or a function or coroutine function that gives it, asked at each connect.
Renewed = Union[Value, Callable[[], Union[Value, Awaitable[Value]]]]  # noqa: UP007 - generic
#: Headers of the request.
Headers = Mapping[str, str] | Iterable[tuple[str, str]]

#: What no other try overcomes.
_FINAL = (
    *(InvalidURI, InvalidHeader, NegotiationError, SecurityError),
    ssl.SSLCertVerificationError,
)
#: What says in its text why it was raised. Other texts may show the address, tokens and all.
_TELLING = (OSError, asyncio.TimeoutError, InvalidMessage, InvalidHeader, NegotiationError)


class Dialer:
    """Opens a WebSocket, as often as it is asked to.

    Args:
        url: The address, or what gives it.
        headers: The headers, or what gives them.
        options: Options of the `websockets` library's ``connect()``.
    """

    def __init__(
        self, url: Renewed[str], headers: Renewed[Headers | None], options: Mapping[str, Any]
    ) -> None:
        self._url = url
        self._headers = headers
        self._options = options

    async def dial(self) -> ClientConnection:
        """Open a WebSocket.

        Returns:
            The open socket.

        Raises:
            ConnectFailed: It can't be opened.
            Exception: What the user's own functions raise, unless it is an OSError.
        """
        try:
            url, headers = await _renew(self._url), await _renew(self._headers)
            return await open_websocket(url, additional_headers=headers, **self._options)
        except (WebSocketException, OSError, asyncio.TimeoutError) as error:
            raise _failure(error) from error


async def _renew(source: Renewed[Value]) -> Value:
    value = source() if callable(source) else source
    return cast(Value, await value if inspect.isawaitable(value) else value)


def _failure(error: Exception) -> ConnectFailed:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return ConnectFailed(
            f"the server answered with HTTP status {status}", status, is_final_status(status)
        )
    shown = str(error).rstrip(".") if isinstance(error, _TELLING) else ""
    return ConnectFailed(shown or type(error).__name__, None, isinstance(error, _FINAL))
