"""The simulation for many seeds: `python -m tests.simulation --seeds 0:20000`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from .run import Result

#: Seeds that a process gets at a time, and the width of the bar.
PORTION = 20
BAR = 30

FAULTS = (
    *("dropped", "repeated", "delayed", "reordered", "failed", "overflowed"),
    *("restarted", "forgot", "workers killed", "workers drained", "edges killed"),
    *("workers killed by payloads", "loops blocked", "half-open", "deaf nodes"),
)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:20000", metavar="FROM:TO", help="(0:20000)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="one per core")
    parser.add_argument("--stop-after", type=int, default=10, help="violations to stop after (10)")
    parser.add_argument("--story", action="store_true", help="tell all that goes over the layer")
    return parser.parse_args()


def prepare() -> None:
    """Set Django up, in each process."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()


def run_portion(seeds: range) -> list[Result]:
    """Run some seeds one after the other."""
    from .run import simulate

    return [simulate(seed) for seed in seeds]


def results(seeds: range, processes: int) -> Iterator[Result]:
    """Run all seeds, on several cores."""
    portions = [seeds[start : start + PORTION] for start in range(0, len(seeds), PORTION)]
    with ProcessPoolExecutor(processes, initializer=prepare) as pool:
        for portion in pool.map(run_portion, portions):
            yield from portion


class Progress:
    """A line that grows, where somebody watches.

    Args:
        total: How many seeds there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = time.monotonic()
        self._is_shown = sys.stderr.isatty()

    def show(self, done: int, violations: int) -> None:
        """Draw the bar."""
        if not self._is_shown or (done % PORTION and done < self._total):
            return
        full = BAR * done // self._total
        left = (time.monotonic() - self._started) * (self._total - done) / done
        bar = "#" * full + "." * (BAR - full)
        line = f"[{bar}] {done}/{self._total} seeds, {violations} violated, {left:.0f} s left"
        sys.stderr.write(f"\r{line:<79}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for other lines."""
        if self._is_shown:
            sys.stderr.write("\r" + " " * 79 + "\r")
            sys.stderr.flush()


def summary(done: int, violated: int, counts: Counter[str], seconds: float) -> str:
    """Return what there is to say at the end."""
    lines = [f"{done:,} seeds in {seconds:.0f} s, {violated} with violations"]
    lines += [f"{counts[fault]:>12,} {fault}" for fault in FAULTS]
    others = sorted(counts.keys() - set(FAULTS))
    lines += ["of", *(f"{counts[name]:>12,} {name}" for name in others)]
    return "\n".join(lines)


def main() -> int:
    """Run, and tell.

    Returns:
        The exit code: whether there was a violation.
    """
    arguments = read_arguments()
    first, last = map(int, arguments.seeds.split(":"))
    prepare()
    if arguments.story:
        from .run import simulate

        outcomes: Iterator[Result] = (simulate(n, is_told=True) for n in range(first, last))
    else:
        outcomes = results(range(first, last), arguments.processes)
    progress, started = Progress(last - first), time.monotonic()
    counts: Counter[str] = Counter()
    done = violated = 0
    for result in outcomes:
        done += 1
        counts += result.counts
        if result.violations:
            violated += 1
            progress.clear()
            print(result, flush=True)
            if violated == arguments.stop_after:
                break
        progress.show(done, violated)
    progress.clear()
    print(summary(done, violated, counts, time.monotonic() - started))
    return int(violated > 0)


if __name__ == "__main__":
    sys.exit(main())
