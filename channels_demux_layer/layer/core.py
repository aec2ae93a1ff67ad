"""A node on channels_redis' core layer: what the layer does, over connections of the node's own.

The core layer's receive() keeps a copy of each message in Redis until it has been handed over, so
that none is lost where a process dies with one in hand. That makes four commands of one, each
waited for, and sends every message to Redis a second time. A node needs none of it: its links
repeat what was lost, and a dead node's messages are nobody's.
"""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING, Any

from channels_demux_layer.link.frames import Batch

from .serializer import serializer_of
from .stock import can_take_over, find_class, is_unchanged, itself

if TYPE_CHECKING:
    from .redis.client import OwnRedis

__all__ = ["CoreInbox", "core_publisher", "publishes_alike", "receives_alike"]

CORE = "channels_redis.core"
LAYER = "RedisChannelLayer"
#: How the core layer sends, and how it receives; who has changed that wants it so.
SENDING = ("connection", "group_send", "send")
RECEIVING = ("_brpop_with_clean", "connection", "receive", "receive_single")
#: What this needs of the core layer, and of that of an event loop.
PARTS = ("_layers", "brpop_timeout", "consistent_hash", "non_local_name", "prefix")
LOOP_PARTS = ("_connections", "_lock")


class CoreInbox:
    """Receives from channels_redis' core layer with one command for each message.

    Args:
        layer: The core layer, with a memory for groups or without.
    """

    def __init__(self, layer: Any) -> None:
        inner = self._layer = itself(layer)
        self._deserialize = serializer_of(inner, find_class(CORE, LAYER)).deserialize
        self._clients = _Clients(inner, "BZPOPMIN", blocks=True)
        self.group_add = layer.group_add
        self.group_discard = layer.group_discard

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

    async def receive(self, channel: str) -> dict[str, Any] | Batch:
        """Return the next message of a channel.

        Args:
            channel: What new_channel() gave.

        Returns:
            The message; what it says, if it is a batch.

        Raises:
            Exception: Whatever redis-py raises.
        """
        layer = self._layer
        name = layer.non_local_name(channel)
        connection = self._clients.connection(self._shard(name))
        found: Any = None
        while found is None:
            found = await connection.bzpopmin(layer.prefix + name, timeout=layer.brpop_timeout)
        message = self._deserialize(found[1])
        # Whom the layer would hand it to: all of this key is for one. What was forged may be
        # anything; the node will see.
        if isinstance(message, dict):
            message.pop("__asgi_channel__", None)
        return message


class _Clients:
    """The clients of a node's own, one for each server of a core layer.

    Args:
        layer: The core layer.
        purpose: The command that they are for.
        blocks: Whether that one waits at the server.
    """

    def __init__(self, layer: Any, purpose: str, *, blocks: bool = False) -> None:
        self._layer = layer
        self._purpose = purpose
        self._blocks = blocks
        self._clients: dict[int, OwnRedis] = {}

    def connection(self, index: int) -> OwnRedis:
        """Return the client to a server."""
        client = self._clients.get(index)
        if client is None:
            client = _new_client(self._layer, index, self._purpose, blocks=self._blocks)
            self._clients[index] = client
        return client


def _new_client(layer: Any, index: int, purpose: str, *, blocks: bool) -> OwnRedis:
    # Where there is a core layer there is redis-py, which nothing else here needs.
    from .redis.client import CoreServer, OwnRedis

    return OwnRedis(CoreServer(layer, index), purpose, blocks=blocks)


def core_publisher(layer: Any) -> Any:
    """Return what publishes as a core layer does, over connections of a node's own.

    Args:
        layer: The core layer.
    """
    serializer = serializer_of(layer, find_class(CORE, LAYER))
    publisher = copy.copy(layer)
    publisher.connection = _Clients(layer, "EVAL").connection
    publisher.serialize = lambda message: b"".join(serializer.serialize(message))
    return publisher


def publishes_alike(layer: Any) -> bool:
    """Tell whether a channel layer is channels_redis' core layer, and sends as that does."""
    return _is_known(layer, SENDING)


def receives_alike(layer: Any) -> bool:
    """Tell whether a channel layer is channels_redis' core layer, and receives as that does."""
    return _is_known(layer, RECEIVING)


def _is_known(layer: Any, methods: tuple[str, ...]) -> bool:
    inner = itself(layer)
    if not is_unchanged(inner, find_class(CORE, LAYER), methods) or not can_take_over():
        return False
    loop_layer = find_class(CORE, "RedisLoopLayer")
    has_loop_parts = loop_layer is not None and all(
        hasattr(loop_layer(inner), name) for name in LOOP_PARTS
    )
    return has_loop_parts and all(hasattr(inner, name) for name in PARTS)
