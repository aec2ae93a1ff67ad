"""Frames one way."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart
from tests.benchmarks.deployments import NAMES, Deployment, Variant
from tests.benchmarks.measuring import measure_push
from tests.benchmarks.options import Options

CONNECTIONS = 1_000
VARIANTS: tuple[Variant, ...] = ("plain", "worker")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: both variants on each layer."""
    count = options.connections(CONNECTIONS)
    for layer in options.layers:
        for variant in VARIANTS:
            deployment = Deployment(variant, layer, ("ticker",), consumer="TickerConsumer")
            measure = partial(measure_push, deployment, options, count)
            yield Case(layer, variant, NAMES[variant], measure)


BENCHMARK = Benchmark(
    "push",
    "One-way push",
    "A ticker for each of 1,000 connections, five frames a second: what a frame costs, and how "
    "long it is under way.",
    cases,
    (columns.RATE._replace(head="frames/s"), *columns.ECHO[1:]),
    Chart(columns.CPU_TITLE, columns.CPU),
)
