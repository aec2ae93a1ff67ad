"""Opens a client's WebSocket, and tells failures worth a retry from final ones."""

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

#: A value, or a function or coroutine function that returns it and is called for each connect.
Renewed = Union[Value, Callable[[], Union[Value, Awaitable[Value]]]]  # noqa: UP007 - generic
#: Headers of the request.
Headers = Mapping[str, str] | Iterable[tuple[str, str]]

#: Errors that a retry would only meet again.
_FINAL = (
    *(InvalidURI, InvalidHeader, NegotiationError, SecurityError),
    ssl.SSLCertVerificationError,
)
#: Errors whose text is safe to show. Texts of others may contain the URL with its tokens.
_TELLING = (OSError, asyncio.TimeoutError, InvalidMessage, InvalidHeader, NegotiationError)


class Dialer:
    """Opens WebSockets to one address.

    Args:
        url: The address, or a function that returns it.
        headers: The headers, or a function that returns them.
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
            ConnectFailed: The WebSocket could not be opened.
            Exception: Any other error of the user's functions.
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
