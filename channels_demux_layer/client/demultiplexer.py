"""A client's connection: the streams that it carries, and the sockets that it rides on in turn.

One task reads, and connects again; another one, as long as a socket lives, writes. What is to be
written goes through one bounded buffer, so that it keeps its order while there is no socket. A
frame leaves the buffer when it was handed to a socket: no frame is sent twice.
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

from .dialing import Dialer
from .options import Options
from .reconnect import Attempts
from .stream import ClientStream
from .table import StreamTable
from .wire import Event

__all__ = ["DemuxClient"]

logger = logging.getLogger(__name__)

Received = TypeVar("Received")


class DemuxClient:
    """The streams of one connection, as `connect` gives it; an asynchronous context manager.

    Args:
        dialer: Opens sockets.
        options: How it behaves.
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
            ConnectFailed: The first connect has failed.
        """
        if self._is_entered:
            raise RuntimeError("A client connects once: call connect() again.")
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
        """Send what waits, unless an exception has ended the block; then leave."""
        try:
            if exc_type is None:
                await self._drain()
            await self._leave(CloseCode.GOING_AWAY if exc_type else CloseCode.NORMAL)
        finally:
            await self._abandon()

    @property
    def is_connected(self) -> bool:
        """Whether there is an open socket at present."""
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
        """Open a stream, or one that has ended once more; an open one is given as it is.

        Payloads of streams that were not asked for are discarded: ask before the first ``await``
        for those that are to lose nothing.

        Args:
            name: The stream's name.
            type: What to decode its JSON to, such as a `msgspec.Struct`; `msgspec.Raw` leaves it
                as it is.
            text: Whether it is a stream of plain text, ``Stream(..., text=True)`` on the server.
            on_event: Called with each event as it comes, in order with the payloads; not to wait.

        Returns:
            The stream.

        Raises:
            StreamClosed: The connection is over.
            ValueError: It can be no stream's name; or the stream is open with another type, or
                is being closed.
        """
        return self._table.open(name, str if text else type, text, on_event)

    # -- one socket after the other -----------------------------------------------------------

    async def _run(self, socket: ClientConnection) -> None:
        """Serve the streams until the connection is over; nothing that is raised is lost."""
        try:
            lost = await self._serve(socket, [])
            while not self._is_final(lost):
                logger.info("The socket closed with code %d. Connecting again.", lost.code)
                self._socket = None
                self._table.lose_socket()
                socket = await self._dial_again()
                lost = await self._serve(socket, self._table.regain_socket())
            self._table.end_all(lost.code, lost.reason)
        except ConnectFailed as error:
            logger.warning("%s Not trying again.", error)
            self._table.end_all(CloseCode.ABNORMAL, str(error), error)
        except Exception as error:
            logger.exception("The client cannot go on.")
            self._table.end_all(CloseCode.ABNORMAL, repr(error), error)

    async def _serve(self, socket: ClientConnection, first: list[str]) -> Close:
        """Read and write until the socket is closed; say how it was."""
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
            logger.info("%s Trying again.", error)
        return await self._dial_again()

    async def _dial_again(self) -> ClientConnection:
        while True:
            await asyncio.sleep(self._attempts.next_delay(_now(), random.random()))
            try:
                return await self._dialer.dial()
            except ConnectFailed as error:
                if error.is_final:
                    raise
                logger.info("%s Trying again.", error)

    # -- writing ------------------------------------------------------------------------------

    async def _write(self, socket: ClientConnection, first: list[str]) -> None:
        """Write these frames, then what waits, until the socket is closed."""
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
                finally:  # it may have been sent: never again
                    self._table.outbox.take()

    # -- the end ------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Wait until all is sent, or cannot be."""
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
            logger.warning("%d frames were not sent.", len(self._table.outbox))

    async def _emptied(self) -> None:
        while self._table.outbox:
            await self._table.outbox.changed()

    async def _leave(self, code: int) -> None:
        """Take leave of the server."""
        self._is_leaving = True
        self._table.end_all(CloseCode.NORMAL, "")  # what still comes is discarded, not waited for
        if self._socket is not None:
            await self._socket.close(code)

    async def _abandon(self) -> None:
        """Leave nothing behind, however the block has ended."""
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
    """Let go of a socket, without a word where it is still open."""
    if socket.state is not State.CLOSED:
        socket.transport.abort()
        await socket.wait_closed()
