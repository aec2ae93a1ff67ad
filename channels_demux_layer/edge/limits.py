"""How much one client may do: the bounds of a connection, and the counters that enforce them.

Token buckets enforce the rates. A client that uses less than its rate saves up for a burst. A
client that exceeds its rate waits: the edge does not read its socket until it is within its rate
again. Opens do not wait. The edge refuses them, and closes a client that keeps asking.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from channels_demux_layer.protocol.session import SendWindow

__all__ = [
    "BURST",
    "LONGEST_PAUSE",
    "BufferedBytes",
    "Limits",
    "OpenCount",
    "SharedWindow",
    "Throttle",
    "TokenBucket",
]

#: What a client may send at once after a pause, in seconds of its rate.
BURST = 3.0
#: The longest pause of a client that exceeds its rates, in seconds. The edge does not read during
#: the pause, so it would not notice that the client has left.
LONGEST_PAUSE = 10.0
#: So many refused opens in a minute close the connection (C6.4).
MOST_REFUSALS = 60
MINUTE = 60.0


@dataclass(frozen=True)
class Limits:
    """The bounds of one connection; 0: no bound.

    Attributes:
        open_streams: Streams that may be open at a time.
        opens_per_minute: Opens that the client may ask for in a minute.
        frames_per_second: WebSocket frames that are read in a second.
        bytes_per_second: Bytes of such frames that are read in a second.
        buffered_bytes: Bytes of payload that may wait at the edge, in each direction.
    """

    open_streams: int = 0
    opens_per_minute: int = 0
    frames_per_second: float = 0.0
    bytes_per_second: float = 0.0
    buffered_bytes: int = 0

    @property
    def hold_up(self) -> bool:
        """Whether any of them may keep the edge from reading the client's socket."""
        return bool(self.frames_per_second or self.bytes_per_second or self.buffered_bytes)


class TokenBucket:
    """A rate, and how much of it has been used.

    Args:
        rate: Tokens that come in a second.
        burst: The most tokens that are saved up, and what it begins with.
        now: The present time in seconds.
    """

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at = now

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def use(self, count: float, now: float) -> float:
        """Use tokens, even those that are not there yet.

        Args:
            count: How many.
            now: The present time in seconds.

        Returns:
            The seconds until the debt is paid; 0 if there is none. LONGEST_PAUSE at most.
        """
        self._fill(now)
        self._tokens = max(self._tokens - count, -LONGEST_PAUSE * self._rate)
        return max(0.0, -self._tokens / self._rate)

    def try_use(self, now: float) -> bool:
        """Use one token if it is there.

        Args:
            now: The present time in seconds.

        Returns:
            Whether it was.
        """
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class OpenCount:
    """Counts the opens that a client asks for, and those that it is refused.

    Args:
        per_minute: Opens that it may ask for in a minute, all of them at once if it likes.
        now: The present time in seconds.
    """

    __slots__ = ("_opens", "_refusals")

    def __init__(self, per_minute: int, now: float) -> None:
        # No limit is a bucket that never empties.
        self._opens = TokenBucket(per_minute / MINUTE, per_minute or math.inf, now)
        self._refusals = TokenBucket(MOST_REFUSALS / MINUTE, MOST_REFUSALS, now)

    def may_open(self, now: float) -> bool:
        """Count one open; tell whether the limit allows it."""
        return self._opens.try_use(now)

    def may_go_on(self, now: float) -> bool:
        """Count one refusal; tell whether the client may stay."""
        return self._refusals.try_use(now)


class BufferedBytes:
    """The bytes of one direction of a connection that wait, over all its streams.

    Args:
        limit: How many may.

    Attributes:
        used: How many do.
    """

    __slots__ = ("_limit", "used")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.used = 0

    @property
    def has_room(self) -> bool:
        """Whether one more payload may come. The last one may exceed the limit."""
        return self.used < self._limit


class SharedWindow(SendWindow):
    """A session's window that has room only while all of its connection's have.

    A stream with nothing in flight may always send one payload. So no stream waits for another
    stream's consumer, and a stream that stalls waits for its own (C4.4).

    Args:
        frames: The most frames that may be untaken.
        size: The bytes at which no further frame is let in.
        shared: What the windows of the connection have together.
    """

    __slots__ = ("_shared",)

    def __init__(self, frames: int, size: int, shared: BufferedBytes) -> None:
        super().__init__(frames, size)
        self._shared = shared

    @property
    def has_room(self) -> bool:
        """Whether one more frame may be pushed."""
        return super().has_room and (self._shared.has_room or not self.untaken)

    def push(self, data: str | bytes) -> None:
        """Count one more frame as under way."""
        super().push(data)
        self._shared.used += len(data)

    def taken(self, frames: int) -> bool:
        """Note that the receiver has taken the oldest frames.

        Args:
            frames: How many.

        Returns:
            Whether there is room now. Unlike in a window of its own, the room may come from
            another stream, so it does not matter whether there was none before.
        """
        before = self._untaken_size
        super().taken(frames)
        self._shared.used -= before - self._untaken_size
        return self.has_room

    def leave(self) -> None:
        """Stop counting what is left: the stream has ended."""
        self._shared.used -= self._untaken_size
        self._shared = BufferedBytes(math.inf)


class Buffer(Protocol):
    """What waits to be written to one client's socket, as far as the throttle needs it."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that the client is to read first."""

    async def relief(self) -> None:
        """Wait until less waits, or nobody reads any more."""


class Throttle:
    """Delays a client that exceeds its rates: the edge does not read for a while (C4.4).

    Args:
        limits: The client's bounds.
        outbox: What waits to be written to its socket; None if that has no bound.
        clock: Returns the present time in seconds.
    """

    __slots__ = ("_bytes", "_clock", "_frames", "_outbox")

    def __init__(self, limits: Limits, outbox: Buffer | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._frames = _bucket(limits.frames_per_second, clock())
        self._bytes = _bucket(limits.bytes_per_second, clock())
        self._outbox = outbox

    def hold_up(self, frame: str | bytes, room: Awaitable[None] | None) -> Awaitable[None] | None:
        """Count a frame of the client.

        Args:
            frame: The frame.
            room: What the edge awaits before the next frame anyway, if anything.

        Returns:
            What the edge awaits before the next frame, if anything.
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
    # At least one frame, or a client with a low rate could never send any.
    return TokenBucket(rate, max(rate * BURST, 1.0), now) if rate else None


def _size(frame: str | bytes) -> int:
    if isinstance(frame, bytes) or frame.isascii():
        return len(frame)
    return len(frame.encode("utf-8", "surrogatepass"))
