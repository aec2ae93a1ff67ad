"""Many streams on one connection."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart
from tests.benchmarks.deployments import Deployment
from tests.benchmarks.measuring import measure_echo
from tests.benchmarks.options import Options

#: Frames in flight on the connection, on all of its streams together.
IN_FLIGHT = 64
NUMBERS = (1, 8, 64)


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: some numbers of streams on each layer."""
    for layer in options.layers:
        for number in NUMBERS:
            names = tuple(f"s{place}" for place in range(number))
            deployment = Deployment("worker", layer, names)
            measure = partial(measure_echo, deployment, options, 1, IN_FLIGHT // number)
            yield Case(layer, str(number), f"streams: {number}", measure)


BENCHMARK = Benchmark(
    "streams",
    "Many streams on one connection",
    "One connection with 64 frames in flight, spread over its streams, all in one worker.",
    cases,
    columns.ECHO,
    Chart(columns.CPU_TITLE, columns.CPU),
)
