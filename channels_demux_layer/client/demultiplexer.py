"""A client's connection: its streams, and one socket after the other.

One task reads and reconnects. A second task writes, one for each socket. All frames to be written
pass one bounded buffer, which keeps their order across sockets. A frame leaves the buffer when it
is handed to a socket, so no frame is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.protocol import State

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.exceptions import ConnectFailed
from channels_demux_layer.protocol.client_envelope import Event

from .dialing import Attempts, Dialer, Options
from .stream import ClientStream
from .table import StreamTable

__all__ = ["DemuxClient"]

logger = logging.getLogger(__name__)

Received = TypeVar("Received")


class DemuxClient:
    """A connection with its streams, as an asynchronous context manager. `connect` makes one.

    Args:
        dialer: Opens sockets.
        options: The client's options.
    """

    def __init__(self, dialer: Dialer, options: Options) -> None:
        self._dialer = dialer
        self._options = options
        self._attempts = Attempts(options.backoff)
        self._table = StreamTable(options)
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None]
        self._is_entered = False
        self._is_leaving = False

    # -- for the user -------------------------------------------------------------------------

    async def __aenter__(self) -> DemuxClient:
        """Connect.

        Raises:
            ConnectFailed: The first connect failed.
            RuntimeError: The client was entered before.
        """
        if self._is_entered:
            raise RuntimeError("A client connects only once. Call connect() for a new one.")
        self._is_entered = True
        self._socket = await self._dial_first()
        self._task = asyncio.ensure_future(self._run(self._socket))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send the remaining frames and close. After an exception, close at once."""
        try:
            if exc_type is None:
                await self._drain()
            await self._leave(CloseCode.GOING_AWAY if exc_type else CloseCode.NORMAL)
        finally:
            await self._abandon()

    @property
    def is_connected(self) -> bool:
        """Whether the socket is open now."""
        return self._socket is not None and self._socket.state is State.OPEN

    @overload
    def stream(
        self, name: str, *, on_event: Callable[[Event], object] | None = None
    ) -> ClientStream[Any]: ...

    @overload
    def stream(
        self,
        name: str,
        *,
        text: Literal[True],
        on_event: Callable[[Event], object] | None = None,
    ) -> ClientStream[str]: ...

    @overload
    def stream(
        self,
        name: str,
        *,
        type: type[Received],
        on_event: Callable[[Event], object] | None = None,
    ) -> ClientStream[Received]: ...

    def stream(
        self,
        name: str,
        *,
        type: Any = Any,  # noqa: A002 - as msgspec names it
        text: bool = False,
        on_event: Callable[[Event], object] | None = None,
    ) -> ClientStream[Any]:
        """Return a stream, and open it unless it is open.

        The client discards payloads of streams that it was not asked for. To lose none, call this
        before the first ``await``.

        Args:
            name: The stream's name.
            type: What to decode its JSON to, such as a `msgspec.Struct`. `msgspec.Raw` leaves it
                undecoded.
            text: Whether it is a stream of plain text, ``Stream(..., text=True)`` on the server.
            on_event: Called with each event, in order with the payloads. It must not block.

        Returns:
            The stream.

        Raises:
            StreamClosed: The connection has ended.
            ValueError: The name is invalid, the stream is open with another type, or it is
                closing.
        """
        return self._table.open(name, str if text else type, text, on_event)

    # -- one socket after the other -----------------------------------------------------------

    async def _run(self, socket: ClientConnection) -> None:
        """Serve the streams until the connection ends. Every error ends the streams with it."""
        try:
            lost = await self._serve(socket, [])
            while not self._is_final(lost):
                logger.info("The socket closed with code %d. Reconnecting.", lost.code)
                self._socket = None
                self._table.lose_socket()
                socket = await self._dial_again()
                lost = await self._serve(socket, self._table.regain_socket())
            self._table.end_all(lost.code, lost.reason)
        except ConnectFailed as error:
            logger.warning("%s A retry would fail too, so all streams end.", error)
            self._table.end_all(CloseCode.ABNORMAL, str(error), error)
        except Exception as error:
            logger.exception("Unexpected error in the client. The connection and its streams end.")
            self._table.end_all(CloseCode.ABNORMAL, repr(error), error)

    async def _serve(self, socket: ClientConnection, first: list[str]) -> Close:
        """Read and write until the socket closes, and return its close frame."""
        self._socket = socket
        self._attempts.connected(_now())
        writer = asyncio.ensure_future(self._write(socket, first))
        try:
            while True:
                await self._table.receive(await socket.recv())
        except ConnectionClosed as error:
            return error.rcvd or error.sent or Close(CloseCode.ABNORMAL, "")
        finally:
            await _end_task(writer)

    def _is_final(self, lost: Close) -> bool:
        on_purpose = self._is_leaving or not self._options.reconnect
        return on_purpose or self._table.is_over_after(lost.code)

    async def _dial_first(self) -> ClientConnection:
        try:
            return await self._dialer.dial()
        except ConnectFailed as error:
            if error.is_final or not self._options.keep_trying:
                raise
            logger.info("%s Retrying.", error)
        return await self._dial_again()

    async def _dial_again(self) -> ClientConnection:
        while True:
            await asyncio.sleep(self._attempts.next_delay(_now(), random.random()))
            try:
                return await self._dialer.dial()
            except ConnectFailed as error:
                if error.is_final:
                    raise
                logger.info("%s Retrying.", error)

    # -- writing ------------------------------------------------------------------------------

    async def _write(self, socket: ClientConnection, first: list[str]) -> None:
        """Write these frames, then those of the buffer, until the socket closes."""
        with contextlib.suppress(ConnectionClosed):
            for frame in first:
                await socket.send(frame)
            while True:
                while not self._table.outbox:
                    await self._table.outbox.changed()
                if socket.state is not State.OPEN:
                    return
                try:
                    await socket.send(self._table.outbox.first.frame)
                finally:  # even a failed send() may have sent it, and a repeat is worse than a loss
                    self._table.outbox.take()

    # -- the end ------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Wait until all frames are sent, the connection ends, or the close timeout passes."""
        emptied = asyncio.ensure_future(self._emptied())
        try:
            await asyncio.wait(
                {emptied, self._task},
                timeout=self._options.close_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await _end_task(emptied)
        if self._table.outbox:
            logger.warning(
                "%d frames were not sent before the connection closed. They are dropped.",
                len(self._table.outbox),
            )

    async def _emptied(self) -> None:
        while self._table.outbox:
            await self._table.outbox.changed()

    async def _leave(self, code: int) -> None:
        """Close the socket with a closing handshake."""
        self._is_leaving = True
        # Ended streams discard what arrives, so a full inbox cannot hold up the closing handshake.
        self._table.end_all(CloseCode.NORMAL, "")
        if self._socket is not None:
            await self._socket.close(code)

    async def _abandon(self) -> None:
        """End the streams, the task and the socket, however the block ended."""
        self._table.end_all(CloseCode.NORMAL, "")
        await _end_task(self._task)
        if self._socket is not None:
            await _end_socket(self._socket)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})


async def _end_socket(socket: ClientConnection) -> None:
    """Abort a socket that is still open, without a closing handshake."""
    if socket.state is not State.CLOSED:
        socket.transport.abort()
        await socket.wait_closed()
