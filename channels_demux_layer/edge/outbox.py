"""Writes to one client's socket, one message at a time, in order (C3.3, C4.2)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from channels_demux_layer.hosting.exits import comes_from_outside
from channels_demux_layer.logs import about

from .limits import BufferedBytes

__all__ = ["BoundedOutbox", "Outbox", "Taker"]

logger = logging.getLogger(__name__)

Message = dict[str, Any]

#: While more than this waits for one client, the edge does not read the client's next event, nor
#: what follows a refused frame (C6.5): so many messages, and so many bytes of payloads.
MUCH = 100
MUCH_BYTES = 1_048_576


class Taker(Protocol):
    """The source of a payload. It is called when the client's socket has taken the payload."""

    def take(self, size: int) -> None:
        """Note that a payload of this size has been taken."""


class Outbox:
    """What waits to be written to one client's socket.

    Payloads are bounded by the windows of their sessions, which open when the socket has taken
    them. Events, and the payloads of sessions that have ended, are bounded by ease(): whatever a
    client sends that can bring new ones is followed by it.

    Args:
        wrap: Makes the WebSocket message of a stream's payload; gives the message, or what to
            await for it.
        send: Writes a message to the socket; returns when it has been taken.
        connection: The connection's id, for the log.

    Attributes:
        wrap: Makes those messages.
    """

    def __init__(
        self,
        wrap: Callable[[str, str | bytes], Message | Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        connection: str = "",
    ) -> None:
        self._refused: Callable[[Exception], None] | None = None
        self.wrap = wrap
        self._send = send
        self._connection = connection
        self._waiting: deque[tuple[str, str | bytes, Taker] | Message] = deque()
        self._writer: asyncio.Task[None] | None = None
        # Always write in the connection's context. The caller is often a node, which serves other
        # connections as well.
        self._variables = contextvars.copy_context()
        self._is_writing = False
        self._is_closed = False
        # Resolved with the next message that is written. None while nothing waits for it.
        self._progress: asyncio.Future[None] | None = None

    def put_payload(
        self, stream: str, data: str | bytes, source: Taker, *, more: bool = False
    ) -> None:
        """Write a stream's payload after all that waits.

        Args:
            stream: The stream's name.
            data: The payload.
            source: Is told when it has been taken.
            more: Whether more payloads follow at once, and then write(). One task writes them all.
        """
        if self._is_closed:
            source.take(len(data))
            return
        self._waiting.append((stream, data, source))
        if not more:
            self.write()

    def write(self) -> None:
        """Start to write what waits, unless a task is writing."""
        if self._waiting and not self._is_writing:
            self._start_writing()

    def put_message(self, message: Message) -> None:
        """Write a message as it is, after all that waits."""
        if not self._is_closed:
            self._waiting.append(message)
            self.write()

    def put_last(
        self, message: Message, refused: Callable[[Exception], None] | None = None
    ) -> None:
        """Write a message as it is, after all that waits, and nothing after it.

        Args:
            message: The message.
            refused: Called with what the server raises if it does not take the message.
        """
        self._refused = refused
        self.put_message(message)
        self._is_closed = True
        self._note_progress()

    def _start_writing(self) -> None:
        self._is_writing = True
        writer = _start(self._write(), self._variables)
        self._writer = None if writer.done() else writer

    async def _write(self) -> None:
        try:
            while self._waiting:
                entry = self._waiting.popleft()
                if self._progress is not None:
                    self._note_progress()
                if isinstance(entry, dict):
                    await self._send(entry)
                    continue
                stream, data, source = entry
                try:
                    # No coroutine of its own: there is one of these for each frame.
                    message = self.wrap(stream, data)
                    if not isinstance(message, dict):
                        message = await message
                except (Exception, asyncio.CancelledError) as error:
                    # A CancelledError may come out of the project's code, too.
                    if comes_from_outside(error, asyncio.current_task()):
                        raise
                    facts = about(connection=self._connection, stream=stream)
                    text = "A payload of stream %r could not be put into an envelope."
                    logger.exception(text, stream, extra=facts)
                else:
                    await self._send(message)
                finally:
                    source.take(len(data))
        except Exception as error:
            # The client has left. The server sends websocket.disconnect next, which ends the
            # connection.
            self.stop()
            facts = about(connection=self._connection)
            logger.debug("The socket takes nothing more: %r.", error, extra=facts)
            # By the ASGI specification, servers raise an OSError if the client has left.
            if self._refused is not None and not isinstance(error, OSError):
                self._refused(error)
        finally:
            self._is_writing = False
            self._writer = None
            self._note_progress()

    def ease(self) -> Awaitable[None] | None:
        """Delay a client that sends and does not read (C6.5).

        Returns:
            What to await before its next frame is read; None where little waits.
        """
        return self._eased() if self._has_more(MUCH, MUCH_BYTES) else None

    async def _eased(self) -> None:
        # Do not wait until everything is written. A consumer that keeps sending would delay it
        # forever.
        while self._is_writing and self._has_more(MUCH // 2, MUCH_BYTES // 2):
            if self._progress is None:
                self._progress = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._progress])

    def _has_more(self, messages: int, size: int) -> bool:
        if self._is_closed:
            return False  # Nothing follows on what waits.
        if len(self._waiting) > messages:
            return True
        return sum(len(one[1]) for one in self._waiting if isinstance(one, tuple)) > size

    def _note_progress(self) -> None:
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None

    async def drain(self, timeout: float | None) -> None:
        """Wait until all is written.

        Args:
            timeout: How long to wait at most, in seconds.
        """
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=timeout)

    def stop(self) -> None:
        """Drop what waits, and count it as taken: the client has left."""
        self._is_closed = True
        while self._waiting:
            entry = self._waiting.popleft()
            if isinstance(entry, tuple):
                _, data, source = entry
                source.take(len(data))
        self._note_progress()


