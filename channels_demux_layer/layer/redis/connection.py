"""A connection of a node's own, made as the layer makes its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from .conversation import Conversation

__all__ = ["OwnConnection"]


async def _say_nothing() -> None:
    pass


def _ignore(_: object) -> None:
    pass


class OwnConnection:
    """A connection to one server, from the layer's pool: with its address, its user, its TLS.

    Args:
        shard: channels_redis' connection to the server, with the pool.
        purpose: The command that it is for.
        greet: Says what is to be said first, each time that it is connected.
        received: Called with each message of what is subscribed to, where anything is.
        lost: Called with the reason when it is lost; open() gets it back.
    """

    def __init__(
        self,
        shard: Any,
        purpose: str,
        greet: Callable[[], Awaitable[None]] = _say_nothing,
        received: Callable[[bytes | memoryview], None] | None = None,
        lost: Callable[[Exception], None] = _ignore,
    ) -> None:
        self._shard = shard
        self._purpose = purpose
        self._greet = greet
        self._received = received
        self._lost = lost
        self._lock = asyncio.Lock()
        self._redis: Any = None
        self._connection: Any = None
        self._conversation: Conversation | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._conversation is not None

    @property
    def patience(self) -> float | None:
        """How long to wait for an answer, in seconds; None for as long as it takes."""
        timeout: float | None = self._connection.socket_timeout
        return timeout

    async def open(self) -> bool:
        """Connect, and greet, unless that has been done.

        Returns:
            Whether it had not been done.

        Raises:
            Exception: Whatever redis-py raises, or the greeting.
        """
        async with self._lock:
            if self.is_open:
                return False
            connection = await self._connect()
            self._conversation = Conversation(connection, self._received, self._ended)
            try:
                await self._greet()
            except BaseException:
                self.abort()
                raise
            return True

    async def _connect(self) -> Any:
        shard = self._shard
        # The layer's flush() closes the pool, and must not miss a connection that is being made.
        async with shard._lock:
            shard._ensure_redis()
            if self._connection is not None and self._redis is shard._redis:
                # redis-py has not seen that it is lost.
                await self._connection.disconnect(nowait=True)
                await self._connection.connect()
            else:
                self._connection = await self._take(shard._redis.connection_pool)
                self._redis = shard._redis
        return self._connection

    async def _take(self, pool: Any) -> Any:
        try:
            return await pool.get_connection()
        except TypeError:
            return await pool.get_connection(self._purpose)  # before redis-py 5.3

    def tell(
        self, commands: list[bytes], answers: list[asyncio.Future[Any]], *, in_time: bool = False
    ) -> None:
        """Send commands.

        Args:
            commands: The commands, in one part or in several.
            answers: Is told of each command's answer, an error that the server answers, or that
                the connection was lost before it came.
            in_time: Whether to give the connection up if redis-py's `socket_timeout` passes first.
        """
        if self._conversation is not None:
            if in_time and self.patience is not None:
                self._expect(answers, self.patience)
            self._conversation.tell(commands, answers)
            return
        for answer in answers:
            if not answer.done():
                answer.set_exception(RedisConnectionError("Connection lost."))

    def _expect(self, answers: list[asyncio.Future[Any]], patience: float) -> None:
        def give_up() -> None:
            if not all(answer.done() for answer in answers):
                self.abort()

        def come(last: asyncio.Future[Any]) -> None:
            # Whoever is cut off says nothing of those before.
            if not last.cancelled():
                timer.cancel()

        timer = asyncio.get_running_loop().call_later(patience, give_up)
        answers[-1].add_done_callback(come)

    def abort(self) -> None:
        """Close it at once; nobody is told that it is lost."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.abort()

    def _ended(self, conversation: Conversation, error: Exception) -> None:
        if conversation is self._conversation:
            self._conversation = None
            self._lost(error)
