"""The link as a whole: what it sends, when, where to, and what it makes of what it gets."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import msgspec
import pytest
from django.utils.safestring import SafeString

from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import (
    Accept,
    Batch,
    Binary,
    Close,
    Context,
    Credit,
    Frame,
    Grant,
    Move,
    Reset,
    Text,
    decode_frames,
    encode_frames,
)
from channels_demux_layer.protocol.link import Link, Outgoing
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import Session, SessionState
from tests.batches import make_batch

CONFIG = LinkConfig(window_frames=4, window_bytes=1_000, batch_bytes=200, peer_timeout=10.0)


class Pair:
    """Two ends of a link that a test moves batches between; time goes on when it says so."""

    def __init__(self, config: LinkConfig = CONFIG, of_worker: LinkConfig | None = None) -> None:
        self.now = 0.0
        self.edge = Link("link", is_edge=True, channel="edge node", config=config, now=0.0)
        self.worker = Link(
            "link", is_edge=False, channel="worker node", config=of_worker or config, now=0.0
        )

    def other(self, link: Link) -> Link:
        """Return the other end."""
        return self.worker if link is self.edge else self.edge

    def batches(self, link: Link) -> list[Outgoing]:
        """Return all that an end wants to send now."""
        found = []
        while (outgoing := link.batch_to_send(self.now)) is not None:
            found.append(outgoing)
        return found

    def deliver(self, link: Link) -> list[ev.Event]:
        """Bring all that an end wants to send to the other, and return what that reports."""
        for outgoing in self.batches(link):
            self.other(link).receive_batch(outgoing.batch, self.now)
        return events(self.other(link))

    def settle(self) -> None:
        """Let a second pass in which everything reaches the other end."""
        for _ in range(20):
            self.now += 0.05
            for link in (self.edge, self.worker):
                if self.now >= link.deadline:
                    link.handle_timeout(self.now)
                self.deliver(link)

    def open(self, ref: str = "ref", *, accept: bool = True) -> tuple[Session, Session]:
        """Open a session, and return its two ends: the edge's and the worker's."""
        mine = self.edge.open_session(ref, self.edge.new_window(), self.now)
        mine.group = f"{ref} worker group"
        (granted,) = self.deliver(self.edge)
        assert isinstance(granted, ev.Granted)
        theirs = granted.session
        theirs.group = f"{ref} edge group"
        if accept:
            self.worker.accept(theirs)
            assert self.deliver(self.worker) == [ev.Accepted(mine)]
        return mine, theirs

    def send(self, link: Link, session: Session, *payloads: str | bytes) -> None:
        """Push payloads to a session's window and send them."""
        for data in payloads:
            session.outgoing.push(data)
            link.send(session, data)


@pytest.fixture
def pair() -> Pair:
    """Return two fresh ends."""
    return Pair()


def events(link: Link) -> list[ev.Event]:
    """Return what a link has to report, and empty its list."""
    found = list(link.events())
    link.events().clear()
    return found


def frames_of(outgoing: Outgoing) -> list[Frame]:
    """Return the frames of a batch."""
    return decode_frames(outgoing.batch.frames)


def batch_of(*frames: Frame, seq: int, **fields: Any) -> Batch:
    """Return a batch with these frames, as a peer with a will of its own may send it."""
    return make_batch(**{"seq": seq, "frames": encode_frames(list(frames))} | fields)


# -- batches ----------------------------------------------------------------------------------


def test_a_batch_says_where_it_comes_from(pair: Pair) -> None:
    """A batch bears the link's id, the end it is for, and where an answer goes."""
    pair.edge.open_session("ref", pair.edge.new_window(), 0.0)
    (grant,) = pair.batches(pair.edge)
    assert grant.group is None
    batch = grant.batch
    assert (batch.version, batch.link, batch.to_edge) == (1, "link", False)
    assert (batch.channel, batch.seq, batch.base, batch.again) == ("edge node", 1, 1, False)
    assert frames_of(grant) == [Grant(1, "ref")]
    pair.worker.receive_batch(batch, 0.0)
    pair.worker.accept(pair.worker.sessions[1])
    (accept,) = pair.batches(pair.worker)
    assert accept.batch.to_edge
    assert accept.batch.ack == 1


def test_what_has_gathered_goes_as_one(pair: Pair) -> None:
    """Frames of several sessions share a batch, which goes to the group of the first of them."""
    one, _ = pair.open("one")
    two, _ = pair.open("two")
    pair.send(pair.edge, two, "a", b"b")
    pair.send(pair.edge, one, "c")
    (outgoing,) = pair.batches(pair.edge)
    assert frames_of(outgoing) == [Text(2, "a"), Binary(2, b"b"), Text(1, "c")]
    assert outgoing.group == "two worker group"


def test_the_group_is_that_of_the_first_session_that_has_one(pair: Pair) -> None:
    """A grant has no group: the batch goes to that of what rides along."""
    mine, _ = pair.open()
    pair.edge.open_session("other", pair.edge.new_window(), 0.0)
    pair.send(pair.edge, mine, "a")
    (outgoing,) = pair.batches(pair.edge)
    assert frames_of(outgoing) == [Grant(2, "other"), Text(1, "a")]
    assert outgoing.group == "ref worker group"


@pytest.mark.parametrize("data", [b"x" * 80, "x" * 80, "é" * 20])
def test_a_batch_keeps_its_size(pair: Pair, data: str | bytes) -> None:
    """A batch takes frames as long as they fit, counted in bytes, and the rest go in the next."""
    mine, _ = pair.open()
    pair.send(pair.edge, mine, data, data, data)
    assert [len(frames_of(outgoing)) for outgoing in pair.batches(pair.edge)] == [2, 1]


def test_a_payload_larger_than_a_batch_goes_alone(pair: Pair) -> None:
    """The first frame always goes, whatever its size, and nothing rides along."""
    mine, _ = pair.open()
    pair.send(pair.edge, mine, "small", "x" * 500, "small")
    sizes = [len(outgoing.batch.frames) for outgoing in pair.batches(pair.edge)]
    assert len(sizes) == 3
    assert sizes[1] > 500


