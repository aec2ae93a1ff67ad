"""Opening connections."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart, Target, ratio
from tests.benchmarks.deployments import Deployment
from tests.benchmarks.measuring import measure_connects
from tests.benchmarks.options import Options

CONNECTIONS = 1_000
STREAMS = ("first", "second", "third")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: a plain consumer, and three streams in a worker."""
    count = options.connections(CONNECTIONS)
    for layer in options.layers:
        plain, worker = Deployment("plain", layer), Deployment("worker", layer, STREAMS)
        yield Case(layer, "plain", "plain JSON consumer", partial(measure_connects, plain, count))
        yield Case(layer, "worker", "three streams", partial(measure_connects, worker, count))


BENCHMARK = Benchmark(
    "connects",
    "Connecting",
    "1,000 connections, opened by 20 clients at a time: each counts once one frame of each of its "
    "streams has come back.",
    cases,
    (
        columns.RATE._replace(head="connects/s"),
        columns.EDGE._replace(unit="us each"),
        columns.WORKER._replace(unit="us each"),
        columns.REDIS._replace(unit="us each"),
        columns.COMMANDS._replace(unit="each"),
        columns.LOST,
    ),
    Chart("Processor time for each connection, in microseconds", columns.CPU),
    (
        Target(
            "connects per second with 3 streams / plain consumer connects",
            {"pubsub": 0.3, "core": 0.15},
            ratio("rate", "worker", "plain"),
            at_least=True,
        ),
    ),
)
