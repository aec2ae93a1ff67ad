"""The receiving half of reliability: once, in order (L3.3), and acknowledged (L3.4)."""

from __future__ import annotations

from .config import LinkConfig

__all__ = ["Receiver"]


class Receiver:
    """Puts batches in order, drops repeats, and knows what must be acknowledged, and when.

    Args:
        config: The link's numbers.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._early: dict[int, bytes] = {}
        self._unacknowledged = 0
        #: How many batches had arrived before, and were dropped.
        self.repeats = 0
        #: All batches up to this one have arrived and been delivered.
        self.delivered = 0
        #: When an acknowledgement must go, even alone; None where none is owed.
        self.ack_at: float | None = None

    @property
    def early(self) -> list[int]:
        """The sequence numbers of the batches held until those before them have come."""
        return list(self._early)

    def has(self, seq: int) -> bool:
        """Tell whether a batch has arrived."""
        return seq <= self.delivered or seq in self._early

    def receive(self, seq: int, frames: bytes, *, again: bool, now: float) -> list[bytes]:
        """Take in one batch.

        Args:
            seq: Its sequence number.
            frames: Its frames, still encoded.
            again: Whether the sender marked it as a retransmission.
            now: The present time in seconds.

        Returns:
            The frames of each batch whose turn has come, in order.
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
        """Have an acknowledgement go at this time or before."""
        if self.ack_at is None or when < self.ack_at:
            self.ack_at = when

    def acknowledged(self) -> None:
        """Note that an acknowledgement is on its way."""
        self._unacknowledged = 0
        self.ack_at = None
