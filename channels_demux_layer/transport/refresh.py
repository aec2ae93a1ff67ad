"""When a node's groups, and those of its process's consumers, are joined again (L3.11).

A channel layer forgets who is in a group when its server is flushed or replaced, or when members
expire. Nobody is told. What shows is a batch that comes again, straight to the channel: it did not
arrive by its group. Mostly it was only lost. So that group is joined again, and a probe is sent to
another one: only if no probe arrives, the layer has forgotten more, and all groups are joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from channels_demux_layer.protocol.report import NODES, PROBE

from .calls import persist
from .groups import Memberships
from .own import OwnLayer
from .steadfast import REJOIN

__all__ = ["GroupRefresh"]

#: How long nothing is joined again after something was, in seconds.
PAUSE = 5.0
#: How long no probe is sent after one was lost by a group that had just been joined, in seconds: on
#: a layer that loses so much, a probe tells nothing.
LONG_PAUSE = 60.0
#: How many groups are joined again at a time for which batches came again.
MOST_SUSPECTS = 20
#: How many probes are sent, and how long each is waited for, in seconds.
PROBES = 3
PROBE_TIME = 0.5
#: How long a layer that does not say remembers the members of a group, in seconds.
GROUP_EXPIRY = 86_400

Publish = Callable[[str | None, str, dict[str, Any]], Awaitable[bool]]


class GroupRefresh:
    """Joins groups again that the channel layer may have forgotten.

    Args:
        layer: The channel layer, which remembers who is in which group.
        groups: The groups that the node is in.
        publish: Publishes a message to a group.
    """

    def __init__(self, layer: OwnLayer, groups: Memberships, publish: Publish) -> None:
        self._layer = layer
        self._groups = groups
        self._publish = publish
        self._now = asyncio.get_running_loop().time
        self._wanted = asyncio.Event()
        self._is_all_wanted = False
        self._suspects: set[str] = set()
        self._lossy_until = -math.inf
        self._ref = ""
        self._arrived = asyncio.Event()

    def reconnected(self) -> None:
        """Have all groups joined again: the layer failed, and works again."""
        self._is_all_wanted = True
        self._wanted.set()

    def suspect(self, group: str | None) -> None:
        """Have a group joined again, for which a batch was sent again.

        Args:
            group: The group. Empty where the batch went to the channel at first, too; None where
                the sender does not tell it, as earlier releases do not: then it may be any.
        """
        if group is None:
            self.reconnected()
        elif self._groups.has_joined(group) and len(self._suspects) < MOST_SUSPECTS:
            self._suspects.add(group)
            self._wanted.set()

    def probed(self, ref: object) -> None:
        """Note a probe that has arrived."""
        if ref == self._ref:
            self._arrived.set()

    async def run(self) -> None:
        """Join groups again, now and then and when it is wanted."""
        # A quarter of the time after which channels_redis forgets members.
        # 0 says, on some layers, that it never does.
        interval = (self._layer.group_expiry or GROUP_EXPIRY) / 4
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), interval)
            suspects, self._suspects = self._suspects, set()
            # Clear both flags first: a failure during the rejoin must cause another one.
            is_all_wanted, self._is_all_wanted = self._is_all_wanted or not suspects, False
            self._wanted.clear()
            if is_all_wanted:
                await self._rejoin(None)
            else:
                await self._examine(suspects)
            await asyncio.sleep(PAUSE)

    async def _rejoin(self, only: set[str] | None) -> None:
        rejoin = self._layer.rejoin
        await persist(REJOIN, lambda: rejoin(only), alias=self._layer.alias)

    async def _examine(self, suspects: set[str]) -> None:
        await self._rejoin(suspects)
        if self._now() < self._lossy_until:
            return
        # One whose only member this node is, if there is one: a probe for all nodes is dearer.
        witness = self._groups.another({NODES, *suspects}) or NODES
        if not await self._is_member(witness):
            await self._rejoin(None)
            if not await self._is_member(witness):
                self._lossy_until = self._now() + LONG_PAUSE

    async def _is_member(self, group: str) -> bool:
        self._ref = uuid.uuid4().hex
        self._arrived.clear()
        for _ in range(PROBES):
            if not await self._publish(group, "", {"type": PROBE, "ref": self._ref}):
                return True  # The layer fails: all is joined again when it works.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), PROBE_TIME)
            if self._arrived.is_set():
                return True
        return False
