"""What happens to each stream, counted."""

from __future__ import annotations

import asyncio
import gc

from channels_demux_layer.protocol.report import OTHER_CODES
from channels_demux_layer.transport.tally import (
    MAX_CODES,
    Tally,
    all_tallies,
    get_tally,
    tallies_of,
)


class Session:
    """One end of a session."""

    def __init__(self, in_flight: int, *, is_pending: bool) -> None:
        self.in_flight = in_flight
        self.is_pending = is_pending


async def test_a_stream_has_one_tally_on_each_side() -> None:
    """The same side of the same channel counts in one place, and in no other."""
    tally = get_tally("edge", "demux.a", "a")
    assert get_tally("edge", "demux.a", "a") is tally
    others = [get_tally("worker", "demux.a", "a"), get_tally("edge", "other.a", "a")]
    assert tallies_of(asyncio.get_running_loop()) == [tally, *others]
    assert {tally, *others} <= set(all_tallies())


def test_tallies_go_with_their_loop() -> None:
    """What a loop has counted is gone with it."""

    async def count() -> None:
        get_tally("edge", "gone.a", "a")

    asyncio.run(count())
    gc.collect()
    assert "gone.a" not in {tally.channel for tally in all_tallies()}


def test_a_report_looks_at_the_sessions_that_live() -> None:
    """What is pending, open and in flight is what the sessions say at that moment."""
    tally = Tally("edge", "demux.a", "a")
    open_one, waiting = Session(3, is_pending=False), Session(4, is_pending=True)
    tally.sessions |= {open_one, waiting}
    tally.inward.frames, tally.outward.full, tally.inward.stalls, tally.reopened = 5, 6, 7, 8
    report = tally.report()
    assert (report.side, report.channel, report.stream) == ("edge", "demux.a", "a")
    assert (report.sessions, report.pending, report.in_flight) == (1, 1, 7)
    assert (report.frames_in, report.frames_out, report.reopened) == (5, 0, 8)
    assert (report.full_in, report.full_out, report.stalls_in, report.stalls_out) == (0, 6, 7, 0)
    tally.sessions.remove(waiting)
    assert tally.report().pending == 0


def test_close_codes_are_bounded() -> None:
    """Clients choose from thousands of codes; all beyond the first few count as one."""
    tally = Tally("edge", "demux.a", "a")
    for code in range(3000, 3000 + MAX_CODES + 5):
        tally.count_end(code)
    tally.count_end(3000)
    assert len(tally.closed) == MAX_CODES + 1
    assert tally.closed[3000] == 2
    assert tally.closed[OTHER_CODES] == 5
