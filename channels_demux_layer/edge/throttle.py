"""Holds up a client that is over its rates: the edge does not read for a while (C4.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .limits import BURST, Limits, TokenBucket
from .outbox import BoundedOutbox, Outbox

__all__ = ["Throttle"]


class Throttle:
    """What one client may send at a time.

    Args:
        limits: Its bounds.
        outbox: What waits to be written to its socket.
        clock: Gives the present time in seconds.
    """

    __slots__ = ("_bytes", "_clock", "_frames", "_outbox")

    def __init__(self, limits: Limits, outbox: Outbox, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._frames = _bucket(limits.frames_per_second, clock())
        self._bytes = _bucket(limits.bytes_per_second, clock())
        self._outbox = outbox if isinstance(outbox, BoundedOutbox) else None

    def hold_up(self, frame: str | bytes, room: Awaitable[None] | None) -> Awaitable[None] | None:
        """Count a frame of the client.

        Args:
            frame: The frame.
            room: What is to be awaited before the next one anyway, if anything.

        Returns:
            What to await before the next one, if anything.
        """
        now, pause = self._clock(), 0.0
        if self._frames is not None:
            pause = self._frames.use(1, now)
        if self._bytes is not None:
            pause = max(pause, self._bytes.use(_size(frame), now))
        is_full = self._outbox is not None and self._outbox.is_full
        return self._wait(room, pause) if pause or is_full else room

    async def _wait(self, room: Awaitable[None] | None, pause: float) -> None:
        if room is not None:
            await room
        if pause:
            await asyncio.sleep(pause)
        if self._outbox is not None:
            await self._outbox.relief()


def _bucket(rate: float, now: float) -> TokenBucket | None:
    # One frame at least, or nobody could ever send any.
    return TokenBucket(rate, max(rate * BURST, 1.0), now) if rate else None


def _size(frame: str | bytes) -> int:
    if isinstance(frame, bytes) or frame.isascii():
        return len(frame)
    return len(frame.encode("utf-8", "surrogatepass"))
