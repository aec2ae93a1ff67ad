"""The channel layer object that belongs to one node alone, made from the project's configuration.

What a node waits for never stands behind what a consumer of its process waits for, and the node
can replace its connections without touching those of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers
from django.utils.module_loading import import_string

from .steadfast import RememberingLayer
from .typed import TypedLayer

__all__ = ["OwnLayer", "close_layer", "in_time", "maker_of"]

#: The pub/sub layer of channels_redis: its flush() deletes nothing on a server and closes all
#: connections. Other layers' flush() deletes what is there.
PUBSUB = ("channels_redis.pubsub", "RedisPubSubChannelLayer")
#: How long an object that was replaced may take to close, in seconds: its connections may hang.
CLOSE_LIMIT = 5.0
#: How long calls may take, as a part of the time after which a silent peer counts as dead.
LIMIT = 1 / 3
#: The shortest limit of a call, in seconds.
MIN_LIMIT = 1.0


class OwnLayer:
    """What a node reaches its channel layer by.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The project's object.
        peer_timeout: How long a peer may be silent, in seconds.

    Attributes:
        typed: Makes the calls.
        groups: Joins and leaves groups for the node, and remembers them.
        memories: The groups of the process's consumers, which are rejoined with those of the node.
    """

    def __init__(self, alias: str, layer: Any, peer_timeout: float) -> None:
        make = self._make = maker_of(alias, layer)
        self.memories: list[RememberingLayer] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._listeners: set[asyncio.Future[Any]] = set()
        self.typed = TypedLayer(
            layer if make is None else make(),
            alias,
            max(peer_timeout * LIMIT, MIN_LIMIT),
        )
        self.groups = RememberingLayer(self.typed, alias)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.typed, name)

    @property
    def can_renew(self) -> bool:
        """Whether another object can receive on the channels of this one."""
        inner = self.typed.inner
        return self._make is not None and (_is_pubsub(inner) or hasattr(inner, "client_prefix"))

    def renew(self) -> None:
        """Replace the layer object by another one, which has connections of its own.

        Whoever receives with `receive()` goes on with the new object. Groups have to be joined
        again.
        """
        assert self._make is not None
        old, new = self.typed.inner, self._make()
        if not _is_pubsub(old):
            # A layer receives on channels with its own prefix alone.
            new.client_prefix = old.client_prefix
        self.typed.inner = new
        for receiving in self._listeners:
            receiving.cancel()
        closing = asyncio.ensure_future(_close(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, also when the layer object is replaced meanwhile.

        Args:
            channel: The channel.

        Returns:
            The message.

        Raises:
            Unreadable: There was one, which the layer cannot read.
            Outage: The layer fails.
        """
        while True:
            receiving = asyncio.ensure_future(self.typed.receive(channel))
            self._listeners.add(receiving)
            try:
                await asyncio.wait([receiving])
            except asyncio.CancelledError:
                receiving.cancel()
                await asyncio.wait([receiving], timeout=CLOSE_LIMIT)
                raise
            finally:
                self._listeners.discard(receiving)
            if not receiving.cancelled():
                return receiving.result()

    @property
    def forgets(self) -> bool:
        """Whether the layer may forget who is in which group."""
        return not isinstance(self.typed.inner, InMemoryChannelLayer)

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
        for memory in (self.groups, *self.memories):
            await memory.rejoin(only)

    async def settle(self) -> None:
        """Leave the groups that a rejoin which was cut off may have joined for nobody.

        Raises:
            Exception: Whatever the layer raises.
        """
        for memory in (self.groups, *self.memories):
            await memory.settle()

    async def close(self) -> None:
        """Close the connections, unless others use them as well.

        Raises:
            Exception: Whatever the layer raises.
        """
        if self._make is not None:
            await _close(self.typed.inner)
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


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
    if _is_pubsub(layer):
        flush: Callable[[], Awaitable[None]] = layer.flush
        return flush
    close: Callable[[], Awaitable[None]] | None = getattr(layer, "close_pools", None)
    return close


def _is_pubsub(layer: Any) -> bool:
    module, name = PUBSUB
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(layer, cls)


async def _close(layer: Any) -> None:
    close = close_layer(layer)
    if close is not None:
        # What it raises is about connections that are not needed any more.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(close(), CLOSE_LIMIT)


async def in_time(call: Coroutine[Any, Any, None], limit: float) -> None:
    """Make a call for a node that ends, as far as it works and does not take too long.

    Args:
        call: The call.
        limit: How long it may take, in seconds.
    """
    calling = asyncio.ensure_future(call)
    await asyncio.wait([calling], timeout=limit)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
