"""The channel layer that all simulated processes share, in memory: with either layer's ways.

Without faults of its own, save that it is full at its capacity: `LossyLayer` is put around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from typing import Any

from channels.exceptions import ChannelFull

from tests.odd_layer import OddLayer

from .process import current, leave_loop

Message = dict[str, Any]


class Mailbox:
    """What waits for one receiver, or for whoever of several comes first."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.receivers: deque[asyncio.Future[None]] = deque()

    def put(self, message: Message) -> None:
        """Add a message, and wake one receiver."""
        self.messages.append(message)
        self.wake()

    def wake(self) -> None:
        """Wake one receiver."""
        while self.receivers:
            receiver = self.receivers.popleft()
            if not receiver.done():
                receiver.set_result(None)
                return


class SharedLayer:
    """The layer.

    Args:
        rng: Where chance comes from.
        capacity: The most messages that wait on one channel.
        latency: How long a call takes at most, in seconds.
        is_pubsub: Whether a message on a stream's channel goes to all who listen there just
            then, as with Redis pub/sub, or waits for one of them, as with Redis lists.

    Attributes:
        is_pubsub: The same.
    """

    extensions = ("groups", "flush")
    group_expiry = 86_400

    def __init__(
        self, rng: random.Random, capacity: int, latency: float, *, is_pubsub: bool
    ) -> None:
        self.groups: dict[str, dict[str, None]] = {}
        self.full: Counter[str] = Counter()
        #: When a message found its channel full, by the name of the process that sent it.
        self.overflows: dict[str, list[float]] = {}
        self.sent = 0
        self._rng = rng
        self._capacity = capacity
        self._latency = latency
        self.is_pubsub = is_pubsub
        self._mailboxes: dict[str, Mailbox] = {}
        self._subscribers: dict[str, dict[str, Mailbox]] = {}
        self._channels = 0

    async def _take_time(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._latency) if self._latency else 0)

    async def new_channel(self, prefix: str) -> str:
        """Return a new channel, whose name begins with a prefix."""
        self._channels += 1
        return f"{prefix}!{self._channels}"

    async def send(self, channel: str, message: Message) -> None:
        """Put a message on a channel."""
        await self._take_time()
        self._put(channel, message)

    def _put(self, channel: str, message: Message) -> None:
        self.sent += 1
        if "!" in channel or not self.is_pubsub:
            mailbox = self._mailboxes.setdefault(channel, Mailbox())
            if len(mailbox.messages) >= self._capacity:
                self.full["overflowed"] += 1
                now = asyncio.get_running_loop().time()
                self.overflows.setdefault(current().name, []).append(now)
                raise ChannelFull(channel)
            mailbox.put(dict(message))
        else:
            for mailbox in self._subscribers.get(channel, {}).values():
                mailbox.put(dict(message))

    async def group_send(self, group: str, message: Message) -> None:
        """Put a message on all channels of a group; one that is full loses it."""
        await self._take_time()
        for channel in list(self.groups.get(group, ())):
            with contextlib.suppress(ChannelFull):
                self._put(channel, message)

    async def receive(self, channel: str) -> Message:
        """Return the next message of a channel."""
        if "!" in channel or not self.is_pubsub:
            mailbox = self._mailboxes.setdefault(channel, Mailbox())
        else:
            subscribers = self._subscribers.setdefault(channel, {})
            mailbox = subscribers.setdefault(current().name, Mailbox())
        while not mailbox.messages:
            receiver = asyncio.get_running_loop().create_future()
            mailbox.receivers.append(receiver)
            try:
                await receiver
            except asyncio.CancelledError:
                if receiver.done() and not receiver.cancelled():
                    mailbox.wake()
                raise
        return mailbox.messages.popleft()

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group."""
        await self._take_time()
        self.groups.setdefault(group, {})[channel] = None

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group."""
        await self._take_time()
        members = self.groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self.groups.pop(group, None)

    async def flush(self) -> None:
        """Forget everything."""
        self.groups.clear()
        self._mailboxes.clear()
        self._subscribers.clear()

    def unsubscribe(self, name: str) -> None:
        """Forget who has ended: its subscriptions end with its connection."""
        for subscribers in self._subscribers.values():
            subscribers.pop(name, None)


class LossyLayer(OddLayer):
    """An odd layer that notes whose messages were lost, and when."""

    def __init__(self, layer: SharedLayer, **faults: Any) -> None:
        super().__init__(layer, **faults)
        #: When messages were lost, by the name of the process that sent them.
        self.losses: dict[str, list[float]] = {}
        #: When all messages were lost that were on their way.
        self.flushes: list[float] = []
        #: When no call worked: from and to.
        self.outages: list[tuple[float, float]] = []

    def _happens(self, chance: float, fault: str) -> bool:
        happens = super()._happens(chance, fault)
        if happens and fault in ("dropped", "failed"):
            self._note_loss()
        return happens

    def _note_loss(self) -> None:
        now = asyncio.get_running_loop().time()
        self.losses.setdefault(current().name, []).append(now)

    async def _hang(self) -> None:
        # A link sends nothing else until the time limit of the call, a third of PEER_TIMEOUT: a
        # heartbeat more is missing.
        self._note_loss()
        await super()._hang()

    async def _deliver_at(self, *arguments: Any) -> None:
        leave_loop()  # What is on its way arrives, whatever its sender does.
        await super()._deliver_at(*arguments)

    async def _flush(self) -> None:
        self.flushes.append(asyncio.get_running_loop().time())
        await super()._flush()
