"""Waiting for room in a window: how a slow end holds up the fast one (C4.1)."""

from __future__ import annotations

import asyncio

from channels_demux_layer.json_text import UTF8_BYTES
from channels_demux_layer.link.window import SendWindow
from channels_demux_layer.reports.tally import FlowTally

__all__ = ["Outflow", "Stalled", "excess_size"]


def excess_size(data: str | bytes, limit: int) -> int:
    """Return the size of a payload that is too large.

    Args:
        data: The payload.
        limit: The most bytes it may have, in UTF-8 for text.

    Returns:
        Its size in bytes; 0 where it is within the limit.
    """
    length = len(data)
    if isinstance(data, str) and length * UTF8_BYTES > limit and not data.isascii():
        length = len(data.encode("utf-8", "surrogatepass"))
    return length if length > limit else 0


class Stalled(Exception):  # noqa: N818 - it is caught close by, and reads as what happened
    """The other end has taken nothing for too long (C4.3)."""


class Outflow:
    """The sending end of one direction of a session.

    Args:
        window: The window that counts what is under way.
        stall_timeout: How long to wait for room, in seconds.
        tally: Counts what passes.
    """

    __slots__ = ("_stall_timeout", "_tally", "_waiting", "is_over", "window")

    def __init__(self, window: SendWindow, stall_timeout: float, tally: FlowTally) -> None:
        self.window = window
        self._tally = tally
        tally.frames += len(window.untaken)  # What has waited in it for a permission.
        self._stall_timeout = stall_timeout
        self._waiting: asyncio.Future[None] | None = None
        #: Nothing more will be taken: pushing has no point.
        self.is_over = False

    async def push(self, data: str | bytes) -> bool:
        """Put one payload into the window, as soon as it has room.

        Args:
            data: The payload.

        Returns:
            Whether it was put in: not where the flow was, or is over meanwhile.

        Raises:
            Stalled: There was no room for the length of the stall timeout.
        """
        has_waited = False
        while not self.offer(data):
            if self.is_over:
                # Who sends in a loop, and is told nothing, would let nobody else run.
                await asyncio.sleep(0)
                return False
            self._tally.full += not has_waited
            has_waited = True
            await self._wait()
        return True

    def offer(self, data: str | bytes) -> bool:
        """Put one payload into the window if it has room, and the flow is not over.

        Args:
            data: The payload.

        Returns:
            Whether it was put in.
        """
        if self.is_over or not self.window.has_room:
            return False
        self.window.push(data)
        self._tally.frames += 1
        return True

    async def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait([self._waiting], timeout=self._stall_timeout)
        if not done:
            self._tally.stalls += 1
            raise Stalled

    def resume(self) -> None:
        """Let those who wait look again."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.set_result(None)

    def finish(self) -> None:
        """End the flow; those who wait are let go."""
        self.is_over = True
        self.resume()
