"""Reliable delivery of batches: the receiving half, the sending half, and their figures.

`Receiver` puts batches in order, drops repeats (L3.3) and schedules acknowledgements (L3.4).
`Recovery` keeps each batch until it is acknowledged, and resends lost ones (L3.6).

A batch counts as lost if its timeout passes, or if three later ones were acknowledged before it
(RFC 9002, section 6.1.1). The timeout follows RFC 6298, with the round trip smoothed, its variance,
and doubling. A batch that was sent twice yields no sample (Karn's rule).

A full channel layer drops messages without an error, so a link notices it only by losses.
Therefore, each congestion halves the number of batches in flight, and it grows by one per round
trip (L3.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from .liveness import LinkConfig

__all__ = ["LinkFigures", "Receiver", "Recovery", "SentBatch", "add_up", "read_figures"]


class Receiver:
    """Puts batches in order, drops repeats, and knows when an acknowledgement is due.

    Args:
        config: The link's parameters.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._early: dict[int, bytes] = {}
        self._unacknowledged = 0
        #: How many repeated batches were dropped.
        self.repeats = 0
        #: All batches up to this one have arrived and been delivered.
        self.delivered = 0
        #: When an acknowledgement must be sent, even alone; None if none is due.
        self.ack_at: float | None = None

    @property
    def early(self) -> list[int]:
        """The sequence numbers of the batches that are held until earlier ones arrive."""
        return list(self._early)

    def has(self, seq: int) -> bool:
        """Return whether a batch has arrived."""
        return seq <= self.delivered or seq in self._early

    def receive(self, seq: int, frames: bytes, *, again: bool, now: float) -> list[bytes]:
        """Process a batch that has arrived.

        Args:
            seq: Its sequence number.
            frames: Its frames, still encoded.
            again: Whether the sender marked it as a retransmission.
            now: The current time in seconds.

        Returns:
            The frames of each batch that can be delivered now, in order.
        """
        is_next = seq == self.delivered + 1
        self._owe_ack(now, at_once=again or not is_next)
        if is_next:
            self.delivered = seq
            return [frames, *self._take_early()]
        if self.has(seq):
            self.repeats += 1
        elif len(self._early) < self._config.max_early:
            self._early[seq] = frames
        return []

    def _take_early(self) -> list[bytes]:
        due = []
        while (frames := self._early.pop(self.delivered + 1, None)) is not None:
            self.delivered += 1
            due.append(frames)
        return due

    def _owe_ack(self, now: float, *, at_once: bool) -> None:
        self._unacknowledged += 1
        if at_once or self._unacknowledged >= self._config.ack_every:
            self.ack_at = now
        else:
            self.ack_by(now + self._config.ack_delay)

    def ack_by(self, when: float) -> None:
        """Schedule an acknowledgement for this time, unless an earlier one is scheduled."""
        if self.ack_at is None or when < self.ack_at:
            self.ack_at = when

    def acknowledged(self) -> None:
        """Note that an acknowledgement was sent."""
        self._unacknowledged = 0
        self.ack_at = None


#: Batches that must have overtaken one before it counts as lost (RFC 9002: kPacketThreshold).
REORDER_THRESHOLD = 3


class SentBatch:
    """A batch that was sent and is not acknowledged yet."""

    __slots__ = ("again", "frames", "group", "sending", "sent_at", "seq")

    def __init__(
        self, seq: int, frames: bytes, sent_at: float, sending: int, group: str | None
    ) -> None:
        self.seq = seq
        self.frames = frames
        #: The group that it was published to first; None for the peer's channel.
        self.group = group
        self.sent_at = sent_at
        #: Transmission number, counted over the whole link. A retransmission gets a new one.
        self.sending = sending
        self.again = False


