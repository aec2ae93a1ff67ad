"""One frame at a time."""

from collections.abc import Iterable
from functools import partial

from tests.acceptance.harness.layers import Kind
from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart, Results, Target
from tests.benchmarks.deployments import NAMES, Deployment, Variant
from tests.benchmarks.measuring import measure_echo, measure_layer
from tests.benchmarks.options import Options

VARIANTS: tuple[Variant, ...] = ("plain", "by-hand", "worker")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: the layer alone, and each variant on it."""
    for layer in options.layers:
        yield Case(layer, "layer", "the layer alone", partial(measure_layer, layer, options))
        for variant in VARIANTS:
            yield Case(layer, variant, NAMES[variant], partial(measure, variant, layer, options))


def measure(variant: Variant, layer: Kind, options: Options) -> dict[str, float]:
    """Echoes one frame after the other."""
    return measure_echo(Deployment(variant, layer), options, connections=1, in_flight=1)


def beside_the_layer(results: Results, layer: str) -> float:
    """Compares with what nobody can do without."""
    floor = results.medians(layer, "layer")["p50"] + results.medians(layer, "plain")["p50"]
    return results.medians(layer, "worker")["p50"] / floor


BENCHMARK = Benchmark(
    "latency",
    "One frame at a time",
    "One connection, one frame in flight: the time until its echo is there. The layer alone is "
    "one group send each way between two processes, without WebSockets.",
    cases,
    (columns.MEDIAN, columns.SLOWEST, columns.LOST),
    Chart("Median latency, in milliseconds", {"p50": "median"}),
    (
        Target(
            "one frame at a time: median latency / (the layer's bare round trip + a plain "
            "consumer's)",
            {"pubsub": 1.2, "core": 1.2},
            beside_the_layer,
        ),
    ),
)
