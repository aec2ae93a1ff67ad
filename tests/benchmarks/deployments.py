"""What is compared, and the processes that each needs."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.acceptance.harness.layers import Kind
from tests.acceptance.harness.processes import ROOT, STARTED
from tests.acceptance.harness.site import Site

from .meters import Processes

Variant = Literal["bare", "plain", "by-hand", "worker", "inline", "multiplexer"]

NAMES: dict[Variant, str] = {
    "bare": "bare ASGI echo",
    "plain": "plain JSON consumer",
    "by-hand": "one group send per frame, by hand",
    "worker": "channels_demux_layer, a worker",
    "inline": "channels_demux_layer, inline",
    "multiplexer": "channelsmultiplexer",
}

PROJECT = "tests.benchmarks.project"

#: Variants of this package; nothing of it is in the processes of the others.
OWN: tuple[Variant, ...] = ("worker", "inline")

DJANGO_APPS = [
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]

#: Written as if by hand: by hand there is no other protection from losing frames than room for
#: all of them, nor any from redis-py's bound of 100 connections.
LAYER_CONFIG: dict[str, Any] = {"capacity": 100_000, "host": {"max_connections": 10_000}}


@dataclass(frozen=True)
class Deployment:
    """A server, and what belongs to it.

    Attributes:
        variant: What it runs.
        kind: The channel layer; None: none, and no Redis.
        streams: Names of the streams of a connection, where it has streams.
        workers: How many worker processes, where it has any.
        consumer: The consumer of every stream, of those of the project.
    """

    variant: Variant
    kind: Kind | None
    streams: tuple[str, ...] = ("echo",)
    workers: int = 1
    consumer: str = "EchoConsumer"

    @property
    def envelopes(self) -> tuple[str, ...]:
        """The streams that a client names, none where it sends payloads without envelopes."""
        return () if self.variant in ("bare", "plain") else self.streams

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that each worker listens on."""
        if self.variant == "by-hand":
            return ("hand.echo",)
        return tuple(f"demux.{stream}" for stream in self.streams)

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        return self.workers if self.variant in ("by-hand", "worker") else 0


@dataclass(frozen=True)
class Running:
    """A deployment that runs.

    Attributes:
        site: Its site.
        port: The port of its server.
        processes: The processes of each role: `edge`, `worker` and `redis`.
    """

    site: Site
    port: int
    processes: Processes


@contextlib.contextmanager
def running(deployment: Deployment) -> Iterator[Running]:
    """Starts a deployment, for the length of a block.

    Args:
        deployment: What to start.

    Yields:
        What runs.
    """
    module = "bare" if deployment.variant == "bare" else "asgi"
    # Above `channels` the package brings its own `runworker`, as its documentation recommends.
    apps = [*(["channels_demux_layer"] if deployment.variant in OWN else []), *DJANGO_APPS]
    with tempfile.TemporaryDirectory() as directory:
        site = Site(
            Path(directory),
            None,
            deployment.kind,
            layer_config=LAYER_CONFIG,
            settings={"INSTALLED_APPS": apps},
            application=f"{PROJECT}.{module}.application",
            environment={
                "DEMUX_VARIANT": deployment.variant,
                "DEMUX_STREAMS": " ".join(deployment.streams),
                "DEMUX_CONSUMER": deployment.consumer,
            },
        )
        try:
            server = site.server("uvicorn")
            processes = {"edge": [server.process]}
            if site.redis is not None:
                processes["redis"] = [site.redis.process]
            if deployment.worker_count:
                processes["worker"] = site.workers([deployment.channels] * deployment.worker_count)
            yield Running(site, server.port, processes)
        finally:
            site.stop()
            STARTED.clear()


class Generator:
    """The load generator's process.

    Args:
        runs: What it is to load.
        deployment: What that is.
        size: Bytes of a frame on the wire.
        silent: Whether it only listens.
    """

    def __init__(
        self, runs: Running, deployment: Deployment, size: int = 130, silent: bool = False
    ) -> None:
        options = ["--port", runs.port, "--size", size, *(["--silent"] if silent else [])]
        streams = ["--streams", *deployment.envelopes] if deployment.envelopes else []
        self._site = runs.site
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load", *map(str, options), *streams],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Generator":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            self._process.kill()
        self._process.__exit__(kind, error, trace)

    def tell(self, do: str, **arguments: Any) -> dict[str, float]:
        """Has it do something, and waits until that is done.

        Args:
            do: The command.
            **arguments: Its arguments.

        Returns:
            What the generator saw.

        Raises:
            RuntimeError: The generator has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            message = f"The load generator has ended. The site wrote:\n{self._site.logs()}"
            raise RuntimeError(message)
        said: dict[str, float] = json.loads(line)
        return said
