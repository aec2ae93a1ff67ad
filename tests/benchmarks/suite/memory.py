"""Memory of connections that do nothing."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart, Column, Results, Target
from tests.benchmarks.deployments import Deployment
from tests.benchmarks.measuring import measure_memory
from tests.benchmarks.options import Options

CONNECTIONS = 500
STREAMS = ("first", "second", "third", "fourth", "fifth")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: a plain consumer, and five streams in a worker."""
    count = options.connections(CONNECTIONS)
    for layer in options.layers:
        plain, worker = Deployment("plain", layer), Deployment("worker", layer, STREAMS)
        yield Case(layer, "plain", "plain JSON consumer", partial(measure_memory, plain, count))
        yield Case(layer, "worker", "five remote streams", partial(measure_memory, worker, count))


def beyond_plain(results: Results, layer: str) -> float:
    """Subtracts what a plain consumer takes."""
    figure = "edge_memory"
    return results.medians(layer, "worker")[figure] - results.medians(layer, "plain")[figure]


BENCHMARK = Benchmark(
    "memory",
    "Memory of idle connections",
    "500 connections that have echoed one frame on each stream, and nothing since: how much the "
    "resident memory of the processes has grown by, for each connection.",
    cases,
    (
        Column("edge_memory", "edge", "KiB", ",.1f"),
        Column("worker_memory", "worker", "KiB", ",.1f"),
        columns.LOST,
    ),
    Chart("Memory for each connection, in KiB", {"edge_memory": "edge", "worker_memory": "worker"}),
    (
        Target(
            "memory per idle connection with 5 remote streams, edge: over a plain consumer",
            {"pubsub": 40.0},
            beyond_plain,
            unit=" KiB",
        ),
    ),
)
