"""A channel layer that retries when it fails, for consumers that do not.

A consumer of Channels ends when the receive() of its channel layer raises, as that of the core
layer does when Redis restarts. And nobody puts the consumer back into its groups if Redis has
forgotten them. So workers put this layer in front of those that their consumers use. In a server
process, the project's layer stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from channels_demux_layer.conf import get_settings

from .calls import persist, receive
from .groups import JOIN, LEAVE, REJOIN, Memberships

__all__ = [
    "RememberingLayer",
    "SteadfastLayer",
    "inner_of",
    "install",
    "steadfast_layer",
    "unsteady",
]

NEW_CHANNEL = "take a channel of the channel layer"
SEND = "send on the channel layer"
#: What layers raise when no server can be reached. Any other exception is the caller's matter.
# By name, since redis-py and psycopg have classes of their own and this package needs neither.
NO_SERVER = {"ConnectionError", "TimeoutError", "OperationalError"}
#: What receive() and new_channel() raise for a wrong call, and never for a server that fails.
# TypeError is missing, since asyncio raises it for a write to a connection that has just died. So
# is ValueError, since serializers raise it for a message that they cannot read.
WRONG_CALLS = (AssertionError, RuntimeError, NotImplementedError)


class RememberingLayer(Memberships):
    """A layer that remembers which channels are in which groups, and passes on everything else.

    Args:
        layer: The layer behind it.
        alias: The layer's name in CHANNEL_LAYERS.

    Attributes:
        inner: The layer behind it.
    """

    def __init__(self, layer: Any, alias: str = "") -> None:
        super().__init__(layer, alias)
        self.inner = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def adopt(self) -> None:
        """Also remember what is joined with the layer behind this one directly.

        Modules may take that layer when they are imported. Call this only in processes that are
        workers, since it changes the project's object.

        Raises:
            AttributeError: Its methods cannot be replaced.
        """
        if self._layer is self.inner:
            self._layer = SimpleNamespace(
                group_add=self.inner.group_add, group_discard=self.inner.group_discard
            )
            self.inner.group_add = self.group_add
            self.inner.group_discard = self.group_discard


class SteadfastLayer:
    """Retries each call while the layer behind it fails.

    Args:
        layer: The layer that may fail.
        alias: The layer's name in CHANNEL_LAYERS.
        rejoins: Whether this object joins groups again after receive() has failed. If the layer has
            a node, the node does so.

    Attributes:
        unsteady: That layer with a memory for groups. Its calls fail where they fail.
    """

    def __init__(self, layer: Any, alias: str = "", *, rejoins: bool = False) -> None:
        self.unsteady = RememberingLayer(layer, alias)
        self._rejoins = rejoins
        self._rejoining: asyncio.Task[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unsteady, name)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel. Retry while the layer fails.

        Args:
            channel: The channel.

        Returns:
            The message.

        Raises:
            Exception: The call is wrong.
        """
        try:
            return await receive(self.unsteady, channel, self._failed, _may_work_later)
        except asyncio.CancelledError:
            # The consumer has ended: its memberships end with it.
            self.unsteady.forget(channel)
            raise

    def _failed(self) -> None:
        if self._rejoins and (self._rejoining is None or self._rejoining.done()):
            rejoin = self._persist(REJOIN, self.unsteady.rejoin, is_outage=_may_work_later)
            self._rejoining = asyncio.ensure_future(rejoin)

    async def new_channel(self, *args: Any) -> str:
        """Return a new channel. Retry while the layer fails: a consumer begins with this call.

        Raises:
            Exception: The call is wrong.
        """
        call = partial(self.unsteady.new_channel, *args)
        channel: str = await self._persist(NEW_CHANNEL, call, is_outage=_may_work_later)
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel. Retry while no server can be reached.

        Args:
            channel: The channel.
            message: The message.

        Raises:
            Exception: Whatever the layer raises except for a lost connection.
        """
        await self._persist(SEND, partial(self.unsteady.send, channel, message), channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group. Retry while no server can be reached.

        Args:
            group: The group.
            message: The message.

        Raises:
            Exception: Whatever the layer raises except for a lost connection.
        """
        await self._persist(SEND, partial(self.unsteady.group_send, group, message), group)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group. Retry while no server can be reached.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises except for a lost connection.
        """
        await self._persist(JOIN, partial(self.unsteady.group_add, group, channel), group)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group. Retry while no server can be reached.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises except for a lost connection.
        """
        await self._persist(LEAVE, partial(self.unsteady.group_discard, group, channel), group)

    async def _persist(
        self,
        action: str,
        call: Callable[[], Awaitable[Any]],
        target: str = "",
        is_outage: Callable[[Exception], bool] | None = None,
    ) -> Any:
        alias = self.unsteady.alias
        return await persist(action, call, is_outage or _has_no_server, alias=alias, target=target)


def _may_work_later(error: Exception) -> bool:
    return not isinstance(error, WRONG_CALLS)


def _has_no_server(error: Exception) -> bool:
    return any(cls.__name__ in NO_SERVER for cls in type(error).__mro__)


def steadfast_layer(alias: str, layer: Any, *, rejoins: bool = False) -> Any:
    """Return a steadfast layer in front of a project's layer, which is left as it is.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The layer, or None.
        rejoins: Whether the steadfast layer joins groups again itself, since it has no node.

    Returns:
        The steadfast layer. The layer itself if it is steadfast already, if it cannot fail, or if
        STEADFAST_LAYERS is off.
    """
    if layer is None or isinstance(layer, (SteadfastLayer, InMemoryChannelLayer)):
        return layer
    if not get_settings().STEADFAST_LAYERS:
        return layer
    return SteadfastLayer(layer, alias, rejoins=rejoins)


def install(alias: str, *, rejoins: bool = False) -> RememberingLayer | None:
    """Replace a project's layer by a steadfast one, for everything in this process.

    For worker processes only. Consumers get the steadfast layer from get_channel_layer(). Modules
    that already have the project's object keep it, and their groups are remembered as well.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        rejoins: As for steadfast_layer().

    Returns:
        The memory of the layer's groups; None if the layer was left as it is.
    """
    # A layer that cannot be made raises again where it is used, and a system check names it.
    with contextlib.suppress(Exception):
        layer = steadfast_layer(alias, get_channel_layer(alias), rejoins=rejoins)
        if isinstance(layer, SteadfastLayer):
            channel_layers.set(alias, layer)
            layer.unsteady.adopt()
            return layer.unsteady
    return None


def unsteady(layer: Any) -> Any:
    """Return the layer behind a steadfast one. Its calls raise instead of retrying.

    Args:
        layer: A layer, steadfast or not.
    """
    return getattr(layer, "unsteady", layer)


def inner_of(layer: Any) -> Any:
    """Return the layer that the project has configured, behind those that this package adds.

    Args:
        layer: A layer, steadfast or not.
    """
    layer = unsteady(layer)
    return layer.inner if isinstance(layer, RememberingLayer) else layer