class _Counted(NamedTuple):
    """Where a payload came from, and the outbox that counts it."""

    outbox: BoundedOutbox
    source: Taker

    def take(self, size: int) -> None:
        self.source.take(size)
        self.outbox.taken(size)


class BoundedOutbox(Outbox):
    """An outbox that knows when too many bytes wait.

    Args:
        wrap: Makes the WebSocket message of a stream's payload.
        send: Writes a message to the socket; returns when it has been taken.
        connection: The connection's id, for the log.
        limit: The bytes of payload that may wait.
    """

    def __init__(
        self,
        wrap: Callable[[str, str | bytes], Message | Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        connection: str,
        limit: int,
    ) -> None:
        super().__init__(wrap, send, connection)
        self._buffered = BufferedBytes(limit)
        self._relief: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether so much waits that the client must read first."""
        return not (self._is_closed or self._buffered.has_room)

    def put_payload(
        self, stream: str, data: str | bytes, source: Taker, *, more: bool = False
    ) -> None:
        """Write a stream's payload after all that waits."""
        # Before it is written, which may be at once.
        self._buffered.used += len(data)
        super().put_payload(stream, data, _Counted(self, source), more=more)

    def taken(self, size: int) -> None:
        """Note that a payload of this size waits no longer."""
        self._buffered.used -= size
        self._relieve()

    async def relief(self) -> None:
        """Return when less waits, or when the client has left."""
        while self.is_full:
            if self._relief is None:
                self._relief = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._relief])

    def _relieve(self) -> None:
        if self._relief is not None and not self.is_full:
            self._relief.set_result(None)
            self._relief = None

    def stop(self) -> None:
        """Drop what waits, and count it as taken: the client has left."""
        super().stop()
        self._relieve()


if sys.version_info >= (3, 12):

    def _start(
        work: Coroutine[Any, Any, None], variables: contextvars.Context
    ) -> asyncio.Task[None]:
        # At once: a socket with room takes a message without a wait.
        loop = asyncio.get_running_loop()
        return asyncio.Task(work, loop=loop, eager_start=True, context=variables)

else:  # pragma: no cover - Python 3.10 and 3.11

    class _Writer(asyncio.Task[None]):
        """A task that counts how often it was cancelled, as Python does from 3.11 on."""

        cancellations = 0

        def cancel(self, *args: Any) -> bool:
            self.cancellations += 1
            return super().cancel(*args)

        def cancelling(self) -> int:
            return self.cancellations

    def _start(
        work: Coroutine[Any, Any, None], variables: contextvars.Context
    ) -> asyncio.Task[None]:
        return variables.run(lambda: _Writer(work, loop=asyncio.get_running_loop()))
