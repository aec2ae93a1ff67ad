"""The parameters of a link agree, peers count as dead in time, and heartbeats are sent."""

import math

import pytest

from channels_demux_layer.protocol.liveness import LinkConfig, Liveness


def test_heartbeats_may_be_lost() -> None:
    """Three of four heartbeats may be lost within a peer timeout."""
    assert LinkConfig(peer_timeout=10.0).heartbeat_interval == 2.5


def test_the_defaults_agree() -> None:
    """An acknowledgement comes before a timeout, and there is room for what comes early."""
    config = LinkConfig()
    assert config.ack_delay < config.min_timeout < config.max_timeout < config.peer_timeout
    assert config.max_in_flight < config.max_early
    assert config.ack_every <= config.max_in_flight


CONFIG = LinkConfig(peer_timeout=10.0)


def watched(until: float, *, since: float = 0.0) -> Liveness:
    """Return the liveness of a link that was watched each second since a time."""
    liveness = Liveness(CONFIG, since)
    for second in range(int(since), int(until)):
        liveness.watch(float(second))
    return liveness


def test_a_silent_peer_dies_at_its_timeout() -> None:
    """A peer is dead when the timeout has passed since it was last heard, and not before."""
    liveness = watched(13)
    liveness.heard(3.0)
    assert not liveness.is_dead(12.9)
    assert liveness.is_dead(13.0)
    assert liveness.silence(13.0) == 10.0


def test_a_heartbeat_is_owed_after_a_quarter_of_the_timeout() -> None:
    """Whoever has said nothing for a quarter of the peer timeout must speak."""
    liveness = Liveness(CONFIG, 0.0)
    liveness.sent(1.0)
    assert not liveness.owes_heartbeat(3.4)
    assert liveness.owes_heartbeat(3.5)


def test_restart_forgets_the_silence() -> None:
    """What was not said before the watch began counts for nothing."""
    liveness = Liveness(CONFIG, 0.0)
    liveness.restart(100.0)
    liveness.watch(100.0)
    assert not liveness.is_dead(109.0)
    assert not liveness.owes_heartbeat(102.0)
    assert liveness.is_dead(110.0)


def test_own_absence_is_not_the_peers_silence() -> None:
    """After more than two heartbeats of absence the peer's silence counts from the return."""
    liveness = Liveness(CONFIG, 0.0)
    liveness.watch(60.0)
    assert not liveness.is_dead(69.9)
    assert liveness.is_dead(70.0)


def test_a_watch_in_time_forgives_nothing() -> None:
    """A watch that is a little late does not prolong the peer's life."""
    liveness = Liveness(CONFIG, 0.0)
    for when in (2.5, 7.4, 10.0):
        liveness.watch(when)
    assert liveness.is_dead(10.0)


def test_the_deadline_is_the_first_thing_that_is_due() -> None:
    """The deadline is the next watch, the heartbeat or the peer's death."""
    liveness = Liveness(CONFIG, 0.0)
    assert liveness.deadline == 2.5
    liveness.sent(2.0)
    assert liveness.deadline == 2.5
    liveness.watch(2.5)
    assert liveness.deadline == 4.5
    for when in (4.5, 7.0, 9.0):
        liveness.watch(when)
        liveness.sent(when)
    assert liveness.deadline == 10.0


@pytest.mark.parametrize(
    ("told", "interval", "longer"),
    [
        (10.0, 2.5, 10.0),
        (3.0, 0.75, 10.0),
        (30.0, 2.5, 30.0),
        (0.0, 2.5, 10.0),  # not told, as by earlier releases
        (1e-9, 0.25, 10.0),
        (1e300, 2.5, 3_600.0),
        (math.inf, 2.5, 3_600.0),
        (math.nan, 2.5, 10.0),
        (-1.0, 2.5, 10.0),
    ],
)
def test_heartbeats_go_by_the_shorter_timeout(told: float, interval: float, longer: float) -> None:
    """Whatever a peer says, heartbeats are neither rarer than ours nor without end (L3.7)."""
    liveness = Liveness(CONFIG, 0.0)
    for _ in range(2):
        liveness.adapt(told)
    assert (liveness.interval, liveness.longer) == (interval, longer)
    assert liveness.deadline == interval
    assert not liveness.owes_heartbeat(interval - 0.01)
    assert liveness.owes_heartbeat(interval)
    assert not liveness.is_dead(9.9)
    assert liveness.is_dead(10.0)


def test_a_short_timeout_of_our_own_is_kept() -> None:
    """The bound is for what others say."""
    liveness = Liveness(LinkConfig(peer_timeout=0.2), 0.0)
    for told in (0.2, 0.1, 5.0):
        liveness.adapt(told)
        assert liveness.interval == 0.05


def test_what_a_peer_says_may_change() -> None:
    """The last word counts, also that of a peer which does not say it any more."""
    liveness = Liveness(CONFIG, 0.0)
    for told, interval in ((3.0, 0.75), (5.0, 1.25), (0.0, 2.5)):
        liveness.adapt(told)
        assert liveness.interval == interval
