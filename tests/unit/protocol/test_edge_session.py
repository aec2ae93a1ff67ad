"""A stream at its edge follows the table of its states."""

from itertools import product

import pytest

from channels_demux_layer.protocol.edge_session import TRANSITIONS, EdgeInput, EdgeState

S, I = EdgeState, EdgeInput  # noqa: E741 - as short as in the table

#: For each state all inputs that it refuses.
REFUSED = {
    S.OPENING: {I.HAND_OVER},
    S.OPEN: {I.ACCEPT, I.HAND_OVER},
    S.LEAVING: set(),
    S.MOVING: {I.HAND_OVER},
    S.REOPENING: {I.HAND_OVER},
    S.CLOSING: {I.HAND_OVER},
    S.CUT_OFF: {I.HAND_OVER},
    S.ENDED: set(EdgeInput),
}


@pytest.mark.parametrize(("state", "what"), list(product(EdgeState, EdgeInput)))
def test_every_input_has_a_place_or_is_refused(state: EdgeState, what: EdgeInput) -> None:
    """For each pair of a state and an input it is known whether it may be."""
    assert ((state, what) in TRANSITIONS) == (what not in REFUSED[state])


def test_every_state_is_reached_and_left() -> None:
    """A stream gets from its beginning to each state, and from each state to its end."""
    reached, before = {S.OPENING}, set[EdgeState]()
    while reached != before:
        before = set(reached)
        reached |= {after for (state, _), after in TRANSITIONS.items() if state in before}
    assert reached == set(EdgeState)
    assert all((state, I.END) in TRANSITIONS for state in EdgeState if state is not S.ENDED)


def test_a_stream_that_is_closed_never_opens_again() -> None:
    """Whatever its worker sends, it is closing, cut off, or has ended."""
    closed = {S.CLOSING, S.CUT_OFF, S.ENDED}
    assert {after for (state, _), after in TRANSITIONS.items() if state in closed} == closed


def test_the_client_is_told_once() -> None:
    """No state after the client was told of the end lets anything more through to it."""
    for (state, _), after in TRANSITIONS.items():
        assert after.is_told or not state.is_told


def test_payloads_go_to_a_consumer_that_has_accepted() -> None:
    """To no other: those that wait are sent with the accept."""
    assert [state for state in EdgeState if state.sends] == [S.OPEN]
    assert not any(state.sends and (state.is_pending or state.is_told) for state in EdgeState)


def test_only_a_lost_consumer_makes_a_stream_reopen() -> None:
    """A stream that moves goes on in silence, even where the next worker does not begin."""
    into = {(state, what) for (state, what), after in TRANSITIONS.items() if after is S.REOPENING}
    assert into == {(S.OPEN, I.LOSE), (S.LEAVING, I.LOSE), (S.REOPENING, I.LOSE)}
    assert {state for state in EdgeState if state.seeks} == {S.OPENING, S.MOVING, S.REOPENING}