class RoundTrip:
    """Measures the round trip, and computes the retransmission timeout from it.

    Args:
        config: The link's parameters.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._variance = 0.0
        self._backoff = 1
        #: The smoothed round trip in seconds; None before the first sample.
        self.smoothed: float | None = None

    def sample(self, seconds: float) -> None:
        """Add a measured round trip."""
        self._backoff = 1
        if self.smoothed is None:
            self.smoothed, self._variance = seconds, seconds / 2
            return
        self._variance += (abs(self.smoothed - seconds) - self._variance) / 4
        self.smoothed += (seconds - self.smoothed) / 8

    def back_off(self) -> None:
        """Double the timeout until the next sample."""
        self._backoff = min(self._backoff * 2, 64)

    @property
    def timeout(self) -> float:
        """How long to wait for an acknowledgement, in seconds."""
        config = self._config
        if self.smoothed is None:
            estimate = config.initial_timeout
        else:
            estimate = self.smoothed + 4 * self._variance + config.ack_delay
        return min(max(estimate, config.min_timeout) * self._backoff, config.max_timeout)


class Recovery:
    """Keeps the batches in flight, and decides which to resend, and when.

    Args:
        config: The link's parameters.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._next_seq = 1
        self._sendings = 0
        # In order of transmission, oldest first. A resent batch is moved to the end.
        self._in_flight: dict[int, SentBatch] = {}
        self._lost: deque[SentBatch] = deque()
        self._limit = float(config.max_in_flight)
        # Losses of transmissions up to this number belong to the same congestion, which halves the
        # limit only once (RFC 9002, section 7.3.1).
        self._congested_until = 0
        #: How many retransmissions there were.
        self.resent = 0
        #: The lowest unacknowledged sequence number; the next one if all are acknowledged.
        self.base = 1
        self.round_trip = RoundTrip(config)

    @property
    def sent(self) -> int:
        """How many batches were sent, without retransmissions."""
        return self._next_seq - 1

    @property
    def in_flight(self) -> int:
        """How many batches wait for an acknowledgement, without lost ones."""
        return len(self._in_flight)

    @property
    def may_send(self) -> bool:
        """Whether a new batch may be sent. Lost batches go first."""
        return (
            not self._lost
            and len(self._in_flight) < self._limit
            and self._next_seq < self.base + self._config.max_early
        )

    @property
    def may_resend(self) -> bool:
        """Whether there is a lost batch that may be resent now."""
        return bool(self._lost) and len(self._in_flight) < self._limit

    @property
    def is_idle(self) -> bool:
        """Whether everything sent has been acknowledged."""
        return not self._in_flight and not self._lost

    @property
    def deadline(self) -> float | None:
        """When the oldest batch in flight counts as lost; None if none is in flight."""
        for batch in self._in_flight.values():
            return batch.sent_at + self.round_trip.timeout
        return None

    def send(self, frames: bytes, now: float, group: str | None = None) -> SentBatch:
        """Number a new batch, keep it until it is acknowledged, and return it.

        Args:
            frames: The encoded frames.
            now: The current time in seconds.
            group: The group that it is published to; None for the peer's channel.
        """
        self._sendings += 1
        batch = SentBatch(self._next_seq, frames, now, self._sendings, group)
        self._next_seq += 1
        self._in_flight[batch.seq] = batch
        return batch

    def resend(self, now: float) -> SentBatch:
        """Return the first lost batch, and count it as in flight again."""
        batch = self._lost.popleft()
        self._sendings += 1
        self.resent += 1
        batch.sent_at, batch.sending, batch.again = now, self._sendings, True
        self._in_flight[batch.seq] = batch
        return batch

    def acknowledge(self, ack: int, early: list[int], now: float) -> None:
        """Discard the batches that have arrived, and find those that were overtaken.

        Args:
            ack: All batches up to this sequence number have arrived.
            early: The higher sequence numbers that have arrived, too.
            now: The current time in seconds.
        """
        highest = max(early, default=ack)
        if max(ack, highest) >= self._next_seq:
            return  # It acknowledges a batch that was never sent, so it is forged (L3.4).
        acknowledged = set(early)
        arrived = [seq for seq in self._in_flight if seq <= ack or seq in acknowledged]
        for seq in arrived:
            batch = self._in_flight.pop(seq)
            if not batch.again:
                self.round_trip.sample(now - batch.sent_at)
        if arrived:
            self._limit = min(self._limit + len(arrived) / self._limit, self._config.max_in_flight)
        if self._lost:
            self._lost = deque(b for b in self._lost if b.seq > ack and b.seq not in acknowledged)
        self._find_overtaken(highest)
        self.base = min([*self._in_flight, *(b.seq for b in self._lost)], default=self._next_seq)

    def _find_overtaken(self, highest: int) -> None:
        overtaken = [
            batch
            for seq, batch in self._in_flight.items()
            if seq <= highest - REORDER_THRESHOLD and not batch.again
        ]
        self._lose(overtaken)

    def handle_timeout(self, now: float) -> bool:
        """Count all batches in flight as lost if the oldest one has timed out.

        Args:
            now: The current time in seconds.

        Returns:
            Whether it has timed out.
        """
        if self.deadline is None or now < self.deadline:
            return False
        self._lose(list(self._in_flight.values()))
        self.round_trip.back_off()
        return True

    def _lose(self, batches: list[SentBatch]) -> None:
        if not batches:
            return
        for batch in batches:
            del self._in_flight[batch.seq]
        self._lost = deque(sorted([*self._lost, *batches], key=lambda batch: batch.seq))
        if max(batch.sending for batch in batches) > self._congested_until:
            self._limit = max(self._limit / 2, 1.0)
            self._congested_until = self._sendings


class LinkFigures(NamedTuple):
    """What one end of a link has counted and measured.

    Attributes:
        batches_sent: Batches with frames that were sent, without retransmissions.
        batches_received: Batches with frames that were delivered, without repeats.
        in_flight: Batches that were sent but not acknowledged yet.
        retransmits: Batches that were sent again.
        repeats: Batches that were dropped because they had arrived before.
        round_trip: The smoothed round trip in seconds; None before the first sample.
    """

    batches_sent: int
    batches_received: int
    in_flight: int
    retransmits: int
    repeats: int
    round_trip: float | None


def read_figures(sending: Recovery, receiving: Receiver) -> LinkFigures:
    """Return the figures of one end of a link, from its two halves."""
    return LinkFigures(
        batches_sent=sending.sent,
        batches_received=receiving.delivered,
        in_flight=sending.in_flight,
        retransmits=sending.resent,
        repeats=receiving.repeats,
        round_trip=sending.round_trip.smoothed,
    )


def add_up(figures: Sequence[LinkFigures]) -> LinkFigures:
    """Return the sums of several links' figures. Their ``round_trip`` is None."""
    return LinkFigures(
        batches_sent=sum(each.batches_sent for each in figures),
        batches_received=sum(each.batches_received for each in figures),
        in_flight=sum(each.in_flight for each in figures),
        retransmits=sum(each.retransmits for each in figures),
        repeats=sum(each.repeats for each in figures),
        round_trip=None,
    )
