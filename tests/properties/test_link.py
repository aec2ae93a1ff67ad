"""Two links over a network that loses, repeats, reorders and delays, on virtual time.

`check()` states the whole promise of a link; the mutants at the end show that it would notice
if one of the mechanisms behind the promise were missing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from channels_demux_layer.protocol import link as machine
from channels_demux_layer.protocol.delivery import Receiver, Recovery, RoundTrip
from channels_demux_layer.protocol.frames import Close, encode_frames
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import SendWindow, Session, SessionTable
from tests.conversation import Conversation, Talker
from tests.link_mutants import no_dedupe, no_order
from tests.lossy_network import Weather

#: Small sizes, so that every bound is met; no peer is taken for dead in a long outage.
CONFIG = LinkConfig(
    batch_bytes=2_000, window_frames=8, window_bytes=1_500, max_early=24, peer_timeout=60.0
)

WEATHERS = {
    "fair": Weather(),
    "losing": Weather(loss=0.1),
    "losing much": Weather(loss=0.4),
    "repeating": Weather(repeat=0.4),
    "reordering": Weather(delay=(0.001, 0.15)),
    "slow": Weather(delay=(0.3, 0.9), publish=(0.0, 0.05)),
    "out for a while": Weather(loss=0.02, outage=(1.0, 6.0)),
    "foul": Weather(loss=0.25, repeat=0.25, delay=(0.001, 0.4), outage=(2.0, 4.0)),
}
SEEDS = range(60)


def check(seed: int, weather: Weather) -> Conversation:
    """Hold one conversation, and assert all that a link promises."""
    talk = Conversation(seed, weather, CONFIG)
    assert talk.run(), "sessions or batches are left over"
    assert not talk.surprises
    for ref, talkers in talk.pairs.items():
        edge, worker = talkers
        assert worker.received == edge.sent, f"{ref}, to the worker"
        assert edge.received == worker.sent, f"{ref}, to the edge"
        assert edge.is_closed
        assert worker.is_closed
        check_window(edge)
        check_window(worker)
    check_traffic(talk)
    return talk


def check_window(talker: Talker) -> None:
    """Assert that no more was under way than the window allows."""
    frames, size = talker.most_untaken
    assert frames <= CONFIG.window_frames, "window of frames exceeded"
    assert size < CONFIG.window_bytes, "window of bytes exceeded"


def check_traffic(talk: Conversation) -> None:
    """Assert bounds on what was held, and on what was sent beyond what was needed."""
    for end in (talk.edge, talk.worker):
        mine, theirs = end.traffic, end.peer.traffic
        assert mine.most_early < CONFIG.max_early
        assert mine.furthest_ahead < CONFIG.max_early
        # One for each that was lost, or whose acknowledgement was; some where batches overtake
        # one another; and all in flight where the first round trip outlasts the first timeout.
        lost = talk.network.lost[end] + talk.network.lost[end.peer]
        spurious = 0.3 * mine.new + CONFIG.max_in_flight
        assert mine.again <= lost + spurious, "a storm of batches sent again"
        # Alone go: an acknowledgement of each batch at worst, with repeats, and heartbeats.
        arrivals = 4 * (theirs.new + theirs.again)
        assert mine.alone <= arrivals + talk.agenda.now / CONFIG.heartbeat_interval + 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weather", WEATHERS)
def test_every_payload_arrives_once_and_in_order(weather: str, seed: int) -> None:
    """Whatever the network does, both ends hear all that was said, and nothing is left over."""
    check(seed, WEATHERS[weather])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weather", ["fair", "repeating"])
def test_nothing_is_sent_again_without_need(weather: str, seed: int) -> None:
    """Where nothing is lost and nothing late, no batch is sent twice."""
    talk = check(seed, WEATHERS[weather])
    assert talk.edge.traffic.again == talk.worker.traffic.again == 0


def test_the_conversations_are_worth_having() -> None:
    """Over all seeds, much is said, windows fill, batches come early and are sent again."""
    talks = [check(seed, WEATHERS["foul"]) for seed in SEEDS]
    talkers = [talker for talk in talks for talker in talk.talkers.values()]
    assert sum(len(talker.sent) for talker in talkers) > 3_000
    assert max(talker.most_untaken[0] for talker in talkers) == CONFIG.window_frames
    traffic = [end.traffic for talk in talks for end in (talk.edge, talk.worker)]
    assert max(each.most_early for each in traffic) > 4
    assert sum(each.again for each in traffic) > 500


# -- mutants ----------------------------------------------------------------------------------


def no_timeout(patch: pytest.MonkeyPatch) -> None:
    """Nothing is sent again because time has passed."""
    patch.setattr(Recovery, "deadline", None)


def no_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    """Acknowledgements ride on other batches or do not go."""
    patch.setattr(Receiver, "ack_by", lambda self, when: None)
    patch.setattr(Receiver, "_owe_ack", lambda self, now, at_once: None)


def acknowledged_too_much(patch: pytest.MonkeyPatch) -> None:
    """A batch is forgotten when the one before it has arrived."""
    original = Recovery.acknowledge

    def acknowledge(self: Recovery, ack: int, early: list[int], now: float) -> None:
        original(self, min(ack + 1, self._next_seq - 1), early, now)

    patch.setattr(Recovery, "acknowledge", acknowledge)


def no_credit(patch: pytest.MonkeyPatch) -> None:
    """Nobody is told that his payloads have been taken."""
    patch.setattr(SessionTable, "credits", lambda self: [])


def credit_twice(patch: pytest.MonkeyPatch) -> None:
    """What was taken is told again with each acknowledgement."""
    patch.setattr(
        "channels_demux_layer.protocol.session.ReceiveWindow.tell", lambda self: self.untold
    )


def no_window(patch: pytest.MonkeyPatch) -> None:
    """There is always room."""
    patch.setattr(SendWindow, "has_room", True)


def no_patience(patch: pytest.MonkeyPatch) -> None:
    """The timeout is shorter than any round trip."""
    patch.setattr(RoundTrip, "timeout", 0.001)


def no_answer(patch: pytest.MonkeyPatch) -> None:
    """A close is not answered with one."""
    original = Link.close_session

    def close_session(self: Link, session: Session, code: int, reason: str, now: float) -> None:
        if session.state.receives:
            original(self, session, code, reason, now)

    patch.setattr(Link, "close_session", close_session)


def close_first(patch: pytest.MonkeyPatch) -> None:
    """A close overtakes what waits to be sent before it."""
    original = Link.close_session

    def close_session(self: Link, session: Session, code: int, reason: str, now: float) -> None:
        original(self, session, code, reason, now)
        frames = self._queue._frames
        if frames and isinstance(frames[-1], Close):
            frames.rotate(1)
            self._queue._groups.rotate(1)

    patch.setattr(Link, "close_session", close_session)


def part_of_a_batch(patch: pytest.MonkeyPatch) -> None:
    """A long batch loses its last frame."""
    patch.setattr(machine, "encode_frames", lambda frames: encode_frames(frames[:5]))


MUTANTS = [
    no_dedupe,
    no_order,
    no_timeout,
    no_acknowledgement,
    acknowledged_too_much,
    no_credit,
    credit_twice,
    no_window,
    no_patience,
    no_answer,
    close_first,
    part_of_a_batch,
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_missing_mechanism_is_noticed(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check fails for some conversation as soon as one mechanism of the link is gone."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check_all()


def check_all() -> None:
    """Hold a few conversations in each weather."""
    for seed, weather in product(range(5), WEATHERS.values()):
        check(seed, weather)
