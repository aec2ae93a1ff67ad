"""What a benchmark is: cases that take turns, columns that show them, targets that judge them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from .measuring import Figures
from .options import Options

#: The layer of a case that has none.
NO_LAYER = "none"

#: Figures of which the worst round counts.
WORST = ("lost", "repeated", "generator_share")


class DoesNotRunError(Exception):
    """What was to be measured does not run here; the message says why."""


class Case(NamedTuple):
    """One thing that is measured.

    Attributes:
        layer: The channel layer, or `none`.
        name: What targets know it by.
        label: What readers know it by.
        measure: Runs it once; raises DoesNotRunError where that is how things are.
    """

    layer: str
    name: str
    label: str
    measure: Callable[[], Figures]


class Column(NamedTuple):
    """One column of a benchmark's table.

    Attributes:
        figure: The figure that it shows.
        head: Its head.
        unit: Below the head.
        form: How the figure is written, a format specification.
    """

    figure: str
    head: str
    unit: str
    form: str


class Target(NamedTuple):
    """A bound that a figure is to keep.

    Attributes:
        text: What is measured.
        limits: The bound on each layer.
        measured: Computes the figure for a layer; raises KeyError where something that it needs
            was not measured, ZeroDivisionError where too little was.
        at_least: Whether the bound is a lower one.
        unit: The unit, with a space before it.
    """

    text: str
    limits: Mapping[str, float]
    measured: Callable[["Results", str], float]
    at_least: bool = False
    unit: str = ""

    def value(self, results: "Results", layer: str) -> float | None:
        """Computes the figure.

        Args:
            results: Of the target's benchmark.
            layer: For which layer.

        Returns:
            The figure; None where it can't be known or has no bound.
        """
        if layer not in self.limits:
            return None
        try:
            return self.measured(results, layer)
        except (KeyError, ZeroDivisionError):
            return None

    def met(self, value: float, layer: str) -> bool:
        """Judges.

        Args:
            value: The figure.
            layer: On which layer.

        Returns:
            Whether the bound is kept, in two decimal places.
        """
        limit, rounded = self.limits[layer], round(value, 2)
        return rounded >= limit if self.at_least else rounded <= limit


class Chart(NamedTuple):
    """Bars of some figures.

    Attributes:
        title: What it shows, with the unit.
        figures: Figures that are stacked, with what the legend calls them.
        cases: Names of the cases; None: all.
    """

    title: str
    figures: Mapping[str, str]
    cases: Sequence[str] | None = None


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: Its name on the command line.
        title: Its heading.
        about: What is measured, a sentence or two.
        cases: Writes down its cases.
        columns: The columns of its table.
        targets: Its targets.
        chart: Its chart.
    """

    name: str
    title: str
    about: str
    cases: Callable[[Options], Iterable[Case]]
    columns: Sequence[Column]
    chart: Chart
    targets: Sequence[Target] = ()


class Results:
    """What one benchmark has measured.

    Attributes:
        rounds: For each layer and case the figures of its rounds.
        labels: What readers know each case by.
        failures: Why what does not run does not.
    """

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, str], list[Figures]] = {}
        self.labels: dict[tuple[str, str], str] = {}
        self.failures: dict[tuple[str, str], str] = {}

    def add(self, case: Case, figures: Figures) -> None:
        """Notes a round.

        Args:
            case: What was measured.
            figures: Its figures.
        """
        key = (case.layer, case.name)
        self.labels[key] = case.label
        self.rounds.setdefault(key, []).append(figures)

    def medians(self, layer: str, case: str) -> Figures:
        """Takes the median of each figure.

        Args:
            layer: The layer; what was measured without one is the same for all.
            case: The case.

        Returns:
            The medians; the largest of those of which the worst counts.

        Raises:
            KeyError: It was not measured.
        """
        rounds = self.rounds.get((layer, case)) or self.rounds[NO_LAYER, case]
        return {
            name: (max if name in WORST else median)(figures[name] for figures in rounds)
            for name in rounds[0]
        }


def ratio(figure: str, case: str, other: str, other_figure: str = "") -> Callable[..., float]:
    """Compares two cases.

    Args:
        figure: The figure to compare.
        case: Of which case.
        other: With which case.
        other_figure: With which figure of it; the same where it is not given.

    Returns:
        A function for a target.
    """

    def measured(results: Results, layer: str) -> float:
        base = results.medians(layer, other)[other_figure or figure]
        return results.medians(layer, case)[figure] / base

    return measured
