"""The channel layer object that belongs to one node alone, made from the project's configuration.

What a node waits for never stands behind what a consumer of its process waits for, and the node
can replace its connections without touching those of others.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers
from django.utils.module_loading import import_string

from .steadfast import RememberingLayer
from .typed import TypedLayer

__all__ = ["OwnLayer", "close_layer", "maker_of"]

#: The pub/sub layer of channels_redis: its flush() deletes nothing on a server and closes all
#: connections. Other layers' flush() deletes what is there.
PUBSUB = ("channels_redis.pubsub", "RedisPubSubChannelLayer")
#: How long calls may take, as a part of the time after which a silent peer counts as dead.
LIMIT = 0.5
#: The shortest limit of a call, in seconds.
MIN_LIMIT = 1.0


class OwnLayer:
    """What a node reaches its channel layer by.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The project's object, in front of which there may be a memory for groups.
        peer_timeout: How long a peer may be silent, in seconds.

    Attributes:
        typed: Makes the calls.
        groups: Joins and leaves groups for the node, and remembers them.
    """

    def __init__(self, alias: str, layer: Any, peer_timeout: float) -> None:
        self._project = layer if isinstance(layer, RememberingLayer) else None
        shared = layer if self._project is None else self._project.inner
        make = maker_of(alias, shared)
        self._is_shared = make is None
        self.typed = TypedLayer(
            shared if make is None else make(),
            alias,
            max(peer_timeout * LIMIT, MIN_LIMIT),
        )
        self.groups = RememberingLayer(self.typed, alias)

    @property
    def forgets(self) -> bool:
        """Whether the layer may forget who is in which group."""
        return self._project is not None

    @property
    def alias(self) -> str:
        """The layer's name in CHANNEL_LAYERS."""
        return self.typed.alias

    @property
    def group_expiry(self) -> float:
        """After how many seconds the layer forgets members; 0 where it does not say, or never."""
        expiry: float = getattr(self.typed, "group_expiry", 0)
        return expiry

    async def rejoin(self, only: set[str] | None = None) -> None:
        """Join groups anew, those of the node and those of the process's consumers.

        Args:
            only: Those that are joined; None for all.

        Raises:
            Exception: Whatever the layer raises.
        """
        await self.groups.rejoin(only)
        if self._project is not None:
            await self._project.rejoin(only)

    async def settle(self) -> None:
        """Leave the groups that a rejoin which was cut off may have joined for nobody.

        Raises:
            Exception: Whatever the layer raises.
        """
        await self.groups.settle()
        if self._project is not None:
            await self._project.settle()

    async def close(self) -> None:
        """Close the connections, unless others use them as well.

        Raises:
            Exception: Whatever the layer raises.
        """
        close = None if self._is_shared else close_layer(self.typed.inner)
        if close is not None:
            await close()


def maker_of(alias: str, layer: Any) -> Callable[[], Any] | None:
    """Return what makes another object of a project's channel layer.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The project's own object.

    Returns:
        None where another object would reach somebody else: the layer is kept in this process (in
        memory, or its class says ``in_process = True``), or the project has put it in place of
        the configured one, as tests do.
    """
    if isinstance(layer, InMemoryChannelLayer) or getattr(type(layer), "in_process", False):
        return None
    entry = channel_layers.configs.get(alias)
    if entry is None or type(layer) is not import_string(entry["BACKEND"]):
        return None
    return lambda: channel_layers.make_backend(alias)


def close_layer(layer: Any) -> Callable[[], Awaitable[None]] | None:
    """Return what closes a channel layer's connections and deletes nothing; None if nothing does.

    Args:
        layer: The layer.
    """
    module, name = PUBSUB
    cls = getattr(sys.modules.get(module), name, None)
    if cls is not None and isinstance(layer, cls):
        flush: Callable[[], Awaitable[None]] = layer.flush
        return flush
    close: Callable[[], Awaitable[None]] | None = getattr(layer, "close_pools", None)
    return close
