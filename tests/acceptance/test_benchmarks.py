"""The benchmarks run, lose nothing, and write what they measured."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.docs import CHARTS, PAGE
from tests.benchmarks.suite import BENCHMARKS

from .harness.layers import KINDS, Kind
from .harness.processes import ROOT, Process

TINY = ("--rounds", "1", "--frames", "160", "--scale", "0.01")

#: What says how much came, where that is not `rate`.
AMOUNTS = {"memory": "edge_memory", "latency": "p50"}


def run_benchmarks(*options: str) -> str:
    """Runs the command to its end.

    Args:
        *options: Its command line.

    Returns:
        What it wrote.
    """
    process = Process("benchmarks", ["python", "-m", "tests.benchmarks", *options])
    try:
        assert process.wait(limit=240.0) == 0, process.log()
    finally:
        process.stop()
    return process.log()


@pytest.mark.parametrize(
    ("name", "layer_kind"), list(zip(BENCHMARKS, itertools.cycle(KINDS))), indirect=["layer_kind"]
)
def test_each_benchmark(name: str, layer_kind: Kind, tmp_path: Path) -> None:
    """A tiny run measures every case, loses no frame, and writes its figures to a file."""
    results = tmp_path / "results.json"
    run_benchmarks(name, *TINY, "--layers", layer_kind, "--json", str(results))
    document = json.loads(results.read_text())
    cases: list[dict[str, Any]] = document["benchmarks"][name]
    assert {case["layer"] for case in cases} <= {layer_kind, "none"}
    for case in cases:
        if case["case"] == "multiplexer" and case["failure"]:
            continue
        figures = case["median"]
        assert figures["frames"] > 0, case
        assert figures["lost"] == figures["repeated"] == 0, case
        assert AMOUNTS.get(name, "rate") in figures
    measured = {target["text"]: target["measured"][layer_kind] for target in document["targets"]}
    assert set(measured) == {target.text for target in BENCHMARKS[name].targets}


def test_pages_from_figures(redis_installed: None, tmp_path: Path) -> None:
    """The page and its chart are written from a file of figures, and nothing else of the page."""
    results, page = tmp_path / "results.json", tmp_path / PAGE
    page.parent.mkdir()
    shutil.copy(ROOT / "docs" / PAGE, page)
    run_benchmarks("inline", *TINY, "--json", str(results))
    log = run_benchmarks("--from", str(results), "--docs", str(tmp_path))
    assert "plain JSON consumer" in log
    written = page.read_text(encoding="utf-8")
    assert "of 160 frames for each case" in written
    assert all(f"<!-- begin {name} -->" in written for name in ("targets", *BENCHMARKS))
    chart = (page.parent / CHARTS / "inline.svg").read_text(encoding="utf-8")
    assert "plain JSON consumer" in chart