def test_no_more_in_flight_than_allowed() -> None:
    """With max_in_flight batches unacknowledged the next waits, and goes when one has arrived."""
    pair = Pair(LinkConfig(max_in_flight=2, batch_bytes=1, window_frames=10))
    mine, _ = pair.open()
    pair.settle()
    pair.send(pair.edge, mine, "a", "b", "c")
    first, second = pair.batches(pair.edge)
    assert not pair.edge.wants_to_send(pair.now)
    pair.worker.receive_batch(first.batch, pair.now)
    pair.worker.receive_batch(second.batch, pair.now)
    pair.now += 0.05
    assert pair.deliver(pair.worker) == []
    (third,) = pair.batches(pair.edge)
    assert frames_of(third) == [Text(1, "c")]


def test_wanting_to_send_is_having_a_batch(pair: Pair) -> None:
    """wants_to_send() is true exactly when batch_to_send() returns a batch."""
    mine, _ = pair.open()
    pair.settle()
    assert not pair.edge.wants_to_send(pair.now)
    assert pair.edge.batch_to_send(pair.now) is None
    pair.send(pair.edge, mine, "a")
    assert pair.edge.wants_to_send(pair.now)
    assert pair.edge.batch_to_send(pair.now) is not None


# -- acknowledgement and retransmission -------------------------------------------------------


def test_an_acknowledgement_goes_alone_after_its_delay(pair: Pair) -> None:
    """Where nothing is sent back, an acknowledgement without frames goes after 50 ms."""
    mine, _ = pair.open()
    pair.settle()
    pair.send(pair.edge, mine, "a")
    pair.deliver(pair.edge)
    assert pair.worker.deadline == pair.now + 0.05
    pair.now += 0.049
    assert pair.batches(pair.worker) == []
    pair.now += 0.0011
    (alone,) = pair.batches(pair.worker)
    assert (alone.group, alone.batch.seq, alone.batch.frames) == (None, 0, b"")
    assert alone.batch.ack == 2
    assert pair.batches(pair.worker) == []


def test_an_acknowledgement_rides_on_data(pair: Pair) -> None:
    """Where something is sent back in time, no acknowledgement goes alone."""
    mine, theirs = pair.open()
    pair.settle()
    pair.send(pair.edge, mine, "a")
    pair.deliver(pair.edge)
    pair.send(pair.worker, theirs, "b")
    (outgoing,) = pair.batches(pair.worker)
    assert outgoing.batch.ack == 2
    pair.now += 0.1
    assert pair.batches(pair.worker) == []


def test_a_lone_acknowledgement_is_not_acknowledged(pair: Pair) -> None:
    """A batch without frames asks for nothing: acknowledgements do not answer one another."""
    pair.open()
    pair.settle()
    before = pair.edge.deadline
    pair.edge.receive_batch(batch_of(seq=0, ack=1, frames=b""), pair.now)
    assert pair.batches(pair.edge) == []
    assert pair.edge.deadline == before


def test_a_lost_batch_goes_again_straight_to_the_peer(pair: Pair) -> None:
    """After the timeout the same frames go under the same number, marked, and to no group."""
    mine, _ = pair.open()
    pair.settle()
    pair.send(pair.edge, mine, "a")
    (lost,) = pair.batches(pair.edge)
    assert lost.group == "ref worker group"
    pair.now = pair.edge.deadline
    assert pair.batches(pair.edge) == []
    pair.edge.handle_timeout(pair.now)
    (again,) = pair.batches(pair.edge)
    assert again.group is None
    assert again.batch.again
    assert (again.batch.seq, again.batch.frames) == (lost.batch.seq, lost.batch.frames)
    pair.worker.receive_batch(again.batch, pair.now)
    assert [type(event) for event in events(pair.worker)] == [ev.Received]
    (acknowledgement,) = pair.batches(pair.worker)
    assert acknowledgement.batch.ack == again.batch.seq


def test_a_repeated_batch_is_reported_once(pair: Pair) -> None:
    """A batch that arrives twice is acknowledged again, and its frames count once."""
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, "a")
    (outgoing,) = pair.batches(pair.edge)
    pair.worker.receive_batch(outgoing.batch, pair.now)
    pair.worker.receive_batch(outgoing.batch, pair.now)
    assert events(pair.worker) == [ev.Received(theirs, "a")]
    assert len(pair.batches(pair.worker)) == 1


def test_an_early_batch_waits_for_its_turn(pair: Pair) -> None:
    """What came early is reported after what came before it, and named to the sender."""
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, "a")
    (first,) = pair.batches(pair.edge)
    pair.send(pair.edge, mine, "b")
    (second,) = pair.batches(pair.edge)
    pair.worker.receive_batch(second.batch, pair.now)
    assert events(pair.worker) == []
    (answer,) = pair.batches(pair.worker)
    assert (answer.batch.ack, answer.batch.early) == (1, [3])
    pair.worker.receive_batch(first.batch, pair.now)
    assert events(pair.worker) == [ev.Received(theirs, "a"), ev.Received(theirs, "b")]


# -- credit -----------------------------------------------------------------------------------


def test_credit_goes_at_once_at_half_a_window(pair: Pair) -> None:
    """Two of four frames taken: the sender hears at once, straight, and has room again."""
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, *"abcd")
    pair.deliver(pair.edge)
    assert not mine.outgoing.has_room
    pair.worker.take(theirs, 1, pair.now)
    assert pair.batches(pair.worker) == []
    pair.worker.take(theirs, 1, pair.now)
    (outgoing,) = pair.batches(pair.worker)
    assert outgoing.group is None
    assert frames_of(outgoing) == [Credit(1, 2)]
    pair.edge.receive_batch(outgoing.batch, pair.now)
    assert events(pair.edge) == [ev.Writable(mine)]
    assert list(mine.outgoing.untaken) == ["c", "d"]


