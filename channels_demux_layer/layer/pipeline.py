"""Publishes to one Redis server over a connection of its own; needs redis-py.

A message waits for nothing but the answers to those before it, and all that wait go together: one
write and one read for what would be a command, and a connection from the pool, for each.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from channels_demux_layer import tracing

__all__ = ["Pipeline"]

PUBLISH = "PUBLISH"


class Pipeline:
    """Publishes to one server.

    Args:
        shard: channels_redis' connection to the server, with the pool that this one is from.
    """

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self._redis: Any = None
        self._connection: Any = None
        self._waiting: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._is_busy = False
        # The event loop itself keeps no task from being collected.
        self._task: asyncio.Task[None] | None = None

    async def publish(self, name: str, data: bytes) -> None:
        """Publish a message.

        Args:
            name: The name to publish it under, as Redis knows it.
            data: The message.

        Raises:
            Exception: Whatever redis-py raises.
        """
        taken = asyncio.get_running_loop().create_future()
        self._waiting.append((name, data, taken))
        if not self._is_busy:
            self._is_busy = True
            await self._publish_waiting()
        await taken

    async def _publish_waiting(self) -> None:
        together, self._waiting = self._waiting, []
        try:
            errors = await self._exchange([(name, data) for name, data, _ in together])
        except Exception as error:
            errors = [error] * len(together)
        finally:
            # Not here: it is one publisher's coroutine, who may be cancelled.
            self._is_busy = bool(self._waiting)
            if self._is_busy:
                self._task = tracing.apart(asyncio.ensure_future, self._publish_waiting())
        for (_, _, taken), problem in zip(together, errors, strict=True):
            if taken.done():
                continue  # Whoever waited has been cancelled.
            if problem is None:
                taken.set_result(None)
            else:
                taken.set_exception(problem)

    async def _exchange(self, messages: list[tuple[str, bytes]]) -> list[Exception | None]:
        try:
            return await self._exchange_once(messages)
        except RedisConnectionError:
            # The server may have closed the connection since it was used.
            return await self._exchange_once(messages)

    async def _exchange_once(self, messages: list[tuple[str, bytes]]) -> list[Exception | None]:
        if not self._is_connected:
            await self._connect()
        connection = self._connection
        commands = connection.pack_commands([(PUBLISH, *message) for message in messages])
        await connection.send_packed_command(commands)
        return [await _read_error(connection) for _ in messages]

    @property
    def _is_connected(self) -> bool:
        is_of_the_pool = self._connection is not None and self._redis is self._shard._redis
        return is_of_the_pool and bool(self._connection.is_connected)

    async def _connect(self) -> None:
        shard = self._shard
        # The layer's flush() closes the pool, and must not miss a connection that is being made.
        async with shard._lock:
            shard._ensure_redis()
            if self._redis is shard._redis:
                await self._connection.connect()
            else:
                self._connection = await _take_connection(shard._redis.connection_pool)
                self._redis = shard._redis


async def _take_connection(pool: Any) -> Any:
    try:
        return await pool.get_connection()
    except TypeError:
        return await pool.get_connection(PUBLISH)  # before redis-py 5.3


async def _read_error(connection: Any) -> Exception | None:
    try:
        await connection.read_response()
    except ResponseError as error:
        return error  # It is of one message; the answers to the others follow.
    return None
