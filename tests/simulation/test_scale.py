"""The measurement of what many servers and workers cost."""

from __future__ import annotations

import pytest

from .scale import measure


def test_the_figures_are_those_of_the_links() -> None:
    """Each server gets a session on a link to each worker, and each link has its heartbeats."""
    figures = measure(edges=3, workers=2, sessions=2, seconds=100.0)
    assert figures["links"] == 6
    assert figures["sessions"] == 12
    assert figures["messages"] == pytest.approx(6 * 0.8, rel=0.01)
    assert figures["cpu"] > 0
    assert figures["per_echo"] >= 1
