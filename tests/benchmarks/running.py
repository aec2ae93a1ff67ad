"""Rounds: within each all cases take turns, so that whatever else the machine does meets all."""

import sys
from collections.abc import Sequence

from .benchmark import Benchmark, DoesNotRunError, Results
from .options import Options

WIDTH = 24


class Progress:
    """What is going on: a bar on a terminal, else a line for each round.

    Args:
        total: How many measurements there will be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def show(self, what: str) -> None:
        """Shows what begins.

        Args:
            what: A few words.
        """
        if sys.stderr.isatty():
            full = WIDTH * self._done // max(1, self._total)
            bar = "#" * full + "-" * (WIDTH - full)
            line = f"[{bar}] {self._done}/{self._total} {what}"
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self._done}/{self._total} {what}", file=sys.stderr, flush=True)
        self._done += 1

    def clear(self) -> None:
        """Leaves the terminal as it was."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def run(benchmarks: Sequence[Benchmark], options: Options) -> dict[str, Results]:
    """Measures benchmarks, one after the other.

    Args:
        benchmarks: Which.
        options: How much.

    Returns:
        What each has measured, by its name.
    """
    cases = {benchmark.name: list(benchmark.cases(options)) for benchmark in benchmarks}
    progress = Progress(options.rounds * sum(map(len, cases.values())))
    results = {name: Results() for name in cases}
    for name, of_benchmark in cases.items():
        for number in range(1, options.rounds + 1):
            for case in of_benchmark:
                progress.show(f"{name}, round {number}: {case.label}, layer: {case.layer}")
                key = (case.layer, case.name)
                if key in results[name].failures:
                    continue
                try:
                    results[name].add(case, case.measure())
                except DoesNotRunError as error:
                    results[name].labels[key] = case.label
                    results[name].failures[key] = str(error)
    progress.clear()
    return results
