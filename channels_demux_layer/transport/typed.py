"""The channel layer as a node sees it: calls that end in time, with one of three failures at worst.

A node knows of its layer what Channels' specification says, and nothing else. Whatever keeps the
specification will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .failures import LayerFailure, TimedOut, failure_of

__all__ = ["CallLimit", "TypedLayer", "new_own_channel"]

#: How long a call may take unless told otherwise, in seconds. A receive() may wait for ever.
LIMIT = 5.0
#: How often in that time the calls under way are looked at.
LOOKS = 4
#: How many channels are asked for until one can be both sent to and received from.
MOST_CHANNELS = 1_000


class CallLimit:
    """Cancels calls that take too long; one timer serves all of them.

    Time is counted in looks, so a call has its full time left after the event loop stood still.

    Args:
        seconds: How long a call may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._looks: dict[asyncio.Task[Any], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Make a call.

        Args:
            call: What is called.
            *arguments: What it is called with.

        Returns:
            What it returns.

        Raises:
            TimedOut: It takes too long.
            Exception: Whatever it raises.
        """
        task = asyncio.current_task()
        assert task is not None
        self._looks[task] = 0
        if self._timer is None:
            self._set_timer()
        try:
            return await call(*arguments)
        except asyncio.CancelledError as cancelled:
            if task in self._looks or not _withdraw(task):
                raise
            raise TimedOut(f"no answer within {self.seconds:.1f} seconds") from cancelled
        finally:
            self._looks.pop(task, None)

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.seconds / LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        for task, looks in list(self._looks.items()):
            if looks < LOOKS:
                self._looks[task] = looks + 1
            else:
                del self._looks[task]
                task.cancel()
        if self._looks:
            self._set_timer()


def _withdraw(task: asyncio.Task[Any]) -> bool:
    """Withdraw the cancellation of a call; return whether nobody else has cancelled the task."""
    # Python 3.10 does not count cancellations.
    uncancel = getattr(task, "uncancel", None)
    return uncancel is None or not uncancel()


class TypedLayer:
    """Passes everything on to a channel layer, and turns what it raises into typed failures.

    Args:
        layer: The channel layer.
        alias: Its name in CHANNEL_LAYERS.
        limit: How long a call but receive() may take, in seconds.

    Attributes:
        inner: The channel layer.
        alias: Its name in CHANNEL_LAYERS; logs name it.
        timed_out: Called when a call did not end in time.
    """

    def __init__(self, layer: Any, alias: str = "", limit: float = LIMIT) -> None:
        self.inner = layer
        self.alias = alias
        self.timed_out: Callable[[], None] = _ignore
        self._limit = CallLimit(limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Raises:
            Full: The channel has no room.
            Outage: The layer fails, or does not answer in time.
        """
        await self._call(self.inner.send, channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group.

        Raises:
            Outage: The layer fails, or does not answer in time.
        """
        await self._call(self.inner.group_send, group, message)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group.

        Raises:
            Outage: The layer fails, or does not answer in time.
        """
        await self._call(self.inner.group_add, group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group.

        Raises:
            Outage: The layer fails, or does not answer in time.
        """
        await self._call(self.inner.group_discard, group, channel)

    async def new_channel(self) -> str:
        """Return a new channel of this process.

        Raises:
            Outage: The layer fails, or does not answer in time.
        """
        channel: str = await self._call(new_own_channel, self.inner)
        return channel

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, however long there is none.

        Raises:
            Unreadable: There was one, which the layer cannot read.
            Outage: The layer fails.
        """
        try:
            return await self.inner.receive(channel)
        except LayerFailure:
            raise
        except Exception as error:
            raise failure_of(error, receives=True) from error

    async def _call(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        try:
            return await self._limit.call(call, *arguments)
        except TimedOut:
            self.timed_out()
            raise
        except LayerFailure:
            raise
        except Exception as error:
            raise failure_of(error) from error


def _ignore() -> None:
    """Do nothing."""


async def new_own_channel(layer: Any) -> str:
    """Return a new channel of a layer that messages of both kinds reach (L1.2).

    Of several hosts the core layer of channels_redis sends to the one that the whole name leads to.
    It receives, and sends what is for groups, where the part before the mark leads (its issue 221).

    Args:
        layer: The channel layer.

    Raises:
        Exception: Whatever the layer raises.
    """
    channel: str = await layer.new_channel()
    place = getattr(layer, "consistent_hash", None)
    if place is not None:
        for _ in range(MOST_CHANNELS):
            if place(channel) == place(layer.non_local_name(channel)):
                break
            channel = await layer.new_channel()
    return channel
