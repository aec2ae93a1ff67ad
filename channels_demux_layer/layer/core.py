"""A node on channels_redis' core layer: what the layer does, over connections of the node's own.

To publish, the layer gives four or five commands, one after the other, and waits for each. Here
they are one script, or two for a group: the same commands, with the same effect.

The core layer's receive() keeps a copy of each message in Redis until it has been handed over, so
that none is lost where a process dies with one in hand. That makes four commands of one, each
waited for, and sends every message to Redis a second time. A node needs none of it: its links
repeat what was lost, and a dead node's messages are nobody's.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from channels.exceptions import ChannelFull

from channels_demux_layer.link.frames import Batch
from channels_demux_layer.logs import about

from .serializer import serializer_of
from .stock import can_take_over, find_class, is_unchanged, itself

if TYPE_CHECKING:
    from .redis.client import CoreClient
    from .redis.resp import Argument

__all__ = ["CoreInbox", "CorePublisher", "publishes_alike", "receives_alike"]

logger = logging.getLogger(__name__)

CORE = "channels_redis.core"
LAYER = "RedisChannelLayer"
#: How the core layer sends, and how it receives; who has changed that wants it so.
SENDING = ("_map_channel_keys_to_connection", "connection", "group_send", "send")
RECEIVING = ("_brpop_with_clean", "connection", "receive", "receive_single")
#: What this needs of the core layer, and of that of an event loop.
PARTS = (
    "_group_key",
    "_layers",
    "_send_index_generator",
    "brpop_timeout",
    "consistent_hash",
    "expiry",
    "group_expiry",
    "non_local_name",
    "prefix",
)
LOOP_PARTS = ("_connections", "_lock")
#: Where a message says which channels of its key it is for.
CHANNELS = "__asgi_channel__"
EVAL = "EVAL"
BZPOPMIN = "BZPOPMIN"
#: Returns who is in a group, without those who joined too long ago.
MEMBERS = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
#: Puts a message at the end of each key, without those that have waited too long there, unless too
#: many wait; returns for how many keys that was so.
DELIVER = """
local now, expiry, oldest = ARGV[1], ARGV[2], ARGV[3]
local full = 0
for i, key in ipairs(KEYS) do
    local message, capacity = ARGV[2 * i + 2], tonumber(ARGV[2 * i + 3])
    redis.call('ZREMRANGEBYSCORE', key, 0, oldest)
    if redis.call('ZCOUNT', key, '-inf', '+inf') < capacity then
        redis.call('ZADD', key, now, message)
        redis.call('EXPIRE', key, expiry)
    else
        full = full + 1
    end
end
return full
"""


class CoreInbox:
    """Receives from channels_redis' core layer with one command for each message.

    Args:
        layer: The core layer, with a memory for groups or without.
    """

    def __init__(self, layer: Any) -> None:
        inner = self._layer = itself(layer)
        self._deserialize = serializer_of(inner, find_class(CORE, LAYER)).deserialize
        self._clients = _Clients(inner, BZPOPMIN, blocks=True)
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
        client = self._clients[self._shard(name)]
        found: Any = None
        while found is None:
            found = await client.ask(BZPOPMIN, layer.prefix + name, layer.brpop_timeout)
        message = self._deserialize(found[1])
        # Whom the layer would hand it to: all of this key is for one. What was forged may be
        # anything; the node will see.
        if isinstance(message, dict):
            message.pop(CHANNELS, None)
        return message


class CorePublisher:
    """Publishes to the servers of channels_redis' core layer.

    Args:
        layer: The core layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._serialize = serializer_of(layer, find_class(CORE, LAYER)).serialize
        self._clients = _Clients(layer, EVAL)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Args:
            channel: The channel.
            message: The message.

        Raises:
            ChannelFull: Too many messages wait there.
            Exception: Whatever redis-py raises.
        """
        layer = self._layer
        if "!" in channel:
            server = layer.consistent_hash(channel)
            message = {**message, CHANNELS: channel}
        else:
            # Who receives there asks all servers.
            server = next(layer._send_index_generator)
        key = layer.prefix + layer.non_local_name(channel)
        if await self._deliver(server, {key: (message, layer.get_capacity(channel))}):
            raise ChannelFull

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group.

        Args:
            group: The group.
            message: The message. Those of the group's channels where too many wait do not get it.

        Raises:
            Exception: Whatever redis-py raises.
        """
        layer = self._layer
        oldest = int(time.time()) - layer.group_expiry
        client = self._clients[layer.consistent_hash(group)]
        members = await client.ask(EVAL, MEMBERS, 1, layer._group_key(group), oldest)
        for server, keys in self._by_server(str(name, "utf-8") for name in members).items():
            messages = {
                key: ({**message, CHANNELS: channels}, layer.get_capacity(channels[0]))
                for key, channels in keys.items()
            }
            if full := await self._deliver(server, messages):
                logger.debug("%d channels of group %s are full.", full, group, extra=about())

    def _by_server(self, channels: Iterable[str]) -> dict[int, dict[str, list[str]]]:
        """Return the channels by the server and the key where their messages are waited for."""
        layer = self._layer
        servers: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for channel in channels:
            name = layer.non_local_name(channel)
            servers[layer.consistent_hash(name)][layer.prefix + name].append(channel)
        return servers

    async def _deliver(self, server: int, messages: dict[str, tuple[dict[str, Any], int]]) -> int:
        """Put messages under their keys, which have capacities; return how many had no room."""
        now, expiry = time.time(), int(self._layer.expiry)
        arguments: list[Argument] = [now, expiry, int(now) - expiry]
        for message, capacity in messages.values():
            arguments += [self._serialize(message), capacity]
        full: int = await self._clients[server].ask(
            EVAL, DELIVER, len(messages), *messages, *arguments
        )
        return full


class _Clients(dict[int, "CoreClient"]):
    """The clients of a node's own, one for each server of a core layer.

    Args:
        layer: The core layer.
        purpose: The command that they are for.
        blocks: Whether that one waits at the server.
    """

    def __init__(self, layer: Any, purpose: str, *, blocks: bool = False) -> None:
        super().__init__()
        self._layer = layer
        self._purpose = purpose
        self._blocks = blocks

    def __missing__(self, index: int) -> CoreClient:
        client = _new_client(self._layer, index, self._purpose, blocks=self._blocks)
        self[index] = client
        return client


# Where there is a core layer there is redis-py, which nothing else here needs.


def _new_client(layer: Any, index: int, purpose: str, *, blocks: bool) -> CoreClient:
    from .redis.client import CoreClient, CoreServer

    return CoreClient(CoreServer(layer, index), purpose, blocks=blocks)


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
