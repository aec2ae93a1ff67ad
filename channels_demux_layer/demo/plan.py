"""What the demo starts: the command and the environment of each process."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from channels_demux_layer.demo.addresses import LOOPBACK

STREAMS = ("echo", "chat", "prices")
STAND_IN = "redis"
EDGE = "edge"
STOP_ORDER = {EDGE: 0, STAND_IN: 2}
"""The server ends first, so that sockets close in an orderly way; then workers (1); then Redis."""
EDGE_GRACE = 2
"""Seconds that the server gives its WebSockets to close when it is ended."""


@dataclass(frozen=True)
class Options:
    """What the user asked for on the command line.

    Attributes:
        host: The address that the server listens on.
        port: Its port; 0 for any free one.
        layer: ``core`` or ``pubsub``, the channel layer of channels_redis.
        workers: The number of worker processes of each stream.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    layer: str = "pubsub"
    workers: int = 1


@dataclass(frozen=True)
class Plan:
    """One process that is to run.

    Attributes:
        name: What it is called in messages and in the name of its log.
        arguments: What Python is called with.
        environ: What its environment has beside the user's own.
    """

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def command(self) -> tuple[str, ...]:
        """The command line, run by this very Python."""
        return (sys.executable, *self.arguments)


def plan_stand_in() -> Plan:
    """Plan the stand-in for Redis.

    Returns:
        Its plan.
    """
    return Plan(STAND_IN, ("-m", "channels_demux_layer.demo.redis_stand_in"), {})


def plan_processes(options: Options, redis_url: str, run: str) -> Iterator[Plan]:
    """Plan the workers of each stream, then the server.

    Args:
        options: What the user asked for, the port a real one.
        redis_url: Where Redis is.
        run: What the names of this run's connections to Redis begin with.

    Yields:
        One plan per process.
    """
    environ = project_environment(options, redis_url)
    for stream in STREAMS:
        for number in range(1, options.workers + 1):
            name = f"worker-{stream}" if options.workers == 1 else f"worker-{stream}-{number}"
            yield Plan(
                name,
                ("-m", "django", "runworker", f"demux.{stream}"),
                environ | {"DEMUX_DEMO_NAME": connection_name(run, name)},
            )
    yield Plan(
        EDGE,
        (
            *("-m", "uvicorn", "channels_demux_layer.demo.project.asgi:application"),
            *("--host", options.host, "--port", str(options.port), "--lifespan", "off"),
            *("--timeout-graceful-shutdown", str(EDGE_GRACE)),
        ),
        environ | {"DEMUX_DEMO_NAME": connection_name(run, EDGE)},
    )


def connection_name(run: str, process: str) -> str:
    """Name the connections to Redis of one process.

    Args:
        run: What is the same for all processes of one run, and differs between runs.
        process: The name of its plan.

    Returns:
        The name.
    """
    return f"{run}-{process}"


def project_environment(options: Options, redis_url: str) -> dict[str, str]:
    """Write what the demo project reads from its environment.

    Args:
        options: What the user asked for.
        redis_url: Where Redis is.

    Returns:
        The variables that all processes of the project share.
    """
    hosts = "localhost,127.0.0.1,[::1]" if options.host in LOOPBACK else "*"
    return {
        "DJANGO_SETTINGS_MODULE": "channels_demux_layer.demo.project.settings",
        "REDIS_URL": redis_url,
        "DEMUX_DEMO_LAYER": options.layer,
        "DEMUX_DEMO_ALLOWED_HOSTS": hosts,
        "DEMUX_DEMO_LIFELINE": "1",
    }
