"""What the demo starts: the command and the environment of each process."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from channels_demux_layer.demo.addresses import LOOPBACK

WORKERS = {"echo": 2, "chat": 1, "prices": 1, "upload": 1}
"""How many processes each stream has by default: two show at once what happens without one."""
STREAMS = tuple(WORKERS)
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
        workers: The number of worker processes of each stream; None for the defaults.
        control: Whether the page may add and end workers; None where only this machine sees it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    layer: str = "pubsub"
    workers: int | None = None
    control: bool | None = None

    @property
    def is_controlled(self) -> bool:
        """Whether the page may add and end workers."""
        return self.host in LOOPBACK if self.control is None else self.control


@dataclass(frozen=True)
class Plan:
    """One process that is to run.

    Attributes:
        name: What it is called in messages and in the name of its log.
        arguments: What Python is called with.
        environ: What its environment has beside the user's own.
        stream: The stream whose worker it is; empty for none.
    """

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]
    stream: str = ""

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


@dataclass(frozen=True)
class Project:
    """What the processes of the Django project have in common.

    Attributes:
        options: What the user asked for, the port a real one.
        redis_url: Where Redis is.
        run: What the names of this run's connections to Redis begin with.
        control: Where the server finds the supervisor; empty where the page is to control nothing.
    """

    options: Options
    redis_url: str
    run: str
    control: str = ""

    def workers(self) -> Iterator[Plan]:
        """Plan the workers that are there from the start.

        Yields:
            One plan per process.
        """
        for stream, default in WORKERS.items():
            for number in range(1, (self.options.workers or default) + 1):
                yield self.worker(stream, number)

    def worker(self, stream: str, number: int) -> Plan:
        """Plan one worker.

        Args:
            stream: The stream that it hosts.
            number: Tells it from the others of this stream, those of the past included.

        Returns:
            Its plan.
        """
        name = f"worker-{stream}-{number}"
        arguments = ("-m", "django", "runworker", f"demux.{stream}")
        return Plan(name, arguments, self._environ(name), stream)

    def edge(self) -> Plan:
        """Plan the server.

        Returns:
            Its plan.
        """
        arguments = (
            *("-m", "uvicorn", "channels_demux_layer.demo.project.asgi:application"),
            *("--host", self.options.host, "--port", str(self.options.port), "--lifespan", "off"),
            *("--timeout-graceful-shutdown", str(EDGE_GRACE)),
        )
        return Plan(EDGE, arguments, self._environ(EDGE) | {"DEMUX_DEMO_CONTROL": self.control})

    def _environ(self, name: str) -> dict[str, str]:
        """Write what the demo project reads from its environment."""
        is_local = self.options.host in LOOPBACK
        return {
            "DJANGO_SETTINGS_MODULE": "channels_demux_layer.demo.project.settings",
            "REDIS_URL": self.redis_url,
            "DEMUX_DEMO_LAYER": self.options.layer,
            "DEMUX_DEMO_ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]" if is_local else "*",
            "DEMUX_DEMO_LIFELINE": "1",
            # The names of its connections to Redis show that it is ready.
            "DEMUX_DEMO_NAME": f"{self.run}-{name}",
        }
