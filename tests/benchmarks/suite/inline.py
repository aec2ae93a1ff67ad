"""Without workers."""

import importlib.util
import sys
from collections.abc import Iterable
from functools import partial

from tests.acceptance.harness.processes import ProcessEndedError
from tests.benchmarks import columns
from tests.benchmarks.benchmark import (
    NO_LAYER,
    Benchmark,
    Case,
    Chart,
    DoesNotRunError,
    Target,
    ratio,
)
from tests.benchmarks.deployments import NAMES, Deployment, Variant
from tests.benchmarks.measuring import Figures, measure_echo
from tests.benchmarks.options import Options

CONNECTIONS = 200
VARIANTS: tuple[Variant, ...] = ("bare", "plain", "inline")


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases, none of which needs a layer."""
    count = options.connections(CONNECTIONS)
    for variant in VARIANTS:
        measure = partial(measure_echo, Deployment(variant, None), options, count)
        yield Case(NO_LAYER, variant, NAMES[variant], measure)
    other: Variant = "multiplexer"
    yield Case(NO_LAYER, other, NAMES[other], partial(measure_multiplexer, options, count))


def measure_multiplexer(options: Options, connections: int) -> Figures:
    """Tries the in-process multiplexer, which was written for Channels 3."""
    if importlib.util.find_spec("channelsmultiplexer") is None:
        raise DoesNotRunError(f"not installed for {sys.executable}")
    try:
        return measure_echo(Deployment("multiplexer", None), options, connections)
    except (ProcessEndedError, RuntimeError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        causes = [line for line in lines if "Error" in line.partition(":")[0]]
        raise DoesNotRunError((causes or lines)[-1].strip()) from error


BENCHMARK = Benchmark(
    "inline",
    "Inline hosting",
    "The echo without workers and without a channel layer: consumers run in the server's process.",
    cases,
    (columns.RATE, columns.EDGE, columns.MEDIAN, columns.SLOWEST, columns.LOST),
    Chart(columns.CPU_TITLE, {"edge_cpu": "server"}),
    (
        Target(
            "inline hosting: CPU per frame / plain JSON consumer",
            {"pubsub": 1.1},
            ratio("edge_cpu", "inline", "plain"),
        ),
    ),
)
