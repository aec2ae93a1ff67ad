"""What one round of one case costs: frames, processor time, Redis commands, memory."""

import json
import tempfile
from pathlib import Path

from tests.acceptance.harness.layers import Kind
from tests.acceptance.harness.processes import STARTED
from tests.acceptance.harness.site import Site

from .deployments import LAYER_CONFIG, PROJECT, Deployment, Generator, Running, running
from .meters import Meter, read_meter, resident_bytes
from .options import Options

Figures = dict[str, float]

#: The share of a measurement that goes before it, unmeasured.
WARM_UP = 0.25


def measure_echo(
    deployment: Deployment,
    options: Options,
    connections: int,
    in_flight: int = 4,
    size: int = 130,
) -> Figures:
    """Echoes as fast as the deployment can.

    Args:
        deployment: What to measure.
        options: For how long.
        connections: How many sockets.
        in_flight: Frames under way on each stream of each.
        size: Bytes of a frame on the wire.

    Returns:
        The figures: `rate` in echoes per second; `edge_cpu`, `worker_cpu`, `redis_cpu` and
        `generator_cpu` in microseconds of processor time for each frame; `commands` of Redis for
        each frame; `p50` and `p99`, the latencies in milliseconds; `generator_share`, how much of
        one processor the generator used; `frames` answered, `lost` and `repeated`.
    """
    with running(deployment) as runs, Generator(runs, deployment, size) as generator:
        generator.tell("open", count=connections)
        warm_up = generator.tell("echo", in_flight=in_flight, **options.amount(WARM_UP))
        before = _read(runs)
        seen = generator.tell("echo", in_flight=in_flight, **options.amount())
        figures = _figures(seen, before, _read(runs))
    figures["lost"] += warm_up["lost"]
    return figures


def measure_push(deployment: Deployment, options: Options, connections: int) -> Figures:
    """Listens to what the server sends of its own accord.

    Args:
        deployment: What to measure.
        options: For how long.
        connections: How many sockets.

    Returns:
        The figures of an echo, for frames one way; the latencies are those of that way.
    """
    seconds = options.seconds if options.frames is None else 0.5
    with running(deployment) as runs, Generator(runs, deployment, silent=True) as generator:
        generator.tell("open", count=connections)
        generator.tell("listen", seconds=seconds * WARM_UP)
        before = _read(runs)
        seen = generator.tell("listen", seconds=seconds)
        return _figures(seen, before, _read(runs))


def measure_connects(deployment: Deployment, connections: int) -> Figures:
    """Opens connections, until each stream of each has echoed one frame.

    Args:
        deployment: What to measure.
        connections: How many.

    Returns:
        The figures of an echo, for connections instead of frames.
    """
    with running(deployment) as runs, Generator(runs, deployment) as generator:
        generator.tell("open", count=max(1, connections // 10))
        before = _read(runs)
        seen = generator.tell("open", count=connections)
        return _figures(seen, before, _read(runs))


def measure_memory(deployment: Deployment, connections: int) -> Figures:
    """Opens connections, and leaves them alone.

    Args:
        deployment: What to measure.
        connections: How many.

    Returns:
        `edge_memory` and `worker_memory`, in KiB for each connection; `frames`, `lost`,
        `repeated` and `generator_share` as for an echo.
    """
    with running(deployment) as runs, Generator(runs, deployment) as generator:
        generator.tell("open", count=max(1, connections // 5))
        before = _memory(runs)
        seen = generator.tell("open", count=connections)
        after = _memory(runs)
    figures = {
        f"{role}_memory": (after[role] - before[role]) / connections / 1024 for role in after
    }
    return {
        **figures,
        "frames": seen["answered"],
        "lost": seen["lost"],
        "repeated": seen["repeated"],
        "generator_share": 0.0,
    }


def measure_layer(kind: Kind, options: Options) -> Figures:
    """Sends a message there and back over a channel layer, and nothing else.

    Args:
        kind: The layer.
        options: For how long.

    Returns:
        The figures of an echo that there are.
    """
    module = ("-m", f"{PROJECT}.round_trip")
    amount = [f"--{name}={value}" for name, value in options.amount().items()]
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), None, kind, layer_config=LAYER_CONFIG)
        try:
            site.start("pong", [*module, "pong"]).wait_for_line("^ready")
            ping = site.start("ping", [*module, "ping", *amount])
            figures: Figures = json.loads(ping.wait_for_line(r"^\{.*\}$").group(0))
        finally:
            site.stop()
            STARTED.clear()
    return {**figures, "lost": 0, "repeated": 0, "generator_share": 0.0}


def _read(runs: Running) -> Meter:
    return read_meter(runs.processes, runs.site.redis)


def _memory(runs: Running) -> dict[str, int]:
    return {
        role: sum(resident_bytes(process.pid) for process in processes)
        for role, processes in runs.processes.items()
    }


def _figures(seen: Figures, before: Meter, after: Meter) -> Figures:
    frames = max(1.0, seen["answered"])
    cpu = {role: (after.cpu[role] - before.cpu[role]) / frames * 1e6 for role in after.cpu}
    return {
        "rate": seen["answered"] / seen["seconds"] if seen["seconds"] else 0.0,
        **{f"{role}_cpu": cpu.get(role, 0.0) for role in ("edge", "worker", "redis")},
        "generator_cpu": seen["cpu_share"] * seen["seconds"] / frames * 1e6,
        "commands": (after.commands - before.commands) / frames,
        "p50": seen.get("p50", 0.0) * 1e3,
        "p99": seen.get("p99", 0.0) * 1e3,
        "generator_share": seen["cpu_share"],
        "frames": seen["answered"],
        "lost": seen["lost"],
        "repeated": seen["repeated"],
    }