def test_less_credit_rides_on_the_next_acknowledgement(pair: Pair) -> None:
    """A frame taken well within the window is told with the acknowledgement, and once."""
    mine, theirs = pair.open()
    pair.settle()
    pair.send(pair.edge, mine, "a")
    pair.deliver(pair.edge)
    pair.worker.take(theirs, 1, pair.now)
    pair.now += 0.05
    (outgoing,) = pair.batches(pair.worker)
    assert frames_of(outgoing) == [Credit(1, 1)]
    assert outgoing.batch.ack == 2
    pair.edge.receive_batch(outgoing.batch, pair.now)
    assert events(pair.edge) == []
    pair.now += 0.2
    assert pair.batches(pair.worker) == []


def test_credit_does_not_wait_for_an_acknowledgement_that_has_gone() -> None:
    """A frame taken long after it was acknowledged is told within the delay as well."""
    pair = Pair(LinkConfig(window_frames=10))
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, "a")
    pair.deliver(pair.edge)
    pair.settle()
    pair.worker.take(theirs, 1, pair.now)
    pair.now += 0.04
    pair.worker.take(theirs, 1, pair.now)
    assert pair.worker.deadline == pytest.approx(pair.now + 0.01)
    pair.now += 0.0101
    (outgoing,) = pair.batches(pair.worker)
    assert frames_of(outgoing) == [Credit(1, 2)]


def test_credit_rides_on_data(pair: Pair) -> None:
    """What has been taken is told with the next payload the other way."""
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, "a")
    pair.deliver(pair.edge)
    pair.worker.take(theirs, 1, pair.now)
    pair.send(pair.worker, theirs, "b")
    (outgoing,) = pair.batches(pair.worker)
    assert frames_of(outgoing) == [Text(1, "b"), Credit(1, 1)]


def test_credit_survives_a_full_flight() -> None:
    """Credit that finds no room in flight goes as soon as there is some, not with a heartbeat."""
    pair = Pair(LinkConfig(max_in_flight=2, batch_bytes=1, window_frames=4))
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, *"abcd")
    for _ in range(3):
        pair.deliver(pair.edge)
        pair.now += 0.06
        pair.deliver(pair.worker)
    pair.send(pair.worker, theirs, "x", "y")
    stuck = pair.batches(pair.worker)
    assert len(stuck) == 2
    pair.worker.take(theirs, 1, pair.now)
    pair.worker.take(theirs, 1, pair.now)
    assert pair.batches(pair.worker) == []
    assert pair.worker.deadline > pair.now + 0.1
    # An acknowledgement falls due meanwhile, and goes without the credit.
    pair.worker.receive_batch(batch_of(seq=1, again=True), pair.now)
    (alone,) = pair.batches(pair.worker)
    assert not alone.batch.seq
    for outgoing in stuck:
        pair.edge.receive_batch(outgoing.batch, pair.now)
    pair.now += 0.05
    pair.deliver(pair.edge)
    (credit,) = pair.batches(pair.worker)
    assert frames_of(credit) == [Credit(1, 2)]


def test_credit_of_an_ended_session_is_nobodys(pair: Pair) -> None:
    """What is taken after the end is not told, and what was owed at the end is forgotten."""
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, *"abc")
    pair.deliver(pair.edge)
    pair.settle()
    pair.worker.take(theirs, 1, pair.now)
    pair.worker.take(theirs, 1, pair.now)
    pair.edge.reset_session(mine, pair.now)
    assert pair.deliver(pair.edge) == [ev.Lost(theirs, peer_is_dead=False)]
    pair.worker.take(theirs, 1, pair.now)
    pair.settle()
    assert pair.batches(pair.worker) == []
    assert pair.worker.deadline > pair.now + 1.0


def test_one_session_owes_when_another_ends(pair: Pair) -> None:
    """The end of one session does not take along the credit of another."""
    one, their_one = pair.open("one")
    two, their_two = pair.open("two")
    pair.send(pair.edge, one, "a")
    pair.send(pair.edge, two, "b")
    pair.deliver(pair.edge)
    pair.worker.take(their_one, 1, pair.now)
    pair.worker.take(their_two, 1, pair.now)
    pair.worker.reset_session(their_one, pair.now)
    (outgoing,) = pair.batches(pair.worker)
    assert frames_of(outgoing) == [Credit(1, 1), Reset(1), Credit(2, 1)]


@pytest.mark.parametrize("ends", ["close", "reset"])
def test_what_was_taken_is_told_before_a_session_ends_early(pair: Pair, ends: str) -> None:
    """However its worker ends a session, no other one gets what the consumer has taken (L5.3)."""
    session, theirs = pair.open("one")
    for word in ("taken", "taken, too", "in hand"):
        pair.send(pair.edge, session, word)
    pair.deliver(pair.edge)
    pair.worker.take(theirs, 5, pair.now)
    pair.worker.take(theirs, 10, pair.now)
    if ends == "close":
        pair.worker.close_session(theirs, 1011, "", pair.now)
    else:
        pair.worker.reset_session(theirs, pair.now)
    pair.deliver(pair.worker)
    assert list(session.outgoing.untaken) == ["in hand"]


# -- opening and closing ----------------------------------------------------------------------


def test_sessions_are_numbered_from_one(pair: Pair) -> None:
    """Each session of a link has a number of its own, which is never used again."""
    first, _ = pair.open("one")
    pair.edge.reset_session(first, pair.now)
    pair.deliver(pair.edge)
    second, their_second = pair.open("two")
    assert (first.id, second.id, their_second.id) == (1, 2, 2)


def test_nothing_is_sent_before_the_accept(pair: Pair) -> None:
    """A payload for a session that is not open yet does not go."""
    mine, _ = pair.open(accept=False)
    pair.send(pair.edge, mine, "a")
    assert pair.batches(pair.edge) == []


