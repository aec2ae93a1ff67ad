"""What a node and a Redis server say to each other, once redis-py has connected them.

redis-py knows how to reach a server, and to say who one is. What it does for each command and each
message costs more than all the rest of a node's way, so from then on it is not asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from .resp import Push, Refusal, RespReader, Value

__all__ = ["Conversation"]

MESSAGE = b"message"
#: What answers a command, though it is pushed.
DONE = (b"subscribe", b"unsubscribe")


class Conversation(asyncio.BufferedProtocol):
    """Writes to a connection, and reads from it, in redis-py's place.

    Args:
        connection: redis-py's connection, connected, with nothing under way.
        received: Called with each message of what is subscribed to; None where nothing is.
        ended: Called with this, and the reason, when the connection is lost.

    Raises:
        redis.exceptions.ConnectionError: It has been lost already.
    """

    def __init__(
        self,
        connection: Any,
        received: Callable[[bytes | memoryview], None] | None,
        ended: Callable[[Conversation, Exception], None],
    ) -> None:
        self._received = received
        self._ended = ended
        self._reader = RespReader()
        # Who waits for an answer; the server gives them in the order of the commands.
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport = connection._writer.transport
        # Who closes the connection by redis-py waits until this has heard of it.
        self._replaced = self._transport.get_protocol()
        self._transport.set_protocol(self)
        if self._transport.is_closing() or connection._reader.at_eof():
            raise RedisConnectionError("Connection closed by server.")

    def tell(self, commands: list[bytes], answers: list[asyncio.Future[Any]]) -> None:
        """Send commands.

        Args:
            commands: The commands, in one part or in several.
            answers: Is told of each command's answer.
        """
        self._waiting.extend(answers)
        self._transport.writelines(commands)

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # -- what asyncio says --------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._reader.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has been read."""
        try:
            for value in self._reader.read(nbytes):
                self._take(value)
        except ValueError as error:
            self._end(error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is lost."""
        self._replaced.connection_lost(exc)
        self._end(exc or "closed by server")

    # -- what the server says -----------------------------------------------------------------

    def _take(self, value: Value) -> None:
        # Where RESP 2 is spoken, who is subscribed to something is told of it in arrays.
        if isinstance(value, Push) or (self._received is not None and isinstance(value, list)):
            self._take_push(value)
        else:
            self._answer(ResponseError(value) if isinstance(value, Refusal) else value)

    def _take_push(self, push: list[Any]) -> None:
        if self._received is None or len(push) != 3:
            return
        kind, _, content = push
        if kind == MESSAGE:
            self._received(content)
        elif kind in DONE:
            self._answer(None)

    def _answer(self, value: Value | Exception) -> None:
        if not self._waiting:
            raise ValueError("an answer that nobody waits for")
        answer = self._waiting.popleft()
        if answer.done():
            return  # Whoever waited has been cancelled.
        if isinstance(value, Exception):
            answer.set_exception(value)
        else:
            answer.set_result(value)

    def _end(self, reason: object) -> None:
        lost = RedisConnectionError(f"Connection lost: {reason}.")
        while self._waiting:
            self._answer(lost)
        self._ended(self, lost)
