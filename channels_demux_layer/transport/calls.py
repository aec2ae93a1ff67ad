"""Calls of a channel layer that are made again until they work, and that are bounded in number."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import reprlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from channels_demux_layer.logs import RepeatedLog, about, layer_faults
from channels_demux_layer.protocol.report import PROBE

from .typed import Full, LayerFailure, Outage, TimedOut, TypedLayer, Unreadable, failure_of

__all__ = ["Publish", "Publisher", "messages", "persist", "receive"]

#: Sends a message to a group, or to a channel if there is no group. Returns whether the layer took
#: it.
Publish = Callable[[str | None, str, dict[str, Any]], Coroutine[Any, Any, bool]]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: How many messages may be published at once. redis-py caps a pool at 100 connections and raises
#: beyond that.
MAX_PUBLISHES = 50
#: How often a group that did not take a message in time is probed, in seconds.
DETOUR_PAUSE = 1.0
#: The first and the longest pause before a failed call is made again, in seconds.
BACK_OFF = (0.1, 1.0)
#: A receive() that has waited this long after a failure works again, in seconds.
CALM = 1.0
RECEIVE = "receive on the channel layer"
PUBLISH = "publish on the channel layer"
#: This many unreadable messages in a row are an outage. The layer then raises what it should not,
#: and is called again only after a pause.
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
    """Make a call of the channel layer, and retry until it works.

    Args:
        action: What the call does, as it reads after "Cannot".
        call: Makes the call.
        is_outage: Tells whether the call may work later, by what it raised.
        alias: The layer's name in CHANNEL_LAYERS, where that is known.
        target: The channel or group that the call is for.

    Returns:
        What the call returns.

    Raises:
        Exception: What the call raises if that is no outage.
    """
    failures = 0
    while True:
        try:
            result = await call()
        except Exception as error:
            if not is_outage(error):
                raise
            layer_faults.failed(action, error, alias=alias, target=target)
            failures = await _pause(failures)
        else:
            layer_faults.worked(action, alias=alias, target=target)
            return result


async def _pause(failures: int) -> int:
    """Wait after a failure, longer with each one. Return the new number of failures."""
    # Without its own bound the power would grow without end.
    await asyncio.sleep(min(BACK_OFF[0] * 2 ** min(failures, 10), BACK_OFF[1]))
    return failures + 1


def warn_unreadable(channel: str, error: Exception) -> None:
    """Warn of a message that the layer cannot read."""
    message = "A message on channel %s cannot be read, and was ignored: %s."
    repeated.warning("unreadable", message, channel, error, extra=about(node=channel))


async def receive(
    layer: Any,
    channel: str,
    failed: Callable[[], None] | None = None,
    is_outage: Callable[[Exception], bool] = _is_any,
    unreadable: Callable[[str, Exception], None] = warn_unreadable,
) -> dict[str, Any]:
    """Return a channel's next message, and retry as long as the layer fails.

    Args:
        layer: The channel layer.
        channel: The channel to receive from.
        failed: Called each time the layer fails.
        is_outage: Tells whether receive() may work later, by what it raised.
        unreadable: Called for each message that cannot be read, with the channel and the reason.

    Raises:
        Exception: What the layer raises if that is no outage.
    """
    alias = getattr(layer, "alias", "")
    unread = failures = 0
    while True:
        try:
            call = _receive_after_failure(layer, channel) if failures else layer.receive(channel)
            message: dict[str, Any] = await call
            if not isinstance(message, dict):
                raise Unreadable(f"the layer returned {reprlib.repr(message)} instead of a dict")
        except Exception as error:
            if not is_outage(error):
                _unlisten(layer, channel)
                raise
            failure = failure_of(error, receives=True)
            if isinstance(failure, Unreadable):
                unread += 1
                unreadable(channel, failure)
                if unread % MOST_UNREADABLE:
                    await asyncio.sleep(0)  # Others run, however many such messages there are.
                    continue
                failure = Outage(f"{unread} messages in a row cannot be read, the last: {failure}")
            if failed is not None:
                failed()
            _unlisten(layer, channel)
            layer_faults.failed(RECEIVE, failure, alias=alias, target=channel)
            failures = await _pause(failures)
        else:
            layer_faults.worked(RECEIVE, alias=alias, target=channel)
            return message


async def messages(layer: Any, channel: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a channel's messages, and retry as long as the layer fails.

    Args:
        layer: The channel layer.
        channel: The channel to receive from.

    Yields:
        The messages.
    """
    while True:
        yield await receive(layer, channel)


async def _receive_after_failure(layer: Any, channel: str) -> Any:
    alias = getattr(layer, "alias", "")
    receiving = asyncio.ensure_future(layer.receive(channel))
    try:
        # If no message comes, a quiet wait is the only sign that the layer works again.
        await asyncio.wait([receiving], timeout=CALM)
        if not receiving.done() or receiving.exception() is None:
            layer_faults.worked(RECEIVE, alias=alias, target=channel)
        return await receiving
    except asyncio.CancelledError:
        receiving.cancel()
        await asyncio.wait([receiving])
        raise


def _unlisten(layer: Any, channel: str) -> None:
    # The pub/sub layer of channels_redis registers a channel before it subscribes. If subscribing
    # fails, the next receive() would find the channel registered and wait for ever.
    queue = getattr(layer, "channels", {}).get(channel)
    if queue is not None and queue.empty():
        del layer.channels[channel]


class Publisher:
    """Publishes a node's messages, and notices when the channel layer fails.

    Args:
        layer: The channel layer.
        reconnected: Called when the layer works again after it has failed.
        start_task: Runs a coroutine in the background.

    Attributes:
        is_cut_off: Whether the layer has failed and has taken nothing since.
        detour: A group whose server did not answer in time. While there is one, messages go to
            channels instead of groups. Otherwise a link would stop each time it meets a group of
            that server (L3.1).
    """

    def __init__(
        self,
        layer: TypedLayer,
        reconnected: Callable[[], None],
        start_task: Callable[[Coroutine[Any, Any, None]], Any] = asyncio.ensure_future,
    ) -> None:
        self._layer = layer
        self._slots = asyncio.Semaphore(MAX_PUBLISHES)
        self.is_cut_off = False
        self.detour: str | None = None
        self._start_task = start_task
        self._reconnected = reconnected

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Send a message to a group, or to a channel if there is no group.

        Returns:
            Whether the layer took it. It may be lost all the same.
        """
        if self.detour is not None and channel:
            group = None
        is_taken = True
        async with self._slots:
            try:
                if group is None:
                    await self._layer.send(channel, message)
                else:
                    await self._layer.group_send(group, message)
            except Full:
                # The layer works. The reader of the full channel may be dead.
                logger.debug("Channel %s is full.", channel, extra=about(peer=channel))
                is_taken = False
            except Outage as failure:
                if group is not None and channel and isinstance(failure, TimedOut):
                    self._avoid(group)
                alias = self._layer.alias
                layer_faults.failed(PUBLISH, failure, alias=alias, target=group or channel)
                self.cut_off()
                return False
        layer_faults.worked(PUBLISH, alias=self._layer.alias, target=group or channel)
        if self.is_cut_off:
            self.is_cut_off = False
            self._reconnected()
        return is_taken

    def cut_off(self) -> None:
        """Note that the layer has failed."""
        self.is_cut_off = True

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
