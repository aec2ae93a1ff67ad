"""The command and the environment of each process of the demo."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .preflight import LOOPBACK

WORKERS = {"echo": 2, "chat": 1, "prices": 1, "upload": 1}
"""Worker processes per stream by default. With two for echo, killing one shows the failover."""
STREAMS = tuple(WORKERS)
STAND_IN = "redis"
EDGE = "edge"
STOP_ORDER = {EDGE: 0, STAND_IN: 2}
"""The server stops first, so that its sockets close cleanly. Workers (1) follow, then Redis."""
EDGE_GRACE = 2
"""Seconds that the server waits for its WebSockets to close when it stops."""


@dataclass(frozen=True)
class Options:
    """The options of the command line.

    Attributes:
        host: The address that the server listens on.
        port: The port that the server listens on; 0 for any free one.
        layer: ``core`` or ``pubsub``, the channel layer of channels_redis.
        workers: The number of worker processes of each stream; None for the defaults.
        control: Whether the page may add and stop workers; None for only on a loopback host.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    layer: str = "pubsub"
    workers: int | None = None
    control: bool | None = None

    @property
    def is_controlled(self) -> bool:
        """Whether the page may add and stop workers."""
        return self.host in LOOPBACK if self.control is None else self.control


@dataclass(frozen=True)
class Plan:
    """The plan of one process.

    Attributes:
        name: The process's name in messages, and the name of its log.
        arguments: The arguments of the Python interpreter.
        environ: Variables that are added to the user's environment.
        stream: The stream that a worker hosts; empty for other processes.
    """

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]
    stream: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """The command line, with the interpreter that runs the demo."""
        return (sys.executable, *self.arguments)


def plan_stand_in() -> Plan:
    """Return the plan of the stand-in for Redis."""
    return Plan(STAND_IN, ("-m", "channels_demux_layer.demo.redis_stand_in"), {})


@dataclass(frozen=True)
class Project:
    """What the processes of the Django project have in common.

    Attributes:
        options: The user's options, with a port other than 0.
        redis_url: The URL of Redis.
        run: Prefix of the names of this run's connections to Redis.
        control: The supervisor's address for the server; empty if the page may control nothing.
    """

    options: Options
    redis_url: str
    run: str
    control: str = ""

    def workers(self) -> Iterator[Plan]:
        """Plan the workers that the demo starts with.

        Yields:
            One plan per process.
        """
        for stream, default in WORKERS.items():
            for number in range(1, (self.options.workers or default) + 1):
                yield self.worker(stream, number)

    def worker(self, stream: str, number: int) -> Plan:
        """Return the plan of one worker.

        Args:
            stream: The stream that the worker hosts.
            number: A number that no other worker of this stream has had.
        """
        name = f"worker-{stream}-{number}"
        arguments = ("-m", "django", "runworker", f"demux.{stream}")
        return Plan(name, arguments, self._environ(name), stream)

    def edge(self) -> Plan:
        """Return the plan of the server."""
        arguments = (
            *("-m", "uvicorn", "channels_demux_layer.demo.project.asgi:application"),
            *("--host", self.options.host, "--port", str(self.options.port), "--lifespan", "off"),
            *("--timeout-graceful-shutdown", str(EDGE_GRACE)),
        )
        return Plan(EDGE, arguments, self._environ(EDGE) | {"DEMUX_DEMO_CONTROL": self.control})

    def _environ(self, name: str) -> dict[str, str]:
        """Return the variables that the demo project reads from its environment."""
        is_local = self.options.host in LOOPBACK
        return {
            "DJANGO_SETTINGS_MODULE": "channels_demux_layer.demo.project.settings",
            "REDIS_URL": self.redis_url,
            "DEMUX_DEMO_LAYER": self.options.layer,
            "DEMUX_DEMO_ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]" if is_local else "*",
            "DEMUX_DEMO_LIFELINE": "1",
            # The process is ready when Redis lists a connection with this name.
            "DEMUX_DEMO_NAME": f"{self.run}-{name}",
        }
