"""The channel layer as a node sees it: each call ends in time, or fails in one of three ways.

A node relies on Channels' specification of a channel layer and on nothing else. So every layer that
keeps the specification works, and what a layer raises is told apart by public exception types.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from channels.exceptions import ChannelFull

from channels_demux_layer.exceptions import DemuxError

__all__ = [
    "Full",
    "LayerFailure",
    "Outage",
    "TimedOut",
    "TypedLayer",
    "Unreadable",
    "failure_of",
    "new_own_channel",
]

#: How long a call may take by default, in seconds. A receive() may wait for ever.
LIMIT = 5.0
#: How often the timer checks a call within its limit.
CHECKS = 4
#: How many channels new_own_channel() asks the layer for at most.
MOST_CHANNELS = 1_000
#: What calls raise whose server is gone, and calls that cannot work.
OUTAGES = (OSError, asyncio.TimeoutError, AssertionError, RuntimeError)
#: Modules of optional libraries, each with the base class of what they raise for the same reasons.
ROOTS = (("redis.exceptions", "RedisError"), ("psycopg", "Error"))


class LayerFailure(DemuxError):  # noqa: N818 - the names of its subclasses say what happened
    """A call of the channel layer failed."""


class Outage(LayerFailure):
    """The channel layer did not do what it was asked to. It may do so later."""


class TimedOut(Outage):
    """The channel layer did not answer in time."""


class Full(LayerFailure):
    """The channel has no room for the message. The layer works."""


class Unreadable(LayerFailure):
    """The layer received a message and cannot decrypt or decode it. The message is lost."""


def failure_of(error: Exception, *, receives: bool = False) -> LayerFailure:
    """Return the failure that an exception of a channel layer stands for.

    Args:
        error: What the layer raised.
        receives: Whether receive() raised it.

    Returns:
        The failure, with the text of the exception.
    """
    if isinstance(error, LayerFailure):
        return error
    detail = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, ChannelFull):
        return Full(detail)
    # Serializers raise whatever they like. So what is no outage by its type is about the message.
    if receives and not isinstance(error, (*OUTAGES, *_roots())):
        return Unreadable(repr(error))
    return Outage(detail)


def _roots() -> Iterator[type[BaseException]]:
    # A library that is not loaded has raised nothing.
    for module, name in ROOTS:
        root = getattr(sys.modules.get(module), name, None)
        if root is not None:
            yield root


class TypedLayer:
    """A channel layer whose calls have a time limit and raise typed failures.

    One timer serves all calls. It counts checks and not seconds, so a call has its full time left
    after the event loop was blocked.

    Args:
        layer: The channel layer.
        alias: Its name in CHANNEL_LAYERS.
        limit: How long each call except receive() may take, in seconds.

    Attributes:
        inner: The channel layer. It may be replaced.
        alias: Its name in CHANNEL_LAYERS, for logs.
        limit: How long each call except receive() may take, in seconds.
        timed_out: Called when a call took too long.
    """

    def __init__(self, layer: Any, alias: str = "", limit: float = LIMIT) -> None:
        self.inner = layer
        self.alias = alias
        self.limit = limit
        self.timed_out: Callable[[], None] = _do_nothing
        #: How many more checks each call may see.
        self._checks: dict[asyncio.Task[Any], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    # These return the coroutine of call() itself: one await less for each message.

    def send(self, channel: str, message: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Send a message to a channel. Raises Full and Outage."""
        return self.call(self.inner.send, channel, message)

    def group_send(self, group: str, message: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Send a message to a group. Raises Outage."""
        return self.call(self.inner.group_send, group, message)

    def group_add(self, group: str, channel: str) -> Coroutine[Any, Any, None]:
        """Add a channel to a group. Raises Outage."""
        return self.call(self.inner.group_add, group, channel)

    def group_discard(self, group: str, channel: str) -> Coroutine[Any, Any, None]:
        """Remove a channel from a group. Raises Outage."""
        return self.call(self.inner.group_discard, group, channel)

    def new_channel(self) -> Coroutine[Any, Any, str]:
        """Return a new channel of this process. Raises Outage."""
        return self.call(new_own_channel, self.inner)

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, however long there is none.

        Raises:
            Unreadable: There was a message that the layer cannot read.
            Outage: The layer fails.
        """
        try:
            return await self.inner.receive(channel)
        except LayerFailure:
            raise
        except Exception as error:
            raise failure_of(error, receives=True) from error

    async def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the layer.

        Args:
            method: The method.
            *arguments: Its arguments.

        Returns:
            What the method returns.

        Raises:
            Full: The channel has no room.
            TimedOut: The method took too long.
            Outage: The method raised something else.
        """
        task = asyncio.current_task()
        assert task is not None
        self._checks[task] = CHECKS
        if self._timer is None:
            self._set_timer()
        try:
            return await method(*arguments)
        except asyncio.CancelledError as cancelled:
            if task in self._checks or not _withdraw(task):
                raise
            self.timed_out()
            raise TimedOut(f"no answer within {self.limit:.1f} seconds") from cancelled
        except LayerFailure:
            raise
        except Exception as error:
            raise failure_of(error) from error
        finally:
            self._checks.pop(task, None)

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.limit / CHECKS, self._check)

    def _check(self) -> None:
        self._timer = None
        for task, checks in list(self._checks.items()):
            if checks:
                self._checks[task] = checks - 1
            else:
                del self._checks[task]
                task.cancel()
        if self._checks:
            self._set_timer()


def _do_nothing() -> None:
    """Do nothing."""


def _withdraw(task: asyncio.Task[Any]) -> bool:
    """Withdraw the cancellation of a call. Return whether nobody else has cancelled the task."""
    # Python 3.10 does not count cancellations.
    uncancel = getattr(task, "uncancel", None)
    return uncancel is None or not uncancel()


async def new_own_channel(layer: Any) -> str:
    """Return a new channel of a layer that messages to it and to its groups both reach (L1.2).

    The core layer of channels_redis sends to the host that the hash of the whole name selects. It
    receives, and delivers messages to groups, on the host that the hash of the part before the mark
    selects (its issue 221). With several hosts the two must be the same.

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
