"""The README's quickstart, command by command, with a server, workers and a Redis of its own."""

import asyncio
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.quickstart import ENVIRONMENT, argv, commands, make_project

from .harness.client import connect
from .harness.processes import Process
from .harness.redis_server import RedisServer
from .harness.site import LISTENING

#: The address of Redis that the README has.
REDIS = "redis://127.0.0.1:6379/0"

Start = Callable[..., Process]


@pytest.fixture
def start(redis_installed: None, tmp_path: Path) -> Iterator[Start]:
    """Makes the project, with its database, and starts what the README says of it.

    Yields:
        A function that takes the beginning of one of the README's commands, and more options.
    """
    project = make_project(tmp_path)
    redis = RedisServer(tmp_path)
    settings = project / "mysite" / "settings.py"
    whole = settings.read_text(encoding="utf-8")
    assert whole.count(REDIS) == 1
    settings.write_text(whole.replace(REDIS, redis.url), encoding="utf-8")
    for words in commands():
        if words[-1] in ("migrate", "check"):
            subprocess.run(argv(words), cwd=project, env={**os.environ, **ENVIRONMENT}, check=True)
    started: list[Process] = []

    def run(beginning: str, *options: str) -> Process:
        (words,) = (words for words in commands() if " ".join(words).startswith(beginning))
        process = Process(beginning, [*argv(words), *options], ENVIRONMENT, project)
        started.append(process)
        return process

    try:
        yield run
    finally:
        for process in started:
            process.stop()
        redis.stop()


async def test_both_streams_answer_and_a_worker_may_go(start: Start) -> None:
    """The page is there, the echo answers, and the clock ticks on when its worker is ended."""
    server = start("uvicorn", "--port", "0")
    start("python manage.py runworker demux.echo")
    first = start("python manage.py runworker demux.clock", "--noreload")
    port = int(server.wait_for_line(LISTENING["uvicorn"]).group(1))
    page = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/")
    assert "<title>Two streams</title>" in page.read().decode()

    origin = {"Origin": f"http://127.0.0.1:{port}"}
    async with connect(f"ws://127.0.0.1:{port}/ws/", origin) as client:
        assert await client.ask("echo", {"text": "hello"}) == {"text": "hello"}
        assert "now" in await client.receive_from("clock")

        second = start("python manage.py runworker demux.clock", "--noreload")
        second.wait_for_line("demux.clock")
        first.signal(signal.SIGINT)
        assert await asyncio.to_thread(first.wait) == 0
        ended = datetime.now(timezone.utc).isoformat()
        while (await client.receive_from("clock"))["now"] < ended:
            pass  # the last words of the first
        assert await client.ask("echo", {"text": "again"}) == {"text": "again"}
