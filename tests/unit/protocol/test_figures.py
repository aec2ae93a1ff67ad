"""What has become of a link's batches."""

from __future__ import annotations

from channels_demux_layer.protocol.config import LinkConfig
from channels_demux_layer.protocol.figures import LinkFigures, add_up, read_figures
from channels_demux_layer.protocol.receiver import Receiver
from channels_demux_layer.protocol.recovery import Recovery


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
