"""Listens on one Redis server over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from .connection import OwnConnection
from .resp import write_command

__all__ = ["Subscriber"]

SUBSCRIBE = "SUBSCRIBE"
UNSUBSCRIBE = "UNSUBSCRIBE"


class Subscriber:
    """Listens on one server for what is published under some names.

    Args:
        shard: channels_redis' connection to the server, with the pool that this one is from.
        received: Called with each message.
        lost: Called with the reason when the connection is lost; connect() gets it back.
    """

    def __init__(
        self,
        shard: Any,
        received: Callable[[bytes | memoryview], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._own = OwnConnection(shard, SUBSCRIBE, self._subscribe_again, received, lost)
        self._names: set[str] = set()

    @property
    def is_connected(self) -> bool:
        """Whether it can hear anything."""
        return self._own.is_open

    async def connect(self) -> None:
        """Listen for all names, unless that is so.

        Raises:
            Exception: Whatever redis-py raises.
        """
        await self._own.open()

    async def _subscribe_again(self) -> None:
        if self._names:
            await self._tell(SUBSCRIBE, self._names)

    async def subscribe(self, name: str) -> None:
        """Listen for what is published under a name, from now on.

        Args:
            name: The name.

        Raises:
            Exception: Whatever redis-py raises. It is not listened for then.
        """
        self._names.add(name)
        try:
            if not await self._own.open():
                await self._tell(SUBSCRIBE, [name])
        except BaseException:
            self._names.discard(name)
            raise

    async def unsubscribe(self, name: str) -> None:
        """Listen for a name no more.

        Args:
            name: The name.

        Raises:
            Exception: Whatever redis-py raises.
        """
        self._names.discard(name)
        if self.is_connected:
            await self._tell(UNSUBSCRIBE, [name])

    async def _tell(self, command: str, names: Iterable[str]) -> None:
        commands = [b"".join(write_command(command, name)) for name in names]
        answers = [asyncio.get_running_loop().create_future() for _ in commands]
        self._own.tell([b"".join(commands)], answers)
        await asyncio.gather(*answers)

    def close(self) -> None:
        """Listen for nothing more."""
        self._names.clear()
        self._own.abort()
