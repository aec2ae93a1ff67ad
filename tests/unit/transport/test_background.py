"""Tasks that are kept for the next call, and one timer for all deadlines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer.transport.background import Deadlines, StandingTask
from tests.integration.harness import until


class Starter:
    """Starts tasks.

    Attributes:
        tasks: Those that were started.
        is_stopped: Whether it has stopped.
    """

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.is_stopped = False

    def start_task(self, coroutine: Any) -> asyncio.Task[None]:
        """Start one."""
        self.tasks.append(asyncio.ensure_future(coroutine))
        return self.tasks[-1]


@pytest.fixture
async def starter() -> Starter:
    """Who starts tasks."""
    return Starter()


async def test_one_task_runs_call_after_call(starter: Starter) -> None:
    """A call that comes when the one before has returned needs no new task."""
    standing, called = StandingTask(starter), []

    async def call() -> None:
        called.append(asyncio.current_task())

    for number in range(3):
        standing.run(call)
        await until(lambda number=number: len(called) > number)
    assert called == starter.tasks * 3
    standing.stop()
    await asyncio.wait_for(starter.tasks[0], 20.0)


async def test_no_call_waits_for_another(starter: Starter) -> None:
    """Calls that come together run together, and one task is kept."""
    standing, gates = StandingTask(starter), [asyncio.Event() for _ in range(3)]
    for gate in gates:
        standing.run(gate.wait)  # type: ignore[arg-type]
    assert len(starter.tasks) == 3
    for gate in gates:
        gate.set()
    await until(lambda: sum(task.done() for task in starter.tasks) == 2)
    standing.run(gates[0].wait)  # type: ignore[arg-type]
    assert len(starter.tasks) == 3
    await asyncio.sleep(0)
    gates[0].clear()
    standing.run(gates[0].wait)  # type: ignore[arg-type]
    standing.stop()
    gates[0].set()
    await asyncio.wait(starter.tasks, timeout=20.0)
    assert all(task.done() for task in starter.tasks)


async def test_a_task_that_was_cancelled_is_replaced(starter: Starter) -> None:
    """A call that comes just then gets a new task, and so does one after a call that raised."""
    standing, ran = StandingTask(starter), asyncio.Event()

    async def call() -> None:
        ran.set()

    standing.run(call)
    await until(ran.is_set)
    await asyncio.sleep(0)
    starter.tasks[0].cancel()
    ran.clear()
    standing.run(call)
    await until(ran.is_set)
    assert len(starter.tasks) == 2
    await asyncio.sleep(0)
    starter.tasks[1].cancel()
    standing.stop()  # It has nothing to end any more.
    await asyncio.wait(starter.tasks, timeout=20.0)
    assert all(task.cancelled() for task in starter.tasks)


async def test_a_node_that_has_stopped_keeps_no_task(starter: Starter) -> None:
    """What ends later still makes its calls, and their tasks end."""
    standing, gate = StandingTask(starter), asyncio.Event()
    starter.is_stopped = True
    standing.run(gate.wait)  # type: ignore[arg-type]
    gate.set()
    await asyncio.wait_for(starter.tasks[0], 20.0)


class Clock:
    """The time of a loop, which passes when it is told to.

    Attributes:
        timers: The timers that were set, by the time that they ring at.
        set: How many timers were set.
        errors: What was raised.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.set = 0
        self.errors: list[Exception] = []

    def time(self) -> float:
        """Return the present time."""
        return self.now

    def call_at(self, when: float, ring: Any, context: Any) -> Timer:
        """Set a timer."""
        self.set += 1
        self.timers.append(Timer(self, when, ring))
        return self.timers[-1]

    def call_exception_handler(self, facts: dict[str, Any]) -> None:
        """Note what was raised."""
        self.errors.append(facts["exception"])

    def advance(self, now: float) -> None:
        """Ring what is due, a little early as loops do."""
        while due := [timer for timer in self.timers if timer.when <= now]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = timer.when - 1e-9
            timer.ring()
        self.now = now


class Timer:
    """A timer of the clock."""

    def __init__(self, clock: Clock, when: float, ring: Any) -> None:
        self.when, self.ring = when, ring
        self._clock = clock

    def cancel(self) -> None:
        """Do not ring."""
        self._clock.timers.remove(self)


def deadlines_on(clock: Any) -> Deadlines:
    """Return deadlines on a clock."""
    return Deadlines(clock)


def test_calls_are_made_at_their_time() -> None:
    """In the order of their deadlines, with one timer at a time."""
    clock, made = Clock(), []
    deadlines = deadlines_on(clock)
    for when in (3.0, 1.0, 2.0, 1.0):
        deadlines.at(when, lambda when=when: made.append((when, clock.now)))  # type: ignore[misc]
        assert len(clock.timers) == 1
    deadlines.after(4.0, lambda: made.append((4.0, clock.now)))
    clock.advance(10.0)
    assert [when for when, _ in made] == [1.0, 1.0, 2.0, 3.0, 4.0]
    assert all(at == pytest.approx(when) for when, at in made)
    assert clock.timers == []


def test_what_is_cancelled_costs_no_timer() -> None:
    """The timer rings once for any number of deadlines that were not met."""
    clock = Clock()
    deadlines = deadlines_on(clock)
    for number in range(100):
        clock.now = number / 100
        deadline = deadlines.after(5.0, lambda: pytest.fail("it was cancelled"))
        assert not deadline.is_cancelled
        deadline.cancel()
        assert deadline.is_cancelled
    clock.advance(20.0)
    assert clock.set == 1
    assert clock.timers == []


def test_a_call_may_set_and_cancel_deadlines() -> None:
    """What a call sets for now is made next, and what it cancels is not made."""
    clock, made = Clock(), []
    deadlines = deadlines_on(clock)

    def call() -> None:
        made.append("first")
        second.cancel()
        deadlines.at(1.0, lambda: made.append("now"))
        deadlines.at(2.0, lambda: made.append("later"))

    deadlines.at(1.0, call)
    second = deadlines.at(1.5, lambda: made.append("never"))
    clock.advance(1.0)
    assert made == ["first", "now"]
    clock.advance(3.0)
    assert made == ["first", "now", "later"]


def test_a_call_may_set_its_own_deadline_again() -> None:
    """Loops ring a little early: who waits for the exact time gets another turn of the loop."""
    clock, made = Clock(), []
    deadlines = deadlines_on(clock)

    def call() -> None:
        made.append(clock.now)
        if len(made) < 3:
            deadlines.at(1.0, call)

    deadlines.at(1.0, call)
    timer = clock.timers.pop()
    timer.ring()
    assert len(made) == 1
    clock.advance(1.0)
    assert len(made) == 3


def test_a_call_that_raises_holds_up_no_other() -> None:
    """The loop hears of it, and the next call is made."""
    clock, made = Clock(), []
    deadlines = deadlines_on(clock)
    deadlines.at(1.0, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    deadlines.at(1.0, lambda: made.append(True))
    clock.advance(1.0)
    assert made == [True]
    assert [type(error) for error in clock.errors] == [ZeroDivisionError]


def test_stopped_deadlines_make_no_call() -> None:
    """They can be used again, as a node can."""
    clock, made = Clock(), []
    deadlines = deadlines_on(clock)
    deadlines.stop()
    deadlines.at(1.0, lambda: made.append("before"))
    deadlines.stop()
    assert clock.timers == []
    deadlines.at(2.0, lambda: made.append("after"))
    clock.advance(3.0)
    assert made == ["after"]
