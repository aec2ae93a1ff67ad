"""How a node publishes: as the channel layer does it, or straight to channels_redis' servers.

channels_redis' pub/sub layer has one lock for all that it asks of a server, so that each message
waits for the answer to the one before, and for every join of a group that has come before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .stock import find_class, is_unchanged, itself

if TYPE_CHECKING:
    from .pipeline import Pipeline

__all__ = ["PubSubPublisher", "Publisher", "publisher_of"]

PUBSUB = "channels_redis.pubsub"
#: How the pub/sub layer publishes; who has changed that wants it so.
METHODS = ("_get_layer", "group_send", "send")
#: What publishing needs of the layer of an event loop, and of its connection to a server.
PARTS = {
    "RedisPubSubLoopLayer": ("_get_group_channel_name", "_get_shard"),
    "RedisSingleShardConnection": ("_ensure_redis",),
}


class Publisher(Protocol):
    """What takes a node's messages; a channel layer is one."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""


class PubSubPublisher:
    """Publishes to the servers of channels_redis' pub/sub layer.

    Args:
        layer: The pub/sub layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
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
        await pipeline.publish(name, self._layer.serialize(message))


def _new_pipeline(shard: Any) -> Pipeline:
    # Where there is a pub/sub layer there is redis-py, which nothing else here needs.
    from .pipeline import Pipeline

    return Pipeline(shard)


def publisher_of(layer: Any) -> Publisher:
    """Return what a node publishes with on a channel layer.

    Args:
        layer: The channel layer, with a memory for groups or without.

    Returns:
        A `PubSubPublisher` for channels_redis' pub/sub layer, as long as it publishes as it did
        when this was written; the layer itself otherwise.
    """
    inner = itself(layer)
    publishes_alike = is_unchanged(inner, find_class(PUBSUB, "RedisPubSubChannelLayer"), METHODS)
    return PubSubPublisher(inner) if publishes_alike and _has_parts() else layer


def _has_parts() -> bool:
    return all(
        hasattr(find_class(PUBSUB, name), part) for name, parts in PARTS.items() for part in parts
    )
