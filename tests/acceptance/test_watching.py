"""Who watches a deployment: demuxstatus, orchestrators and Prometheus, on real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .conftest import MakeSite
from .harness.client import connect
from .harness.processes import ROOT, Process
from .harness.site import PROJECT, Site
from .harness.waiting import wait_until

#: Where a worker says that it serves pages.
SERVING = r"Serving (\S.*) on http://127\.0\.0\.1:(\d+)"
#: Silence counts as death soon here, so that the tests need not wait for it.
OPTIONS = {"PEER_TIMEOUT": 2.0, "OPEN_RETRY": 0.5, "OPEN_TIMEOUT": 1.0}
NUMBER = ("demux.number",)
#: So many connections do not all go to one of two processes.
MANY = 100

MakeWatched = Callable[..., Site]


@pytest.fixture
def make_watched(make_site: MakeSite) -> MakeWatched:
    """Makes sites whose processes can be watched.

    Returns:
        A function that takes the kind of layer, and more of the processes' environment.
    """

    def make(kind: str, **environment: str) -> Site:
        settings = {
            "INSTALLED_APPS": ["channels_demux_layer", "channels"],
            "ROOT_URLCONF": f"{PROJECT}.watched_urls",
            "CHANNELS_DEMUX_LAYER": OPTIONS,
        }
        application = f"{PROJECT}.watched.application"
        return make_site(kind, application=application, settings=settings, environment=environment)

    return make


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Runs what blocks while sockets stay alive."""
    return await asyncio.to_thread(function, *args)


