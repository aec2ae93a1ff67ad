"""Frames that wait to be sent, and how many of them a batch takes."""

from __future__ import annotations

from collections import deque

from .frames import Binary, Frame, Text
from .session import Session

__all__ = ["Backlog"]

#: An estimate of what a frame costs on the wire beside its payload, in bytes.
FRAME_OVERHEAD = 16
#: The most bytes that a character takes in UTF-8.
UTF8_BYTES = 4


class Backlog(deque[tuple[Frame, int, str | None]]):
    """Frames in the order in which they go out, each with its size and its session's group."""

    def put(self, frame: Frame, group: str | None = None) -> None:
        """Append a frame without a payload."""
        self.append((frame, FRAME_OVERHEAD, group))

    def put_payload(self, session: Session, data: str | bytes) -> None:
        """Append the frame of a payload."""
        frame: Frame
        if isinstance(data, str):
            frame = Text(session.id, data)
            size = len(data) if data.isascii() else len(data) * UTF8_BYTES
        else:
            frame, size = Binary(session.id, data), len(data)
        self.append((frame, size + FRAME_OVERHEAD, session.group))

    def gather(self, limit: int) -> tuple[list[Frame], str | None]:
        """Take out what goes into one batch.

        Args:
            limit: The size at which a batch is full, in bytes; a larger frame goes alone.

        Returns:
            The frames, and the group of the first that has one.
        """
        frames: list[Frame] = []
        group, size = None, 0
        while self and (not frames or size + self[0][1] <= limit):
            frame, frame_size, frame_group = self.popleft()
            frames.append(frame)
            size += frame_size
            group = group or frame_group
        return frames, group
