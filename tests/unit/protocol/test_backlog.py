"""Frames wait in order and fill batches, and the answers to a portion wait for each other."""

from __future__ import annotations

from itertools import count

import pytest

from channels_demux_layer.protocol.backlog import (
    CALM_TURNS,
    FRAME_OVERHEAD,
    MAX_TIME,
    MAX_TURNS,
    Backlog,
    Portion,
)
from channels_demux_layer.protocol.frames import Accept, Binary, Context, Credit, Frame, Text


def backlog(*frames: Frame) -> Backlog:
    """Return frames that wait, each with a group of its session's number."""
    waiting = Backlog()
    for frame in frames:
        waiting.put(frame, None if isinstance(frame, Credit) else f"g{frame.session}")
    return waiting


def test_all_that_fits_goes_together() -> None:
    """In order, with the group of the first frame that has one; and nothing is left."""
    frames = [Credit(1, 1), Text(2, "x"), Binary(3, b"y"), Accept(4)]
    waiting = backlog(*frames)
    assert waiting.gather(10, 1_000) == (frames, "g2")
    assert not waiting
    assert waiting.gather(10, 1_000) == ([], None)


def test_a_batch_has_a_bound_in_frames() -> None:
    """What is beyond it goes with the next one."""
    frames = [Accept(number) for number in range(5)]
    waiting = backlog(*frames)
    assert waiting.gather(2, 1_000) == (frames[:2], "g0")
    assert waiting.gather(2, 1_000) == (frames[2:4], "g2")
    assert len(waiting) == 1
    assert waiting.gather(2, 1_000) == (frames[4:], "g4")


@pytest.mark.parametrize(
    ("text", "size"), [("x" * 10, 10), ("é" * 10, 40)], ids=["ASCII", "other text"]
)
def test_a_batch_has_a_bound_in_bytes(text: str, size: int) -> None:
    """A character of other text than ASCII counts as the most bytes that it may take."""
    for frames in ([Text(1, text)] * 4, [Binary(1, b"x" * size)] * 4):
        room = 2 * (size + FRAME_OVERHEAD)
        assert [len(backlog(*frames).gather(9, room + more)[0]) for more in (-1, 0, 1)] == [1, 2, 2]


def test_a_context_counts_with_all_of_its_text() -> None:
    """Names and values alike take room in a batch."""
    frames = [Context(1, {"name": "value", "other": ""})] * 4
    room = 2 * (14 + FRAME_OVERHEAD)
    assert [len(backlog(*frames).gather(9, room + more)[0]) for more in (-1, 0, 1)] == [1, 2, 2]


def test_a_larger_frame_goes_alone() -> None:
    """It is sent, with none before or behind it, and the bound counts anew after it."""
    large = Text(1, "x" * 100)
    waiting = backlog(Accept(1), large, large, Accept(2), Accept(3))
    sizes = []
    while waiting:
        sizes.append(len(waiting.gather(9, 50)[0]))
    assert sizes == [1, 1, 1, 2]


def test_what_a_session_has_waiting_can_be_dropped() -> None:
    """The frames of others keep their order, their groups and their size."""
    waiting = backlog(Text(1, "a"), Text(2, "b"), Text(1, "c"), Credit(3, 1))
    waiting.drop(1)
    assert len(waiting) == 2
    waiting.put(Text(4, "d"), "g4")
    assert waiting.gather(10, 3 * FRAME_OVERHEAD + 2) == (
        [Text(2, "b"), Credit(3, 1), Text(4, "d")],
        "g2",
    )
    assert len(waiting) == 0


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
