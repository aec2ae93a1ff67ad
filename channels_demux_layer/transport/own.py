"""The channel layer object that belongs to one node, and how the node notices that it is deaf.

The object is made from the project's configuration. So what the node receives never waits behind
what a consumer of its process receives, and the node can replace its own connections only.

A connection can be lost without a sign: a proxy forgets it, a machine loses power, a master becomes
a replica and keeps its clients. Then no call raises and no message arrives. So a node that has
heard nothing for a while sends probes to its own channel (L7.8). If none arrives, the node is deaf.
It then claims no opens, takes no silent peer for dead, and makes a layer object with new
connections. Of a layer that cannot be replaced so, it calls receive() again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from channels.layers import InMemoryChannelLayer, channel_layers
from django.utils.module_loading import import_string

from channels_demux_layer.logs import layer_faults
from channels_demux_layer.protocol.report import PROBE

from .calls import Publish
from .typed import TypedLayer

__all__ = ["Hearing", "OwnLayer", "close_layer", "maker_of"]

#: The pub/sub layer of channels_redis. Its flush() deletes nothing on a server and closes all
#: connections. The flush() of other layers deletes what is there.
PUBSUB = ("channels_redis.pubsub", "RedisPubSubChannelLayer")
#: How long a replaced object may take to close, in seconds, since its connections may hang.
CLOSE_LIMIT = 5.0
#: The time limit of calls, as a part of PEER_TIMEOUT.
LIMIT = 1 / 3
#: The shortest time limit of calls, in seconds.
MIN_LIMIT = 1.0

#: The number of ticks in PEER_TIMEOUT.
TICKS = 12
#: After this many silent ticks the node sends probes. Heartbeats of a link come after a quarter of
#: PEER_TIMEOUT, so a node with links sends none.
PROBE_AFTER = 4
#: After this many silent ticks a probe is overdue. From then on no peer counts as dead: a peer may
#: have been silent before the node went deaf, so its PEER_TIMEOUT can end first.
OVERDUE_AFTER = PROBE_AFTER + 1
#: After this many silent ticks the node is deaf.
DEAF_AFTER = 10
#: How many ticks the node waits for a probe after a call that timed out.
DOUBT = 3
#: How many ticks new connections have before they are replaced as well.
RENEW_AFTER = 6
HEAR = "receive this process's own messages on the channel layer"


class OwnLayer:
    """The layer object through which one node reaches its channel layer.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The project's object.
        peer_timeout: How long a peer may be silent, in seconds.

    Attributes:
        alias: The layer's name in CHANNEL_LAYERS.
        typed: Makes the calls.
        is_own: Whether the object is the node's own. A layer kept in this process is shared.
        can_renew: Whether another object can take the place of this one.
    """

    def __init__(self, alias: str, layer: Any, peer_timeout: float) -> None:
        self.alias = alias
        self._make = maker_of(alias, layer)
        self._closing: set[asyncio.Task[None]] = set()
        self._listeners: set[asyncio.Future[Any]] = set()
        self.typed = TypedLayer(
            layer if self._make is None else self._make(),
            alias,
            max(peer_timeout * LIMIT, MIN_LIMIT),
        )
        self.is_own = self._make is not None
        inner = self.typed.inner
        # Without a prefix to take over, another object could not receive on this one's channels.
        self.can_renew = self.is_own and (_is_pubsub(inner) or hasattr(inner, "client_prefix"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.typed, name)

    def shorten_calls(self, peer_timeout: float) -> None:
        """Have calls end in time for a peer whose PEER_TIMEOUT is shorter (L3.7).

        Args:
            peer_timeout: The peer's, in seconds. A call that hangs must leave time for heartbeats.
        """
        self.typed.limit = max(min(self.typed.limit, peer_timeout * LIMIT), MIN_LIMIT)

    def renew(self) -> None:
        """Call receive() again, on another layer object with new connections if there can be one.

        The groups have to be joined again.
        """
        if self.can_renew:
            self._replace()
        for receiving in self._listeners:
            receiving.cancel()

    def _replace(self) -> None:
        assert self._make is not None
        old, new = self.typed.inner, self._make()
        if not _is_pubsub(old):
            # A layer receives only on channels with its own prefix.
            new.client_prefix = old.client_prefix
        self.typed.inner = new
        closing = asyncio.ensure_future(_close(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, even if the layer object is replaced meanwhile.

        Args:
            channel: The channel.

        Returns:
            The message.

        Raises:
            Unreadable: There was a message that the layer cannot read.
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

    async def close(self, limit: float = CLOSE_LIMIT) -> None:
        """Close the connections, unless others use them as well.

        Args:
            limit: How long that may take, in seconds.
        """
        if self.is_own:
            await _close(self.typed.inner, limit)
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


def maker_of(alias: str, layer: Any) -> Callable[[], Any] | None:
    """Return a function that makes another object of a project's channel layer.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        layer: The project's own object.

    Returns:
        None if another object would reach somebody else. That is so for a layer that is kept in
        this process (in memory, or its class has ``in_process = True``), and for an object that
        replaces the configured one, as in tests.
    """
    if isinstance(layer, InMemoryChannelLayer) or getattr(type(layer), "in_process", False):
        return None
    entry = channel_layers.configs.get(alias)
    if entry is None or type(layer) is not import_string(entry["BACKEND"]):
        return None
    return lambda: channel_layers.make_backend(alias)


def close_layer(layer: Any) -> Callable[[], Awaitable[None]] | None:
    """Return the method that closes a layer's connections and deletes nothing; None without one.

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


