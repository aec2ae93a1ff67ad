"""Counts what happens to each stream in this process.

Counting is one addition to an integer, without a function call. Sums are computed only for a
report, and so is the state of the current sessions.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from channels_demux_layer.protocol.report import OTHER_CODES, Side, StreamReport

__all__ = ["Counted", "FlowTally", "Tally", "all_tallies", "get_tally", "tallies_of"]

#: How many close codes of one stream are counted separately. Clients can send thousands of
#: different codes, so all further ones are counted together, which bounds the memory.
MAX_CODES = 32

Direction = Literal["in", "out"]


class Counted(Protocol):
    """What a tally needs to know about one end of a session."""

    @property
    def is_pending(self) -> bool:
        """Whether no consumer has accepted the session yet."""

    @property
    def in_flight(self) -> int:
        """How many frames this end has sent that the other has not taken yet."""


class FlowTally:
    """The counts of one direction of a stream.

    Attributes:
        frames: Payloads that passed.
        full: How often a sender found the window full.
        stalls: How often the receiver took nothing for STALL_TIMEOUT.
    """

    __slots__ = ("frames", "full", "stalls")

    def __init__(self) -> None:
        self.frames = 0
        self.full = 0
        self.stalls = 0


class Tally:
    """The counts of one side of a stream in this process.

    Args:
        side: The side.
        channel: The stream's channel.
        stream: The stream's name.

    Attributes:
        inward: Counts of the direction towards the consumer.
        outward: Counts of the direction towards the client.
        sessions: The current sessions.
        reopened: How often a session continued with a new consumer.
        poisoned: How many streams were closed because MAX_DELIVERIES workers had died with them.
        closed: How many streams ended, by the close code that the client received.
    """

    __slots__ = (
        *(
            "channel",
            "closed",
            "inward",
            "outward",
            "poisoned",
            "reopened",
            "sessions",
            "side",
            "stream",
        ),
    )

    def __init__(self, side: Side, channel: str, stream: str) -> None:
        self.side: Side = side
        self.channel = channel
        self.stream = stream
        self.inward = FlowTally()
        self.outward = FlowTally()
        self.sessions: set[Counted] = set()
        self.reopened = 0
        self.poisoned = 0
        self.closed: dict[int, int] = {}

    def count_end(self, code: int) -> None:
        """Count a stream that ended with this close code."""
        if code not in self.closed and len(self.closed) >= MAX_CODES:
            code = OTHER_CODES
        self.closed[code] = self.closed.get(code, 0) + 1

    def report(self) -> StreamReport:
        """Return the current counts. Thread-safe."""
        sessions = list(self.sessions)
        pending = sum(session.is_pending for session in sessions)
        return StreamReport(
            side=self.side,
            stream=self.stream,
            channel=self.channel,
            sessions=len(sessions) - pending,
            pending=pending,
            frames_in=self.inward.frames,
            frames_out=self.outward.frames,
            in_flight=sum(session.in_flight for session in sessions),
            full_in=self.inward.full,
            full_out=self.outward.full,
            stalls_in=self.inward.stalls,
            stalls_out=self.outward.stalls,
            reopened=self.reopened,
            poisoned=self.poisoned,
            closed=self.closed.copy(),
        )


_Tallies = dict[tuple[Side, str], Tally]
#: The tallies of each event loop. They are dropped with their loop, as nodes are.
_tallies: WeakKeyDictionary[asyncio.AbstractEventLoop, _Tallies] = WeakKeyDictionary()


def get_tally(side: Side, channel: str, stream: str) -> Tally:
    """Return this event loop's tally of a stream. Create it with the first call.

    Args:
        side: The side of the stream that counts.
        channel: The stream's channel.
        stream: The stream's name.
    """
    tallies = _tallies.setdefault(asyncio.get_running_loop(), {})
    tally = tallies.get((side, channel))
    if tally is None:
        tally = tallies[side, channel] = Tally(side, channel, stream)
    return tally


def tallies_of(loop: asyncio.AbstractEventLoop) -> list[Tally]:
    """Return the tallies of an event loop."""
    return list(_tallies.get(loop, {}).values())


def all_tallies() -> list[Tally]:
    """Return the tallies of all event loops of this process. Thread-safe."""
    loops = [ref() for ref in _tallies.keyrefs()]  # a copy: loops may come and go meanwhile
    return [tally for loop in loops if loop is not None for tally in tallies_of(loop)]
