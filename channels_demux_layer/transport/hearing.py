"""Finds out whether a node hears what it sends itself; replaces its connections if it does not.

A connection can be lost without a word: a proxy forgets it, a machine loses power, a master becomes
a replica and keeps its clients. Nothing raises then, and nothing arrives. So a node that has heard
nothing for a while sends probes to its own channel (L7.8). It is deaf when none arrives: it claims
no opens, takes no silent peer for dead, and makes a layer object with new connections.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from channels_demux_layer.logs import layer_faults
from channels_demux_layer.protocol.report import PROBE

__all__ = ["Hearing"]

#: How many ticks there are in PEER_TIMEOUT.
TICKS = 12
#: After how many silent ticks probes are sent: later than the heartbeats of a link, which come
#: after a quarter of PEER_TIMEOUT, and so not at all where there is a link.
PROBE_AFTER = 4
#: After how many silent ticks a probe is overdue. From then on peers are not taken for dead: a peer
#: may have been silent before the node went deaf, so its PEER_TIMEOUT can end first.
OVERDUE_AFTER = PROBE_AFTER + 1
#: After how many silent ticks the node is deaf.
DEAF_AFTER = 10
#: How many ticks a node waits for a probe after a call that did not end in time.
DOUBT = 3
#: How many ticks new connections have before they are replaced, too.
RENEW_AFTER = 6
HEAR = "receive this process's own messages on the channel layer"


class Hearer(Protocol):
    """What this needs of a node."""

    channel: str
    #: When anything was heard on the channel.
    heard_at: float
    alias: str

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Send a message to a group, or to a channel where there is none."""


class Hearing:
    """Watches over what one node hears.

    Time is counted in ticks, so a node is not deaf after its event loop stood still.

    Args:
        node: The node.
        peer_timeout: How long a peer may be silent, in seconds.
        renew: Replaces the node's connections.
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
        #: Whether only a probe tells that all is well: others are heard over another connection
        #: than the one that failed.
        self._is_in_doubt = False
        self._ref = uuid.uuid4().hex
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether the node is deaf, or a probe has not arrived that should have."""
        return self.is_deaf or self._silent >= OVERDUE_AFTER

    async def run(self) -> None:
        """Watch, for as long as the node runs."""
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
        """Have the node prove soon that it hears itself: a call did not end in time."""
        self._is_in_doubt = True
        self._silent = max(self._silent, DEAF_AFTER - DOUBT)

    def probed(self, ref: object) -> None:
        """Note a probe that has arrived."""
        if ref != self._ref:
            return
        self._ref = uuid.uuid4().hex  # One that comes late tells nothing about later.
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
        reason = f"nothing arrived for {silence:.1f} s, so its connections are replaced"
        layer_faults.failed(HEAR, reason, alias=self._node.alias)
        self.is_deaf = self._is_in_doubt = True
        self._silent = DEAF_AFTER - RENEW_AFTER
        self._ref = uuid.uuid4().hex
        self._renew()
