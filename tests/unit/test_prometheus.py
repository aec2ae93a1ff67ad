"""The figures of a process, for Prometheus."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from channels_demux_layer.contrib import prometheus
from channels_demux_layer.contrib.prometheus import (
    Copier,
    DemuxCollector,
    FileCopy,
    bury_dead_processes,
    metrics_view,
    register,
    render,
    worker_pages,
)
from channels_demux_layer.metrics import CUT_OFF, FRAMES, METRICS, SESSIONS, Sample

#: Seconds that anything may take.
LIMIT = 20.0
ECHO = ("edge", "echo", "demux.echo")
FIGURES = [
    Sample(SESSIONS, ECHO, 2),
    Sample(FRAMES, (*ECHO, "in"), 3),
    Sample(FRAMES, (*ECHO, "out"), 4),
    Sample(CUT_OFF, (), True),
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """What the process has to say; a test may change it."""
    said = list(FIGURES)
    monkeypatch.setattr(prometheus, "measure_process", lambda: said)
    return said


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorRegistry]:
    """A registry of the test's own, in place of everybody's."""
    fresh = CollectorRegistry()
    monkeypatch.setattr(prometheus, "REGISTRY", fresh)
    monkeypatch.setattr(prometheus, "_registered", [])
    return fresh


def key(name: str, *labels: str) -> tuple[str, ...]:
    """The name and the values of the labels, in an order that is the same everywhere."""
    return name, *sorted(labels)


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """The values of a scrape by name and labels."""
    return {
        key(sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


EXPECTED = {
    key("demux_sessions", *ECHO): 2,
    key("demux_frames_total", *ECHO, "in"): 3,
    key("demux_frames_total", *ECHO, "out"): 4,
    key("demux_cut_off"): 1,
}


def test_a_scrape_has_all_metrics(figures: list[Sample]) -> None:
    """Each metric is named with its kind and help, and has the values of the moment."""
    registry = CollectorRegistry()
    registry.register(DemuxCollector())
    text = generate_latest(registry).decode()
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text
    assert parsed(text) == EXPECTED
    figures[0] = Sample(SESSIONS, ECHO, 5)
    assert parsed(generate_latest(registry).decode())[key("demux_sessions", *ECHO)] == 5


def test_a_registry_is_filled_once(figures: list[Sample], registry: CollectorRegistry) -> None:
    """However often somebody registers, there is one collector, and nothing is read for that."""
    figures.append("unreadable")  # type: ignore[arg-type]
    register(registry)
    register(registry)
    figures.pop()
    assert parsed(generate_latest(registry).decode()) == EXPECTED


async def test_a_worker_has_a_page(figures: list[Sample], registry: CollectorRegistry) -> None:
    """It has all that the process exports, in the format that is asked for."""
    pages = worker_pages()
    page = await worker_pages()["/metrics"]("application/openmetrics-text;version=1.0.0")
    assert page.content_type.startswith("application/openmetrics-text")
    page = await pages["/metrics"]("")
    assert page.content_type.startswith("text/plain")
    assert parsed(page.body.decode()) == EXPECTED


async def test_a_server_has_a_view(figures: list[Sample], registry: CollectorRegistry) -> None:
    """It answers with what the project's registry has."""
    register(registry)
    response = await metrics_view(RequestFactory().get("/metrics"))
    assert parsed(response.content.decode()) == EXPECTED
    assert response["Content-Type"].startswith("text/plain")


# -- several processes ----------------------------------------------------------------------------


def values_of(copy: FileCopy) -> dict[tuple[str, ...], float]:
    """What has been copied."""
    return {
        key(sample.name, *sample.labels.values()): sample.value
        for copied in copy._copies.values()
        for family in copied.collect()
        for sample in family.samples
        if not sample.name.endswith("_created") and (sample.labels or sample.value)
    }


def test_figures_are_copied(figures: list[Sample]) -> None:
    """Gauges follow, counters grow by what was added, also after they have begun anew."""
    copy = FileCopy()
    copy.copy()
    assert values_of(copy) == EXPECTED
    figures[:] = [Sample(SESSIONS, ECHO, 1), Sample(FRAMES, (*ECHO, "in"), 10)]
    copy.copy()
    figures[:] = [Sample(FRAMES, (*ECHO, "in"), 2)]
    copy.copy()
    copied = values_of(copy)
    assert copied[key("demux_sessions", *ECHO)] == 1
    assert copied[key("demux_frames_total", *ECHO, "in")] == 12


def test_the_dead_are_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dead process says of its present is removed; counts, and the living, stay."""
    names = [f"gauge_livesum_{pid}.db" for pid in (1, 2, 3)]
    names += ["counter_2.db", "gauge_livesum_x.db", "gauge_livemax_2.db"]
    for name in names:
        (tmp_path / name).touch()

    def kill(pid: int, number: int) -> None:
        if pid == 2:
            raise ProcessLookupError
        if pid == 3:
            raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    bury_dead_processes(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == set(names) - {"gauge_livesum_2.db", "gauge_livemax_2.db"}


def test_a_thread_copies(
    figures: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started once, again in each fork, and goes on for as long as the process lives."""
    monkeypatch.setenv(prometheus.DIRECTORY, str(tmp_path))
    monkeypatch.setattr(prometheus, "COPY_INTERVAL", 0.001)
    forks: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: forks.append(hooks))
    copied, copier = threading.Semaphore(0), Copier()

    class Counting(FileCopy):
        def copy(self) -> None:
            super().copy()
            copied.release()

    monkeypatch.setattr(prometheus, "FileCopy", Counting)
    monkeypatch.setattr(prometheus, "_copier", copier)
    register()
    register()
    for start in (*(hooks["after_in_child"] for hooks in forks), None):
        for _ in range(2):
            assert copied.acquire(timeout=LIMIT)
        end(copier)
        if start is not None:
            start()
    assert len(forks) == 1


def test_copying_goes_on(
    figures: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A copy that fails is said once, and once more when it works again."""
    monkeypatch.setenv(prometheus.DIRECTORY, str(tmp_path))
    monkeypatch.setattr(prometheus, "COPY_INTERVAL", 0.001)
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: None)
    failures, copied, copier = [OSError("full"), OSError("full")], threading.Event(), Copier()

    class Failing(FileCopy):
        def copy(self) -> None:
            if failures:
                raise failures.pop()
            copied.set()

    monkeypatch.setattr(prometheus, "FileCopy", Failing)
    with caplog.at_level("INFO"):
        copier.start()
        assert copied.wait(LIMIT)
        end(copier)
    assert caplog.messages == [
        "Cannot copy the metrics: full. Retrying.",
        "Can copy the metrics again.",
    ]


def end(copier: Copier) -> None:
    """Stop the thread, and wait for its end."""
    copier.stop()
    for thread in threading.enumerate():
        if thread.name == prometheus.THREAD:
            thread.join(LIMIT)


def test_shared_figures_are_read_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where processes share their figures, a scrape has those of the files alone."""
    monkeypatch.setenv(prometheus.DIRECTORY, str(tmp_path))
    body, content_type = render()
    assert body == b""
    assert content_type.startswith("text/plain")