def test_a_session_accepts_once(pair: Pair) -> None:
    """A second accept, and one after the end, say nothing."""
    mine, theirs = pair.open()
    pair.worker.accept(theirs)
    pair.worker.close_session(theirs, 1000, "", pair.now)
    pair.worker.accept(theirs)
    assert pair.deliver(pair.worker) == [ev.Closed(mine, 1000, "")]


@pytest.mark.parametrize("closer", ["edge", "worker"])
@pytest.mark.parametrize("accept", [True, False])
def test_a_close_is_answered(pair: Pair, closer: str, *, accept: bool) -> None:
    """Either end closes, before or after the accept; the other answers; both forget."""
    sessions = pair.open(accept=accept)
    ends = [(pair.edge, sessions[0]), (pair.worker, sessions[1])]
    (link, session), (other, other_session) = ends if closer == "edge" else ends[::-1]
    link.close_session(session, 4001, "enough", pair.now)
    link.close_session(session, 4002, "again", pair.now)
    assert pair.deliver(link) == [ev.Closed(other_session, 4001, "enough")]
    assert session.state is SessionState.CLOSE_SENT
    other.close_session(other_session, 1000, "", pair.now)
    assert pair.deliver(other) == [ev.Closed(session, 1000, "")]
    assert session.state is other_session.state is SessionState.ENDED
    assert not link.sessions
    assert not other.sessions
    link.close_session(session, 1000, "", pair.now)
    assert pair.deliver(link) == []


def test_closes_that_cross(pair: Pair) -> None:
    """Both close before they hear of the other's: the session ends, and nothing is owed."""
    mine, theirs = pair.open()
    pair.edge.close_session(mine, 4001, "", pair.now)
    pair.worker.close_session(theirs, 4002, "", pair.now)
    to_worker, to_edge = pair.batches(pair.edge), pair.batches(pair.worker)
    for outgoing in to_worker:
        pair.worker.receive_batch(outgoing.batch, pair.now)
    for outgoing in to_edge:
        pair.edge.receive_batch(outgoing.batch, pair.now)
    assert events(pair.edge) == [ev.Closed(mine, 4002, "")]
    assert events(pair.worker) == [ev.Closed(theirs, 4001, "")]
    assert not pair.edge.sessions
    assert not pair.worker.sessions


def test_an_accept_that_crosses_a_close_is_not_reported(pair: Pair) -> None:
    """The edge that has closed is not told to send; a last reply still reaches it."""
    mine, theirs = pair.open(accept=False)
    pair.worker.accept(theirs)
    pair.send(pair.worker, theirs, "hello")
    pair.edge.close_session(mine, 1000, "", pair.now)
    assert pair.deliver(pair.worker) == [ev.Received(mine, "hello")]
    assert mine.state is SessionState.CLOSE_SENT


def test_replies_before_the_answer_arrive(pair: Pair) -> None:
    """What the other end says between our close and its own still counts."""
    mine, theirs = pair.open()
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.deliver(pair.edge)
    pair.send(pair.worker, theirs, "last")
    pair.worker.close_session(theirs, 1000, "", pair.now)
    assert pair.deliver(pair.worker) == [ev.Received(mine, "last"), ev.Closed(mine, 1000, "")]


def test_nothing_is_sent_after_the_last_word(pair: Pair) -> None:
    """A payload that is sent after our own close, or after the end, does not go."""
    mine, _ = pair.open()
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.send(pair.edge, mine, "late")
    (outgoing,) = pair.batches(pair.edge)
    assert frames_of(outgoing) == [Close(1, 1000)]
    assert outgoing.group == "ref worker group"


@pytest.mark.parametrize("closer", ["edge", "worker"])
def test_a_reset_ends_a_session_at_both_ends(pair: Pair, closer: str) -> None:
    """A disowned session is lost to the other end, at once and without an answer."""
    sessions = pair.open()
    ends = [(pair.edge, sessions[0]), (pair.worker, sessions[1])]
    (link, session), (other, other_session) = ends if closer == "edge" else ends[::-1]
    link.reset_session(session, pair.now)
    link.reset_session(session, pair.now)
    (outgoing,) = pair.batches(link)
    assert frames_of(outgoing) == [Reset(1)]
    other.receive_batch(outgoing.batch, pair.now)
    assert events(other) == [ev.Lost(other_session, peer_is_dead=False)]
    assert other_session.state is SessionState.ENDED
    assert pair.batches(other) == []


def test_resets_that_cross_end_there(pair: Pair) -> None:
    """Both disown the session at once: nobody answers a reset."""
    mine, theirs = pair.open()
    pair.edge.reset_session(mine, pair.now)
    pair.worker.reset_session(theirs, pair.now)
    pair.settle()
    assert events(pair.edge) == events(pair.worker) == []
    assert pair.batches(pair.edge) == pair.batches(pair.worker) == []


@pytest.mark.parametrize("frame", [Text(9, "x"), Binary(9, b"x"), Accept(9), Close(9, 1000)])
def test_a_frame_for_an_unknown_session_is_answered_with_reset(pair: Pair, frame: Frame) -> None:
    """Whoever believes in a session that is not there hears so, once for each batch."""
    pair.worker.receive_batch(batch_of(frame, frame, seq=1), 0.0)
    (outgoing,) = pair.batches(pair.worker)
    assert frames_of(outgoing) == [Reset(9)]
    assert events(pair.worker) == []


@pytest.mark.parametrize("frame", [Credit(9, 1), Reset(9)])
def test_a_word_after_the_end_needs_no_answer(pair: Pair, frame: Frame) -> None:
    """Credit and resets cross the end of a session as a matter of course."""
    pair.worker.receive_batch(batch_of(frame, seq=1), 0.0)
    assert pair.batches(pair.worker) == []
    assert events(pair.worker) == []


