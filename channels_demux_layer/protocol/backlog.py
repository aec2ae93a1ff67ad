"""Frames that wait to be sent, and how many of them a batch takes."""

from __future__ import annotations

from collections import deque

from .frames import Binary, Context, Frame, Text
from .json_text import UTF8_BYTES

__all__ = ["Backlog"]

#: An estimate of what a frame costs on the wire beside its payload, in bytes.
FRAME_OVERHEAD = 16


class Backlog:
    """Frames in the order in which they go out, each with its session's group.

    Rows and no tuples: thousands of frames may wait, and Python's garbage collector would look
    at each tuple. Sizes are kept since by the time a frame goes out, to look at its text again
    would be a miss of the processor's cache.
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
            group: The group of its session, if it may go there.
        """
        if isinstance(frame, Text):  # first: there is one for each payload
            length = len(frame.text)
            size = FRAME_OVERHEAD + (length if frame.text.isascii() else length * UTF8_BYTES)
        else:
            size = _size(frame)
        self._frames.append(frame)
        self._groups.append(group)
        self._sizes.append(size)
        self._size += size

    def gather(self, max_frames: int, max_size: int) -> tuple[list[Frame], str | None]:
        """Take out what goes into one batch (L3.9).

        Args:
            max_frames: The most frames of a batch.
            max_size: The size at which a batch is full, in bytes; a larger frame goes alone.

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
        """Forget all frames of a session."""
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
        return len(self._frames)  # one alone that is larger


def _size(frame: Frame) -> int:
    if isinstance(frame, Context):
        return FRAME_OVERHEAD + sum(map(len, (*frame.carrier, *frame.carrier.values())))
    return FRAME_OVERHEAD + (len(frame.data) if isinstance(frame, Binary) else 0)
