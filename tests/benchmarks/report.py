"""From the figures of all rounds to text."""

from collections.abc import Iterable, Mapping, Sequence

from tests.acceptance.harness.layers import KINDS

from .benchmark import NO_LAYER, Benchmark, Results, Target
from .suite import BENCHMARKS

#: Of a processor: a generator that uses more was the bottleneck, and the figures are too low.
SATURATED = 0.85

LAYERS = tuple(reversed(KINDS))
LAYER_NAMES = {"pubsub": "pub/sub", "core": "core", NO_LAYER: "no layer"}

Rows = list[Sequence[str]]
Measured = Mapping[str, Results]


def verdicts(measured: Measured) -> Iterable[tuple[Target, dict[str, float | None]]]:
    """Holds the figures to the targets.

    Args:
        measured: What was measured, by benchmark.

    Yields:
        Each target of what was measured, and its figure on each layer; None: there is none.
    """
    for name, results in measured.items():
        for target in BENCHMARKS[name].targets:
            yield target, {layer: target.value(results, layer) for layer in LAYERS}


def target_rows(measured: Measured) -> Rows:
    """Writes the cells of the table of targets.

    Args:
        measured: What was measured, by benchmark.

    Returns:
        Two rows of heads, and one for each target.
    """
    rows: Rows = [("", *(word for layer in LAYERS for word in (LAYER_NAMES[layer], "measured")))]
    for target, values in verdicts(measured):
        cells = [target.text]
        for layer, value in values.items():
            limit = target.limits.get(layer)
            sign = ">=" if target.at_least else "<="
            cells.append("" if limit is None else f"{sign} {limit:g}{target.unit}")
            mark = "" if value is None or target.met(value, layer) else " MISSED"
            cells.append("" if value is None else f"{value:.2f}{target.unit}{mark}")
        rows.append(cells)
    return rows


def detail_rows(benchmark: Benchmark, results: Results) -> Rows:
    """Writes the cells of one benchmark's table.

    Args:
        benchmark: Which.
        results: What it has measured.

    Returns:
        A row of heads, with units, and one for each case.
    """
    heads = [
        f"{column.head}, {column.unit}" if column.unit else column.head
        for column in benchmark.columns
    ]
    rows: Rows = [("layer", "", *heads)]
    for (layer, name), label in results.labels.items():
        if (layer, name) in results.failures:
            cells = ["does not run here", *[""] * (len(heads) - 1)]
        else:
            medians = results.medians(layer, name)
            cells = [
                format(medians[column.figure], column.form) if column.figure in medians else ""
                for column in benchmark.columns
            ]
        rows.append((LAYER_NAMES[layer], label, *cells))
    return rows


def text_table(rows: Rows, left: int) -> str:
    """Sets a table for a terminal.

    Args:
        rows: Its cells.
        left: How many columns are set flush left.

    Returns:
        Lines of text.
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def warnings(measured: Measured) -> Iterable[str]:
    """Looks for what makes figures doubtful.

    Args:
        measured: What was measured, by benchmark.

    Yields:
        A sentence for each.
    """
    for benchmark, results in measured.items():
        for (layer, name), label in results.labels.items():
            where = f"{benchmark}: {label}, {LAYER_NAMES[layer]}"
            if reason := results.failures.get((layer, name)):
                yield f"{where}: does not run here: {reason}"
                continue
            figures = results.medians(layer, name)
            if figures["generator_share"] > SATURATED:
                share = figures["generator_share"]
                yield f"{where}: the load generator was busy for {share:.0%} of the time."
            if figures["lost"]:
                yield f"{where}: {figures['lost']:,.0f} frames were lost."
            if figures["repeated"]:
                yield f"{where}: {figures['repeated']:,.0f} frames came twice."


def report(measured: Measured) -> str:
    """Writes all of it.

    Args:
        measured: What was measured, by benchmark.

    Returns:
        Lines of text.
    """
    parts = [text_table(rows, 1)] if len(rows := target_rows(measured)) > 1 else []
    for name, results in measured.items():
        benchmark = BENCHMARKS[name]
        table = text_table(detail_rows(benchmark, results), 2)
        parts.append(f"{benchmark.title}. {benchmark.about}\n\n{table}")
    parts += [f"! {warning}" for warning in warnings(measured)]
    return "\n\n".join(parts)
