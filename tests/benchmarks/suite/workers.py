"""More workers."""

from collections.abc import Iterable
from functools import partial

from tests.benchmarks import columns
from tests.benchmarks.benchmark import Benchmark, Case, Chart
from tests.benchmarks.deployments import Deployment
from tests.benchmarks.measuring import measure_echo
from tests.benchmarks.options import Options

CONNECTIONS = 200
NUMBERS = (1, 2, 4)


def cases(options: Options) -> Iterable[Case]:
    """Writes down the cases: some numbers of workers on each layer."""
    count = options.connections(CONNECTIONS)
    for layer in options.layers:
        for number in NUMBERS:
            deployment = Deployment("worker", layer, workers=number)
            measure = partial(measure_echo, deployment, options, count)
            yield Case(layer, str(number), f"workers: {number}", measure)


BENCHMARK = Benchmark(
    "workers",
    "More workers",
    "The echo, with its connections spread over several workers. Where there are fewer processors "
    "than processes the rate can't grow.",
    cases,
    columns.ECHO,
    Chart("Echoes per second", {"rate": "echoes per second"}),
)
