"""Sessions that are opened anew together are spread over time."""

from __future__ import annotations

import random

import pytest

from channels_demux_layer.protocol.pacing import BURST, JITTER, LONGEST_WAIT, RATE, Pacer


def waits(pacer: Pacer, count: int, now: float = 100.0) -> list[float]:
    """For how long so many sessions wait that are lost at once."""
    return [pacer.wait(now, random.uniform) for _ in range(count)]


def test_a_few_sessions_do_not_wait() -> None:
    """Up to the burst none does; and after a while there is room for as many again."""
    pacer = Pacer()
    assert waits(pacer, BURST - 1) == [0.0] * (BURST - 1)
    assert waits(pacer, BURST - 1, now=100.0 + BURST / RATE) == [0.0] * (BURST - 1)


@pytest.mark.parametrize("count", [200, 800])
def test_many_sessions_are_spread_over_a_time_that_grows_with_their_number(count: int) -> None:
    """No second has many more opens than the rate, and the last is where the rate has it."""
    found = sorted(waits(Pacer(), count))
    last = (count - BURST) / RATE
    assert last - JITTER <= found[-1] <= last + JITTER
    for second in range(round(found[-1]) + 1):
        opened = sum(second <= wait < second + 1 for wait in found)
        assert opened <= RATE * (1 + 2 * JITTER) + BURST


def test_no_session_waits_for_long() -> None:
    """However many there are, the time is bounded; and they do not come all in its last moment."""
    found = sorted(waits(Pacer(), 50_000))
    assert found[-1] <= LONGEST_WAIT + JITTER
    assert 0.4 < sum(wait < LONGEST_WAIT / 2 for wait in found) / len(found) < 0.6


def test_who_comes_after_many_is_not_held_up_for_long() -> None:
    """Once the time is over that the others were spread over, there is no wait."""
    pacer = Pacer()
    waits(pacer, 50_000)
    assert waits(pacer, 1, 100.0 + LONGEST_WAIT + BURST / RATE) == [0.0]


def test_edges_do_not_open_in_step() -> None:
    """Two edges that lose as many sessions at the same time draw other waits."""
    assert waits(Pacer(), 200) != waits(Pacer(), 200)
