"""What is not acknowledged is kept and sent again: when, and how much at once."""

from itertools import pairwise

import pytest

from channels_demux_layer.protocol.config import LinkConfig
from channels_demux_layer.protocol.recovery import Recovery, RoundTrip, SentBatch

#: Without the peer's delay and the floor, so that the numbers are those of RFC 6298.
EXACT = LinkConfig(ack_delay=0.0, min_timeout=0.0, initial_timeout=1.0, max_timeout=60.0)
CONFIG = LinkConfig(max_in_flight=8, max_early=20)


def send(recovery: Recovery, count: int, now: float = 0.0) -> list[SentBatch]:
    """Send new batches, all at one time."""
    return [recovery.send(b"frames", now) for _ in range(count)]


def resend_all(recovery: Recovery, now: float) -> list[int]:
    """Send again whatever may be, and return the numbers."""
    seqs = []
    while recovery.may_resend:
        seqs.append(recovery.resend(now).seq)
    return seqs


def room(recovery: Recovery, now: float = 0.0) -> int:
    """Send new batches as long as that is allowed, and return how many there were."""
    count = 0
    while recovery.may_send:
        recovery.send(b"frames", now)
        count += 1
    return count


# -- the round trip ---------------------------------------------------------------------------


def test_the_first_timeout_is_the_initial_one() -> None:
    """RFC 6298, 2.1: before there is a sample, the timeout is a second."""
    assert RoundTrip(EXACT).timeout == 1.0


def test_the_first_sample() -> None:
    """RFC 6298, 2.2: SRTT is R, RTTVAR R/2, the timeout R + 4 * R/2."""
    trip = RoundTrip(EXACT)
    trip.sample(0.4)
    assert trip.smoothed == 0.4
    assert trip.timeout == pytest.approx(1.2)


def test_further_samples() -> None:
    """RFC 6298, 2.3: RTTVAR from the SRTT before, with a quarter; SRTT with an eighth."""
    trip = RoundTrip(EXACT)
    trip.sample(0.4)
    trip.sample(0.8)
    # RTTVAR = 3/4 * 0.2 + 1/4 * |0.4 - 0.8| = 0.25; SRTT = 7/8 * 0.4 + 1/8 * 0.8 = 0.45
    assert trip.smoothed == pytest.approx(0.45)
    assert trip.timeout == pytest.approx(0.45 + 4 * 0.25)


def test_a_steady_round_trip_makes_the_timeout_settle() -> None:
    """After many equal samples the timeout is the round trip and the peer's delay."""
    trip = RoundTrip(LinkConfig(ack_delay=0.05, min_timeout=0.2))
    for _ in range(200):
        trip.sample(0.3)
    assert trip.timeout == pytest.approx(0.35)


def test_the_timeout_has_bounds() -> None:
    """However short or long the round trip, the timeout stays between floor and ceiling."""
    config = LinkConfig(min_timeout=0.2, max_timeout=5.0)
    short, long = RoundTrip(config), RoundTrip(config)
    short.sample(0.0)
    long.sample(100.0)
    assert (short.timeout, long.timeout) == (0.2, 5.0)


def test_the_timeout_doubles_until_a_sample() -> None:
    """RFC 6298, 5.5: each timeout doubles the next, up to the ceiling; a sample ends it."""
    trip = RoundTrip(LinkConfig(initial_timeout=1.0, max_timeout=5.0))
    timeouts = []
    for _ in range(10):
        timeouts.append(trip.timeout)
        trip.back_off()
    assert timeouts[:4] == [1.0, 2.0, 4.0, 5.0]
    assert set(timeouts[4:]) == {5.0}
    trip.sample(0.001)
    assert trip.timeout == 0.2


# -- acknowledgements -------------------------------------------------------------------------


def test_batches_are_numbered_from_one() -> None:
    """New batches have the numbers 1, 2, 3, and are no retransmissions."""
    batches = send(Recovery(CONFIG), 3)
    assert [(batch.seq, batch.again) for batch in batches] == [(1, False), (2, False), (3, False)]


def test_acknowledged_batches_are_forgotten() -> None:
    """What has arrived, in turn or early, is not waited for, and no longer the base."""
    recovery = Recovery(CONFIG)
    assert recovery.base == 1
    send(recovery, 4)
    recovery.acknowledge(1, [3], 0.1)
    assert recovery.base == 2
    recovery.acknowledge(3, [], 0.2)
    assert recovery.base == 4
    recovery.acknowledge(4, [], 0.3)
    assert recovery.base == 5
    assert recovery.deadline is None


def test_an_old_acknowledgement_changes_nothing() -> None:
    """Acknowledgements that come late or twice are harmless."""
    recovery = Recovery(CONFIG)
    send(recovery, 3)
    recovery.acknowledge(2, [], 0.1)
    before = recovery.round_trip.timeout
    for ack, early in ((1, [2]), (2, []), (0, []), (-5, [-1])):
        recovery.acknowledge(ack, early, 5.0)
    assert recovery.base == 3
    assert recovery.round_trip.timeout == before


@pytest.mark.parametrize(("ack", "early"), [(4, []), (0, [4]), (1, [3, 2**60])])
def test_acknowledgement_of_what_was_not_sent_is_not_believed(ack: int, early: list[int]) -> None:
    """An acknowledgement that names a batch never sent counts for nothing at all."""
    recovery = Recovery(CONFIG)
    send(recovery, 3)
    recovery.acknowledge(ack, early, 0.1)
    assert recovery.base == 1
    assert recovery.deadline == 1.0
    assert not recovery.may_resend


