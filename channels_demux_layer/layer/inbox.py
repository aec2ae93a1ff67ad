"""How a node receives: as the channel layer does it, or straight from channels_redis' servers."""

from __future__ import annotations

from typing import Any, Protocol

from channels_demux_layer.link.frames import Batch

from . import core, pubsub
from .stock import itself

__all__ = ["Inbox", "inbox_of"]


class Inbox(Protocol):
    """Where a node's messages come from; a channel layer is one."""

    async def new_channel(self) -> str:
        """Return a new channel of this process."""

    async def receive(self, channel: str) -> dict[str, Any] | Batch:
        """Return the next message of a channel; or what it says, if it is a batch."""

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group."""

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group."""


def inbox_of(layer: Any) -> Inbox:
    """Return what a node receives from a channel layer with.

    Args:
        layer: The channel layer, with a memory for groups or without.

    Returns:
        A `CoreInbox` for channels_redis' core layer and a `PubSubInbox` for its pub/sub layer, as
        long as they receive as they did when this was written; the layer itself otherwise.
    """
    inbox: Inbox = layer
    if pubsub.listens_alike(layer):
        inbox = pubsub.PubSubInbox(itself(layer))
    elif core.receives_alike(layer):
        inbox = core.CoreInbox(layer)
    return inbox
