"""What the benchmarks make of their figures."""

from pathlib import Path

import pytest

from tests.benchmarks.benchmark import Case, Results, Target, ratio
from tests.benchmarks.charts import Bar, draw
from tests.benchmarks.docs import PAGE, mark, replace
from tests.benchmarks.numbers import BASE, template
from tests.benchmarks.suite import BENCHMARKS

DOCS = Path(__file__).parents[2] / "docs"


def results(**rates: list[float]) -> Results:
    """Make results of cases without a layer.

    Args:
        **rates: The rates of each case's rounds.

    Returns:
        The results.
    """
    measured = Results()
    for name, values in rates.items():
        case = Case("none", name, name, dict)
        for rate in values:
            measured.add(case, {"rate": rate, "lost": rate})
    return measured


@pytest.mark.parametrize(("size", "header"), [(130, 6), (131, 6), (132 + 8, 8), (1 << 18, 14)])
@pytest.mark.parametrize("stream", [None, "echo"])
def test_frames_have_the_size_asked_for(stream: str | None, size: int, header: int) -> None:
    """With an envelope or without, a frame takes as many bytes as it should."""
    assert len(template(stream, size) % BASE) == size - header


def test_medians() -> None:
    """Of most figures the median counts, of losses the worst round."""
    medians = results(plain=[1.0, 9.0, 2.0]).medians("core", "plain")
    assert medians == {"rate": 2.0, "lost": 9.0}


def test_targets() -> None:
    """A ratio is held to the bound of its layer, from the right side, where there is one."""
    target = Target("rate", {"core": 2.0}, ratio("rate", "worker", "plain"), at_least=True)
    measured = results(plain=[1.0], worker=[3.0])
    assert target.value(measured, "core") == 3.0
    assert target.value(measured, "pubsub") is None
    assert target.value(results(worker=[3.0]), "core") is None
    assert target.value(results(plain=[0.0], worker=[3.0]), "core") is None
    assert target.met(3.0, "core")
    assert not target.met(1.9, "core")
    assert target._replace(at_least=False).met(2.004, "core")


def test_marks() -> None:
    """What is missed stands out, and signs are written as such."""
    assert mark([("a row", "<= 2", "5.09 MISSED", ">= 1", "1.00")]) == [
        ["a row", "≤ 2", "**5.09, missed**", "≥ 1", "1.00"]
    ]


def test_the_page_has_a_place_for_every_benchmark() -> None:
    """What is generated replaces what was, and nothing else."""
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    for name in ("run", "targets", *BENCHMARKS):
        written = replace(text, name, "new")
        assert replace(written, name, "newer").replace("newer", "new") == written
    with pytest.raises(LookupError, match="nothing"):
        replace(text, "nothing", "new")


def test_charts() -> None:
    """A chart has a bar for each part, as long as its share, and escapes words."""
    chart = draw("A <title>", ["one", "two"], [Bar("a & b", [1.0, 3.0]), Bar("c", [0.0, 0.0])])
    assert "A &lt;title&gt;" in chart
    assert "a &amp; b" in chart
    assert 'width="97.5"' in chart
    assert 'width="292.5"' in chart
