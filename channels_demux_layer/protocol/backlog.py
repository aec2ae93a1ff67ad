"""What waits to be sent: frames until the next batch, and answers until others are ready.

`Backlog` queues a link's frames, and fills batches from it.

`Portion` lets a worker's answers wait for each other. Consumers take turns in the event loop, one
payload at a time. Without portions, the answers to what one client sent together would leave in
batch after batch, and arrive at its socket one by one. Answers wait for a few turns of the event
loop at most, and only while consumers make progress (L3.10). No timer is involved. A single payload
makes no portion, so its answer does not wait.
"""

from __future__ import annotations

from collections import deque

from .frames import Binary, Context, Frame, Text
from .json_text import UTF8_BYTES

__all__ = ["PORTION_SIZE", "Backlog", "Portion"]

#: The estimated size of a frame without its payload, in bytes.
FRAME_OVERHEAD = 16


class Backlog:
    """A queue of frames, each with its session's group.

    It consists of three queues rather than one of tuples, because thousands of frames may wait and
    Python's garbage collector would traverse each tuple. Sizes are computed once: when a frame
    leaves, its text is no longer in the processor's cache.
    """

    __slots__ = ("_frames", "_groups", "_size", "_sizes")

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._groups: deque[str | None] = deque()
        self._sizes: deque[int] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame, group: str | None = None) -> None:
        """Append a frame.

        Args:
            frame: The frame.
            group: The group of its session; None to send it to the peer's channel.
        """
        if isinstance(frame, Text):  # first, because most frames are payloads
            length = len(frame.text)
            size = FRAME_OVERHEAD + (length if frame.text.isascii() else length * UTF8_BYTES)
        else:
            size = _size(frame)
        self._frames.append(frame)
        self._groups.append(group)
        self._sizes.append(size)
        self._size += size

    def gather(self, max_frames: int, max_size: int) -> tuple[list[Frame], str | None]:
        """Remove and return the frames of the next batch (L3.9).

        Args:
            max_frames: The maximum number of frames.
            max_size: The maximum size in bytes. A larger frame gets a batch of its own.

        Returns:
            The frames, and the group of the first that has one.
        """
        if len(self._frames) <= max_frames and self._size <= max_size:
            frames, groups = list(self._frames), list(self._groups)
            self._frames.clear()
            self._groups.clear()
            self._sizes.clear()
            self._size = 0
        else:
            count = self._fitting(max_frames, max_size)
            frames = [self._frames.popleft() for _ in range(count)]
            groups = [self._groups.popleft() for _ in range(count)]
            self._size -= sum(self._sizes.popleft() for _ in range(count))
        return frames, next(filter(None, groups), None)

    def drop(self, session: int) -> None:
        """Discard all frames of a session."""
        rows = list(zip(self._frames, self._groups, self._sizes, strict=True))
        kept = [row for row in rows if row[0].session != session]
        self._frames = deque(frame for frame, _, _ in kept)
        self._groups = deque(group for _, group, _ in kept)
        self._sizes = deque(size for _, _, size in kept)
        self._size = sum(self._sizes)

    def _fitting(self, max_frames: int, max_size: int) -> int:
        size = 0
        for count, more in enumerate(self._sizes):
            size += more
            if count and (size > max_size or count == max_frames):
                return count
        return len(self._frames)  # a single frame that is too large


def _size(frame: Frame) -> int:
    if isinstance(frame, Context):
        return FRAME_OVERHEAD + sum(map(len, (*frame.carrier, *frame.carrier.values())))
    return FRAME_OVERHEAD + (len(frame.data) if isinstance(frame, Binary) else 0)


#: The maximum number of payloads in a portion. Later ones wait until it is over, so that the first
#: answers do not wait for the last.
PORTION_SIZE = 400

#: The maximum number of turns that answers wait. A consumer of Channels takes one payload in two
#: turns, so this is enough for four.
MAX_TURNS = 8
#: Answers stop waiting after this many turns in a row without a taken payload: the remaining
#: consumers then wait for something other than the event loop.
CALM_TURNS = 2
#: Answers wait for no further turn after this time in seconds, in case turns are long.
MAX_TIME = 0.02


class Portion:
    """Payloads that were handed to consumers together.

    Args:
        payloads: The number of payloads.
        taken: How many payloads consumers have taken so far, of all portions.
        now: The current time in seconds.
    """

    __slots__ = ("_calm", "_ends_at", "_goal", "_taken", "_turns")

    def __init__(self, payloads: int, taken: int, now: float) -> None:
        self._goal = taken + payloads
        self._taken = taken
        self._turns = 0
        self._calm = 0
        self._ends_at = now + MAX_TIME

    def is_over(self, taken: int, now: float) -> bool:
        """Count one turn of the event loop, and return whether the answers may leave.

        Args:
            taken: How many payloads consumers have taken so far, of all portions.
            now: The current time in seconds.
        """
        self._turns += 1
        self._calm = self._calm + 1 if taken == self._taken else 0
        self._taken = taken
        return (
            taken >= self._goal
            or self._turns == MAX_TURNS
            or self._calm == CALM_TURNS
            or now >= self._ends_at
        )
