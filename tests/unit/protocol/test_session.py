"""Sessions follow the table of their states, and windows count frames and bytes."""

from itertools import product

import pytest

from channels_demux_layer.protocol.session import (
    ReceiveWindow,
    SendWindow,
    Session,
    SessionInput,
    SessionState,
)


def test_a_window_has_room_for_its_frames() -> None:
    """As many frames fit in as the window has, and not one more."""
    window = SendWindow(3, 1_000)
    for _ in range(3):
        assert window.has_room
        window.push("x")
    assert not window.has_room


def test_a_window_has_room_for_its_bytes() -> None:
    """The payload that crosses the line of bytes is let in, the next one is not."""
    window = SendWindow(100, 10)
    window.push(b"123456789")
    assert window.has_room
    window.push(b"a payload that is larger than the window")
    assert not window.has_room


def test_taking_makes_room_once() -> None:
    """Only the credit that ends a full window's waiting says that there is room again."""
    window = SendWindow(2, 1_000)
    window.push("a")
    assert not window.taken(1)
    window.push("a")
    window.push("b")
    assert window.taken(1)
    assert not window.taken(1)
    assert not window.untaken


def test_too_little_credit_makes_no_room() -> None:
    """A window that is still full of bytes after some were taken does not say otherwise."""
    window = SendWindow(100, 10)
    window.push("a")
    window.push("b" * 20)
    assert not window.taken(1)
    assert not window.has_room
    assert window.taken(1)


def test_what_is_untaken_is_kept_in_order() -> None:
    """The payloads that were not taken are there for another worker, oldest first."""
    window = SendWindow(5, 1_000)
    for data in ("a", b"b", "c"):
        window.push(data)
    window.taken(1)
    assert list(window.untaken) == [b"b", "c"]


@pytest.mark.parametrize("frames", [-1, 0])
def test_credit_for_nothing_changes_nothing(frames: int) -> None:
    """A peer that gives no credit, or less than none, changes nothing."""
    window = SendWindow(1, 1_000)
    window.push("a")
    assert not window.taken(frames)
    assert list(window.untaken) == ["a"]


def test_credit_for_too_much_counts_for_what_there_is() -> None:
    """A peer that claims to have taken more than was sent empties the window and no more."""
    window = SendWindow(2, 1_000)
    window.push("a")
    window.taken(2**60)
    window.push("b")
    window.push("c")
    assert not window.has_room


def test_half_a_window_of_frames_is_told_at_once() -> None:
    """The sender is to hear at once when half of its frames have been taken."""
    window = ReceiveWindow(4, 1_000)
    assert not window.take(1)
    assert window.take(1)
    assert window.tell() == 2


def test_half_a_window_of_bytes_is_told_at_once() -> None:
    """The sender is to hear at once when half of its bytes have been taken."""
    window = ReceiveWindow(100, 10)
    assert not window.take(4)
    assert window.take(1)


def test_telling_starts_anew() -> None:
    """What the sender has been told is not told again, in frames or in bytes."""
    window = ReceiveWindow(100, 10)
    window.take(9)
    assert window.tell() == 1
    assert window.tell() == 0
    assert not window.take(4)


S, I = SessionState, SessionInput  # noqa: E741 - read as a table

SEQUENCES = [inputs for length in range(5) for inputs in product(I, repeat=length)]


def test_a_session_begins_granted() -> None:
    """A new session waits for the worker's accept, has no owner and no group."""
    session = Session(1, SendWindow(1, 1), ReceiveWindow(1, 1))
    assert session.state is S.GRANTED
    assert session.owner is session.group is None


@pytest.mark.parametrize("inputs", SEQUENCES, ids=str)
def test_sessions_keep_the_rules(inputs: tuple[SessionInput, ...]) -> None:
    """Each end closes once, both closes end the session, and payloads travel between the two.

    The sequences of inputs are all that there are, with faults among them, which change nothing.
    """
    session = Session(1, SendWindow(1, 1), ReceiveWindow(1, 1))
    done: set[SessionInput] = set()
    for what in inputs:
        if what is not I.ACCEPT:
            assert session.may(what) == (what not in done)
        if session.may(what):
            session.apply(what)
            done.add(what)
        else:
            before = session.state
            with pytest.raises(KeyError):
                session.apply(what)
            assert session.state is before
    assert (session.state is S.ENDED) == (done >= {I.SEND_CLOSE, I.RECEIVE_CLOSE})
    assert session.state.sends == (bool(done) and I.SEND_CLOSE not in done)
    assert session.state.receives == (bool(done) and I.RECEIVE_CLOSE not in done)


@pytest.mark.parametrize(
    ("before", "may"),
    [((), True), ((I.ACCEPT,), False), ((I.SEND_CLOSE,), True), ((I.RECEIVE_CLOSE,), False)],
)
def test_a_session_is_accepted_once(before: tuple[SessionInput, ...], *, may: bool) -> None:
    """An accept may cross our close on its way, but the peer sends none after its own close."""
    session = Session(1, SendWindow(1, 1), ReceiveWindow(1, 1))
    for what in before:
        session.apply(what)
    assert session.may(I.ACCEPT) is may