async def _close(layer: Any, limit: float = CLOSE_LIMIT) -> None:
    close = close_layer(layer)
    if close is not None:
        # The connections are not needed any more, whatever it raises about them.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(close(), limit)


class Hearer(Protocol):
    """What Hearing needs of a node."""

    channel: str
    alias: str
    #: When the node last heard anything on its channel.
    heard_at: float
    #: Sends a message to a group, or to a channel if there is no group.
    publish: Publish

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""


class Hearing:
    """Finds out whether a node hears what it sends to itself.

    Time is counted in ticks, so a node is not deaf after its event loop was blocked.

    Args:
        node: The node.
        peer_timeout: How long a peer may be silent, in seconds.
        renew: Starts to receive again, over new connections if possible.
        recovered: Called when the node hears itself again.

    Attributes:
        is_deaf: Whether the node does not hear itself.
    """

    def __init__(
        self,
        node: Hearer,
        peer_timeout: float,
        renew: Callable[[], None],
        recovered: Callable[[], None],
    ) -> None:
        self._node = node
        self._tick = peer_timeout / TICKS
        self._renew = renew
        self._recovered = recovered
        self.is_deaf = False
        self._silent = 0
        self._heard_at = node.heard_at
        #: Whether only a probe proves that the node hears. Messages of others may come over another
        #: connection than the one that failed.
        self._is_in_doubt = False
        self._ref = uuid.uuid4().hex
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether the node is deaf, or a probe has not arrived that should have."""
        return self.is_deaf or self._silent >= OVERDUE_AFTER

    async def run(self) -> None:
        """Watch what the node hears, as long as the node runs."""
        while True:
            await asyncio.sleep(self._tick)
            if self._node.heard_at > self._heard_at and not self._is_in_doubt:
                self._heard_at = self._node.heard_at
                self._silent = 0
                continue
            self._silent += 1
            if self._silent >= PROBE_AFTER:
                self._probe()
            if self._silent >= DEAF_AFTER:
                self._be_deaf()

    def doubt(self) -> None:
        """Require a probe to arrive soon, since a call timed out."""
        self._is_in_doubt = True
        self._silent = max(self._silent, DEAF_AFTER - DOUBT)

    def probed(self, ref: object) -> None:
        """Note a probe that has arrived."""
        if ref != self._ref:
            return
        self._ref = uuid.uuid4().hex  # A copy that comes late proves nothing about later.
        self._is_in_doubt = False
        self._silent = 0
        if self.is_deaf:
            self.is_deaf = False
            layer_faults.worked(HEAR, alias=self._node.alias)
            self._recovered()

    def _probe(self) -> None:
        if self._probing is None or self._probing.done():
            self._probing = self._node.start_task(self._send_probe())

    async def _send_probe(self) -> None:
        message = {"type": PROBE, "ref": self._ref}
        await self._node.publish(None, self._node.channel, message)

    def _be_deaf(self) -> None:
        silence = self._silent * self._tick
        reason = f"nothing arrived for {silence:.1f} s, so it starts to receive again"
        layer_faults.failed(HEAR, reason, alias=self._node.alias)
        self.is_deaf = self._is_in_doubt = True
        self._silent = DEAF_AFTER - RENEW_AFTER
        self._ref = uuid.uuid4().hex
        self._renew()
