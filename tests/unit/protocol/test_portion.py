"""How long the answers to a portion wait for each other."""

from itertools import count

import pytest

from channels_demux_layer.protocol.portion import CALM_TURNS, MAX_TIME, MAX_TURNS, Portion

#: Payloads that consumers have taken before.
BEFORE = 1000


def turns_of(portion: Portion, taken: list[int], *, turn: float = 0.0) -> int:
    """Count the turns until a portion is over, where so many payloads are taken in each."""
    totals = ((turns, BEFORE + sum(taken[:turns])) for turns in count(1))
    return next(turns for turns, total in totals if portion.is_over(total, turns * turn))


@pytest.mark.parametrize(
    ("taken", "turns"),
    [
        pytest.param([3], 1, id="all at once"),
        pytest.param([1, 0, 1, 0, 1], 5, id="a consumer of Channels"),
        pytest.param([], CALM_TURNS, id="nobody"),
        pytest.param([1, 0, 0, 1], 1 + CALM_TURNS, id="somebody waits for something else"),
        pytest.param([5], 1, id="those of an earlier portion as well"),
    ],
)
def test_answers_wait_while_consumers_get_on(taken: list[int], turns: int) -> None:
    """Until all is taken, or nobody takes anything any more."""
    assert turns_of(Portion(3, BEFORE, 0.0), taken) == turns


def test_answers_wait_for_few_turns() -> None:
    """However much there is to take."""
    assert turns_of(Portion(1000, BEFORE, 0.0), [1] * 1000) == MAX_TURNS


def test_answers_wait_for_no_further_turn_where_turns_are_long() -> None:
    """Consumers that take the processor for long hold nobody up (L3.10)."""
    assert turns_of(Portion(1000, BEFORE, 0.0), [1] * 1000, turn=MAX_TIME) == 1
    assert turns_of(Portion(1000, BEFORE, 0.0), [1] * 1000, turn=MAX_TIME / 2) == 2
