"""The containers' own commands, read from their files and run as processes of this machine."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from channels_demux_layer.demo.plan import STREAMS
from tests.installed import need

from .harness.client import connect
from .harness.processes import ROOT, Process
from .harness.redis_server import free_port
from .harness.waiting import LIMIT, wait_until

pytestmark = pytest.mark.acceptance

COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
WORKERS = [f"worker-{stream}" for stream in STREAMS]


def services() -> dict[str, dict[str, Any]]:
    """Reads the file.

    Returns:
        Each service by its name.
    """
    described = yaml.safe_load(COMPOSE_FILE.read_text())
    found: dict[str, dict[str, Any]] = described["services"]
    return found


def image_environment() -> dict[str, str]:
    """Reads what the image puts into the environment of every command.

    Returns:
        The variables that a process of this machine needs as well.
    """
    found = re.findall(r"\b(DJANGO_\w+)=(\S+)", DOCKERFILE.read_text())
    return dict(found)


class Fleet:
    """The services of the file, each with its own command, all on this machine.

    Args:
        directory: The working directory of Redis.
    """

    def __init__(self, directory: Path) -> None:
        self._services = services()
        self._ports = {"redis": free_port(), "edge": free_port()}
        self._redis_options = [
            *("--port", str(self._ports["redis"])),
            *("--bind", "127.0.0.1", "--dir", str(directory)),
        ]
        self.processes: list[Process] = []

    @property
    def url(self) -> str:
        """The address of the edge's WebSocket."""
        return f"ws://127.0.0.1:{self._ports['edge']}/ws/"

    def start(self, service: str, number: int = 1) -> None:
        """Starts a container's command.

        Args:
            service: The service.
            number: Which of its containers.
        """
        command = self._local(self._services[service]["command"])
        if service == "redis":
            command += self._redis_options
        name = f"{service}-{number}"
        self.processes.append(Process(name, command, self._environment(service, name)))

    def is_healthy(self, service: str, number: int = 1) -> bool:
        """Runs a container's health check.

        Args:
            service: The service.
            number: Which of its containers.

        Returns:
            Whether it was passed.
        """
        kind, *command = self._local(self._services[service]["healthcheck"]["test"])
        assert kind == "CMD"
        if service == "redis":
            command[1:1] = ["-p", str(self._ports["redis"])]
        done = subprocess.run(
            [sys.executable if word == "python" else word for word in command],
            cwd=ROOT,
            env=os.environ | self._environment(service, f"{service}-{number}"),
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        return done.returncode == 0

    def wait_healthy(self, service: str, number: int = 1) -> None:
        """Waits until a container passes its health check.

        Args:
            service: The service.
            number: Which of its containers.
        """
        wait_until(lambda: self.is_healthy(service, number), f"a healthy {service}")

    def stop(self) -> None:
        """Ends all processes, the edge while its workers can still answer it, Redis last."""
        turns = {"edge": 0, "worker": 1, "redis": 2}
        for process in sorted(self.processes, key=lambda it: turns[it.name.partition("-")[0]]):
            process.stop()

    def _environment(self, service: str, name: str) -> dict[str, str]:
        own = {
            key: value.replace("redis:6379", f"127.0.0.1:{self._ports['redis']}")
            for key, value in self._services[service].get("environment", {}).items()
        }
        # Its container would have a host name of its own; here all have the same one.
        return {**image_environment(), **own, "DEMUX_DEMO_NAME": name}

    def _local(self, words: list[str]) -> list[str]:
        port = str(self._ports["edge"])
        return [word.replace("0.0.0.0", "127.0.0.1").replace("8000", port) for word in words]


@pytest.fixture
def fleet(redis_installed: None, tmp_path: Path) -> Iterator[Fleet]:
    """The services, with nothing running yet.

    Yields:
        The fleet; all of it ends with the test.
    """
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.stop()


async def test_the_commands_of_all_services_make_a_fleet(fleet: Fleet) -> None:
    """One WebSocket through the edge gets replies from all streams, each from its own worker."""
    fleet.start("redis")
    fleet.wait_healthy("redis")
    assert not fleet.is_healthy("edge")
    assert not fleet.is_healthy("worker-echo")

    for service in ("edge", *WORKERS):
        fleet.start(service)
    for service in ("edge", *WORKERS):
        fleet.wait_healthy(service)

    async with connect(fleet.url) as client:
        echo = await client.ask("echo", "hello")
        assert echo["echo"] == "hello"
        line = await client.ask("chat", {"name": "Ada", "text": "Hello"})
        assert (line["name"], line["text"]) == ("Ada", "Hello")
        ticks = await client.receive_from("prices")
        taken = await client.ask("upload", {"upload": 1, "size": 0})
        answers = (echo, line, ticks, taken)
        answered_by = {answer["worker"].rpartition(":")[2] for answer in answers}
    workers = [process for process in fleet.processes if process.name.startswith("worker-")]
    assert answered_by == {str(process.pid) for process in workers}


async def test_a_service_can_be_scaled(fleet: Fleet) -> None:
    """With three containers of one service each connection is served by exactly one of them."""
    fleet.start("redis")
    fleet.wait_healthy("redis")
    fleet.start("edge")
    for number in (1, 2, 3):
        fleet.start("worker-echo", number)
    for number in (1, 2, 3):
        fleet.wait_healthy("worker-echo", number)
    fleet.wait_healthy("edge")

    async with connect(fleet.url) as client:
        answers = [await client.ask("echo", number) for number in range(20)]
    assert [answer["echo"] for answer in answers] == list(range(20))
    assert len({answer["worker"] for answer in answers}) == 1


def test_every_stream_has_a_service() -> None:
    """The file has Redis, the edge, and one service for the workers of each stream."""
    found = services()
    assert set(found) == {"redis", "edge", *WORKERS}
    channels = [found[service]["command"][-1] for service in WORKERS]
    assert channels == [f"demux.{stream}" for stream in STREAMS]


@pytest.mark.parametrize("service", ["redis", "edge", *WORKERS])
def test_every_service_can_be_scaled_and_looked_after(service: str) -> None:
    """No service has a fixed container; each is checked, restarted and given time to end."""
    described = services()[service]
    assert "container_name" not in described
    assert {"healthcheck", "restart", "stop_grace_period"} <= described.keys()
    if service != "redis":
        assert described["depends_on"] == {"redis": {"condition": "service_healthy"}}
        assert described["init"] is True


def test_the_image_runs_as_nobody_special() -> None:
    """Of the last stage's instructions, one takes the rights of root away before the command."""
    stage = DOCKERFILE.read_text().split("\nFROM ")[-1]
    (user,) = re.findall(r"^USER (\S+)$", stage, re.MULTILINE)
    assert user != "root"
    assert stage.index("USER ") < stage.index("CMD ")


def compose_tool() -> list[str] | None:
    """Looks for a docker-compose that runs; it needs no engine to read a file.

    Returns:
        Its command; None where there is none.
    """
    for command in (["docker-compose"], ["docker", "compose"]):
        try:
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return command
    return None


def test_the_file_is_a_valid_one() -> None:
    """The tool that will read the file finds no fault in it."""
    command = need(compose_tool(), "docker-compose", "docker-compose")
    done = subprocess.run(
        [*command, "--file", str(COMPOSE_FILE), "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
