"""Calls of a channel layer: bounded in number, and steadfast while it fails."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from channels.exceptions import ChannelFull

from channels_demux_layer.faults import RepeatedLog, layer_faults
from channels_demux_layer.logs import about

if TYPE_CHECKING:
    from .publisher import Publisher

__all__ = ["LayerCalls", "alias_of", "messages", "persist", "receive"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: Calls of the layer that may be under way at once. redis-py caps a pool at 100 connections, and
#: raises beyond; the consumers of the process need some of them.
MAX_CALLS = 50
#: How long to wait after a call has failed before it is made again, in seconds: first, and at
#: most.
BACK_OFF = (0.1, 1.0)
#: A layer that has failed works again if it has waited for a message for so long, in seconds.
CALM = 1.0
RECEIVE = "receive on the channel layer"
PUBLISH = "publish on the channel layer"
#: The method of channels_redis' layers that decrypts and decodes what was received.
DESERIALIZE = "deserialize"


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


def is_unreadable(error: Exception) -> bool:
    """Tell whether the layer has received a message and cannot read it.

    The message is then gone from the layer, and says nothing about how the layer is. Whoever can
    write to the layer can send one, also a project with another encryption key.

    Args:
        error: What receive() raised.
    """
    # By where it was raised: what serializers raise may come from elsewhere for another reason.
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    is_no_dict = names[-1:] == ["receive_single"] and isinstance(error, TypeError)
    return DESERIALIZE in names or is_no_dict


def tell_unreadable(channel: str, error: Exception) -> None:
    """Warn of a message that cannot be read."""
    message = "A message on channel %s cannot be read, and was ignored: %r."
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
    unreadable: Callable[[str, Exception], None],
) -> dict[str, Any]:
    while True:
        try:
            return await attempt(layer, channel)
        except Exception as error:
            if not is_unreadable(error):
                raise
            unreadable(channel, error)
            await asyncio.sleep(0)  # Others run, however many there are.


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
        publisher: What to publish with, if not the layer.

    Attributes:
        slots: Bounds the calls that are under way at once.
        is_cut_off: Whether the layer has failed, and taken nothing since.
    """

    def __init__(
        self,
        layer: Any,
        reconnected: Callable[[], None],
        unreadable: Callable[[str, Exception], None] = tell_unreadable,
        publisher: Publisher | None = None,
    ) -> None:
        self.layer = layer
        self._alias = alias_of(layer)
        self._publisher = publisher or layer
        self._unreadable = unreadable
        self.slots = asyncio.Semaphore(MAX_CALLS)
        self.is_cut_off = False
        self._reconnected = reconnected

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Send a message to a group, or to a channel where there is none.

        Returns:
            Whether the layer took it. It may be lost all the same.
        """
        async with self.slots:
            try:
                if group is None:
                    await self._publisher.send(channel, message)
                else:
                    await self._publisher.group_send(group, message)
            except ChannelFull:
                # The layer answers: who lets a channel fill up may be dead.
                logger.debug("Channel %s is full.", channel, extra=about(peer=channel))
                is_taken = False
            except Exception as error:
                layer_faults.failed(PUBLISH, error, alias=self._alias, target=group or channel)
                self._cut_off()
                return False
            else:
                is_taken = True
        layer_faults.worked(PUBLISH, alias=self._alias, target=group or channel)
        if self.is_cut_off:
            self.is_cut_off = False
            self._reconnected()
        return is_taken

    def messages(self, inbox: Any, channel: str) -> AsyncIterator[dict[str, Any]]:
        """Give a channel's messages one after the other, whatever the layer goes through.

        Args:
            inbox: What to receive them with.
            channel: The channel.
        """
        return messages(inbox, channel, self._cut_off, self._unreadable)

    def _cut_off(self) -> None:
        self.is_cut_off = True

    async def expel(self, group: str, channel: str) -> None:
        """Have a channel leave a group.

        Raises:
            Exception: Whatever the channel layer raises.
        """
        async with self.slots:
            await self.layer.group_discard(group, channel)
