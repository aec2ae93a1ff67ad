"""What has become of a link's batches, for whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .receiver import Receiver
from .recovery import Recovery

__all__ = ["LinkFigures", "add_up", "read_figures"]


class LinkFigures(NamedTuple):
    """What one end of a link has counted and measured.

    Attributes:
        batches_sent: Batches with frames that were sent, those sent again not counted.
        batches_received: Batches with frames that have arrived, each counted once.
        in_flight: Batches that were sent and not acknowledged yet.
        retransmits: Batches sent again.
        repeats: Batches dropped because they had arrived before.
        round_trip: The smoothed round trip in seconds; None before the first was measured.
    """

    batches_sent: int
    batches_received: int
    in_flight: int
    retransmits: int
    repeats: int
    round_trip: float | None


def read_figures(sending: Recovery, receiving: Receiver) -> LinkFigures:
    """Return the figures of a link's two halves."""
    return LinkFigures(
        batches_sent=sending.sent,
        batches_received=receiving.delivered,
        in_flight=sending.in_flight,
        retransmits=sending.resent,
        repeats=receiving.repeats,
        round_trip=sending.round_trip.smoothed,
    )


def add_up(figures: Sequence[LinkFigures]) -> LinkFigures:
    """Return the figures of several links as of one, without a round trip."""
    return LinkFigures(
        batches_sent=sum(each.batches_sent for each in figures),
        batches_received=sum(each.batches_received for each in figures),
        in_flight=sum(each.in_flight for each in figures),
        retransmits=sum(each.retransmits for each in figures),
        repeats=sum(each.repeats for each in figures),
        round_trip=None,
    )
