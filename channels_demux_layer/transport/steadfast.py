"""A channel layer that outlasts failures, for consumers that do not.

A consumer of Channels ends when its channel layer's receive() raises, as channels_redis' core
layer does when Redis restarts, and nobody puts it back into its groups when Redis has forgotten
them. Workers therefore put this layer in front of those that their consumers use. In a server
process, the project's layer stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Container
from types import SimpleNamespace
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from channels_demux_layer.conf import get_settings

from .calls import persist, receive

__all__ = [
    "LEAVE",
    "RememberingLayer",
    "SteadfastLayer",
    "inner_of",
    "install",
    "steadfast_layer",
    "unsteady",
]

#: How many groups are joined anew at a time: payloads go first.
JOINED_TOGETHER = 10
NEW_CHANNEL = "take a channel of the channel layer"
SEND = "send on the channel layer"
JOIN = "join a group on the channel layer"
REJOIN = "rejoin the groups on the channel layer"
LEAVE = "leave a group on the channel layer"
#: What is raised when there is no server: a message that no layer takes is its sender's matter.
OUTAGES = {"ConnectionError", "TimeoutError", "OperationalError"}
#: What a wrong call raises, and a failing server does not.
# A TypeError is not among them: asyncio raises it for a write to a connection that has just died.
# Nor is a ValueError: serializers raise it for a message that they cannot read.
WRONG_CALLS = (AssertionError, RuntimeError, NotImplementedError)


class RememberingLayer:
    """Passes everything on to another layer, and remembers who is in which group.

    Args:
        layer: The other layer.
        alias: The layer's name in CHANNEL_LAYERS.

    Attributes:
        inner: The other layer.
        alias: The layer's name in CHANNEL_LAYERS; logs name it.
    """

    def __init__(self, layer: Any, alias: str = "") -> None:
        self.inner = layer
        self.alias = alias
        # What joins and leaves: the layer's own methods, also where others stand in their place.
        self._own = layer
        self._groups: dict[str, set[str]] = {}
        # Pairs of group and channel that a rejoin could not see to.
        self._unsettled: set[tuple[str, str]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, and remember it.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises.
        """
        await self._own.group_add(group, channel)
        self._groups.setdefault(channel, set()).add(group)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, and forget it.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises.
        """
        groups = self._groups.get(channel)
        if groups is not None:
            groups.discard(group)
            if not groups:
                del self._groups[channel]
        await self._own.group_discard(group, channel)

    def adopt(self) -> None:
        """Remember what is joined with the other layer directly, too.

        Modules take that layer when they are imported. Only for processes that are workers: the
        layer is the project's.

        Raises:
            AttributeError: Its methods cannot be replaced.
        """
        if self._own is self.inner:
            self._own = SimpleNamespace(
                group_add=self.inner.group_add, group_discard=self.inner.group_discard
            )
            self.inner.group_add = self.group_add
            self.inner.group_discard = self.group_discard

    def forget(self, channel: str) -> None:
        """Forget a channel: nobody listens on it any more."""
        self._groups.pop(channel, None)

    async def rejoin(self, only: Container[str] | None = None) -> None:
        """Add all channels to their groups anew: the layer may have forgotten them.

        Args:
            only: The groups that are joined again; None for all.

        Raises:
            Exception: Whatever the layer raises.
        """
        members = ((group, channel) for channel, groups in self._groups.items() for group in groups)
        pairs = sorted(
            (group, channel)
            for group, channel in self._unsettled.union(members)
            if only is None or group in only
        )
        for start in range(0, len(pairs), JOINED_TOGETHER):
            together = pairs[start : start + JOINED_TOGETHER]
            await asyncio.gather(*(self._rejoin(group, channel) for group, channel in together))

    async def _rejoin(self, group: str, channel: str) -> None:
        self._unsettled.add((group, channel))
        if group in self._groups.get(channel, ()):
            await self._own.group_add(group, channel)
        if group not in self._groups.get(channel, ()):
            # It was left while the call was on its way, and the leave may have come first.
            await self._own.group_discard(group, channel)
        self._unsettled.discard((group, channel))

    async def settle(self) -> None:
        """Leave the groups that a rejoin which was cut off may have joined for nobody.

        Raises:
            Exception: Whatever the layer raises.
        """
        for group, channel in sorted(self._unsettled):
            if group not in self._groups.get(channel, ()):
                await self._own.group_discard(group, channel)
            self._unsettled.discard((group, channel))


class SteadfastLayer:
    """Makes each call again while the layer behind it fails.

    Args:
        layer: The layer that may fail.
        alias: The layer's name in CHANNEL_LAYERS.
        rejoins: Whether it joins groups again by itself, after receive() has failed. On a layer
            that has a node, the node does.

    Attributes:
        unsteady: That layer with a memory for groups, for who would rather hear of a failure.
    """

    def __init__(self, layer: Any, alias: str = "", *, rejoins: bool = False) -> None:
        self.unsteady = RememberingLayer(layer, alias)
        self._rejoins = rejoins
        self._rejoining: asyncio.Task[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unsteady, name)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel, however long the layer fails.

        Args:
            channel: The channel.

        Returns:
            The message.

        Raises:
            Exception: The call is wrong.
        """
        try:
            return await receive(self.unsteady, channel, self._failed, _may_be_outage)
        except asyncio.CancelledError:
            # Nobody listens any more: the channel's memberships go with it.
            self.unsteady.forget(channel)
            raise

    def _failed(self) -> None:
        if self._rejoins and (self._rejoining is None or self._rejoining.done()):
            calls = persist(REJOIN, self.unsteady.rejoin, _may_be_outage, alias=self.unsteady.alias)
            self._rejoining = asyncio.ensure_future(calls)

    async def new_channel(self, *args: Any) -> str:
        """Return a new channel, however long the layer fails: a consumer begins with this.

        Raises:
            Exception: The call is wrong.
        """
        channel: str = await persist(
            NEW_CHANNEL,
            lambda: self.unsteady.new_channel(*args),
            _may_be_outage,
            alias=self.unsteady.alias,
        )
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel, however long no server can be reached.

        Args:
            channel: The channel.
            message: The message.

        Raises:
            Exception: Whatever the layer raises but for a lost connection.
        """
        await self._persist(SEND, lambda: self.unsteady.send(channel, message), channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group, however long no server can be reached.

        Args:
            group: The group.
            message: The message.

        Raises:
            Exception: Whatever the layer raises but for a lost connection.
        """
        await self._persist(SEND, lambda: self.unsteady.group_send(group, message), group)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, however long no server can be reached.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises but for a lost connection.
        """
        await self._persist(JOIN, lambda: self.unsteady.group_add(group, channel), group)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, however long no server can be reached.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises but for a lost connection.
        """
        await self._persist(LEAVE, lambda: self.unsteady.group_discard(group, channel), group)

    async def _persist(self, action: str, call: Callable[[], Awaitable[None]], target: str) -> None:
        await persist(action, call, _is_outage, alias=self.unsteady.alias, target=target)


def _may_be_outage(error: Exception) -> bool:
    return not isinstance(error, WRONG_CALLS)


def _is_outage(error: Exception) -> bool:
    # By name: those of redis-py and psycopg are not Python's own, and this package needs neither.
    return any(cls.__name__ in OUTAGES for cls in type(error).__mro__)


def steadfast_layer(alias: str, layer: Any, *, rejoins: bool = False) -> Any:
    """Return a steadfast layer in front of a project's layer, which is left as it is.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The layer, or None.
        rejoins: Whether it joins groups again by itself: where it has no node that does.

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
    """Return the layer behind a steadfast one, whose calls fail where they fail.

    Args:
        layer: A layer, steadfast or not.
    """
    return getattr(layer, "unsteady", layer)


def inner_of(layer: Any) -> Any:
    """Return the layer that a project has configured, behind those that are put before it.

    Args:
        layer: A layer, steadfast or not.
    """
    layer = unsteady(layer)
    return layer.inner if isinstance(layer, RememberingLayer) else layer
