"""The demo as its users start it: one command, a page, five streams, Ctrl-C."""

import hashlib
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.demo.supervisor import is_serving

from .harness.client import connect
from .harness.demo import READY, Demo, running
from .harness.redis_server import RedisServer, free_port
from .harness.waiting import wait_until

pytestmark = pytest.mark.acceptance


async def assert_used(demo: Demo, number: signal.Signals, stand_in: bool) -> None:
    """Uses the page and all streams as two visitors would, and stops the demo meanwhile."""
    demo.process.wait_for_line(READY)
    assert "One WebSocket, many streams" in demo.page()
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

        past, present = [await ben.receive_from("prices") for _ in range(2)]
        assert past["ticks"][-1]["prices"].keys() == present["ticks"][0]["prices"].keys()
        used["prices"] = past["worker"]

        answer = await ada.ask("upload", {"upload": 1, "size": 0})
        assert answer["digest"] == hashlib.sha256().hexdigest()
        used["upload"] = answer["worker"]

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
        assert len(demo.pids()) == 9


async def test_it_can_be_stopped_at_once() -> None:
    """Ctrl-C while it starts ends it as cleanly as later."""
    with running() as demo:
        demo.process.wait_for_line(r"^worker-chat-1: process")
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


def test_a_redis_that_is_gone_is_one_sentence() -> None:
    """When the stand-in is killed all end, and the last line says why and where to look."""
    with running() as demo:
        demo.process.wait_for_line(READY)
        pid = demo.pids()["redis"]
        os.kill(pid, signal.SIGKILL)
        demo.assert_refused(
            rf"redis \(process {pid}\) ended by signal 9 \(Killed\): read \S+/redis\.log, "
            r"fix the cause and start the demo again\."
        )


async def test_a_worker_and_the_server_may_end() -> None:
    """A worker that is killed is told of and not replaced, a server is started again."""
    with running() as demo:
        demo.process.wait_for_line(READY)
        killed = demo.pids()
        for name in ("worker-chat-1", "edge"):
            os.kill(killed[name], signal.SIGKILL)
            demo.process.wait_for_line(rf"^{name}: ended by signal 9 \(Killed\), its output is in ")
        demo.process.wait_for_line(rf"^edge: process (?!{killed['edge']},)\d+, ")
        wait_until(lambda: is_serving("127.0.0.1", demo.port), "the server")
        async with connect(f"ws://127.0.0.1:{demo.port}/ws/") as client:
            assert (await client.ask("echo", {"number": 1}))["echo"] == {"number": 1}
        demo.process.signal(signal.SIGINT)
        demo.assert_ended(0)


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
        assert len(demo.left_over()) == 8
        demo.process.kill()
        wait_until(lambda: not demo.left_over(), "the end of all processes")
