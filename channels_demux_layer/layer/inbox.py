"""How a node receives: as the channel layer does it, or straight from channels_redis' core layer.

The core layer's receive() keeps a copy of each message in Redis until it has been handed over, so
that none is lost where a process dies with one in hand. That makes four commands of one, each
waited for, and sends every message to Redis a second time. A node needs none of it: its links
repeat what was lost, and a dead node's messages are nobody's.
"""

from __future__ import annotations

import uuid
from typing import Any, Protocol

from .stock import find_class, is_unchanged, itself

__all__ = ["CoreInbox", "Inbox", "inbox_of"]

CORE = "channels_redis.core"
#: How the core layer receives; who has changed that wants it so.
METHODS = ("receive", "receive_single", "_brpop_with_clean")
#: What CoreInbox needs of the core layer.
PARTS = (
    *("brpop_timeout", "connection", "consistent_hash", "deserialize", "non_local_name"),
    "prefix",
)


class Inbox(Protocol):
    """Where a node's messages come from; a channel layer is one."""

    async def new_channel(self) -> str:
        """Return a new channel of this process."""

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel."""


class CoreInbox:
    """Receives from channels_redis' core layer with one command for each message.

    Args:
        layer: The core layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    async def new_channel(self) -> str:
        """Return a new channel, whose messages Redis keeps apart from those of others (L1.2).

        Those of the layer's other channels in this process share a key, and whoever receives
        takes them for all.
        """
        while True:
            channel: str = await self._layer.new_channel(f"specific.{uuid.uuid4().hex[:8]}")
            # Of several hosts send() takes one by the whole name, and group_send() by the part
            # before the mark, where messages are waited for (channels_redis, issue 221).
            if self._shard(channel) == self._shard(self._layer.non_local_name(channel)):
                return channel

    def _shard(self, name: str) -> int:
        index: int = self._layer.consistent_hash(name)
        return index

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel.

        Args:
            channel: What new_channel() gave.

        Returns:
            The message.

        Raises:
            Exception: Whatever redis-py raises.
        """
        layer = self._layer
        name = layer.non_local_name(channel)
        connection = layer.connection(self._shard(name))
        found = None
        while found is None:
            found = await connection.bzpopmin(layer.prefix + name, timeout=layer.brpop_timeout)
        message: dict[str, Any] = layer.deserialize(found[1])
        # Whom the layer would hand it to: all of this key is for one. What was forged may be
        # anything; the node will see.
        if isinstance(message, dict):
            message.pop("__asgi_channel__", None)
        return message


def inbox_of(layer: Any) -> Inbox:
    """Return what a node receives from a channel layer with.

    Args:
        layer: The channel layer, with a memory for groups or without.

    Returns:
        A `CoreInbox` for channels_redis' core layer, as long as it receives as it did when this
        was written; the layer itself otherwise.
    """
    inner = itself(layer)
    receives_alike = is_unchanged(inner, find_class(CORE, "RedisChannelLayer"), METHODS)
    is_known = receives_alike and all(hasattr(inner, name) for name in (*METHODS, *PARTS))
    return CoreInbox(inner) if is_known else layer
