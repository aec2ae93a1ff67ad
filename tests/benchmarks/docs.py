"""From the figures to docs/topics/performance.md and its charts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .benchmark import Benchmark, Results
from .charts import Bar, draw
from .document import read_document
from .report import LAYER_NAMES, Rows, detail_rows, target_rows, warnings
from .suite import BENCHMARKS

PAGE = "topics/performance.md"
CHARTS = "performance"  # beside the page

#: Units as a terminal gets them, and as the page does.
UNITS = {"us/frame": "µs/frame", "us each": "µs each"}


def write_docs(document: Mapping[str, Any], folder: Path) -> None:
    """Writes the generated parts of the page, of the benchmarks that were measured.

    Args:
        document: All figures, as `write_document` wrote them.
        folder: The folder that has the page in it.

    Raises:
        LookupError: The page has no place for one of the parts.
    """
    measured = read_document(document)
    page = folder / PAGE
    text = page.read_text(encoding="utf-8")
    text = replace(text, "run", describe(document))
    if set(measured) == set(BENCHMARKS):
        text = replace(text, "targets", markdown_table(mark(target_rows(measured))))
    (page.parent / CHARTS).mkdir(exist_ok=True)
    for name, results in measured.items():
        benchmark = BENCHMARKS[name]
        (page.parent / CHARTS / f"{name}.svg").write_text(
            chart(benchmark, results), encoding="utf-8"
        )
        text = replace(text, name, section(benchmark, results))
    page.write_text(text, encoding="utf-8")


def replace(text: str, name: str, part: str) -> str:
    """Puts a generated part between its markers.

    Args:
        text: The page.
        name: What the markers call the part.
        part: What to put there.

    Returns:
        The page with it.

    Raises:
        LookupError: The page has no such markers.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    if begin not in text or end not in text:
        raise LookupError(f"{PAGE} has no markers for {name!r}.")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{part.strip()}\n\n{end}{rest.partition(end)[2]}"


def describe(document: Mapping[str, Any]) -> str:
    """Says what was measured, on what.

    Args:
        document: All figures.

    Returns:
        A paragraph.
    """
    options, versions = document["options"], dict(document["versions"])
    amount = f"{options['frames']} frames" if options["frames"] else f"{options['seconds']:g} s"
    python, processors = versions.pop("python"), versions.pop("processors")
    versions.pop("platform")
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return (
        f"Rounds: {options['rounds']}, of {amount} for each case; figures are medians. "
        f"Python {python}, {processors} processors; {packages}."
    )


def section(benchmark: Benchmark, results: Results) -> str:
    """Writes the part of one benchmark.

    Args:
        benchmark: Which.
        results: What it has measured.

    Returns:
        Its Markdown.
    """
    rows: Rows = [[unit_signs(cell) for cell in row] for row in detail_rows(benchmark, results)]
    doubts = "\n".join(f"- {warning}" for warning in warnings({benchmark.name: results}))
    image = f"![{benchmark.chart.title}]({CHARTS}/{benchmark.name}.svg)"
    return f"{benchmark.about}\n\n{image}\n\n{markdown_table(rows)}\n\n{doubts}"


def chart(benchmark: Benchmark, results: Results) -> str:
    """Draws the chart of one benchmark.

    Args:
        benchmark: Which.
        results: What it has measured.

    Returns:
        The SVG document.
    """
    wanted = benchmark.chart
    bars = []
    for layer, name in results.rounds:
        if wanted.cases is None or name in wanted.cases:
            medians = results.medians(layer, name)
            label = f"{results.labels[layer, name]}, {LAYER_NAMES[layer]}"
            bars.append(Bar(label, [medians.get(figure, 0.0) for figure in wanted.figures]))
    return draw(wanted.title, list(wanted.figures.values()), bars)


def mark(rows: Rows) -> Rows:
    """Makes what was missed stand out.

    Args:
        rows: The cells of the table of targets.

    Returns:
        The cells in Markdown, with signs instead of their stand-ins.
    """
    return [
        [
            re.sub(r"^(\S+.*) MISSED$", r"**\1, missed**", cell)
            .replace(">=", "≥")
            .replace("<=", "≤")
            for cell in row
        ]
        for row in rows
    ]


def unit_signs(cell: str) -> str:
    """Writes the micro sign, which not every terminal has.

    Args:
        cell: A cell.

    Returns:
        The cell in Markdown.
    """
    for plain, sign in UNITS.items():
        cell = cell.replace(plain, sign)
    return cell


def markdown_table(rows: Rows) -> str:
    """Sets a table in Markdown.

    Args:
        rows: Its cells, the heads first.

    Returns:
        Lines of text.
    """
    rule = "|" + "---|" * len(rows[0])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], rule, *lines[1:]])
