"""Calls of a channel layer: bounded in number, and steadfast while it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from channels_demux_layer.logs import RepeatedLog, about, layer_faults
from channels_demux_layer.protocol.report import PROBE

from .failures import Full, LayerFailure, Outage, TimedOut, Unreadable, failure_of
from .typed import TypedLayer

__all__ = ["LayerCalls", "alias_of", "messages", "persist", "receive"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: Calls that join or leave groups, and calls that publish, which may be under way at once. redis-py
#: caps a pool at 100 connections, and raises beyond. They are bounded apart: joins on one of
#: several hosts may hang, and must not hold up what is published to the others.
MAX_CALLS = 30
MAX_PUBLISHES = 50
#: How long to wait before a group that did not take a message in time is tried again, in seconds.
DETOUR_PAUSE = 1.0
#: How long to wait after a call has failed before it is made again, in seconds: first, and at
#: most.
BACK_OFF = (0.1, 1.0)
#: A layer that has failed works again if it has waited for a message for so long, in seconds.
CALM = 1.0
RECEIVE = "receive on the channel layer"
PUBLISH = "publish on the channel layer"
#: So many messages in a row that cannot be read are an outage: the layer raises what it should not,
#: and is not asked again at once.
MOST_UNREADABLE = 100


def _is_any(error: Exception) -> bool:
    return True


async def persist(
    action: str,
    call: Callable[[], Awaitable[Any]],
    is_outage: Callable[[Exception], bool] = _is_any,
    *,
    alias: str = "",
    target: str = "",
) -> Any:
    """Make a call of the channel layer, again and again until it works.

    Args:
        action: What it does, as it reads after "Cannot".
        call: Makes the call.
        is_outage: Tells of what the call raises whether it may work later.
        alias: The layer's name in CHANNEL_LAYERS, where that is known.
        target: The channel or group that it is for.

    Returns:
        What the call returns.

    Raises:
        Exception: What the call raises, where that is no outage.
    """
    back_off = BACK_OFF[0]
    while True:
        try:
            result = await call()
        except Exception as error:
            if not is_outage(error):
                raise
            layer_faults.failed(action, error, alias=alias, target=target)
            await asyncio.sleep(back_off)
            back_off = min(back_off * 2, BACK_OFF[1])
        else:
            layer_faults.worked(action, alias=alias, target=target)
            return result


def alias_of(layer: Any) -> str:
    """Return a layer's name in CHANNEL_LAYERS, where it knows it; else an empty string."""
    return getattr(layer, "alias", "")


def tell_unreadable(channel: str, error: Exception) -> None:
    """Warn of a message that cannot be read."""
    message = "A message on channel %s cannot be read, and was ignored: %s."
    repeated.warning("unreadable", message, channel, error, extra=about(node=channel))


async def receive(
    layer: Any,
    channel: str,
    failed: Callable[[], None] | None = None,
    is_outage: Callable[[Exception], bool] = _is_any,
    unreadable: Callable[[str, Exception], None] = tell_unreadable,
) -> dict[str, Any]:
    """Return a channel's next message, however long the layer fails.

    Args:
        layer: The channel layer.
        channel: The channel to receive from.
        failed: Called each time that the layer raises.
        is_outage: Tells of what the layer raises whether it may work later.
        unreadable: Called with the channel, and why, for each message that cannot be read.

    Returns:
        The message.

    Raises:
        Exception: What the layer raises, where that is no outage.
    """
    has_failed = False

    async def attempt() -> dict[str, Any]:
        nonlocal has_failed
        try:
            message: dict[str, Any] = await _receive_readable(
                _receive_after_failure if has_failed else _receive_simply,
                layer,
                channel,
                is_outage,
                unreadable,
            )
        except Exception:
            has_failed = True
            if failed is not None:
                failed()
            _unlisten(layer, channel)
            raise
        return message

    message: dict[str, Any] = await persist(
        RECEIVE, attempt, is_outage, alias=alias_of(layer), target=channel
    )
    return message


async def messages(
    layer: Any,
    channel: str,
    failed: Callable[[], None] | None = None,
    unreadable: Callable[[str, Exception], None] = tell_unreadable,
) -> AsyncIterator[dict[str, Any]]:
    """Give a channel's messages one after the other, whatever the layer goes through.

    Args:
        layer: The channel layer.
        channel: The channel to receive from.
        failed: Called each time that the layer raises.
        unreadable: Called with the channel, and why, for each message that cannot be read.

    Yields:
        The messages.
    """
    while True:
        yield await receive(layer, channel, failed, unreadable=unreadable)


