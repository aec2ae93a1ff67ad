"""The sending half of reliability: what is not acknowledged is kept, and sent again (L3.6).

Timeouts follow RFC 6298 (smoothed round trip, variance, doubling), samples Karn's rule (a batch
sent twice measures nothing). A batch is also taken for lost when three later ones have arrived
without it (RFC 9002, section 6.1.1). The number of batches in flight halves with each congestion
and grows by one a round trip (L3.5): a full layer drops in silence, and this is how a link notices.
"""

from __future__ import annotations

from collections import deque

from .config import LinkConfig

__all__ = ["Recovery", "SentBatch"]

#: Batches that must have overtaken one before it counts as lost (RFC 9002: kPacketThreshold).
REORDER_THRESHOLD = 3


class SentBatch:
    """A batch that has been sent and not been acknowledged."""

    __slots__ = ("again", "frames", "group", "sending", "sent_at", "seq")

    def __init__(
        self, seq: int, frames: bytes, sent_at: float, sending: int, group: str | None
    ) -> None:
        self.seq = seq
        self.frames = frames
        #: The group that it was published to; None where it went to the peer's channel.
        self.group = group
        self.sent_at = sent_at
        #: How manieth sending of the link this was: a batch sent again has a new one.
        self.sending = sending
        self.again = False


class RoundTrip:
    """The measured round trip, and the timeout that follows from it.

    Args:
        config: The link's numbers.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._variance = 0.0
        self._backoff = 1
        #: Smoothed, in seconds; None before the first sample.
        self.smoothed: float | None = None

    def sample(self, seconds: float) -> None:
        """Take a measured round trip into account."""
        self._backoff = 1
        if self.smoothed is None:
            self.smoothed, self._variance = seconds, seconds / 2
            return
        self._variance += (abs(self.smoothed - seconds) - self._variance) / 4
        self.smoothed += (seconds - self.smoothed) / 8

    def back_off(self) -> None:
        """Double the timeout, until the next sample."""
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
    """Keeps what is under way, and says what must go again, and when.

    Args:
        config: The link's numbers.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._next_seq = 1
        self._sendings = 0
        # In the order of sending, oldest first: dicts keep it, and a resent batch goes last.
        self._in_flight: dict[int, SentBatch] = {}
        self._lost: deque[SentBatch] = deque()
        self._limit = float(config.max_in_flight)
        # Losses among the sendings up to this one belong to one congestion and count once
        # (RFC 9002, section 7.3.1).
        self._congested_until = 0
        #: How many batches were sent again.
        self.resent = 0
        #: The lowest sequence number that is kept, or the next one where none is.
        self.base = 1
        self.round_trip = RoundTrip(config)

    @property
    def sent(self) -> int:
        """How many batches were sent, each counted once."""
        return self._next_seq - 1

    @property
    def in_flight(self) -> int:
        """How many batches were sent and not acknowledged yet."""
        return len(self._in_flight)

    @property
    def may_send(self) -> bool:
        """Whether one more new batch may be under way: never before those that were lost."""
        return (
            not self._lost
            and len(self._in_flight) < self._limit
            and self._next_seq < self.base + self._config.max_early
        )

    @property
    def may_resend(self) -> bool:
        """Whether a lost batch waits, and may be under way again."""
        return bool(self._lost) and len(self._in_flight) < self._limit

    @property
    def is_idle(self) -> bool:
        """Whether everything sent has been acknowledged."""
        return not self._in_flight and not self._lost

    @property
    def deadline(self) -> float | None:
        """When the oldest batch in flight counts as lost; None where there is none."""
        for batch in self._in_flight.values():
            return batch.sent_at + self.round_trip.timeout
        return None

    def send(self, frames: bytes, now: float, group: str | None = None) -> SentBatch:
        """Give new frames, which go to a group or to the channel, their number, and keep them."""
        self._sendings += 1
        batch = SentBatch(self._next_seq, frames, now, self._sendings, group)
        self._next_seq += 1
        self._in_flight[batch.seq] = batch
        return batch

    def resend(self, now: float) -> SentBatch:
        """Return the first of the lost batches, which is in flight again."""
        batch = self._lost.popleft()
        self._sendings += 1
        self.resent += 1
        batch.sent_at, batch.sending, batch.again = now, self._sendings, True
        self._in_flight[batch.seq] = batch
        return batch

    def acknowledge(self, ack: int, early: list[int], now: float) -> None:
        """Forget what has arrived; find what has been overtaken.

        Args:
            ack: All batches up to this sequence number have arrived.
            early: So have these, which lie above it.
            now: The present time in seconds.
        """
        highest = max(early, default=ack)
        if max(ack, highest) >= self._next_seq:
            return  # Of a batch never sent: not from the peer of this link (L3.4).
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
        """Count everything in flight as lost if the oldest batch has waited too long.

        Args:
            now: The present time in seconds.

        Returns:
            Whether it had.
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
