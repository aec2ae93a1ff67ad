"""A channel layer that fails as no layer should, for the simulation and the integration tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from channels_demux_layer.testing.faulty import FaultyLayer
from channels_demux_layer.testing.workers import PROBE

T = TypeVar("T")

#: The parts of its failures that are calls which never end, and calls which raise what they should
#: not. The others raise ConnectionError.
HANGS, RAISES = 0.1, 0.5
#: A call that never ends, in seconds: much longer than any limit of a call.
FOREVER = 3_600.0
ERRORS: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError, ZeroDivisionError)
NO_DICTS: tuple[Any, ...] = (None, "text", 7, ["demux.batch"])


class OddLayer(FaultyLayer):
    """A faulty layer that also raises anything, never answers, and returns what is no dict.

    Only the calls of nodes fail. Consumers get what their layer raises, which is their own matter.
    """

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel."""
        target = str(message.get("type"))
        await (super().send if _is_ours(target) else self._layer.send)(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""
        await (super().group_send if _is_ours(group) else self._layer.group_send)(group, message)

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group."""
        await (super().group_add if _is_ours(group) else self._layer.group_add)(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group."""
        discard = super().group_discard if _is_ours(group) else self._layer.group_discard
        await discard(group, channel)

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, or what is none."""
        try:
            return await super().receive(channel)
        except ConnectionError:
            if self.is_down:
                raise
            chance = self._random.random()
            if chance < HANGS + RAISES / 2:
                return self._random.choice(NO_DICTS)
            if chance < HANGS + RAISES:
                raise self._random.choice(ERRORS)("odd") from None
            raise

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await super()._call(call)
        except ConnectionError:
            if self.is_down:
                raise
            chance = self._random.random()
            if chance < HANGS:
                await self._hang()
            if chance < HANGS + RAISES:
                raise self._random.choice(ERRORS)("odd") from None
            raise

    async def _hang(self) -> None:
        await asyncio.sleep(FOREVER)


class OddForNodes(OddLayer):
    """The same for nodes alone: where the layer raises for a worker, run_workers() ends."""

    async def receive(self, channel: str) -> Any:
        """Return the next message of a channel, or what is none for a node."""
        return await (super().receive if "!" in channel else self._layer.receive)(channel)


def _is_ours(name: str) -> bool:
    # What run_workers() sends to find out who listens is no message of a node's.
    return name.startswith("demux") and name != PROBE
