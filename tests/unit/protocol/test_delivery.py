"""Batches are delivered once and in order, acknowledged in time, resent if lost, and counted."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest

from channels_demux_layer.protocol.delivery import (
    LinkFigures,
    Receiver,
    Recovery,
    RoundTrip,
    SentBatch,
    add_up,
    read_figures,
)
from channels_demux_layer.protocol.liveness import LinkConfig

RECEIVING = LinkConfig(max_early=3, ack_delay=0.05, ack_every=8)
SENDING = LinkConfig(max_in_flight=8, max_early=20)


def receive(receiver: Receiver, *seqs: int, now: float = 0.0) -> list[bytes]:
    """Receive batches whose content is their number."""
    due = []
    for seq in seqs:
        due += receiver.receive(seq, b"%d" % seq, again=False, now=now)
    return due


@pytest.mark.parametrize("order", list(permutations((1, 2, 3, 4))))
def test_any_order_is_put_right(order: tuple[int, ...]) -> None:
    """However batches come, they are delivered in order, and none is held in the end."""
    receiver = Receiver(RECEIVING)
    assert receive(receiver, *order) == [b"1", b"2", b"3", b"4"]
    assert receiver.delivered == 4
    assert receiver.early == []


def test_repeats_are_dropped() -> None:
    """A batch that comes again is not delivered again, whether it was delivered or is held."""
    receiver = Receiver(RECEIVING)
    assert receive(receiver, 1, 1) == [b"1"]
    assert receive(receiver, 3, 3, 2, 3, 2) == [b"2", b"3"]


def test_the_first_copy_of_an_early_batch_is_kept() -> None:
    """What comes later under the same number does not replace what is held."""
    receiver = Receiver(RECEIVING)
    receiver.receive(2, b"true", again=False, now=0.0)
    receiver.receive(2, b"false", again=False, now=0.0)
    assert receive(receiver, 1) == [b"1", b"true"]


def test_early_batches_are_bounded() -> None:
    """A batch that there is no room to hold is neither held nor acknowledged."""
    receiver = Receiver(RECEIVING)
    receive(receiver, 2, 3, 4, 5)
    assert receiver.early == [2, 3, 4]
    assert receive(receiver, 1) == [b"1", b"2", b"3", b"4"]
    assert receive(receiver, 5) == [b"5"]


@pytest.mark.parametrize("seq", [-1, -(2**40)])
def test_numbers_that_there_are_not_deliver_nothing(seq: int) -> None:
    """A peer that counts below one is not believed."""
    receiver = Receiver(RECEIVING)
    assert receive(receiver, seq) == []
    assert receiver.early == []
    assert receiver.delivered == 0


def test_nothing_is_owed_at_first() -> None:
    """Before anything has come there is nothing to acknowledge."""
    assert Receiver(RECEIVING).ack_at is None


def test_a_lone_batch_is_acknowledged_after_the_delay() -> None:
    """The first batch sets the time; those behind it do not put it off."""
    receiver = Receiver(RECEIVING)
    receive(receiver, 1, now=1.0)
    receive(receiver, 2, now=1.04)
    assert receiver.ack_at == 1.05


def test_every_eighth_batch_is_acknowledged_at_once() -> None:
    """Eight batches without an acknowledgement do not wait for the delay."""
    receiver = Receiver(RECEIVING)
    receive(receiver, *range(1, 8), now=1.0)
    assert receiver.ack_at == 1.05
    receive(receiver, 8, now=1.001)
    assert receiver.ack_at == 1.001
    receiver.acknowledged()
    receive(receiver, *range(9, 16), now=1.002)
    assert receiver.ack_at == 1.002 + 0.05


@pytest.mark.parametrize("seq", [1, 3])
def test_what_is_out_of_turn_is_acknowledged_at_once(seq: int) -> None:
    """A repeat and an early batch tell the sender at once what is missing, or is not."""
    receiver = Receiver(RECEIVING)
    receive(receiver, 1)
    receiver.acknowledged()
    receive(receiver, seq, now=1.0)
    assert receiver.ack_at == 1.0


def test_a_retransmission_is_acknowledged_at_once() -> None:
    """The sender of a retransmission has waited long enough, even if it is next in turn."""
    receiver = Receiver(RECEIVING)
    receiver.receive(1, b"", again=True, now=1.0)
    assert receiver.ack_at == 1.0


def test_an_acknowledgement_settles_all() -> None:
    """Once an acknowledgement is on its way nothing is owed until the next batch."""
    receiver = Receiver(RECEIVING)
    receive(receiver, 1)
    receiver.acknowledged()
    assert receiver.ack_at is None


def test_the_earliest_time_counts() -> None:
    """An acknowledgement may be brought forward and not put off."""
    receiver = Receiver(RECEIVING)
    receiver.ack_by(2.0)
    receiver.ack_by(3.0)
    assert receiver.ack_at == 2.0
    receiver.ack_by(1.0)
    assert receiver.ack_at == 1.0


#: Without the peer's delay and the floor, so that the numbers are those of RFC 6298.
EXACT = LinkConfig(ack_delay=0.0, min_timeout=0.0, initial_timeout=1.0, max_timeout=60.0)


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
    batches = send(Recovery(SENDING), 3)
    assert [(batch.seq, batch.again) for batch in batches] == [(1, False), (2, False), (3, False)]


def test_acknowledged_batches_are_forgotten() -> None:
    """What has arrived, in turn or early, is not waited for, and no longer the base."""
    recovery = Recovery(SENDING)
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
    recovery = Recovery(SENDING)
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
    recovery = Recovery(SENDING)
    send(recovery, 3)
    recovery.acknowledge(ack, early, 0.1)
    assert recovery.base == 1
    assert recovery.deadline == 1.0
    assert not recovery.may_resend


def test_karn() -> None:
    """A batch that was sent twice measures no round trip, and does not end the back-off."""
    recovery = Recovery(SENDING)
    send(recovery, 1)
    assert recovery.handle_timeout(1.0)
    assert recovery.resend(1.0).again
    recovery.acknowledge(1, [], 1.001)
    assert recovery.round_trip.smoothed is None
    assert recovery.round_trip.timeout == 2.0


# -- loss -------------------------------------------------------------------------------------


def test_the_oldest_sending_sets_the_deadline() -> None:
    """The batch sent longest ago times out first; one sent again is young again."""
    recovery = Recovery(SENDING)
    send(recovery, 1, now=0.0)
    send(recovery, 1, now=0.5)
    assert recovery.deadline == 1.0
    recovery.acknowledge(1, [], 0.6)
    assert recovery.deadline == 0.5 + recovery.round_trip.timeout


def test_no_timeout_before_its_time() -> None:
    """With nothing in flight, or too early, nothing is lost."""
    recovery = Recovery(SENDING)
    assert not recovery.handle_timeout(100.0)
    send(recovery, 1, now=100.0)
    assert not recovery.handle_timeout(100.9)
    assert not recovery.may_resend


def test_after_a_timeout_everything_goes_again_in_order() -> None:
    """All in flight counts as lost and goes again, lowest first, before anything new."""
    recovery = Recovery(SENDING)
    send(recovery, 3)
    assert recovery.handle_timeout(1.0)
    assert recovery.base == 1
    assert not recovery.may_send
    assert resend_all(recovery, 1.0) == [1, 2, 3]
    assert recovery.may_send
    assert recovery.deadline == 1.0 + 2.0


def test_what_arrived_after_all_does_not_go_again() -> None:
    """A lost batch that turns out to have arrived, in turn or early, is not sent again."""
    recovery = Recovery(SENDING)
    send(recovery, 5)
    recovery.handle_timeout(1.0)
    recovery.acknowledge(1, [3, 5], 1.1)
    assert recovery.base == 2
    assert resend_all(recovery, 1.1) == [2, 4]


def test_an_overtaken_batch_is_lost() -> None:
    """Three later batches arrived without it: it goes again at once, without a timeout."""
    recovery = Recovery(SENDING)
    send(recovery, 4)
    recovery.acknowledge(0, [2, 3], 0.1)
    assert not recovery.may_resend
    recovery.acknowledge(0, [2, 3, 4], 0.1)
    assert resend_all(recovery, 0.1) == [1]
    assert not recovery.handle_timeout(0.2)


def test_a_batch_is_overtaken_once() -> None:
    """A batch that was sent again has been overtaken by old ones: that says nothing."""
    recovery = Recovery(SENDING)
    send(recovery, 6)
    recovery.acknowledge(0, [2, 3, 4], 0.1)
    assert resend_all(recovery, 0.1) == [1]
    recovery.acknowledge(0, [2, 3, 4, 5, 6], 0.1)
    assert not recovery.may_resend


# -- how much at once -------------------------------------------------------------------------


def test_batches_in_flight_are_bounded() -> None:
    """No more than max_in_flight batches await acknowledgement."""
    recovery = Recovery(SENDING)
    assert room(recovery) == 8
    recovery.acknowledge(3, [], 0.1)
    assert room(recovery) == 3


def test_a_loss_halves_once() -> None:
    """Batches lost in one congestion, found at several times, halve the number once."""
    recovery = Recovery(SENDING)
    send(recovery, 8)
    recovery.acknowledge(0, [4], 0.1)
    recovery.acknowledge(0, [4, 5, 6, 7, 8], 0.1)
    assert resend_all(recovery, 0.1) == [1, 2, 3]
    recovery.acknowledge(8, [], 0.2)
    # Half of 8, and less than one more for the seven that arrived since.
    assert room(recovery) in (5, 6)


def test_each_congestion_halves_down_to_one() -> None:
    """Losing again what was sent since the last congestion halves again; one may always go."""
    recovery = Recovery(SENDING)
    send(recovery, 8)
    now, sizes = 0.0, []
    for _ in range(5):
        now += 10.0
        assert recovery.handle_timeout(now)
        sizes.append(len(resend_all(recovery, now)))
    assert sizes == [4, 2, 1, 1, 1]


def test_the_number_grows_by_one_each_round_trip() -> None:
    """After a loss, each full flight that arrives makes room for one more, up to the bound."""
    recovery = Recovery(SENDING)
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
    recovery = Recovery(SENDING)
    seq = room(recovery)
    for _ in range(20):
        recovery.acknowledge(0, list(range(2, seq + 1)), 0.0)
        resend_all(recovery, 0.0)
        seq += room(recovery)
    assert seq == SENDING.max_early
    assert not recovery.may_send
    assert recovery.deadline is not None
    recovery.acknowledge(seq, [], 0.1)
    assert recovery.may_send


def test_both_halves_are_read() -> None:
    """Batches are counted once each; what was sent again, or came again, is counted apart."""
    sending, receiving = Recovery(LinkConfig()), Receiver(LinkConfig())
    for _ in range(3):
        sending.send(b"", 0.0)
    sending.handle_timeout(10.0)
    sending.resend(10.0)
    sending.acknowledge(1, [], 10.0)
    for seq in (1, 1, 3, 3, 2):
        receiving.receive(seq, b"", again=False, now=0.0)
    figures = read_figures(sending, receiving)
    assert figures == LinkFigures(3, 3, 0, 1, 2, None)


def test_a_round_trip_is_in_seconds() -> None:
    """The smoothed round trip is that of batches that were sent once."""
    sending = Recovery(LinkConfig())
    sending.send(b"", 1.0)
    sending.send(b"", 1.0)
    sending.acknowledge(1, [], 1.5)
    figures = read_figures(sending, Receiver(LinkConfig()))
    assert (figures.round_trip, figures.in_flight) == (0.5, 1)


def test_a_full_store_of_early_batches_is_no_repeat() -> None:
    """A batch that finds no room is not counted as one that had arrived."""
    receiving = Receiver(LinkConfig(max_early=1))
    for seq in (3, 4):
        receiving.receive(seq, b"", again=False, now=0.0)
    assert receiving.repeats == 0


def test_links_add_up() -> None:
    """All counts are summed, and none are none; a round trip is one link's alone."""
    assert add_up([]) == LinkFigures(0, 0, 0, 0, 0, None)
    one, other = LinkFigures(1, 2, 3, 4, 5, 0.1), LinkFigures(10, 20, 30, 40, 50, 0.2)
    assert add_up([one, other]) == LinkFigures(11, 22, 33, 44, 55, None)
