"""The demo as its users start it: one command, a page, three streams, Ctrl-C."""

import contextlib
import os
import re
import shutil
import signal
import socket
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels_demux_layer.codes import CloseCode

from .harness.client import connect
from .harness.processes import Process
from .harness.redis_server import RedisServer, free_port
from .harness.waiting import wait_until

pytestmark = pytest.mark.acceptance

READY = r"^Press Ctrl-C to stop\.$"


class Demo:
    """One run of the demo; whatever it starts can be told from all other processes.

    Args:
        *arguments: Its command line.
        redis_url: Where Redis is; by default nowhere, so that the stand-in is used.
        **environ: More of its environment.

    Attributes:
        port: The port that its server is told to listen on.
        process: The process that the user started.
    """

    def __init__(self, *arguments: str, redis_url: str = "", **environ: str) -> None:
        self.port = free_port()
        self._mark = uuid.uuid4().hex
        self.process = Process(
            "demo",
            ["python", "-m", "channels_demux_layer.demo", "--port", str(self.port), *arguments],
            {"REDIS_URL": redis_url, "DEMUX_TEST_RUN": self._mark, **environ},
        )

    def pids(self) -> dict[str, int]:
        """Reads from the progress which processes were started.

        Returns:
            The number of each process by its name.
        """
        found = re.findall(r"^(\S+): process (\d+)", self.process.log(), re.MULTILINE)
        return {name: int(pid) for name, pid in found}

    def page(self) -> str:
        """Asks for the page, as a browser would.

        Returns:
            What came.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/") as answer:
            text: str = answer.read().decode()
        return text

    def left_over(self) -> list[str]:
        """Looks for processes of this run.

        Returns:
            The command lines of those that run.
        """
        return [
            directory.joinpath("cmdline").read_text().replace("\0", " ")
            for directory in Path("/proc").glob("[0-9]*")
            if self._mark.encode() in _environment(directory)
        ]

    def assert_ended(self, code: int) -> str:
        """Waits for the end, which has to be a clean one.

        Args:
            code: The expected exit code.

        Returns:
            All that the demo printed.
        """
        assert self.process.wait() == code
        assert self.left_over() == []
        log = self.process.log()
        assert "Traceback" not in log
        return log

    def assert_refused(self, pattern: str) -> None:
        """Waits for the end by a problem that is told in one plain sentence, the last line.

        Args:
            pattern: A regular expression that the whole sentence matches.
        """
        last = self.assert_ended(1).splitlines()[-1]
        assert re.fullmatch(f"The demo cannot run: {pattern}", last), last

    def stop(self) -> None:
        """Ends all of it, whatever state it is in, and removes its logs."""
        self.process.stop()
        for logs in re.findall(r"/\S*channels-demux-demo-\w+", self.process.log()):
            shutil.rmtree(logs, ignore_errors=True)


def _environment(directory: Path) -> bytes:
    try:
        return directory.joinpath("environ").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


@contextlib.contextmanager
def running(*arguments: str, redis_url: str = "", **environ: str) -> Iterator[Demo]:
    """Runs a demo for the length of a block.

    Yields:
        The demo, which has only just begun.
    """
    demo = Demo(*arguments, redis_url=redis_url, **environ)
    try:
        yield demo
    finally:
        demo.stop()


async def assert_used(demo: Demo, number: signal.Signals, stand_in: bool) -> None:
    """Uses the page and all streams as two visitors would, and stops the demo meanwhile."""
    demo.process.wait_for_line(READY)
    assert "One WebSocket, three streams" in demo.page()
    pids = demo.pids()
    assert ("redis" in pids) is stand_in

    url = f"ws://127.0.0.1:{demo.port}/ws/"
    async with connect(url) as ada, connect(url) as ben:
        answer = await ada.ask("echo", {"number": 1})
        assert answer["echo"] == {"number": 1}
        used = {"echo": answer["worker"]}

        # A stream opens in its own time: an echo of the chat shows that this one is open.
        for client in (ben, ada):
            assert "error" in await client.ask("chat", "no line")
        await ada.send("chat", {"name": "Ada", "text": "Hello"})
        for client in (ada, ben):
            line = await client.receive_from("chat")
            assert (line["name"], line["text"]) == ("Ada", "Hello")
            used["chat"] = line["worker"]

        ticks = [await ben.receive_from("prices") for _ in range(2)]
        assert ticks[0]["prices"].keys() == ticks[1]["prices"].keys()
        used["prices"] = ticks[0]["worker"]

        for stream, worker in used.items():
            started = {pid for name, pid in pids.items() if name.startswith(f"worker-{stream}")}
            assert int(worker.rpartition(":")[2]) in started

        demo.process.signal(number)
        log = demo.assert_ended(0)
        assert log.endswith("Stopping.\nStopped.\n")
        assert_no_logs_left(log)
        assert await ada.wait_closed() == CloseCode.SERVICE_RESTART


def assert_no_logs_left(log: str) -> None:
    """Reads where the output of the processes was, and finds nothing there."""
    logs = re.search(r"the output is in (\S+)\.$", log, re.MULTILINE)
    assert logs is not None
    assert not Path(logs[1]).exists()


async def test_the_demo_needs_nothing_else() -> None:
    """With the stand-in for Redis the one command serves all streams until Ctrl-C."""
    with running() as demo:
        await assert_used(demo, signal.SIGINT, stand_in=True)


async def test_the_demo_uses_a_real_redis(redis_server: RedisServer) -> None:
    """With REDIS_URL it uses that server, here over the core layer, until SIGTERM."""
    options = ("--layer", "core", "--workers", "2")
    with running(*options, redis_url=redis_server.url) as demo:
        await assert_used(demo, signal.SIGTERM, stand_in=False)
        assert len(demo.pids()) == 7


async def test_it_can_be_stopped_at_once() -> None:
    """Ctrl-C while it starts ends it as cleanly as later."""
    with running() as demo:
        demo.process.wait_for_line(r"^worker-chat: process")
        demo.process.signal(signal.SIGINT)
        demo.assert_ended(0)


def test_a_port_in_use_is_one_sentence() -> None:
    """A port that somebody else listens on keeps it from starting anything."""
    with running() as first:
        first.process.wait_for_line(READY)
        with running("--port", str(first.port)) as second:
            second.assert_refused(
                rf"port {first.port} of 127\.0\.0\.1 is in use: "
                r"stop what uses it, or choose another --port\."
            )
            assert second.pids() == {}
        assert first.process.running


def test_a_dead_redis_is_one_sentence() -> None:
    """Where REDIS_URL leads nowhere it says where, and what to do."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    with running(redis_url=url) as demo:
        demo.assert_refused(
            rf"no Redis server answers at {re.escape(url)} \(.*refused.*\): start one there, "
            r"correct REDIS_URL, or unset it to use the embedded stand-in\."
        )


