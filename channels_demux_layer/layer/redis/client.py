"""Asks one server of channels_redis' core layer, over a connection of a node's own."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from .connection import OwnConnection
from .resp import Argument, write_command

__all__ = ["CoreClient", "CoreServer"]


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


class CoreClient:
    """Sends commands to one server of the core layer, over a connection of its own.

    Args:
        server: The server.
        purpose: The command that it is for.
        blocks: Whether that one waits at the server: for as long as it says, and whoever is cut
            off meanwhile must not leave it behind.
    """

    def __init__(self, server: CoreServer, purpose: str, *, blocks: bool = False) -> None:
        self._own = OwnConnection(server, purpose)
        self._blocks = blocks

    async def ask(self, *command: Argument) -> Any:
        """Send a command, and return its answer.

        Args:
            *command: The command's name, and what follows it.

        Raises:
            redis.exceptions.RedisError: The server refuses it, or cannot be reached.
        """
        parts = write_command(*command)
        try:
            return await self._ask(parts)
        except RedisConnectionError:
            if self._blocks:
                raise
            # The server may have closed the connection since it was used.
            return await self._ask(parts)
        except asyncio.CancelledError:
            if self._blocks:
                self._own.abort()
            raise

    async def _ask(self, command: list[bytes]) -> Any:
        if not self._own.is_open:
            await self._own.open()
        answer = asyncio.get_running_loop().create_future()
        self._own.tell(command, [answer], in_time=not self._blocks)
        return await answer