async def _receive_readable(
    attempt: Callable[[Any, str], Awaitable[dict[str, Any]]],
    layer: Any,
    channel: str,
    is_outage: Callable[[Exception], bool],
    unreadable: Callable[[str, Exception], None],
) -> dict[str, Any]:
    for _ in range(MOST_UNREADABLE):
        try:
            return await attempt(layer, channel)
        except Exception as error:
            failure = failure_of(error, receives=True)
            if not is_outage(error) or not isinstance(failure, Unreadable):
                raise
            unreadable(channel, failure)
            await asyncio.sleep(0)  # Others run, however many there are.
    raise Outage(f"{MOST_UNREADABLE} messages in a row cannot be read, the last one: {failure}")


async def _receive_simply(layer: Any, channel: str) -> dict[str, Any]:
    message: dict[str, Any] = await layer.receive(channel)
    return message


async def _receive_after_failure(layer: Any, channel: str) -> dict[str, Any]:
    receiving = asyncio.ensure_future(layer.receive(channel))
    try:
        # Where nothing comes, no message will tell that all is well again.
        await asyncio.wait([receiving], timeout=CALM)
        if not receiving.done() or receiving.exception() is None:
            layer_faults.worked(RECEIVE, alias=alias_of(layer), target=channel)
        message: dict[str, Any] = await receiving
        return message
    except asyncio.CancelledError:
        receiving.cancel()
        await asyncio.wait([receiving])
        raise


def _unlisten(layer: Any, channel: str) -> None:
    # channels_redis' pub/sub layer notes a channel before it has subscribed to it. Where the
    # latter fails, it would wait for messages for ever.
    queue = getattr(layer, "channels", {}).get(channel)
    if queue is not None and queue.empty():
        del layer.channels[channel]


class LayerCalls:
    """What a node asks of its channel layer.

    Args:
        layer: The channel layer.
        reconnected: Called when the layer works again after it has failed.
        unreadable: Called with the channel, and why, for each message that cannot be read.
        start_task: Runs a coroutine in the background.

    Attributes:
        slots: Bounds the calls that are under way at once.
        is_cut_off: Whether the layer has failed, and taken nothing since.
        detour: A group whose server did not answer. While there is one, messages go to channels and
            not to groups: a link would stop each time that it meets a group of that server (L3.1).
    """

    def __init__(
        self,
        layer: TypedLayer,
        reconnected: Callable[[], None],
        unreadable: Callable[[str, Exception], None] = tell_unreadable,
        start_task: Callable[[Coroutine[Any, Any, None]], Any] = asyncio.ensure_future,
    ) -> None:
        self._layer = layer
        self._alias = alias_of(layer)
        self._unreadable = unreadable
        self.slots = asyncio.Semaphore(MAX_CALLS)
        self._publishing = asyncio.Semaphore(MAX_PUBLISHES)
        self.is_cut_off = False
        self.detour: str | None = None
        self._start_task = start_task
        self._reconnected = reconnected

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Send a message to a group, or to a channel where there is none.

        Returns:
            Whether the layer took it. It may be lost all the same.
        """
        is_taken = True
        if self.detour is not None and channel:
            group = None
        async with self._publishing:
            try:
                if group is None:
                    await self._layer.send(channel, message)
                else:
                    await self._layer.group_send(group, message)
            except Full:
                # The layer answers: who lets a channel fill up may be dead.
                logger.debug("Channel %s is full.", channel, extra=about(peer=channel))
                is_taken = False
            except Outage as failure:
                if group is not None and channel and isinstance(failure, TimedOut):
                    self._avoid(group)
                layer_faults.failed(PUBLISH, failure, alias=self._alias, target=group or channel)
                self._cut_off()
                return False
        layer_faults.worked(PUBLISH, alias=self._alias, target=group or channel)
        if self.is_cut_off:
            self.is_cut_off = False
            self._reconnected()
        return is_taken

    def _avoid(self, group: str) -> None:
        if self.detour is None:
            self.detour = group
            self._start_task(self._end_detour(group))

    async def _end_detour(self, group: str) -> None:
        while self.detour is not None:
            await asyncio.sleep(DETOUR_PAUSE)
            with contextlib.suppress(LayerFailure):
                await self._layer.group_send(group, {"type": PROBE})
                self.detour = None

    def messages(self, channel: str) -> AsyncIterator[dict[str, Any]]:
        """Give a channel's messages one after the other, whatever the layer goes through.

        Args:
            channel: The channel.
        """
        return messages(self._layer, channel, self._cut_off, self._unreadable)

    def _cut_off(self) -> None:
        self.is_cut_off = True

    async def expel(self, group: str, channel: str) -> None:
        """Have a channel leave a group.

        Raises:
            Outage: The layer fails, or does not answer in time.
        """
        async with self.slots:
            await self._layer.group_discard(group, channel)