def test_a_mute_redis_is_one_sentence() -> None:
    """Where something listens that is no Redis, the wait for its answer has an end."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        with running(redis_url=url) as demo:
            demo.assert_refused(rf"no Redis server answers at {re.escape(url)} .*")


@pytest.mark.parametrize("name", ["worker-chat", "edge", "redis"])
def test_a_crashed_child_is_one_sentence(name: str) -> None:
    """When one process is killed all end, and the last line says which it was and where to look."""
    with running() as demo:
        demo.process.wait_for_line(READY)
        pid = demo.pids()[name]
        os.kill(pid, signal.SIGKILL)
        demo.assert_refused(
            rf"{name} \(process {pid}\) ended by signal 9 \(Killed\): read \S+/{name}\.log, "
            r"mend the cause and start the demo again\."
        )


@pytest.mark.parametrize("missing", ["fakeredis", "uvicorn"])
def test_a_missing_extra_is_one_sentence(missing: str, tmp_path: Path) -> None:
    """What is not installed is named, with the command that installs it."""
    tmp_path.joinpath("sitecustomize.py").write_text(
        f"import sys\nsys.modules[{missing!r}] = None\n"
    )
    with running(PYTHONPATH=str(tmp_path)) as demo:
        demo.assert_refused(
            rf"{missing} is not installed: run pip install 'channels-demux-layer\[demo\]'.*\."
        )


def test_nothing_outlives_a_demo_that_was_killed() -> None:
    """Even a signal that it cannot catch leaves no process behind."""
    with running() as demo:
        demo.process.wait_for_line(READY)
        assert len(demo.left_over()) == 6
        demo.process.kill()
        wait_until(lambda: not demo.left_over(), "the end of all processes")