def test_karn() -> None:
    """A batch that was sent twice measures no round trip, and does not end the back-off."""
    recovery = Recovery(CONFIG)
    send(recovery, 1)
    assert recovery.handle_timeout(1.0)
    assert recovery.resend(1.0).again
    recovery.acknowledge(1, [], 1.001)
    assert recovery.round_trip.smoothed is None
    assert recovery.round_trip.timeout == 2.0


# -- loss -------------------------------------------------------------------------------------


def test_the_oldest_sending_sets_the_deadline() -> None:
    """The batch sent longest ago times out first; one sent again is young again."""
    recovery = Recovery(CONFIG)
    send(recovery, 1, now=0.0)
    send(recovery, 1, now=0.5)
    assert recovery.deadline == 1.0
    recovery.acknowledge(1, [], 0.6)
    assert recovery.deadline == 0.5 + recovery.round_trip.timeout


def test_no_timeout_before_its_time() -> None:
    """With nothing in flight, or too early, nothing is lost."""
    recovery = Recovery(CONFIG)
    assert not recovery.handle_timeout(100.0)
    send(recovery, 1, now=100.0)
    assert not recovery.handle_timeout(100.9)
    assert not recovery.may_resend


def test_after_a_timeout_everything_goes_again_in_order() -> None:
    """All in flight counts as lost and goes again, lowest first, before anything new."""
    recovery = Recovery(CONFIG)
    send(recovery, 3)
    assert recovery.handle_timeout(1.0)
    assert recovery.base == 1
    assert not recovery.may_send
    assert resend_all(recovery, 1.0) == [1, 2, 3]
    assert recovery.may_send
    assert recovery.deadline == 1.0 + 2.0


def test_what_arrived_after_all_does_not_go_again() -> None:
    """A lost batch that turns out to have arrived, in turn or early, is not sent again."""
    recovery = Recovery(CONFIG)
    send(recovery, 5)
    recovery.handle_timeout(1.0)
    recovery.acknowledge(1, [3, 5], 1.1)
    assert recovery.base == 2
    assert resend_all(recovery, 1.1) == [2, 4]


def test_an_overtaken_batch_is_lost() -> None:
    """Three later batches arrived without it: it goes again at once, without a timeout."""
    recovery = Recovery(CONFIG)
    send(recovery, 4)
    recovery.acknowledge(0, [2, 3], 0.1)
    assert not recovery.may_resend
    recovery.acknowledge(0, [2, 3, 4], 0.1)
    assert resend_all(recovery, 0.1) == [1]
    assert not recovery.handle_timeout(0.2)


def test_a_batch_is_overtaken_once() -> None:
    """A batch that was sent again has been overtaken by old ones: that says nothing."""
    recovery = Recovery(CONFIG)
    send(recovery, 6)
    recovery.acknowledge(0, [2, 3, 4], 0.1)
    assert resend_all(recovery, 0.1) == [1]
    recovery.acknowledge(0, [2, 3, 4, 5, 6], 0.1)
    assert not recovery.may_resend


# -- how much at once -------------------------------------------------------------------------


def test_batches_in_flight_are_bounded() -> None:
    """No more than max_in_flight batches await acknowledgement."""
    recovery = Recovery(CONFIG)
    assert room(recovery) == 8
    recovery.acknowledge(3, [], 0.1)
    assert room(recovery) == 3


def test_a_loss_halves_once() -> None:
    """Batches lost in one congestion, found at several times, halve the number once."""
    recovery = Recovery(CONFIG)
    send(recovery, 8)
    recovery.acknowledge(0, [4], 0.1)
    recovery.acknowledge(0, [4, 5, 6, 7, 8], 0.1)
    assert resend_all(recovery, 0.1) == [1, 2, 3]
    recovery.acknowledge(8, [], 0.2)
    # Half of 8, and less than one more for the seven that arrived since.
    assert room(recovery) in (5, 6)


def test_each_congestion_halves_down_to_one() -> None:
    """Losing again what was sent since the last congestion halves again; one may always go."""
    recovery = Recovery(CONFIG)
    send(recovery, 8)
    now, sizes = 0.0, []
    for _ in range(5):
        now += 10.0
        assert recovery.handle_timeout(now)
        sizes.append(len(resend_all(recovery, now)))
    assert sizes == [4, 2, 1, 1, 1]


def test_the_number_grows_by_one_each_round_trip() -> None:
    """After a loss, each full flight that arrives makes room for one more, up to the bound."""
    recovery = Recovery(CONFIG)
    send(recovery, 8)
    recovery.handle_timeout(1.0)
    resend_all(recovery, 1.0)
    recovery.acknowledge(8, [], 1.1)
    sizes, seq = [], 8
    for _ in range(8):
        size = room(recovery)
        seq += size
        sizes.append(size)
        recovery.acknowledge(seq, [], 2.0)
    assert sizes[-1] == 8
    assert all(0 <= later - earlier <= 1 for earlier, later in pairwise(sizes))


def test_a_batch_lost_again_and_again_holds_up_the_rest() -> None:
    """New batches do not run further ahead than the peer can hold, whatever arrives of them."""
    recovery = Recovery(CONFIG)
    seq = room(recovery)
    for _ in range(20):
        recovery.acknowledge(0, list(range(2, seq + 1)), 0.0)
        resend_all(recovery, 0.0)
        seq += room(recovery)
    assert seq == CONFIG.max_early
    assert not recovery.may_send
    assert recovery.deadline is not None
    recovery.acknowledge(seq, [], 0.1)
    assert recovery.may_send