def command(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a management command of the site to its end."""
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        cwd=ROOT,
        env={**os.environ, **site.environment("command")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def status(site: Site) -> dict[str, Any]:
    """Asks all nodes of a site."""
    done = command(site, "demuxstatus", "--json")
    assert "Traceback" not in done.stderr, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if told["nodes"] else 1)
    return told


def nodes(site: Site) -> dict[int, dict[str, Any]]:
    """Asks all nodes of a site, and gives their reports by process id."""
    return {node["pid"]: node for node in status(site)["nodes"]}


def fetch(port: int, path: str) -> tuple[int, str]:
    """Fetches a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Fetches the metrics of a process, as Prometheus does.

    Returns:
        The values of this package's metrics, by name and then the labels' values, sorted by
        the labels' names.
    """
    code, text = fetch(port, "/metrics")
    assert code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("demux_")
    }


def start_worker(site: Site, *arguments: str) -> tuple[Process, int]:
    """Starts a worker with pages, and waits until it serves them and hosts its streams.

    Returns:
        Its process, and the port of its pages.
    """
    pages = ("--health-port", "0", "--metrics-port", "0")
    worker = site.start("worker", ["-m", "django", "runworker", *pages, *arguments])
    port = int(worker.wait_for_line(SERVING).group(2))
    wait_until(lambda: fetch(port, "/ready")[0] == 200, "a worker that is ready")
    return worker, port


async def test_what_demuxstatus_sees(make_watched: MakeWatched, layer_kind: str) -> None:
    """A server and two workers with the sessions they have, one that drains, one that is gone."""
    site = make_watched(layer_kind)
    empty = await in_thread(command, site, "demuxstatus", "--json")
    assert (empty.returncode, json.loads(empty.stdout)["nodes"]) == (1, [])
    assert empty.stderr.startswith("CommandError: No node answers.")
    server = site.server()
    first, _ = await in_thread(start_worker, site, *NUMBER, "demux.stuck")
    second, _ = await in_thread(start_worker, site, *NUMBER)
    async with connect(server.url()) as ada, connect(server.url()) as bob:
        for client in (ada, bob):
            assert (await client.ask("number", 1))[0] == 1
        told = await in_thread(status, site)
        kinds = {node["pid"]: node["kind"] for node in told["nodes"]}
        expected = {server.process.pid: "server", first.pid: "worker", second.pid: "worker"}
        assert kinds == expected
        (stream,) = [each for each in told["streams"] if each["channel"] == "demux.number"]
        assert (stream["sessions"], stream["pending"], stream["workers"]) == (2, 0, 2)
        assert (stream["frames_in"], stream["frames_out"]) == (2, 2)
        hosted = [
            stream["sessions"]
            for node in told["nodes"]
            for stream in node["streams"]
            if stream["side"] == "worker"
        ]
        assert sum(hosted) == 2
        links = [link for node in told["nodes"] for link in node["links"]]
        assert len(links) == 2 * len(hosted)
        assert all(link["round_trip"] for link in links)
        assert told["remarks"] == []

        await ada.send("stuck", "hang")
        await in_thread(site.wait_for_journal, "stuck")
        first.signal(signal.SIGTERM)
        await in_thread(
            wait_until, lambda: nodes(site)[first.pid]["is_draining"], "a worker that drains"
        )
        first.kill()
        await in_thread(wait_until, lambda: first.pid not in nodes(site), "a worker's end")
        await in_thread(
            wait_until, lambda: status(site)["unhosted"] == ["demux.stuck"], "a stream's need"
        )
        second.kill()
        told = await in_thread(status, site)
        assert list({node["pid"] for node in told["nodes"]}) == [server.process.pid]
    done = await in_thread(command, site, "demuxstatus")
    assert done.returncode == 0
    assert str(server.process.pid) in done.stdout


async def test_a_layer_that_is_gone_is_an_error(make_watched: MakeWatched) -> None:
    """Without Redis the command says so in a sentence."""
    site = make_watched("core")
    assert site.redis is not None
    site.redis.stop()
    done = await in_thread(command, site, "demuxstatus", "--json")
    assert done.returncode == 1
    assert re.match(r"CommandError: The channel layer cannot be asked: .+\.$", done.stderr)


async def test_health(make_watched: MakeWatched, layer_kind: str) -> None:
    """A worker and a server are ready once joined, not without Redis, nor while they drain."""
    site = make_watched(layer_kind)
    redis = site.redis
    assert redis is not None
    server = site.server()
    worker, port = await in_thread(start_worker, site, *NUMBER, "demux.stuck")
    ports = {"server": server.port, "worker": port}

    def ready() -> dict[str, int]:
        assert all(fetch(each, "/live")[0] == 200 for each in ports.values())
        return {name: fetch(each, "/ready")[0] for name, each in ports.items()}

    def becomes(code: int) -> None:
        wait_until(lambda: set(ready().values()) == {code}, f"processes that answer {code}")

    await in_thread(becomes, 200)
    await in_thread(redis.go_away)
    await in_thread(becomes, 503)
    await in_thread(redis.come_back)
    await in_thread(becomes, 200)
    async with connect(server.url()) as client:
        await client.send("stuck", "hang")
        await in_thread(site.wait_for_journal, "stuck")
        worker.signal(signal.SIGTERM)
        await in_thread(
            wait_until, lambda: fetch(port, "/ready")[0] == 503, "a worker that is not ready"
        )
        code, page = await in_thread(fetch, port, "/ready")
        assert (code, json.loads(page)["ready"]) == (503, False)
        assert "draining" in json.loads(page)["problems"][0]
        worker.kill()


async def test_prometheus_fetches_both(make_watched: MakeWatched, layer_kind: str) -> None:
    """The same conversation is in the figures of the server and of the worker."""
    site = make_watched(layer_kind)
    server = site.server()
    _, port = await in_thread(start_worker, site, *NUMBER)
    async with connect(server.url()) as client:
        for number in range(5):
            await client.ask("number", number)
        await client.send("room", "waits")

        def waits() -> float | None:
            return scrape(server.port).get(("demux_opens_pending", "demux.room", "room"))

        await in_thread(wait_until, waits, "a stream that waits for a worker")
        of_server, of_worker = await in_thread(lambda: (scrape(server.port), scrape(port)))
    assert of_server["demux_opens_pending", "demux.number", "number"] == 0
    for side, figures in (("edge", of_server), ("worker", of_worker)):
        assert figures["demux_sessions", "demux.number", side, "number"] == 1
        for direction in ("in", "out"):
            frames = figures["demux_frames_total", "demux.number", direction, side, "number"]
            assert frames == 5
        assert figures["demux_links",] == 1
        assert 0 < figures["demux_link_round_trip_seconds",] < 60
    assert ("demux_node_info", "worker") in {key[:2] for key in of_worker}


async def test_servers_of_several_processes(make_watched: MakeWatched, tmp_path: Path) -> None:
    """Whichever of uvicorn's processes is asked, the figures are those of all that live."""
    directory = tmp_path / "shared"
    directory.mkdir()
    site = make_watched("core", PROMETHEUS_MULTIPROC_DIR=str(directory))
    server = site.server("uvicorn", "--workers", "2")
    await in_thread(
        wait_until,
        lambda: server.process.log().count("Application startup complete") == 2,
        "two processes",
    )
    await in_thread(start_worker, site, *NUMBER)
    sessions = ("demux_sessions", "demux.number", "edge", "number")
    frames = ("demux_frames_total", "demux.number", "in", "edge", "number")

    def is_shared(by: dict[int, int]) -> bool:
        figures = scrape(server.port)
        total = sum(by.values())
        return figures.get(sessions) == total and figures.get(frames) == total

    async with contextlib.AsyncExitStack() as stack:
        count, by_process = 0, dict[int, int]()
        while len(by_process) < 2:  # the two take connections as it happens
            assert count < MANY, "One process has got all connections."
            client = await stack.enter_async_context(connect(server.url(), close_timeout=0.1))
            await client.ask("number", count)
            count += 1
            by_process = await in_thread(sessions_by_server, site)
        assert sum(by_process.values()) == count
        await in_thread(wait_until, lambda: is_shared(by_process), "the sum of both")
        killed, lost = min(by_process.items())
        os.kill(killed, signal.SIGKILL)
        await in_thread(
            wait_until,
            lambda: scrape(server.port).get(sessions) == count - lost,
            "the figures without those of the dead",
        )
        # What has been counted stays counted.
        assert (await in_thread(scrape, server.port))[frames] == count


def sessions_by_server(site: Site) -> dict[int, int]:
    """Asks how many sessions each process of a server has."""
    return {
        pid: sum(stream["sessions"] for stream in node["streams"])
        for pid, node in nodes(site).items()
        if node["kind"] == "server"
    }
