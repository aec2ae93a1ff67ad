"""What one round of one variant costs: frames, processor time, Redis commands."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from tests.acceptance.harness.layers import Kind
from tests.acceptance.harness.processes import ROOT, STARTED, Process
from tests.acceptance.harness.site import Site

Variant = Literal["plain", "by-hand", "demux"]

VARIANTS: tuple[Variant, ...] = ("plain", "by-hand", "demux")

#: The channel that each variant's worker listens on; the plain one has no worker.
CHANNELS: dict[Variant, str | None] = {
    "plain": None,
    "by-hand": "hand.echo",
    "demux": "demux.echo",
}

#: Written as if by hand: by hand there is no other protection from losing frames than room for
#: all of them, nor any from redis-py's bound of 100 connections.
LAYER_CONFIG: dict[str, Any] = {"capacity": 100_000, "host": {"max_connections": 10_000}}

#: Commands of the measurement itself.
NOT_COUNTED = frozenset({"info", "hello", "client|setname", "client|setinfo", "client|list"})

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What the load generator does.

    Attributes:
        connections: How many sockets.
        in_flight: Frames under way on each.
        seconds: How long it sends; None: until the frames are used up.
        frames: How many frames in all; None: as many as the time allows.
        size: Characters of text in each payload.
    """

    connections: int
    in_flight: int
    seconds: float | None
    frames: int | None
    size: int

    def command(self, port: int, variant: Variant) -> list[str]:
        """Writes the generator's command line.

        Args:
            port: The port of the server.
            variant: What is measured: a plain consumer takes its payload without an envelope.

        Returns:
            The command.
        """
        payload = f'{{"n": %d, "text": "{"x" * self.size}"}}'
        template = payload if variant == "plain" else f'{{"stream": "echo", "payload": {payload}}}'
        options = {
            "--port": port,
            "--template": template,
            "--connections": self.connections,
            "--in-flight": self.in_flight,
            "--seconds": self.seconds,
            "--frames": self.frames,
        }
        words = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
        return [sys.executable, "-m", "tests.benchmarks.load", *words]


@dataclass(frozen=True)
class Meter:
    """Processor time and Redis commands up to a moment.

    Attributes:
        cpu: Seconds of processor time of each process, user and system, by its role.
        commands: Commands that Redis ran; those inside a script count as well.
    """

    cpu: dict[str, float]
    commands: int


def processor_seconds(pid: int) -> float:
    """Reads how much processor time a process has used.

    Args:
        pid: The process.

    Returns:
        Seconds of user and system time of all its threads.
    """
    # The name, in parentheses, may have spaces in it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def read_meter(site: Site, processes: dict[str, Process]) -> Meter:
    """Reads all meters.

    Args:
        site: The site, for its Redis.
        processes: Its processes, by role.

    Returns:
        The state of the meters.
    """
    assert site.redis is not None
    stats = site.redis.commandstats()
    return Meter(
        {role: processor_seconds(process.pid) for role, process in processes.items()},
        sum(calls for name, calls in stats.items() if name not in NOT_COUNTED),
    )


@contextlib.contextmanager
def deployment(kind: Kind, variant: Variant) -> Iterator[tuple[Site, int, dict[str, Process]]]:
    """Starts what one variant needs, for the length of a block.

    Args:
        kind: The channel layer.
        variant: Which of the three.

    Yields:
        The site, the port of its server, and its processes by role.
    """
    with tempfile.TemporaryDirectory() as directory:
        site = Site(
            Path(directory),
            None,
            kind,
            layer_config=LAYER_CONFIG,
            application="tests.benchmarks.project.asgi.application",
            environment={"DEMUX_VARIANT": variant},
        )
        try:
            assert site.redis is not None
            server = site.server("uvicorn")
            processes = {"edge": server.process, "redis": site.redis.process}
            if channel := CHANNELS[variant]:
                processes["worker"] = site.worker(channel)
            yield site, server.port, processes
        finally:
            site.stop()
            STARTED.clear()


def measure(kind: Kind, variant: Variant, load: Load) -> dict[str, float]:
    """Runs one variant once.

    Args:
        kind: The channel layer.
        variant: Which of the three.
        load: What the generator does.

    Returns:
        The figures: `rate` in echoes per second; `edge_cpu`, `worker_cpu`, `redis_cpu` and
        `generator_cpu` in microseconds of processor time for each frame; `commands` of Redis for
        each frame; `p50` and `p99`, the latencies in milliseconds; `generator_share`, how much of
        one processor the generator used; `frames` answered, `lost` and `repeated`.
    """
    with (
        deployment(kind, variant) as (site, port, processes),
        subprocess.Popen(
            load.command(port, variant),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as generator,
    ):
        assert generator.stdin is not None
        assert generator.stdout is not None
        try:
            warm_up = hear(generator.stdout, site)
            before = read_meter(site, processes)
            generator.stdin.write("go\n")
            generator.stdin.flush()
            seen = hear(generator.stdout, site)
            after = read_meter(site, processes)
        except BaseException:
            generator.kill()
            raise
    frames = max(1.0, seen["answered"])
    cpu = {role: (after.cpu[role] - before.cpu[role]) / frames for role in processes}
    return {
        "rate": seen["answered"] / seen["seconds"] if seen["seconds"] else 0.0,
        "edge_cpu": cpu["edge"] * 1e6,
        "worker_cpu": cpu.get("worker", 0.0) * 1e6,
        "redis_cpu": cpu["redis"] * 1e6,
        "generator_cpu": seen["cpu_per_frame"] * 1e6,
        "commands": (after.commands - before.commands) / frames,
        "p50": seen["p50"] * 1e3,
        "p99": seen["p99"] * 1e3,
        "generator_share": seen["cpu_share"],
        "frames": seen["answered"],
        "lost": seen["lost"] + warm_up["lost"],
        "repeated": seen["repeated"],
    }


def hear(stream: IO[str], site: Site) -> dict[str, float]:
    """Reads the generator's next line.

    Args:
        stream: Its standard output.
        site: The site, whose logs say why there is none.

    Returns:
        What it says.

    Raises:
        RuntimeError: The generator has ended.
    """
    line = stream.readline()
    if not line:
        raise RuntimeError(f"The load generator has ended. The site wrote:\n{site.logs()}")
    said: dict[str, float] = json.loads(line)
    return said
