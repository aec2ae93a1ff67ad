"""redis-py's commands over a connection of a node's own, for the core layer.

What the core layer does with its servers is its own affair, and stays so: it is the layer that
makes the commands. Only their way is another one.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from .connection import OwnConnection

__all__ = ["CoreServer", "OwnRedis"]


class CoreServer:
    """What channels_redis' pub/sub layer has for each of its servers, for one of the core layer's.

    Args:
        layer: The core layer.
        index: Which of its servers it is.
    """

    def __init__(self, layer: Any, index: int) -> None:
        self._layer = layer
        self._index = index

    @property
    def _lock(self) -> asyncio.Lock:
        self._ensure_redis()
        lock: asyncio.Lock = self._loop_layer._lock
        return lock

    @property
    def _redis(self) -> Any:
        return self._loop_layer._connections.get(self._index)

    @property
    def _loop_layer(self) -> Any:
        return self._layer._layers[asyncio.get_running_loop()]

    def _ensure_redis(self) -> None:
        self._layer.connection(self._index)


class OwnRedis(Redis):
    """A client of redis-py to one server of the core layer.

    Args:
        server: The server.
        purpose: The command that it is for.
        blocks: Whether that one waits at the server: for as long as it says, and whoever is cut
            off meanwhile must not leave it behind.
    """

    def __init__(self, server: CoreServer, purpose: str, *, blocks: bool = False) -> None:
        server._ensure_redis()
        super().__init__(connection_pool=server._redis.connection_pool)
        self._own = OwnConnection(server, purpose)
        self._blocks = blocks

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its answer.

        Raises:
            redis.exceptions.RedisError: The server refuses it, or cannot be reached.
        """
        try:
            answer = await self._ask(args)
        except RedisConnectionError:
            if self._blocks:
                raise
            # The server may have closed the connection since it was used.
            answer = await self._ask(args)
        except asyncio.CancelledError:
            if self._blocks:
                self._own.abort()
            raise
        options.pop("keys", None)
        read = self.response_callbacks.get(args[0])
        return answer if read is None else read(answer, **options)

    async def _ask(self, command: tuple[Any, ...]) -> Any:
        if not self._own.is_open:
            await self._own.open()
        answer = asyncio.get_running_loop().create_future()
        self._own.tell(self._own.pack(command), [answer], in_time=not self._blocks)
        return await answer

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Return what sends several commands together; none of the core layer's must be atomic."""
        return _Together(self)


class _Together:
    """Commands that are sent together.

    Args:
        redis: The client to send them with.
    """

    def __init__(self, redis: OwnRedis) -> None:
        self._redis = redis
        self._commands: list[partial[Any]] = []

    def __getattr__(self, name: str) -> Any:
        command = getattr(self._redis, name)
        return lambda *args, **options: self._commands.append(partial(command, *args, **options))

    async def execute(self) -> list[Any]:
        """Send the commands, and return their answers."""
        return await asyncio.gather(*(command() for command in self._commands))
