"""Large payloads."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import NO_LAYER, Benchmark, Case, Chart, Column, Target, ratio
from tests.benchmarks.deployments import NAMES, Deployment, Variant
from tests.benchmarks.measuring import Figures, measure_echo
from tests.benchmarks.options import Options

CONNECTIONS = 8
IN_FLIGHT = 2
SIZE = 256 * 1024
VARIANTS: tuple[Variant, ...] = ("plain", "worker")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: the bare echo once, what may use a layer on each."""
    bare: Variant = "bare"
    yield Case(NO_LAYER, bare, NAMES[bare], partial(measure, Deployment(bare, None), options))
    for layer in options.layers:
        for variant in VARIANTS:
            run = partial(measure, Deployment(variant, layer), options)
            yield Case(layer, variant, NAMES[variant], run)


def measure(deployment: Deployment, options: Options) -> Figures:
    """Echoes large frames; what they cost is told for each byte as well."""
    count = options.connections(CONNECTIONS)
    figures = measure_echo(deployment, options, count, IN_FLIGHT, SIZE)
    for role in ("edge", "worker", "redis"):
        figures[f"{role}_byte"] = figures[f"{role}_cpu"] * 1e3 / SIZE
    figures["megabytes"] = figures["rate"] * SIZE / 1e6
    return figures


BENCHMARK = Benchmark(
    "payload",
    "Large payloads",
    "Frames of 256 KiB, two in flight on each of eight connections.",
    cases,
    (
        Column("megabytes", "echoed", "MB/s", ",.1f"),
        Column("edge_byte", "edge", "ns/byte", ",.2f"),
        Column("worker_byte", "worker", "ns/byte", ",.2f"),
        Column("redis_byte", "redis", "ns/byte", ",.2f"),
        columns.MEDIAN,
        columns.LOST,
    ),
    Chart(
        "Processor time for each byte of payload, in nanoseconds",
        {"edge_byte": "edge", "worker_byte": "worker", "redis_byte": "Redis"},
    ),
    (
        Target(
            "payload of 256 KiB: CPU of edge per byte / bare ASGI echo",
            {"pubsub": 3.0, "core": 4.0},
            ratio("edge_byte", "worker", "bare"),
        ),
    ),
)
