"""A node on channels_redis' pub/sub layer: it publishes and listens over connections of its own.

The layer has one lock for all that it asks of a server, so that each message waits for the answer
to the one before, and for every join of a group that has come before it. And what it receives has
a long way, through redis-py and a queue, with a timer for each message.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

from channels_demux_layer import tracing
from channels_demux_layer.link.frames import Batch

from .serializer import serializer_of
from .stock import can_take_over, find_class, is_unchanged, itself

if TYPE_CHECKING:
    from .redis.pipeline import Pipeline
    from .redis.subscriber import Subscriber

__all__ = ["PubSubInbox", "PubSubPublisher", "listens_alike", "publishes_alike"]

PUBSUB = "channels_redis.pubsub"
LAYER = "RedisPubSubChannelLayer"
#: How the pub/sub layer publishes, and how it listens; who has changed that wants it so.
PUBLISHING = ("_get_layer", "group_send", "send")
LISTENING = ("_get_layer", "group_add", "group_discard", "new_channel", "receive")
#: What this needs of the layer of an event loop, and of its connection to a server.
PARTS = {
    "RedisPubSubLoopLayer": ("_get_group_channel_name", "_get_shard"),
    "RedisSingleShardConnection": ("_ensure_redis",),
}


class PubSubPublisher:
    """Publishes to the servers of channels_redis' pub/sub layer.

    Args:
        layer: The pub/sub layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._serialize = serializer_of(layer, find_class(PUBSUB, LAYER)).serialize
        self._pipelines: dict[Any, Pipeline] = {}

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Args:
            channel: The channel.
            message: The message.

        Raises:
            Exception: Whatever redis-py raises.
        """
        await self._publish(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group.

        Args:
            group: The group.
            message: The message.

        Raises:
            Exception: Whatever redis-py raises.
        """
        await self._publish(self._layer._get_group_channel_name(group), message)

    async def _publish(self, name: str, message: dict[str, Any]) -> None:
        shard = self._layer._get_shard(name)
        pipeline = self._pipelines.get(shard)
        if pipeline is None:
            pipeline = self._pipelines[shard] = _new_pipeline(shard)
        await pipeline.publish(name, self._serialize(message))


class PubSubInbox:
    """Listens on the servers of channels_redis' pub/sub layer, for one channel and its groups.

    Args:
        layer: The pub/sub layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._deserialize = serializer_of(layer, find_class(PUBSUB, LAYER)).deserialize
        self._subscribers: dict[Any, Subscriber] = {}
        self._messages: deque[bytes | memoryview] = deque()
        self._error: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._connecting: asyncio.Task[None] | None = None

    async def new_channel(self) -> str:
        """Return a new channel, which is listened to.

        Raises:
            Exception: Whatever redis-py raises.
        """
        channel = f"{self._layer.prefix}specific.{uuid.uuid4().hex}"
        try:
            await self._subscriber(channel).subscribe(channel)
        except asyncio.CancelledError:
            await self._close()
            raise
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        """Listen to a group.

        Args:
            group: The group.
            channel: The channel, which is this inbox's only one.

        Raises:
            Exception: Whatever redis-py raises.
        """
        name = self._layer._get_group_channel_name(group)
        await self._subscriber(name).subscribe(name)

    async def group_discard(self, group: str, channel: str) -> None:
        """Listen to a group no more.

        Args:
            group: The group.
            channel: The channel, which is this inbox's only one.

        Raises:
            Exception: Whatever redis-py raises.
        """
        name = self._layer._get_group_channel_name(group)
        await self._subscriber(name).unsubscribe(name)

    async def receive(self, channel: str) -> dict[str, Any] | Batch:
        """Return the next message of the channel; whoever is cancelled has asked for the last.

        Args:
            channel: The channel, which is this inbox's only one.

        Returns:
            The message.

        Raises:
            Exception: Whatever redis-py raises: once for each connection that is lost, and for
                each that cannot be made again.
        """
        try:
            while not self._messages:
                await self._wait()
        except asyncio.CancelledError:
            # As in the layer itself: nothing else says that a channel is not wanted any more.
            await self._close()
            raise
        return self._deserialize(self._messages.popleft())

    async def _wait(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        self._arrival = asyncio.get_running_loop().create_future()
        if all(subscriber.is_connected for subscriber in self._subscribers.values()):
            await self._arrival
            return
        # Beside it, for there may be more servers than the one that cannot be reached.
        if self._connecting is None:
            self._connecting = tracing.apart(asyncio.ensure_future, self._connect())
        connecting = self._connecting
        await asyncio.wait([self._arrival, connecting], return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            self._connecting = None
            connecting.result()

    async def _connect(self) -> None:
        connects = [subscriber.connect() for subscriber in self._subscribers.values()]
        # All of them, also where one cannot be reached.
        for outcome in await asyncio.gather(*connects, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _close(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
        for subscriber in self._subscribers.values():
            subscriber.close()

    def _subscriber(self, name: str) -> Subscriber:
        shard = self._layer._get_shard(name)
        subscriber = self._subscribers.get(shard)
        if subscriber is None:
            subscriber = _new_subscriber(shard, self)
            self._subscribers[shard] = subscriber
        return subscriber

    # -- what the subscribers say -------------------------------------------------------------

    def received(self, message: bytes | memoryview) -> None:
        """Take a message."""
        self._messages.append(message)
        self._wake()

    def lost(self, error: Exception) -> None:
        """Note that a connection is lost."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


# Where there is a pub/sub layer there is redis-py, which nothing else here needs.


def _new_pipeline(shard: Any) -> Pipeline:
    from .redis.pipeline import Pipeline

    return Pipeline(shard)


def _new_subscriber(shard: Any, inbox: PubSubInbox) -> Subscriber:
    from .redis.subscriber import Subscriber

    return Subscriber(shard, inbox.received, inbox.lost)


def publishes_alike(layer: Any) -> bool:
    """Tell whether a channel layer is channels_redis' pub/sub layer, and publishes as that does."""
    return _is_known(layer, PUBLISHING)


def listens_alike(layer: Any) -> bool:
    """Tell whether a channel layer is channels_redis' pub/sub layer, and listens as that does."""
    return _is_known(layer, LISTENING)


def _is_known(layer: Any, methods: tuple[str, ...]) -> bool:
    is_alike = is_unchanged(itself(layer), find_class(PUBSUB, LAYER), methods)
    has_parts = all(
        hasattr(find_class(PUBSUB, name), part) for name, parts in PARTS.items() for part in parts
    )
    return is_alike and has_parts and can_take_over()
