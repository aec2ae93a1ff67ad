"""How much one client may do, counted with a clock of numbers."""

import pytest

from channels_demux_layer.edge.limits import (
    LONGEST_PAUSE,
    MOST_REFUSALS,
    BufferedBytes,
    Limits,
    OpenCount,
    SharedWindow,
    TokenBucket,
)


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    """What was saved up costs no wait; each token after it costs its time."""
    bucket = TokenBucket(rate=10, burst=30, now=0.0)
    assert [bucket.use(1, 0.0) for _ in range(30)] == [0.0] * 30
    assert bucket.use(1, 0.0) == pytest.approx(0.1)
    assert bucket.use(1, 0.1) == pytest.approx(0.1)
    assert bucket.use(1, 1.0) == 0.0


def test_a_bucket_saves_no_more_than_its_burst() -> None:
    """A day of silence is worth no more than a few seconds of it."""
    bucket = TokenBucket(rate=10, burst=30, now=0.0)
    assert bucket.use(30, 86_400.0) == 0.0
    assert bucket.use(1, 86_400.0) == pytest.approx(0.1)


def test_a_debt_is_bounded() -> None:
    """However much comes at once, nobody is held up for longer than is bearable."""
    bucket = TokenBucket(rate=10, burst=30, now=0.0)
    assert bucket.use(10**9, 0.0) == LONGEST_PAUSE
    assert bucket.use(0, LONGEST_PAUSE) == 0.0


def test_opens_are_refused_when_there_are_too_many() -> None:
    """All of a minute's opens may come at once; each after it waits for its part of the minute."""
    count = OpenCount(6, 0.0)
    assert [count.may_open(0.0) for _ in range(7)] == [True] * 6 + [False]
    assert not count.may_open(9.9)
    assert count.may_open(10.0)


def test_without_a_limit_every_open_is_let_in() -> None:
    """0 is no bound."""
    count = OpenCount(0, 0.0)
    assert all(count.may_open(0.0) for _ in range(10_000))


def test_who_goes_on_asking_may_not_stay() -> None:
    """So many refusals within a minute are enough, and as many over a long time are not."""
    count = OpenCount(1, 0.0)
    assert [count.may_go_on(0.0) for _ in range(MOST_REFUSALS + 1)].count(False) == 1
    patient = OpenCount(1, 0.0)
    assert all(patient.may_go_on(2.0 * number) for number in range(10 * MOST_REFUSALS))


@pytest.mark.parametrize(
    ("limits", "hold_up"),
    [
        (Limits(), False),
        (Limits(open_streams=1, opens_per_minute=1), False),
        (Limits(frames_per_second=1), True),
        (Limits(bytes_per_second=1), True),
        (Limits(buffered_bytes=1), True),
    ],
)
def test_only_some_limits_hold_clients_up(limits: Limits, hold_up: bool) -> None:
    """Where none of them is set, frames are not looked at."""
    assert limits.hold_up is hold_up


def test_windows_share_what_a_connection_may_have() -> None:
    """One full stream leaves the others a payload each, and room again as it is taken."""
    shared = BufferedBytes(10)
    one, other = SharedWindow(64, 1000, shared), SharedWindow(64, 1000, shared)
    one.push("x" * 6)
    assert one.has_room
    one.push("x" * 6)
    assert not one.has_room
    assert other.has_room
    other.push("y")
    assert not other.has_room
    assert shared.used == 13
    assert one.taken(1)
    assert other.has_room
    assert shared.used == 7


def test_a_shared_window_keeps_its_own_bounds() -> None:
    """What the stream may have, it may not have more of."""
    window = SharedWindow(1, 1000, BufferedBytes(10**6))
    window.push("x")
    assert not window.has_room


def test_a_stream_that_ends_leaves_nothing_behind() -> None:
    """What it had counts no longer, not even when it is taken later."""
    shared = BufferedBytes(10)
    window = SharedWindow(64, 1000, shared)
    window.push("x" * 6)
    window.leave()
    assert shared.used == 0
    assert window.taken(1)
    assert shared.used == 0
