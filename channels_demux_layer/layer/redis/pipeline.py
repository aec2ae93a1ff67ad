"""Publishes to one Redis server over a connection of its own.

A message waits for nothing but the answers to those before it, and all that wait go together: one
write and one read for what would be a command, and a connection from the pool, for each.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from .connection import OwnConnection
from .resp import LARGE_ARGUMENT, write_command

__all__ = ["Pipeline"]

PUBLISH = "PUBLISH"


class Pipeline:
    """Publishes to one server.

    Args:
        shard: channels_redis' connection to the server, with the pool that this one is from.
    """

    def __init__(self, shard: Any) -> None:
        self._own = OwnConnection(shard, PUBLISH)
        self._waiting: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._is_busy = False

    async def publish(self, name: str, data: list[bytes]) -> None:
        """Publish a message.

        Args:
            name: The name to publish it under, as Redis knows it.
            data: The message, in one part or in several.

        Raises:
            Exception: Whatever redis-py raises.
        """
        command = write_command(PUBLISH, name, data)
        try:
            await self._publish(command)
        except RedisConnectionError:
            # The server may have closed the connection since it was used.
            await self._publish(command)

    async def _publish(self, command: list[bytes]) -> None:
        if not self._own.is_open:
            await self._own.open()
        taken = asyncio.get_running_loop().create_future()
        self._waiting.append((command, taken))
        if not self._is_busy:
            self._send_waiting()
        await taken

    def _send_waiting(self) -> None:
        self._is_busy = True
        together, self._waiting = self._waiting, []
        parts = [part for command, _ in together for part in command]
        joined = parts if sum(map(len, parts)) >= LARGE_ARGUMENT else [b"".join(parts)]
        answers = [taken for _, taken in together]
        answers[-1].add_done_callback(self._go_on)
        self._own.tell(joined, answers, in_time=True)

    def _go_on(self, _: asyncio.Future[None]) -> None:
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._send_waiting()
