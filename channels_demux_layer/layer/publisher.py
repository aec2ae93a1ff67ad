"""How a node publishes: as the channel layer does it, or straight to channels_redis' servers."""

from __future__ import annotations

from typing import Any, Protocol

from . import core, pubsub
from .stock import itself

__all__ = ["Publisher", "publisher_of"]


class Publisher(Protocol):
    """What takes a node's messages; a channel layer is one."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""


def publisher_of(layer: Any) -> Publisher:
    """Return what a node publishes with on a channel layer.

    Args:
        layer: The channel layer, with a memory for groups or without.

    Returns:
        What publishes to the servers of channels_redis' layers over connections of its own, as long
        as the layer publishes as it did when this was written; the layer itself otherwise.
    """
    publisher: Publisher = layer
    if pubsub.publishes_alike(layer):
        publisher = pubsub.PubSubPublisher(itself(layer))
    elif core.publishes_alike(layer):
        publisher = core.CorePublisher(itself(layer))
    return publisher
