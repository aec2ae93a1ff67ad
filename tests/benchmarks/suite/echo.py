"""Frames there and back, as fast as they go."""

from collections.abc import Iterable
from functools import partial

from tests.acceptance.harness.layers import Kind
from tests.benchmarks import columns
from tests.benchmarks.benchmark import NO_LAYER, Benchmark, Case, Chart, Results, Target, ratio
from tests.benchmarks.deployments import NAMES, Deployment, Variant
from tests.benchmarks.measuring import measure_echo
from tests.benchmarks.options import Options

CONNECTIONS = 200
VARIANTS: tuple[Variant, ...] = ("plain", "by-hand", "worker")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: the bare echo once, what may use a layer on each."""
    count = options.connections(CONNECTIONS)

    def case(variant: Variant, layer: Kind | None) -> Case:
        measure = partial(measure_echo, Deployment(variant, layer), options, count)
        return Case(layer or NO_LAYER, variant, NAMES[variant], measure)

    yield case("bare", None)
    for layer in options.layers:
        for variant in VARIANTS:
            yield case(variant, layer)


def commands(results: Results, layer: str) -> float:
    """Looks up how many Redis commands an echo takes."""
    return results.medians(layer, "worker")["commands"]


BENCHMARK = Benchmark(
    "echo",
    "Echo",
    "200 connections with four frames in flight each, 130 bytes on the wire: what one server "
    "process and one worker process do, and what each frame costs them.",
    cases,
    columns.ECHO,
    Chart(columns.CPU_TITLE, columns.CPU, ("bare", "plain", "worker")),
    (
        Target(
            "edge CPU per echoed frame / bare ASGI echo",
            {"pubsub": 2.0, "core": 3.0},
            ratio("edge_cpu", "worker", "bare"),
        ),
        Target(
            "edge CPU per echoed frame / plain JSON consumer",
            {"pubsub": 0.33, "core": 0.5},
            ratio("edge_cpu", "worker", "plain"),
        ),
        Target(
            "worker CPU per frame / plain JSON consumer",
            {"pubsub": 0.75, "core": 1.0},
            ratio("worker_cpu", "worker", "plain", "edge_cpu"),
        ),
        Target(
            "echoes per second, one worker / plain JSON consumer in one process",
            {"pubsub": 1.4, "core": 1.0},
            ratio("rate", "worker", "plain"),
            at_least=True,
        ),
        Target(
            "echoes per second / one group send per frame, by hand",
            {"pubsub": 8.0, "core": 12.0},
            ratio("rate", "worker", "by-hand"),
            at_least=True,
        ),
        Target("Redis commands per echoed frame", {"pubsub": 0.2, "core": 1.5}, commands),
    ),
)
