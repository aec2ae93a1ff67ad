"""A channel layer for tests that fails like real ones do, reproducibly from a seed.

It wraps another layer. It drops, repeats, delays and reorders messages, fails calls, and loses all
state from time to time, like a restarted Redis::

    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_demux_layer.testing.faulty.FaultyLayer",
            "CONFIG": {
                "layer": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
                "seed": 7,
                "drop": 0.05,
                "repeat": 0.05,
                "delay": (0.0, 0.02),
            },
        }
    }

Payloads of streams still arrive once and in order. Messages that your consumers send to their own
groups may be lost: a channel layer guarantees no more.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

from channels.exceptions import ChannelFull
from django.utils.module_loading import import_string

__all__ = ["FaultyLayer"]

T = TypeVar("T")
Message = dict[str, Any]

#: Extra delay of a reordered message, in seconds: minimum and maximum.
HELD_BACK = (0.01, 0.1)
#: Minimum time between two delayed messages, in seconds, so that they keep their order.
STEP = 1e-6


class FaultyLayer:
    """A channel layer that adds faults to another one.

    Probabilities are from 0 to 1. Calls in the same order meet the same faults with the same seed.

    Args:
        layer: The wrapped layer, or its entry in the form of CHANNEL_LAYERS.
        seed: The seed of all random choices.
        drop: The probability that a message is lost silently.
        repeat: The probability that a message arrives twice.
        delay: Minimum and maximum delay of a message, in seconds. Messages to one channel or one
            group keep their order.
        reorder: The probability that a message is delayed further, so that later ones overtake it.
        fail: The probability that a call raises ConnectionError, before or after its effect.
        restart: The probability that a call makes the layer go down, as `go_down()` does.
        downtime: How long the layer then stays down, in seconds.

    Attributes:
        faults: How often each fault occurred: "dropped", "repeated", "delayed", "reordered",
            "failed", "restarted", "forgot".
        is_down: Whether all calls raise ConnectionError.
    """

    #: Nodes share the object that the project has: another one would have faults of its own.
    in_process = True

    def __init__(
        self,
        layer: Any,
        *,
        seed: int = 0,
        drop: float = 0.0,
        repeat: float = 0.0,
        delay: tuple[float, float] = (0.0, 0.0),
        reorder: float = 0.0,
        fail: float = 0.0,
        restart: float = 0.0,
        downtime: float = 1.0,
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.is_down: bool = False
        self.drop: float = drop
        self.repeat: float = repeat
        self.delay: tuple[float, float] = delay
        self.reorder: float = reorder
        self.fail: float = fail
        self.restart: float = restart
        self.downtime: float = downtime
        self._layer = _make(layer) if isinstance(layer, dict) else layer
        self._random = random.Random(seed)
        self._arrivals: dict[str, float] = {}
        self._on_the_way: set[asyncio.Task[None]] = set()
        self._receivers: dict[asyncio.Future[Message | None], None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    # -- for tests ----------------------------------------------------------------------------

    async def go_down(self) -> None:
        """Lose all state. All calls raise ConnectionError, including waiting receive() calls."""
        self.faults["restarted"] += 1
        self.is_down = True
        self._interrupt(lambda: ConnectionError("The channel layer went down."))
        await self._flush()

    def come_back(self) -> None:
        """Work again."""
        self.is_down = False

    async def forget(self) -> None:
        """Lose all groups and messages, as after FLUSHALL in Redis, and keep working."""
        self.faults["forgot"] += 1
        await self._flush()
        self._interrupt(lambda: None)

    def heal(self) -> None:
        """Stop all faults."""
        self.drop = self.repeat = self.reorder = self.fail = self.restart = 0.0
        self.delay = (0.0, 0.0)
        self.come_back()

    async def _flush(self) -> None:
        for task in self._on_the_way:
            task.cancel()
        await self._layer.flush()

    def _interrupt(self, reason: Callable[[], Exception | None]) -> None:
        for receiver in self._receivers:
            error = reason()
            if receiver.done():
                continue
            if error is None:
                receiver.set_result(None)
            else:
                receiver.set_exception(error)

    # -- the channel layer --------------------------------------------------------------------

    async def new_channel(self, *prefix: str) -> str:
        """Return a new channel of this process.

        Args:
            *prefix: The beginning of the name; omit it for the layer's default.

        Returns:
            The name.

        Raises:
            ConnectionError: A fault.
        """
        name: str = await self._call(lambda: self._layer.new_channel(*prefix))
        return name

    async def send(self, channel: str, message: Message) -> None:
        """Send a message to a channel.

        Args:
            channel: The channel.
            message: The message.

        Raises:
            ChannelFull: The channel is full. A delayed message is lost silently instead.
            ConnectionError: A fault.
        """
        await self._call(lambda: self._carry(channel, message, self._layer.send))

    async def group_send(self, group: str, message: Message) -> None:
        """Send a message to a group.

        Args:
            group: The group.
            message: The message.

        Raises:
            ConnectionError: A fault.
        """
        await self._call(lambda: self._carry(group, message, self._layer.group_send))

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            ConnectionError: A fault.
        """
        await self._call(lambda: self._layer.group_add(group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group.

        Args:
            group: The group.
            channel: The channel.

        Raises:
            ConnectionError: A fault.
        """
        await self._call(lambda: self._layer.group_discard(group, channel))

    async def receive(self, channel: str) -> Message:
        """Return the next message of a channel.

        Args:
            channel: The channel.

        Returns:
            The message.

        Raises:
            ConnectionError: A fault.
        """
        while True:
            await self._may_go_down()
            if self._happens(self.fail, "failed"):
                raise ConnectionError("The channel layer failed.")
            message = await self._receive(channel)
            if message is not None:
                return message

    # -- faults -------------------------------------------------------------------------------

    def _happens(self, chance: float, fault: str) -> bool:
        happens = chance > 0 and self._random.random() < chance
        if happens:
            self.faults[fault] += 1
        return happens

    async def _may_go_down(self) -> None:
        if not self.is_down and self.restart and self._random.random() < self.restart:
            await self.go_down()
            asyncio.get_running_loop().call_later(self.downtime, self.come_back)
        if self.is_down:
            raise ConnectionError("The channel layer is down.")

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._may_go_down()
        fails = self._happens(self.fail, "failed")
        if fails and self._random.random() < 0.5:
            raise ConnectionError("The channel layer failed before it did what it should.")
        result = await call()
        if fails:
            raise ConnectionError("The channel layer failed after it had done what it should.")
        return result

    async def _carry(
        self, target: str, message: Message, deliver: Callable[[str, Message], Awaitable[None]]
    ) -> None:
        if self._happens(self.drop, "dropped"):
            return
        for _ in range(2 if self._happens(self.repeat, "repeated") else 1):
            arrives_at = self._arrival(target)
            if arrives_at is None:
                await deliver(target, message)
            else:
                parcel = deepcopy(message)
                task = asyncio.ensure_future(
                    self._deliver_at(arrives_at, target, partial(deliver, target, parcel))
                )
                self._on_the_way.add(task)
                task.add_done_callback(self._on_the_way.discard)

    def _arrival(self, target: str) -> float | None:
        """Return when a message should arrive; None for at once."""
        now = asyncio.get_running_loop().time()
        if self._happens(self.reorder, "reordered"):
            return now + self._random.uniform(*self.delay) + self._random.uniform(*HELD_BACK)
        after = self._arrivals.get(target)
        if not self.delay[1] and after is None:
            return None
        self.faults["delayed"] += 1
        arrives_at = now + self._random.uniform(*self.delay)
        if after is not None:
            arrives_at = max(arrives_at, after + STEP)
        self._arrivals[target] = arrives_at
        return arrives_at

    async def _deliver_at(
        self, when: float, target: str, deliver: Callable[[], Awaitable[None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        timer = loop.call_at(when, arrived.set_result, None)
        try:
            await arrived
        finally:
            timer.cancel()
            if self._arrivals.get(target) == when:
                del self._arrivals[target]
        try:
            await deliver()
        except ChannelFull:
            self.faults["dropped"] += 1

    async def _receive(self, channel: str) -> Message | None:
        """Return the next message; None if the layer lost its state and the caller must retry."""
        receiver: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        receiving = asyncio.ensure_future(self._layer.receive(channel))
        receiving.add_done_callback(partial(_hand_over, receiver))
        self._receivers[receiver] = None
        try:
            return await receiver
        finally:
            del self._receivers[receiver]
            receiving.cancel()


def _make(entry: dict[str, Any]) -> Any:
    return import_string(entry["BACKEND"])(**entry.get("CONFIG", {}))


def _hand_over(receiver: asyncio.Future[Message | None], receiving: asyncio.Future[Any]) -> None:
    if receiving.cancelled() or receiver.done():
        return
    error = receiving.exception()
    if error is None:
        receiver.set_result(receiving.result())
    else:
        receiver.set_exception(error)