# -- a peer that is wrong ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoded", [b"", b"\xc1", b"\x91\x92\x63\x01", b"\x91\x93\x02\x01\xa1\xff"]
)
def test_frames_that_cannot_be_decoded_are_refused(pair: Pair, encoded: bytes) -> None:
    """Garbage is reported, acknowledged and passed over; the link goes on."""
    pair.worker.receive_batch(batch_of(seq=1, frames=encoded), 0.0)
    (event,) = events(pair.worker)
    assert isinstance(event, ev.Refused)
    assert "decoded" in event.reason
    pair.worker.receive_batch(batch_of(Grant(1, "ref"), seq=2), 0.0)
    assert isinstance(events(pair.worker)[0], ev.Granted)


@pytest.mark.parametrize("value", [SafeString("x"), SafeString("\ud800")])
def test_a_payload_that_cannot_be_encoded_ends_its_own_session(pair: Pair, value: str) -> None:
    """What stands behind it is dropped, what others have in the batch arrives (L4.10)."""
    one, ours = pair.open("one")
    two, theirs = pair.open("two")
    for session, payload in ((ours, "1"), (theirs, "2"), (ours, value), (ours, "3"), (theirs, "4")):
        pair.send(pair.worker, session, payload)
    assert pair.deliver(pair.worker) == [
        ev.Received(one, "1"),
        ev.Received(two, "2"),
        ev.Received(two, "4"),
        ev.Closed(one, 1011, ""),
    ]
    (spoiled,) = events(pair.worker)
    assert isinstance(spoiled, ev.Spoiled)
    assert spoiled.session is ours
    assert "a text frame cannot be encoded" in spoiled.fault
    pair.edge.close_session(one, 1011, "", pair.now)
    assert pair.deliver(pair.edge) == [ev.Closed(ours, 1011, "")]
    pair.send(pair.worker, theirs, "5")
    assert pair.deliver(pair.worker) == [ev.Received(two, "5")]
    assert list(pair.worker.sessions) == [two.id]


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_last_word_behind_what_cannot_be_encoded_is_1011(pair: Pair, has_ended: bool) -> None:
    """The client is not told that all is well; also where both ends had said close."""
    mine, theirs = pair.open()
    pair.send(pair.worker, theirs, SafeString("x"))
    if has_ended:
        pair.edge.close_session(mine, 1000, "", pair.now)
        assert pair.deliver(pair.edge) == [ev.Closed(theirs, 1000, "")]
    pair.worker.close_session(theirs, 1000, "", pair.now)
    assert bool(pair.worker.sessions) is not has_ended
    assert pair.deliver(pair.worker) == [ev.Closed(mine, 1011, "")]
    (spoiled,) = events(pair.worker)
    assert isinstance(spoiled, ev.Spoiled)
    assert spoiled.session is (None if has_ended else theirs)


@pytest.mark.parametrize("code", [None, "4000", 2**70, 4000.5])
def test_a_code_that_no_frame_carries_ends_its_session_with_1011(pair: Pair, code: Any) -> None:
    """Some have an encoding that the peer would not read, and the batch with it."""
    mine, theirs = pair.open()
    pair.send(pair.worker, theirs, "before")
    pair.worker.close_session(theirs, code, "", pair.now)
    assert pair.deliver(pair.worker) == [ev.Received(mine, "before"), ev.Closed(mine, 1011, "")]
    (spoiled,) = events(pair.worker)
    assert isinstance(spoiled, ev.Spoiled)
    assert "a close frame" in spoiled.fault


def test_a_payload_of_another_type_is_refused_at_once(pair: Pair) -> None:
    """Its sender has the traceback; nothing of it reaches a batch."""
    _, theirs = pair.open()
    data: Any = [1]
    with pytest.raises(TypeError, match="not list"):
        pair.worker.send(theirs, data)
    assert pair.batches(pair.worker) == []


def test_a_frame_that_cannot_be_decoded_ends_its_own_session(pair: Pair) -> None:
    """The batch has been acknowledged: what it had for others is not to be lost (L4.10)."""
    one, ours = pair.open("one")
    two, theirs = pair.open("two")
    parts = [encode_frames([frame])[1:] for frame in (Text(1, "a"), Text(2, "b"))]
    frames = b"\x93" + parts[0] + b"\x93\x02\x01\xa1\xff" + parts[1]
    pair.worker.receive_batch(batch_of(seq=3, frames=frames), pair.now)
    first, spoiled, last = events(pair.worker)
    assert first == ev.Received(ours, "a")
    assert isinstance(spoiled, ev.Spoiled)
    assert spoiled.session is ours
    assert last == ev.Received(theirs, "b")
    assert pair.deliver(pair.worker) == [ev.Closed(one, 1011, "")]
    assert two.state is SessionState.OPEN


def refusals(link: Link, *frames: Frame, seq: int) -> list[str]:
    """Return the reasons for which a link refuses frames, which must be all that it reports."""
    link.receive_batch(batch_of(*frames, seq=seq), 0.0)
    reasons = []
    for event in events(link):
        assert isinstance(event, ev.Refused)
        reasons.append(event.reason)
    return reasons


def test_the_worker_refuses_what_is_not_for_it(pair: Pair) -> None:
    """A second grant, an accept, and what comes after a close, change nothing."""
    _, theirs = pair.open()
    assert refusals(pair.worker, Grant(1, "again"), Accept(1), Move(1), seq=2) == [
        "a second grant of session 1",
        "an accept in a session that is OPEN",
        "a move, which only the worker may send",
    ]
    pair.worker.receive_batch(batch_of(Close(1, 1000), seq=3), 0.0)
    events(pair.worker)
    assert refusals(pair.worker, Text(1, "x"), Close(1, 1), seq=4) == [
        "a payload in a session that is CLOSE_RECEIVED",
        "a close in a session that is CLOSE_RECEIVED",
    ]
    assert theirs.state is SessionState.CLOSE_RECEIVED


# -- trace contexts ---------------------------------------------------------------------------

NO_PLACE = "a trace context, which only the edge may send, in an open session"


