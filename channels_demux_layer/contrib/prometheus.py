"""Exports the metrics of servers and workers to Prometheus (extra ``prometheus``).

In a server, call :func:`register` in ``asgi.py``. Serve the metrics with the project's others, or
with :func:`metrics_view`. A worker serves them on its own port: ``runworker --metrics-port``.

The processes of one server share their metrics in files if ``PROMETHEUS_MULTIPROC_DIR`` is set.
prometheus_client does not call collectors in this mode, so a thread copies the metrics to the files
every few seconds.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from channels_demux_layer.logs import FaultLog
from channels_demux_layer.metrics import METRICS, Metric, Sample, measure_process
from channels_demux_layer.monitoring.readiness import Page, Pages

__all__ = ["metrics_view", "register"]

faults: FaultLog = FaultLog(logging.getLogger(__name__))

#: The variable with the directory in which processes share their metrics.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
#: Seconds between two copies: a third of the shortest usual scrape interval.
COPY_INTERVAL = 5.0
#: The name of the copying thread.
THREAD = "demux metrics"
_LIVE_FILE = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


class DemuxCollector(Collector):
    """Collects this process's metrics at each scrape."""

    def collect(self) -> Iterable[Family]:
        """Return every metric with its current samples."""
        families = {metric: _family(metric) for metric in METRICS}
        for metric, labels, value in measure_process():
            families[metric].add_metric(labels, value)
        return families.values()

    def describe(self) -> Iterable[Family]:
        """Return every metric without samples."""
        return [_family(metric) for metric in METRICS]


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    cls = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return cls(metric.name, metric.help, labels=metric.labels)


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Export the metrics of this process. Further calls do nothing.

    Args:
        registry: The registry to add the metrics to. If ``PROMETHEUS_MULTIPROC_DIR`` is set, they
            go to files instead.
    """
    if DIRECTORY in os.environ:
        _copier.start()
    else:
        _register(registry)


_registered: list[CollectorRegistry] = []


def _register(registry: CollectorRegistry) -> None:
    if registry not in _registered:
        _registered.append(registry)
        registry.register(DemuxCollector())


def render(accept: str = "") -> tuple[bytes, str]:
    """Return all exported metrics, from all processes if they share them.

    Args:
        accept: The ``Accept`` header of the request.

    Returns:
        The text, and its content type.
    """
    registry = REGISTRY
    if DIRECTORY in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


async def metrics_view(request: HttpRequest) -> HttpResponse:
    """Serve the metrics. A view for the project's ``urls.py``."""
    body, content_type = render(request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)


def worker_pages() -> Pages:
    """Return the page ``/metrics`` of a worker, with the metrics of its process."""
    _register(REGISTRY)

    async def metrics(accept: str) -> Page:
        encode, content_type = choose_encoder(accept)
        return Page(encode(REGISTRY), 200, content_type)

    return {"/metrics": metrics}


# -- several processes ----------------------------------------------------------------------------


class FileCopy:
    """Copies this process's metrics to the shared files."""

    def __init__(self) -> None:
        self._copies = {metric.name: _shared(metric) for metric in METRICS}
        self._counted: dict[tuple[str, tuple[str, ...]], float] = {}

    def copy(self) -> None:
        """Copy the current values of all metrics."""
        for sample in measure_process():
            self._copy(sample)

    def _copy(self, sample: Sample) -> None:
        metric, labels, value = sample
        copied: Any = self._copies[metric.name]
        child = copied.labels(*labels) if labels else copied
        if metric.kind == "gauge":
            child.set(value)
            return
        before = self._counted.get((metric.name, labels), 0)
        # A smaller value means that an event loop ended, and the next one counts from 0.
        child.inc(value - before if value >= before else value)
        self._counted[metric.name, labels] = value


def _shared(metric: Metric) -> Counter | Gauge:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=None)
    mode: Any = f"live{metric.merge}"
    return Gauge(metric.name, metric.help, metric.labels, registry=None, multiprocess_mode=mode)


def bury_dead_processes(directory: Path) -> None:
    """Remove the gauges of dead processes.

    prometheus_client leaves this to the server, and no ASGI server does it.

    Args:
        directory: The directory with the shared files.
    """
    for path in directory.glob("gauge_live*.db"):
        found = _LIVE_FILE.fullmatch(path.name)
        if found and not _lives(int(found[1])):
            mark_process_dead(int(found[1]), str(directory))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Copier:
    """Runs a thread that copies this process's metrics every few seconds."""

    def __init__(self) -> None:
        self._is_started = False
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread unless it runs, and in every later fork of this process."""
        if not self._is_started:
            self._is_started = True
            os.register_at_fork(after_in_child=self._start_thread)
            self._start_thread()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()

    def _start_thread(self) -> None:
        stopped = self._stopped = threading.Event()
        threading.Thread(target=_copy_until, args=(stopped,), name=THREAD, daemon=True).start()


def _copy_until(stopped: threading.Event) -> None:
    copy, is_over = FileCopy(), False
    while not is_over:
        try:
            bury_dead_processes(Path(os.environ[DIRECTORY]))
            copy.copy()
        except Exception as error:  # such as a full disk, which must not end the thread
            faults.failed("copy the metrics", error)
        else:
            faults.worked("copy the metrics")
        is_over = stopped.wait(COPY_INTERVAL)


_copier = Copier()
