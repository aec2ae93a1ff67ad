"""The client's options, how it opens a WebSocket, and when and how soon it reconnects.

A server that restarts drops all its clients at the same moment. Each client waits a random part of
a bound that doubles with each failure, so that the reconnects spread out (C1.6).
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
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

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.exceptions import ConnectFailed
from channels_demux_layer.protocol.client_envelope import ClientCodec

__all__ = [
    "Attempts",
    "Backoff",
    "Dialer",
    "Headers",
    "Options",
    "Renewed",
    "is_final_close",
    "is_final_status",
]

#: Close codes after which a retry would only fail again (RFC 6455, section 7.4.1): normal closure,
#: protocol error, unsupported data, invalid payload data, policy violation, message too big,
#: missing extension.
_FINAL_CLOSES = frozenset({CloseCode.NORMAL, 1002, 1003, 1007, 1008, CloseCode.TOO_BIG, 1010})
#: Codes of libraries and applications. Either ended the connection on purpose.
_PRIVATE_CLOSES = range(3000, 5000)
#: HTTP 401, 403 and 404: not logged in, not allowed, wrong address.
_FINAL_STATUSES = frozenset({401, 403, 404})
#: Limit of doublings, so that ``2.0 ** failures`` cannot overflow.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True)
class Backoff:
    """How long a client waits before it reconnects.

    Attributes:
        first: Upper bound of the first wait, in seconds. Each failure doubles it.
        longest: Upper bound of all waits, in seconds.
        min_uptime: Seconds that a socket must stay open to reset the waits. So a server that
            accepts sockets and drops them at once is not flooded.
    """

    first: float = 1.0
    longest: float = 30.0
    min_uptime: float = 5.0

    def delay(self, failures: int, randomness: float) -> float:
        """Return how long to wait.

        Args:
            failures: Failed attempts since the last reset.
            randomness: A random number from 0 to 1.

        Returns:
            The wait, in seconds.
        """
        bound = self.first * 2.0 ** min(failures, _MOST_DOUBLINGS)
        return randomness * min(self.longest, bound)


class Attempts:
    """Counts attempts to connect, and chooses the wait before each.

    Args:
        backoff: The bounds of the waits.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._connected_at: float | None = None

    def connected(self, now: float) -> None:
        """Note that a socket is open.

        Args:
            now: The time, in seconds.
        """
        self._connected_at = now

    def next_delay(self, now: float, randomness: float) -> float:
        """Return the wait before the next attempt, after a failed one or a lost socket.

        Args:
            now: The time, in seconds.
            randomness: A random number from 0 to 1.

        Returns:
            The wait, in seconds.
        """
        connected_at, self._connected_at = self._connected_at, None
        if connected_at is not None and now - connected_at >= self._backoff.min_uptime:
            self._failures = 0
        delay = self._backoff.delay(self._failures, randomness)
        self._failures += 1
        return delay


def is_final_close(code: int) -> bool:
    """Return whether a close of the socket ends the connection.

    Args:
        code: The close code.

    Returns:
        False if the client should reconnect.
    """
    return code in _FINAL_CLOSES or code in _PRIVATE_CLOSES


def is_final_status(status: int) -> bool:
    """Return whether an HTTP status in place of a WebSocket ends the connection.

    Args:
        status: The status code of the server's response.

    Returns:
        False if the client should retry.
    """
    return status in _FINAL_STATUSES


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


@dataclass(frozen=True)
class Options:
    """The options of `connect`, which describes each of them.

    Attributes:
        reconnect: Whether to reconnect when the socket is lost.
        keep_trying: Whether to retry the first connect too.
        backoff: How long to wait before reconnecting.
        window_frames: Maximum of frames that wait to be sent, and of unread ones per stream.
        window_bytes: The same maximum in bytes.
        close_timeout: Seconds that a stream or the connection may take to close.
        codec: Encodes and decodes envelopes.
    """

    reconnect: bool = True
    keep_trying: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    window_frames: int = 64
    window_bytes: int = 1_048_576
    close_timeout: float = 10.0
    codec: ClientCodec = field(default_factory=ClientCodec)