def test_a_context_goes_before_the_payloads_that_have_it(pair: Pair) -> None:
    """It is reported in its place among the payloads, and its end as well."""
    mine, theirs = pair.open()
    for carrier, data in [({"a": "1"}, "x"), ({"a": "2"}, "y"), (None, "z")]:
        pair.edge.trace(mine, carrier)
        pair.send(pair.edge, mine, data)
    assert pair.deliver(pair.edge) == [
        ev.Traced(theirs, {"a": "1"}),
        ev.Received(theirs, "x"),
        ev.Traced(theirs, {"a": "2"}),
        ev.Received(theirs, "y"),
        ev.Traced(theirs, {}),
        ev.Received(theirs, "z"),
    ]


def test_a_context_goes_once(pair: Pair) -> None:
    """What the worker knows is not said again, and that there is none not at all."""
    mine, _ = pair.open()
    for carrier in (None, {"a": "1"}, {"a": "1"}):
        pair.edge.trace(mine, carrier)
        pair.send(pair.edge, mine, "x")
    (outgoing,) = pair.batches(pair.edge)
    assert frames_of(outgoing) == [
        Text(1, "x"),
        Context(1, {"a": "1"}),
        Text(1, "x"),
        Text(1, "x"),
    ]


def test_a_context_goes_in_an_open_session_only(pair: Pair) -> None:
    """Before the accept and after the close there is no payload that could have it."""
    mine, _ = pair.open(accept=False)
    pair.edge.trace(mine, {"a": "1"})
    assert pair.batches(pair.edge) == []
    assert refusals(pair.worker, Context(1, {"a": "1"}), seq=2) == [NO_PLACE]


def test_a_worker_gives_no_context(pair: Pair) -> None:
    """Who answers is not asked where the answer comes from."""
    pair.open()
    assert refusals(pair.edge, Context(1, {"a": "1"}), seq=2) == [NO_PLACE]


def test_a_context_survives_its_loss(pair: Pair) -> None:
    """A batch that is sent again has it, before the same payloads."""
    mine, theirs = pair.open()
    pair.edge.trace(mine, {"a": "1"})
    pair.send(pair.edge, mine, "x")
    assert len(pair.batches(pair.edge)) == 1  # and nobody gets it
    pair.now = pair.edge.deadline
    pair.edge.handle_timeout(pair.now)
    assert pair.deliver(pair.edge) == [ev.Traced(theirs, {"a": "1"}), ev.Received(theirs, "x")]


def test_the_edge_refuses_what_is_not_for_it(pair: Pair) -> None:
    """A grant, a payload before the accept, and a second accept, change nothing."""
    mine, _ = pair.open(accept=False)
    assert refusals(pair.edge, Grant(5, "mine"), Binary(1, b""), seq=1) == [
        "a grant, which only the edge may send",
        "a payload in a session that is GRANTED",
    ]
    pair.edge.receive_batch(batch_of(Accept(1), seq=2), 0.0)
    assert events(pair.edge) == [ev.Accepted(mine)]
    assert refusals(pair.edge, Accept(1), seq=3) == ["an accept in a session that is OPEN"]


def test_credit_for_nothing_is_harmless(pair: Pair) -> None:
    """Credit beyond what was sent makes no more room than the window has."""
    mine, _ = pair.open()
    pair.edge.receive_batch(batch_of(Credit(1, 2**60), Credit(1, -5), seq=2), pair.now)
    assert events(pair.edge) == []
    pair.send(pair.edge, mine, *"abcd")
    assert not mine.outgoing.has_room


# -- time -------------------------------------------------------------------------------------


def advance(pair: Pair, link: Link, until: float) -> list[float]:
    """Call an end at each of its deadlines, and return when it said something."""
    spoken = []
    while not link.is_over and link.deadline <= until:
        assert link.deadline >= pair.now
        before = (pair.now, link.deadline)
        pair.now = link.deadline
        link.handle_timeout(pair.now)
        spoken += [pair.now for _ in pair.batches(link)]
        assert (pair.now, link.deadline) != before, "the deadline stands still"
    return spoken


def test_heartbeats_go_only_where_nothing_else_does(pair: Pair) -> None:
    """A silent end says something each quarter of a peer timeout, straight and without frames."""
    mine, _ = pair.open()
    pair.settle()
    start = pair.now
    spoken = []
    for _ in range(3):
        pair.now = pair.edge.deadline
        pair.worker.handle_timeout(pair.now)
        pair.edge.handle_timeout(pair.now)
        for outgoing in pair.batches(pair.edge):
            assert (outgoing.group, outgoing.batch.seq) == (None, 0)
            spoken.append(pair.now)
        pair.deliver(pair.worker)
    assert len(spoken) in (2, 3)
    assert spoken[0] <= start + 2.5
    pair.send(pair.edge, mine, "x")
    pair.now += 2.4
    assert len(pair.batches(pair.edge)) == 1
    pair.edge.handle_timeout(pair.now + 0.1)
    assert not pair.edge.wants_to_send(pair.now + 0.1)


def test_somebody_else_may_send_a_heartbeat(pair: Pair) -> None:
    """It keeps a link alive, and whoever sends it leaves the link as it is."""
    pair.open()
    pair.settle()
    heard = pair.now
    for seconds in (0.0, 9.0, 18.0):
        advance(pair, pair.edge, heard + seconds)
        pair.edge.receive_batch(pair.worker.heartbeat(), heard + seconds)
    assert not pair.edge.is_over
    assert pair.worker.heartbeat() == pair.worker.heartbeat()


def test_no_heartbeats_without_sessions(pair: Pair) -> None:
    """A link that carries no session says nothing until it is over."""
    mine, _ = pair.open()
    pair.edge.reset_session(mine, pair.now)
    pair.settle()
    assert advance(pair, pair.edge, 1_000.0) == []
    assert pair.edge.is_over


