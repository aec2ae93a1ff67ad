"""Runs the simulation for one seed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from . import checks
from .ledger import Silence
from .process import _current, loop_of, note_task
from .scenario import LIMIT, Scenario, draw
from .virtual_time import VirtualLoop
from .world import World, environment

#: How long it may take until nothing is left of the last session, in seconds: links are forgotten
#: after three times the time after which a peer is dead.
AFTERMATH = 60.0
#: How many violations are told of one run.
TOLD = 5


@dataclass
class Result:
    """What came of a run."""

    seed: int
    violations: list[str] = field(default_factory=list)
    #: Faults by kind, and what was done in spite of them.
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    trace: tuple[Any, ...] = ()

    def __str__(self) -> str:
        how = f"python -m tests.simulation --seeds {self.seed}:{self.seed + 1}"
        return "\n  ".join([f"seed {self.seed} ({how}):", *self.violations[:TOLD]])


class _Ear(logging.Handler):
    """Hears what is logged as an error by processes that are alive."""

    def __init__(self, *, is_told: bool) -> None:
        super().__init__(logging.DEBUG)
        self.is_told = is_told
        self.errors: list[str] = []
        self.silences: list[Silence] = []
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        process = _current.get(None)
        if self.is_told:
            print(" " * 10, process.name if process else "", record.getMessage())
        if process is not None and process.is_dead:
            return
        if "silent for" in record.msg and process is not None:
            assert isinstance(record.args, tuple)
            now = asyncio.get_running_loop().time()
            channel, silence = map(str, record.args)
            self.silences.append(Silence(now - float(silence), now, process.name, channel))
            self.counts["peers taken for dead"] += 1
        is_refusal = record.levelno == logging.WARNING and " sent " in record.msg
        # Which streams may end so is looked at in what the client gets.
        is_expected = "workers in a row died" in record.msg
        if (record.levelno >= logging.ERROR or is_refusal) and not is_expected:
            self.errors.append(self.format(record))


@contextmanager
def listening(*, is_told: bool) -> Iterator[_Ear]:
    """Hear what the package and asyncio log, and let nobody else."""
    ear = _Ear(is_told=is_told)
    loggers = [logging.getLogger("channels_demux_layer"), logging.getLogger("asyncio")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(ear)
        logger.propagate = False
        logger.setLevel(logging.DEBUG if is_told else logging.WARNING)
    try:
        yield ear
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(ear)
            logger.propagate = propagate
            logger.setLevel(level)


def simulate(seed: int, *, is_told: bool = False) -> Result:
    """Run the simulation.

    Args:
        seed: What everything comes from.
        is_told: Whether the story is printed, for who looks for a fault.

    Returns:
        What came of it.
    """
    rng = random.Random(seed)
    scenario = draw(rng)
    loop = VirtualLoop(note_task, loop_of)
    result = Result(seed)
    with listening(is_told=is_told) as ear, environment(scenario, rng, loop.time):
        try:
            loop.run_until_complete(_run(scenario, rng, result, ear))
        except AssertionError as error:
            result.violations.append(f"{type(error).__name__}: {error}")
        finally:
            result.seconds = loop.time()
            _end(loop)
    result.violations += ear.errors
    result.counts += ear.counts
    return result


def _end(loop: VirtualLoop) -> None:
    loop.never_stand_still()
    for _ in range(20):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=5))
    loop.close()


async def _run(scenario: Scenario, rng: random.Random, result: Result, ear: _Ear) -> None:
    world = World(scenario, rng, is_told=ear.is_told)
    world.silences = ear.silences
    watching = asyncio.ensure_future(checks.watch(world, result.violations))
    living = [asyncio.ensure_future(client.run()) for client in world.clients]
    trouble = asyncio.ensure_future(world.make_trouble())
    _, late = await asyncio.wait([trouble, *living], timeout=LIMIT)
    watching.cancel()
    for task in [trouble, *living]:
        if task.done():
            task.result()
    result.violations += _too_late(world) if late else await _aftermath(world)
    for check in (checks.check_silences, checks.check_traffic, checks.check_lives):
        result.violations += islice(check(world), TOLD)
    result.counts += world.counts + world.layer.faults + world.shared.full
    result.counts["messages"] = world.shared.sent
    result.counts["consumers"] = len(world.ledger.attempts)
    result.counts["orders"] = sum(len(a.received) for a in world.ledger.attempts)
    result.counts["replies"] = sum(
        len(story.replies) for client in world.clients for story in client.stories.values()
    )
    result.trace = _trace(world)


def _too_late(world: World) -> list[str]:
    waiting = [client.path for client in world.clients if not client.is_done]
    return [f"after {LIMIT} s these clients still wait: {waiting}"]


async def _aftermath(world: World) -> list[str]:
    """Wait until nothing is left, and tell what is left if that takes too long."""
    for _ in range(int(AFTERMATH / 2)):
        await asyncio.sleep(2)
        if not checks.leftovers(world) and not world.ledger.live():
            return []
    return [f"after {AFTERMATH} s there is left: {text}" for text in checks.leftovers(world)]


def _trace(world: World) -> tuple[Any, ...]:
    """Return what tells one run from another."""
    consumers = [
        (a.client, a.stream, a.attempt, a.process.name, a.started_at, a.ended_at, *a.received)
        for a in world.ledger.attempts
    ]
    return (*consumers, world.shared.sent, *sorted(world.layer.faults.items()))
