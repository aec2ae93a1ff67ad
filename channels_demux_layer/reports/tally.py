"""What happens to each stream in this process, counted where it happens.

Whoever counts adds one to a plain integer; nobody is called, and nothing is summed up before
somebody asks. What comes and goes, as sessions do, is not counted at all but looked at then.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

from .report import OTHER_CODES, Side, StreamReport

__all__ = ["Counted", "FlowTally", "Tally", "all_tallies", "get_tally", "tallies_of"]

#: How many different codes the ends of one stream are counted by. Clients may choose from
#: thousands; those beyond are counted together.
MAX_CODES = 32

Direction = Literal["in", "out"]


class Counted(Protocol):
    """One end of a session, as a tally looks at it."""

    @property
    def is_pending(self) -> bool:
        """Whether the session has yet to be accepted."""

    @property
    def in_flight(self) -> int:
        """How many frames this end has sent that were not taken."""


class FlowTally:
    """One direction of a stream.

    Attributes:
        frames: Payloads that passed.
        full: How often a sender found the window full.
        stalls: How often nothing was taken for STALL_TIMEOUT.
    """

    __slots__ = ("frames", "full", "stalls")

    def __init__(self) -> None:
        self.frames = 0
        self.full = 0
        self.stalls = 0


class Tally:
    """One stream, as one side of it in this process has seen it.

    Args:
        side: Which side that is.
        channel: The stream's channel.
        stream: The stream's name.

    Attributes:
        inward: Towards the consumer.
        outward: Towards the client.
        sessions: The sessions that live.
        reopened: How often one went on with another consumer.
        closed: How many streams ended, by the code that the client was told.
    """

    __slots__ = (
        *("channel", "closed", "inward", "outward", "reopened", "sessions", "side", "stream"),
    )

    def __init__(self, side: Side, channel: str, stream: str) -> None:
        self.side: Side = side
        self.channel = channel
        self.stream = stream
        self.inward = FlowTally()
        self.outward = FlowTally()
        self.sessions: set[Counted] = set()
        self.reopened = 0
        self.closed: dict[int, int] = {}

    def count_end(self, code: int) -> None:
        """Count a stream that has ended with a code."""
        if code not in self.closed and len(self.closed) >= MAX_CODES:
            code = OTHER_CODES
        self.closed[code] = self.closed.get(code, 0) + 1

    def report(self) -> StreamReport:
        """Return what there is to say by now; any thread may ask."""
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
            closed=self.closed.copy(),
        )


_Tallies = dict[tuple[Side, str], Tally]
#: By event loop, as nodes are: what belongs to a loop goes with it.
_tallies: WeakKeyDictionary[asyncio.AbstractEventLoop, _Tallies] = WeakKeyDictionary()


def get_tally(side: Side, channel: str, stream: str) -> Tally:
    """Return this event loop's tally of a stream: always the same one.

    Args:
        side: Which side of the stream counts.
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
    """Return the tallies of all event loops of this process; any thread may ask."""
    loops = [ref() for ref in _tallies.keyrefs()]  # a list at once, whatever the loops do meanwhile
    return [tally for loop in loops if loop is not None for tally in tallies_of(loop)]