def test_a_dead_peer_is_reported_after_its_sessions(pair: Pair) -> None:
    """A peer timeout after the last word each session is lost, then the peer, then all is over."""
    one, _ = pair.open("one")
    two, _ = pair.open("two")
    pair.settle()
    heard = pair.now
    pair.edge.receive_batch(batch_of(seq=0, frames=b""), heard)
    advance(pair, pair.edge, heard + 9.9)
    assert events(pair.edge) == []
    advance(pair, pair.edge, heard + 10.0)
    lost_one, lost_two, peer_lost = events(pair.edge)
    assert (lost_one, lost_two) == (
        ev.Lost(one, peer_is_dead=True),
        ev.Lost(two, peer_is_dead=True),
    )
    assert isinstance(peer_lost, ev.PeerLost)
    assert peer_lost.silence == pytest.approx(10.0)
    assert pair.edge.is_over
    assert one.state is SessionState.ENDED


def test_what_is_over_stays_over(pair: Pair) -> None:
    """After the peer's death nothing is sent, whatever is still asked, and nothing revives it."""
    mine, _ = pair.open()
    advance(pair, pair.edge, 11.0)
    events(pair.edge)
    pair.send(pair.edge, mine, "x")
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.edge.take(mine, 1, pair.now)
    pair.edge.handle_timeout(pair.now + 1.0)
    assert pair.edge.is_over
    assert not pair.edge.wants_to_send(pair.now + 1.0)
    assert events(pair.edge) == []


def test_time_that_we_were_away_is_not_the_peers_silence(pair: Pair) -> None:
    """A process that was stopped for a minute gives its peer the time to speak."""
    pair.open()
    pair.settle()
    pair.now += 60.0
    pair.edge.handle_timeout(pair.now)
    assert events(pair.edge) == []
    assert len(pair.batches(pair.edge)) == 1
    back = pair.now
    advance(pair, pair.edge, back + 9.9)
    assert not pair.edge.is_over
    advance(pair, pair.edge, back + 10.0)
    assert pair.edge.is_over


def test_the_edge_forgets_an_idle_link_first(pair: Pair) -> None:
    """Without sessions the edge forgets the link after a peer timeout, the worker after three."""
    mine, _ = pair.open()
    pair.edge.reset_session(mine, pair.now)
    ended = pair.now
    pair.deliver(pair.edge)
    pair.settle()
    assert pair.edge.deadline == ended + 10.0
    assert pair.worker.deadline == ended + 30.0
    pair.edge.handle_timeout(ended + 9.9)
    pair.worker.handle_timeout(ended + 29.9)
    assert not pair.edge.is_over
    assert not pair.worker.is_over
    pair.edge.handle_timeout(ended + 10.0)
    pair.worker.handle_timeout(ended + 30.0)
    assert pair.edge.is_over
    assert pair.worker.is_over
    assert events(pair.edge) == events(pair.worker) == []


def test_an_outage_does_not_end_an_idle_link_with_something_to_say(pair: Pair) -> None:
    """A worker's close arrives after an outage, however long that is."""
    mine, theirs = pair.open()
    pair.settle()
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.deliver(pair.edge)
    pair.worker.close_session(theirs, 1000, "", pair.now)
    pair.batches(pair.worker)  # lost
    assert not pair.worker.sessions
    for link in (pair.edge, pair.worker):
        link.excuse_peer(pair.now + 100.0)
    pair.now += 100.0
    pair.worker.handle_timeout(pair.now)
    assert not pair.worker.is_over
    pair.settle()
    assert not pair.edge.sessions
    idle_until = pair.worker.deadline
    pair.worker.excuse_peer(pair.now + 5.0)
    assert pair.worker.deadline == idle_until


def test_a_block_does_not_end_an_idle_link_with_something_to_say(pair: Pair) -> None:
    """A worker's close arrives after its event loop was blocked, however long that was."""
    mine, theirs = pair.open()
    pair.settle()
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.deliver(pair.edge)
    pair.worker.close_session(theirs, 1000, "", pair.now)
    pair.batches(pair.worker)  # lost
    pair.now += 100.0
    pair.worker.handle_timeout(pair.now)
    assert not pair.worker.is_over
    pair.settle()
    assert not pair.edge.sessions


def test_an_end_is_heard_until_its_last_batch_arrives() -> None:
    """A worker that has closed its last session sends heartbeats until the edge knows it (L3.7)."""
    pair = mixed(3.0, 30.0)
    mine, theirs = pair.open()
    pair.settle()
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.deliver(pair.edge)
    pair.worker.close_session(theirs, 1000, "", pair.now)
    pair.batches(pair.worker)  # lost
    assert not pair.worker.sessions
    spoken = advance(pair, pair.worker, pair.now + 3.0)
    pauses = [after - before for before, after in itertools.pairwise(spoken)]
    assert len(spoken) >= 4
    assert max(pauses) <= 3.0 / 4 + 1e-9


def test_a_session_in_time_keeps_an_idle_link(pair: Pair) -> None:
    """A new session on an idle link makes both ends watch each other afresh."""
    mine, _ = pair.open()
    pair.edge.reset_session(mine, pair.now)
    pair.settle()
    pair.now = 9.0
    pair.open("second")
    for link in (pair.edge, pair.worker):
        link.handle_timeout(11.0)
        assert not link.is_over
        assert link.deadline <= 11.5


def test_a_link_that_was_never_used_is_forgotten(pair: Pair) -> None:
    """An end that was made and got no session is over after its time."""
    assert advance(pair, pair.edge, 10.0) == []
    assert pair.edge.is_over


def test_a_silent_peer_costs_few_batches(pair: Pair) -> None:
    """What is sent to a dead peer goes again with growing pauses, not in a storm."""
    mine, _ = pair.open()
    pair.settle()
    pair.send(pair.edge, mine, "x")
    assert len(pair.batches(pair.edge)) == 1
    assert 2 <= len(advance(pair, pair.edge, 30.0)) <= 10


