"""Few connections and many."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart, Results, Target
from tests.benchmarks.deployments import Deployment
from tests.benchmarks.measuring import measure_echo
from tests.benchmarks.options import Options

NUMBERS = {"few": 20, "some": 200, "many": 2_000}


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: some numbers of connections on each layer."""
    for layer in options.layers:
        for name, number in NUMBERS.items():
            count = options.connections(number)
            measure = partial(measure_echo, Deployment("worker", layer), options, count)
            yield Case(layer, name, f"{count:,} connections", measure)


def cost(results: Results, layer: str, case: str) -> float:
    """Adds up what a frame costs edge and worker."""
    figures = results.medians(layer, case)
    return figures["edge_cpu"] + figures["worker_cpu"]


BENCHMARK = Benchmark(
    "connections",
    "Few connections and many",
    "The echo with a worker, four frames in flight on each connection: what a frame costs edge "
    "and worker together.",
    cases,
    columns.ECHO,
    Chart(columns.CPU_TITLE, columns.CPU),
    (
        Target(
            "cost per frame at 2,000 connections / at 20",
            {"pubsub": 1.0, "core": 1.0},
            lambda results, layer: cost(results, layer, "many") / cost(results, layer, "few"),
        ),
    ),
)
