"""The benchmarks, in the order in which they run."""

from tests.benchmarks.benchmark import Benchmark

from . import (
    connections,
    connects,
    echo,
    inline,
    latency,
    memory,
    payload,
    push,
    streams,
    workers,
)

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        echo,
        latency,
        connections,
        inline,
        memory,
        payload,
        connects,
        push,
        streams,
        workers,
    )
}
