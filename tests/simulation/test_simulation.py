"""Hundreds of runs of the simulation; `python -m tests.simulation` makes tens of thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from .mutants import MUTANTS, Mutant
from .run import simulate

#: How many seeds are run, in portions of so many.
SEEDS, PORTION = 400, 20
#: Seeds within which a broken mechanism must be noticed, from its hint on.
PATIENCE = 1_000

#: The seeds at which mutants were noticed that are hard to find.
HINTS = {
    "lost_credit": 65,
    "drain_without_waiting": 59,
    "consumer_not_told": 20,
    "disconnected_twice": 20,
    "progress_forgives": 105,
    "silent_watchdog": 108,
    "idle_in_an_outage": 37_833,
    "hasty_after_a_block": 185,
}

TRACE = """
import django; django.setup()
from tests.simulation.run import simulate
print([simulate(seed).trace for seed in range({first}, {last})])
"""


@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_nothing_is_lost_whatever_fails(first: int) -> None:
    """All promises hold while layer, workers, servers and clients fail, each in its own way."""
    for seed in range(first, first + PORTION):
        result = simulate(seed)
        assert not result.violations, str(result)


def test_the_runs_are_worth_having() -> None:
    """Over a few seeds every kind of fault happens, and much is said all the same."""
    counts: Counter[str] = Counter()
    for seed in range(1_000, 1_100):
        counts += simulate(seed).counts
    for fault in ("dropped", "repeated", "delayed", "reordered", "failed", "overflowed"):
        assert counts[fault] > 10, fault
    for fault in ("restarted", "forgot", "workers killed", "workers drained", "edges killed"):
        assert counts[fault] > 2, fault
    for fault in ("workers killed by payloads", "loops blocked", "half-open", "deaf nodes"):
        assert counts[fault] > 2, fault
    assert counts["orders"] > 1_000
    assert counts["replies"] > 1_000


def test_a_seed_replays() -> None:
    """A seed gives the same run in every process, whatever the seed of its hashes."""
    traces = set()
    for hash_seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }
        done = subprocess.run(
            [sys.executable, "-c", TRACE.format(first=0, last=15)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.__name__))
def test_a_broken_mechanism_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation finds a violation as soon as one mechanism of the package is broken."""
    mutant(monkeypatch)
    # Begun where it was noticed last, which saves time and proves the same.
    hint = HINTS.get(mutant.__name__, 0)
    assert any(simulate(seed).violations for seed in range(hint, hint + PATIENCE))
