"""The states of a session, input by input."""

from itertools import product

import pytest

from channels_demux_layer.protocol.session import TRANSITIONS, Session, SessionInput, SessionState
from channels_demux_layer.protocol.window import ReceiveWindow, SendWindow

S, I = SessionState, SessionInput  # noqa: E741 - read as a table

#: State by state, what accept, our close and the peer's close lead to; None: a fault.
TABLE = {
    S.GRANTED: (S.OPEN, S.CLOSE_SENT, S.CLOSE_RECEIVED),
    S.OPEN: (None, S.CLOSE_SENT, S.CLOSE_RECEIVED),
    S.CLOSE_SENT: (S.CLOSE_SENT, None, S.ENDED),
    S.CLOSE_RECEIVED: (None, S.ENDED, None),
    S.ENDED: (None, None, None),
}
INPUTS = (I.ACCEPT, I.SEND_CLOSE, I.RECEIVE_CLOSE)


def session_in(state: SessionState) -> Session:
    """Return a session in a state."""
    session = Session(1, SendWindow(1, 1), ReceiveWindow(1, 1))
    session.state = state
    return session


def test_a_session_begins_granted() -> None:
    """A new session waits for the worker's accept, has no owner and no group."""
    session = Session(1, SendWindow(1, 1), ReceiveWindow(1, 1))
    assert session.state is S.GRANTED
    assert session.owner is session.group is None


@pytest.mark.parametrize(("state", "number"), list(product(S, range(3))))
def test_the_table(state: SessionState, number: int) -> None:
    """Every input in every state leads where the table above says, or is a fault."""
    expected, session = TABLE[state][number], session_in(state)
    assert session.may(INPUTS[number]) == (expected is not None)
    if expected is None:
        with pytest.raises(KeyError):
            session.apply(INPUTS[number])
        assert session.state is state
    else:
        assert session.apply(INPUTS[number]) is expected is session.state


def test_nothing_leads_out_of_the_end() -> None:
    """A session ends in one state, and every other has a way there."""
    states = {state for state, _ in TRANSITIONS}
    assert states == set(S) - {S.ENDED}


@pytest.mark.parametrize(
    ("state", "sends", "receives"),
    [
        (S.GRANTED, False, False),
        (S.OPEN, True, True),
        (S.CLOSE_SENT, False, True),
        (S.CLOSE_RECEIVED, True, False),
        (S.ENDED, False, False),
    ],
)
def test_when_payloads_travel(state: SessionState, *, sends: bool, receives: bool) -> None:
    """Payloads go until our own close, and come until the peer's."""
    session = session_in(state)
    assert (session.state.sends, session.state.receives) == (sends, receives)
