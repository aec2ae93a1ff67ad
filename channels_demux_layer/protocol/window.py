"""Credit: how much of a session may be under way (L5.1), and the peer is told (L5.3).

Both ends count frames and bytes. A frame leaves the sender's window when the receiver has
taken it, which is later than its arrival: a consumer has taken a frame when it asks for the
next one, a client when its socket has (L5.2). So a slow end holds up its own stream and nothing
else, and nothing grows without bound.
"""

from __future__ import annotations

from collections import deque

__all__ = ["ReceiveWindow", "SendWindow"]


class SendWindow:
    """What was sent, or waits to be, and has not been taken.

    Args:
        frames: The most frames that may be untaken.
        size: The bytes at which no further frame is let in. The one that crosses the line is,
            so that a payload larger than the window can pass.
    """

    __slots__ = ("_frames", "_size", "_untaken_size", "taken_frames", "untaken")

    def __init__(self, frames: int, size: int) -> None:
        self._frames = frames
        self._size = size
        self._untaken_size = 0
        #: The payloads themselves, oldest first: what another worker gets if this one dies.
        self.untaken: deque[str | bytes] = deque()
        #: How many the receiver has taken so far.
        self.taken_frames = 0

    @property
    def has_room(self) -> bool:
        """Whether one more frame may be pushed."""
        return len(self.untaken) < self._frames and self._untaken_size < self._size

    def push(self, data: str | bytes) -> None:
        """Count one more frame as under way."""
        self.untaken.append(data)
        self._untaken_size += len(data)

    def taken(self, frames: int) -> bool:
        """Note that the receiver has taken the oldest frames.

        Args:
            frames: How many.

        Returns:
            Whether there is room now and was none before.
        """
        had_room = self.has_room
        count = min(frames, len(self.untaken))
        self.taken_frames += count
        for _ in range(count):
            self._untaken_size -= len(self.untaken.popleft())
        return not had_room and self.has_room


class ReceiveWindow:
    """What was taken, and the sender not told yet.

    Args:
        frames: The sender's window in frames.
        size: The sender's window in bytes.
    """

    __slots__ = ("_frames", "_size", "_untold_size", "untold")

    def __init__(self, frames: int, size: int) -> None:
        self._frames = frames
        self._size = size
        self._untold_size = 0
        self.untold = 0

    def take(self, size: int) -> bool:
        """Note that one frame has been taken.

        Args:
            size: Its length.

        Returns:
            Whether so much of the window is used up that the sender should hear at once.
        """
        self.untold += 1
        self._untold_size += size
        return self.untold * 2 >= self._frames or self._untold_size * 2 >= self._size

    def tell(self) -> int:
        """Return how many frames the sender is to be told of, and start anew."""
        frames, self.untold, self._untold_size = self.untold, 0, 0
        return frames
