"""Which channels are in which groups of the channel layer, and when they join again (L3.11).

A channel layer forgets the members of its groups when its server is flushed or replaced, or when
members expire. It tells nobody. The only sign is a batch that a peer sends again, straight to the
channel, because the first copy did not arrive by the group. Mostly only that batch was lost. So the
node joins that group again and sends a probe to another of its groups. If no probe arrives, the
layer has forgotten more, and the process joins all its groups again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Container
from functools import partial
from typing import Any

from channels_demux_layer.logs import layer_faults
from channels_demux_layer.protocol.report import NODES, PROBE

from .background import StandingTask, Starter
from .calls import Publish, persist

__all__ = ["JOIN", "LEAVE", "REJOIN", "GroupChores", "Memberships", "NodeGroups"]

JOIN = "join a group on the channel layer"
LEAVE = "leave a group on the channel layer"
REJOIN = "rejoin the groups on the channel layer"
#: How many groups the node joins or leaves at once. These calls have a bound of their own: if those
#: to one of several servers hang, they must not hold up what is published to the others.
MAX_CALLS = 30
#: How many groups are joined and left in the background at a time. When a peer dies, there are as
#: many to leave as it had sessions, and the payloads of others must not wait for that.
MAX_CHORES = 10
#: How many groups a rejoin joins at once. Payloads go first.
JOINED_TOGETHER = 10
#: The shortest time between two rejoins, in seconds.
PAUSE = 5.0
#: How long no probe is sent after one was lost in a group that had just been joined, in seconds. On
#: a layer that loses so much, a lost probe proves nothing.
LONG_PAUSE = 60.0
#: How many suspected groups are joined again at a time.
MOST_SUSPECTS = 20
#: How many probes are sent, and how long each may take, in seconds.
PROBES = 3
PROBE_TIME = 0.5
#: How long a layer that does not say so remembers the members of a group, in seconds.
GROUP_EXPIRY = 86_400


class Memberships:
    """The groups that channels of this process have joined through one layer object.

    Args:
        layer: The layer object. Joins and leaves go through it.
        alias: The layer's name in CHANNEL_LAYERS.

    Attributes:
        alias: The layer's name in CHANNEL_LAYERS, for logs.
    """

    def __init__(self, layer: Any, alias: str = "") -> None:
        self.alias = alias
        self._layer = layer
        #: The groups of each channel.
        self._groups: dict[str, set[str]] = {}
        #: Pairs of group and channel whose rejoin failed, so that the layer's state is not known.
        self._unsettled: set[tuple[str, str]] = set()

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, and remember it.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            Exception: Whatever the layer raises.
        """
        await self._layer.group_add(group, channel)
        self._groups.setdefault(channel, set()).add(group)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, and forget that it was in it.

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
        await self._layer.group_discard(group, channel)

    def forget(self, channel: str) -> None:
        """Forget a channel that nobody receives from any more."""
        self._groups.pop(channel, None)

    async def rejoin(self, only: Container[str] | None = None) -> None:
        """Add all channels to their groups again.

        Args:
            only: The groups to join again; None for all.

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
            await self._layer.group_add(group, channel)
        await self._settle_pair(group, channel)

    async def _settle_pair(self, group: str, channel: str) -> None:
        if group not in self._groups.get(channel, ()):
            # The channel left the group during the call, and the leave may have come first.
            await self._layer.group_discard(group, channel)
        self._unsettled.discard((group, channel))

    async def leave_unsettled(self) -> None:
        """Leave the groups that an interrupted rejoin may have joined although they were left.

        Raises:
            Exception: Whatever the layer raises.
        """
        for group, channel in sorted(self._unsettled):
            await self._settle_pair(group, channel)


class NodeGroups(Memberships):
    """The groups of a node's channel, and when all groups of its process are joined again.

    A stream that closes and opens again may join its group while the leave is still under way over
    another connection. So joins are counted, and calls about one group take turns.

    Args:
        layer: The node's layer object.
        publish: Publishes a message to a group.
        alias: The layer's name in CHANNEL_LAYERS.

    Attributes:
        channel: The node's channel.
        memories: The memberships of the process's consumers. They are joined again with the node's.
    """

    def __init__(self, layer: Any, publish: Publish, alias: str = "") -> None:
        super().__init__(layer, alias)
        self.channel = ""
        self._publish = publish
        self.memories: list[Memberships] = []
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._wanted: dict[str, int] = {}
        #: The groups joined, and those for which a call failed, so that the layer may have us.
        self._touched: set[str] = set()
        self._turns: dict[str, _Turn] = {}
        self._is_due = asyncio.Event()
        self._is_all_due = False
        self._suspects: set[str] = set()
        self._lossy_until = -math.inf
        self._ref = ""
        self._arrived = asyncio.Event()

    def has_joined(self, group: str) -> bool:
        """Tell whether the layer has put the node into a group."""
        return group in self._groups.get(self.channel, ())

    async def join(self, group: str) -> None:
        """Join a group, or count one more reason to be in it.

        Args:
            group: The group's name.

        Raises:
            Exception: Whatever the channel layer raises. The join does not count then.
        """
        self._wanted[group] = self._wanted.get(group, 0) + 1
        try:
            await self.settle(group)
        except BaseException as error:
            if isinstance(error, Exception):
                layer_faults.failed(JOIN, error, alias=self.alias, target=group)
            # The layer may have carried out a call that failed.
            with contextlib.suppress(Exception):
                await self.leave(group)
            raise
        layer_faults.worked(JOIN, alias=self.alias, target=group)

    async def leave(self, group: str) -> None:
        """Undo one join, and leave the group with the last one.

        Args:
            group: The group's name.

        Raises:
            Exception: Whatever the channel layer raises.
        """
        self.unwant(group)
        await self.settle(group)

    def unwant(self, group: str) -> None:
        """Undo one join. settle() then leaves the group if that was the last one."""
        count = self._wanted.pop(group, 1) - 1
        if count:
            self._wanted[group] = count

    async def settle(self, group: str) -> None:
        """Join or leave a group, as is wanted by now.

        Raises:
            Exception: Whatever the channel layer raises.
        """
        turn = self._turns.setdefault(group, _Turn())
        turn.users += 1
        try:
            async with turn.lock, self._slots:
                if group in self._wanted:
                    if not self.has_joined(group):
                        self._touched.add(group)
                        await self.group_add(group, self.channel)
                elif group in self._touched:
                    await self.group_discard(group, self.channel)
                    self._touched.discard(group)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[group]

    async def expel(self, group: str, channel: str) -> None:
        """Remove the channel of a dead node from a group.

        Raises:
            Exception: Whatever the channel layer raises.
        """
        async with self._slots:
            await self._layer.group_discard(group, channel)

    async def leave_all(self, timeout: float) -> None:
        """Leave all groups, whatever the number of joins, as far as the layer works.

        Args:
            timeout: How long that may take, in seconds.
        """
        self._wanted.clear()
        calls: list[Callable[[], Awaitable[None]]] = [
            *(partial(self.settle, group) for group in self._touched),
            *(memory.leave_unsettled for memory in (self, *self.memories)),
        ]
        leaves = [asyncio.ensure_future(persist(LEAVE, call, alias=self.alias)) for call in calls]
        _, late = await asyncio.wait(leaves, timeout=timeout)
        for leave in late:
            leave.cancel()
        await asyncio.gather(*leaves, return_exceptions=True)

    # -- joining again ------------------------------------------------------------------------

    def reconnected(self) -> None:
        """Have all groups joined again, since the layer failed and works again."""
        self._is_all_due = True
        self._is_due.set()

    def suspect(self, group: str | None) -> None:
        """Have a group joined again, since a peer has sent a batch again.

        Args:
            group: The group that the first copy went to. Empty if it went to the channel. None if
                the peer does not say, as earlier releases do not: then it may be any group.
        """
        if group is None:
            self.reconnected()
        elif self.has_joined(group) and len(self._suspects) < MOST_SUSPECTS:
            self._suspects.add(group)
            self._is_due.set()

    def probed(self, ref: object) -> None:
        """Note a probe that has arrived."""
        if ref == self._ref:
            self._arrived.set()

    async def run(self) -> None:
        """Join groups again, regularly and when it is due."""
        # A quarter of the time after which channels_redis forgets members.
        # On some layers, 0 means that members never expire.
        interval = (getattr(self._layer, "group_expiry", 0) or GROUP_EXPIRY) / 4
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_due.wait(), interval)
            suspects, self._suspects = self._suspects, set()
            # Clear both flags first: a failure during the rejoin must cause another one.
            is_all_due, self._is_all_due = self._is_all_due or not suspects, False
            self._is_due.clear()
            if is_all_due:
                await self._rejoin_process(None)
            else:
                await self._examine(suspects)
            await asyncio.sleep(PAUSE)

    async def _rejoin_process(self, only: set[str] | None) -> None:
        for memory in (self, *self.memories):
            await persist(REJOIN, partial(memory.rejoin, only), alias=self.alias)

    async def _examine(self, suspects: set[str]) -> None:
        await self._rejoin_process(suspects)
        now = asyncio.get_running_loop().time
        if now() < self._lossy_until:
            return
        # The first by name, since sets have no order. A group of all nodes costs them all a probe.
        others = self._groups.get(self.channel, set()) - suspects - {NODES}
        witness = min(others, default=NODES)
        if not await self._is_member(witness):
            await self._rejoin_process(None)
            if not await self._is_member(witness):
                self._lossy_until = now() + LONG_PAUSE

    async def _is_member(self, group: str) -> bool:
        self._ref = uuid.uuid4().hex
        self._arrived.clear()
        for _ in range(PROBES):
            if not await self._publish(group, "", {"type": PROBE, "ref": self._ref}):
                return True  # The layer fails. All groups are joined again when it works.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), PROBE_TIME)
            if self._arrived.is_set():
                return True
        return False


class _Turn:
    """Calls about one group wait for their turn."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class GroupChores:
    """Joins and leaves groups in the background. Each call is repeated until the layer takes it.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.
        node: Starts tasks.
    """

    def __init__(self, alias: str, node: Starter) -> None:
        self._alias = alias
        self._task = StandingTask(node)
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._tasks = 0

    def run(self, action: str, group: str, call: Callable[[], Awaitable[None]]) -> None:
        """Make a call until it works.

        Args:
            action: What the call does, as it reads after "Cannot".
            group: The group that it is for.
            call: Makes the call.
        """
        self._waiting.append(partial(persist, action, call, alias=self._alias, target=group))
        if self._tasks < MAX_CHORES:
            self._tasks += 1
            self._task.run(self._work)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._waiting.popleft()()
        finally:
            self._tasks -= 1