def test_credit_goes_behind_what_was_said_before(pair: Pair) -> None:
    """Whoever hears that a payload was taken has got all that the consumer said to it."""
    mine, theirs = pair.open()
    pair.send(pair.edge, mine, "a")
    pair.deliver(pair.edge)
    pair.worker.take(theirs, 1, pair.now)
    replies = ["x" * 150, "y" * 150]
    pair.send(pair.worker, theirs, *replies)
    pair.now += 1.0
    frames = [frames_of(outgoing) for outgoing in pair.batches(pair.worker)]
    assert frames == [[Text(1, replies[0])], [Text(1, replies[1]), Credit(1, 1)]]


# -- ends with different peer timeouts --------------------------------------------------------


def mixed(of_edge: float, of_worker: float) -> Pair:
    """Return two ends with a peer timeout each."""
    edge, worker = (dataclasses.replace(CONFIG, peer_timeout=t) for t in (of_edge, of_worker))
    return Pair(edge, worker)


def pass_time(pair: Pair, seconds: float, *, is_told: bool = True) -> None:
    """Let time pass in which everything arrives; on request nobody tells its peer timeout."""
    ends_at = pair.now + seconds
    while pair.now < ends_at:
        pair.now = min(ends_at, max(pair.now + 0.01, min(pair.edge.deadline, pair.worker.deadline)))
        for link in (pair.edge, pair.worker):
            if pair.now >= link.deadline:
                link.handle_timeout(pair.now)
            for outgoing in pair.batches(link):
                batch = outgoing.batch
                if not is_told:
                    batch = msgspec.structs.replace(batch, peer_timeout=0.0)
                pair.other(link).receive_batch(batch, pair.now)


@pytest.mark.parametrize("timeouts", [(3.0, 30.0), (30.0, 3.0), (3.0, 3.0), (30.0, 30.0)])
def test_idle_sessions_outlive_a_rollout_of_another_timeout(timeouts: tuple[float, float]) -> None:
    """Ends with different peer timeouts hear each other in time, while nothing is said (L3.7)."""
    pair = mixed(*timeouts)
    pair.open()
    pass_time(pair, 600.0)
    assert len(pair.edge.sessions) == len(pair.worker.sessions) == 1
    assert not events(pair.edge)
    assert not events(pair.worker)


@pytest.mark.parametrize("timeouts", [(3.0, 30.0), (30.0, 3.0)])
def test_each_end_judges_by_its_own_timeout(timeouts: tuple[float, float]) -> None:
    """What a peer says of itself changes nothing about when it is dead."""
    pair = mixed(*timeouts)
    pair.open()
    pass_time(pair, 60.0)
    heard_at = pair.now
    for link, timeout in zip((pair.edge, pair.worker), timeouts, strict=True):
        pair.now = heard_at
        while not link.is_over:
            pair.now = link.deadline
            link.handle_timeout(pair.now)
            pair.batches(link)
        assert timeout - timeout / 4 <= pair.now - heard_at <= timeout


def test_a_peer_that_tells_nothing_has_our_timeout() -> None:
    """An earlier release with the same setting is heard and hears, as ever."""
    pair = mixed(3.0, 3.0)
    pair.open()
    pass_time(pair, 600.0, is_told=False)
    assert len(pair.edge.sessions) == len(pair.worker.sessions) == 1


@pytest.mark.parametrize("timeouts", [(3.0, 30.0), (30.0, 3.0), (40.0, 3.0)])
def test_an_edge_forgets_an_idle_link_before_its_worker_does(
    timeouts: tuple[float, float],
) -> None:
    """Also where their peer timeouts differ: a grant on a forgotten link would be lost (L3.8)."""
    pair = mixed(*timeouts)
    mine, _ = pair.open()
    pair.edge.reset_session(mine, pair.now)
    while not pair.edge.is_over:
        pass_time(pair, 0.5)
        assert not pair.worker.is_over
    pass_time(pair, 3 * max(timeouts))
    assert pair.worker.is_over
    assert pair.worker.longest_silence == max(timeouts)


# -- where a retransmission went first --------------------------------------------------------


def test_a_retransmission_names_its_first_group(pair: Pair) -> None:
    """It goes to the channel; whoever gets it knows by which group it should have come (L3.11)."""
    pair.edge.open_session("ref", pair.edge.new_window(), pair.now)
    (lost,) = pair.batches(pair.edge)
    assert lost.batch.group is None
    pair.now = pair.edge.deadline
    pair.edge.handle_timeout(pair.now)
    (again,) = pair.batches(pair.edge)
    assert (again.group, again.batch.group, again.batch.again) == (None, "", True)
    pair.worker.receive_batch(again.batch, pair.now)
    pair.deliver(pair.worker)
    (session,) = pair.edge.sessions.values()
    session.group = "ref worker group"
    pair.edge.close_session(session, 1000, "", pair.now)
    (lost,) = pair.batches(pair.edge)
    assert (lost.group, lost.batch.group) == ("ref worker group", None)
    while not (again := [each for each in pair.batches(pair.edge) if each.batch.again]):
        pair.now = pair.edge.deadline
        pair.edge.handle_timeout(pair.now)
    assert again[0].group is None
    assert again[0].batch.group == "ref worker group"


def test_a_session_that_has_said_its_last_word_is_not_moved() -> None:
    """Its edge opens no other for it."""
    pair = Pair()
    _, theirs = pair.open()
    pair.worker.close_session(theirs, 1000, "", pair.now)
    pair.worker.move_session(theirs)
    assert [type(event) for event in pair.deliver(pair.worker)] == [ev.Closed]


def test_a_move_that_crosses_the_edges_close_is_passed_over(pair: Pair) -> None:
    """A session that is closed at the edge needs no other worker."""
    mine, theirs = pair.open()
    pair.edge.close_session(mine, 1000, "", pair.now)
    pair.worker.move_session(theirs)
    assert pair.deliver(pair.worker) == []
