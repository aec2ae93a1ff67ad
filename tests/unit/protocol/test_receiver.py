"""Batches are delivered once and in order, and acknowledged in good time."""

from itertools import permutations

import pytest

from channels_demux_layer.protocol.config import LinkConfig
from channels_demux_layer.protocol.receiver import Receiver

CONFIG = LinkConfig(max_early=3, ack_delay=0.05, ack_every=8)


def receive(receiver: Receiver, *seqs: int, now: float = 0.0) -> list[bytes]:
    """Receive batches whose content is their number."""
    due = []
    for seq in seqs:
        due += receiver.receive(seq, b"%d" % seq, again=False, now=now)
    return due


@pytest.mark.parametrize("order", list(permutations((1, 2, 3, 4))))
def test_any_order_is_put_right(order: tuple[int, ...]) -> None:
    """However batches come, they are delivered in order, and none is held in the end."""
    receiver = Receiver(CONFIG)
    assert receive(receiver, *order) == [b"1", b"2", b"3", b"4"]
    assert receiver.delivered == 4
    assert receiver.early == []


def test_repeats_are_dropped() -> None:
    """A batch that comes again is not delivered again, whether it was delivered or is held."""
    receiver = Receiver(CONFIG)
    assert receive(receiver, 1, 1) == [b"1"]
    assert receive(receiver, 3, 3, 2, 3, 2) == [b"2", b"3"]


def test_the_first_copy_of_an_early_batch_is_kept() -> None:
    """What comes later under the same number does not replace what is held."""
    receiver = Receiver(CONFIG)
    receiver.receive(2, b"true", again=False, now=0.0)
    receiver.receive(2, b"false", again=False, now=0.0)
    assert receive(receiver, 1) == [b"1", b"true"]


def test_early_batches_are_bounded() -> None:
    """A batch that there is no room to hold is neither held nor acknowledged."""
    receiver = Receiver(CONFIG)
    receive(receiver, 2, 3, 4, 5)
    assert receiver.early == [2, 3, 4]
    assert receive(receiver, 1) == [b"1", b"2", b"3", b"4"]
    assert receive(receiver, 5) == [b"5"]


@pytest.mark.parametrize("seq", [-1, -(2**40)])
def test_numbers_that_there_are_not_deliver_nothing(seq: int) -> None:
    """A peer that counts below one is not believed."""
    receiver = Receiver(CONFIG)
    assert receive(receiver, seq) == []
    assert receiver.early == []
    assert receiver.delivered == 0


def test_nothing_is_owed_at_first() -> None:
    """Before anything has come there is nothing to acknowledge."""
    assert Receiver(CONFIG).ack_at is None


def test_a_lone_batch_is_acknowledged_after_the_delay() -> None:
    """The first batch sets the time; those behind it do not put it off."""
    receiver = Receiver(CONFIG)
    receive(receiver, 1, now=1.0)
    receive(receiver, 2, now=1.04)
    assert receiver.ack_at == 1.05


def test_every_eighth_batch_is_acknowledged_at_once() -> None:
    """Eight batches without an acknowledgement do not wait for the delay."""
    receiver = Receiver(CONFIG)
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
    receiver = Receiver(CONFIG)
    receive(receiver, 1)
    receiver.acknowledged()
    receive(receiver, seq, now=1.0)
    assert receiver.ack_at == 1.0


def test_a_retransmission_is_acknowledged_at_once() -> None:
    """The sender of a retransmission has waited long enough, even if it is next in turn."""
    receiver = Receiver(CONFIG)
    receiver.receive(1, b"", again=True, now=1.0)
    assert receiver.ack_at == 1.0


def test_an_acknowledgement_settles_all() -> None:
    """Once an acknowledgement is on its way nothing is owed until the next batch."""
    receiver = Receiver(CONFIG)
    receive(receiver, 1)
    receiver.acknowledged()
    assert receiver.ack_at is None


def test_the_earliest_time_counts() -> None:
    """An acknowledgement may be brought forward and not put off."""
    receiver = Receiver(CONFIG)
    receiver.ack_by(2.0)
    receiver.ack_by(3.0)
    assert receiver.ack_at == 2.0
    receiver.ack_by(1.0)
    assert receiver.ack_at == 1.0
