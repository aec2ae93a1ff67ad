"""The benchmark runs, and loses nothing."""

import json
from pathlib import Path

from .harness.layers import Kind
from .harness.processes import Process


def test_benchmarks(layer_kind: Kind, tmp_path: Path) -> None:
    """A small run measures every variant, loses no frame and writes its figures to a file."""
    results = tmp_path / "results.json"
    options = "--rounds 1 --frames 400 --connections 4 --in-flight 4 --layers"
    process = Process(
        "benchmarks",
        ["python", "-m", "tests.benchmarks", *options.split(), layer_kind, "--json", str(results)],
    )
    try:
        assert process.wait() == 0, process.log()
    finally:
        process.stop()
    document = json.loads(results.read_text())
    medians = {entry["variant"]: entry["median"] for entry in document["results"]}
    assert set(medians) == {"plain", "by-hand", "demux"}
    for figures in medians.values():
        assert figures["frames"] == 400
        assert figures["lost"] == figures["repeated"] == 0
        assert figures["rate"] > 0
    assert medians["demux"]["commands"] < medians["by-hand"]["commands"]
