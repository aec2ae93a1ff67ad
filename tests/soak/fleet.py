"""A site under test that loses and gains workers all the time, and what its processes wrote."""

import asyncio
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.acceptance.harness.layers import Kind
from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.site import Server, Site

APPLICATION = "tests.acceptance.project.faults.application"
#: This package stands above Channels here, so that its `runworker` is the one that runs.
APPS = ["channels_demux_layer", "channels", "django.contrib.auth", "django.contrib.contenttypes"]

CHANNELS = tuple(f"demux.{stream}" for stream in ("number", "room", "tick", "stuck", "thread"))

#: The line that follows the frames of a traceback: the exception.
EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Failed|Full))\b.*")
TRACEBACK = "Traceback (most recent call last)"
#: What asyncio writes about a failure that nobody took notice of, and about whose it was.
UNHANDLED = "unhandled"
UNRETRIEVED = ("never retrieved", "was destroyed but it is pending", "Exception in callback")
OWNER = re.compile(r"^(?:future|task|handle): .*?(?:coro=)?<(\w+\.\w+|\w+)\(\)")


class Fleet:
    """A site with servers and workers, all of which may die.

    Args:
        directory: Where its files are.
        layer: The channel layer.
        workers: How many workers it keeps.
        options: Keys of the setting CHANNELS_DEMUX_LAYER.
        layer_config: More entries of the layer's CONFIG, such as `expiry`.
        server_options: More words of the servers' command line.

    Attributes:
        site: The site.
        server: The server that has the traffic.
        workers: The workers that run, the oldest first.
        killed: The ids of the workers that ended without a word.
        exit_codes: How often each exit code came from a worker that was asked to go.
        peaks: The most memory that a process of each role had, in kilobytes.
    """

    def __init__(
        self,
        directory: Path,
        layer: Kind,
        workers: int,
        options: Mapping[str, Any],
        *,
        layer_config: Mapping[str, Any] | None = None,
        server_options: Sequence[str] = (),
    ) -> None:
        self.site = Site(
            directory,
            None,
            layer,
            application=APPLICATION,
            settings={"INSTALLED_APPS": APPS, "CHANNELS_DEMUX_LAYER": options},
            layer_config=layer_config,
        )
        self.killed: set[int] = set()
        self.exit_codes: Counter[int] = Counter()
        self.peaks: Counter[str] = Counter()
        self._server_options = server_options
        self.server = self.start_server()
        self.workers = self.site.workers([CHANNELS] * workers)

    @cached_property
    def other(self) -> Server:
        """A server that does not outlive everything."""
        return self.start_server()

    @property
    def redis(self) -> Any:
        """The private Redis."""
        assert self.site.redis is not None
        return self.site.redis

    def start_server(self) -> Server:
        """Starts one more server, and waits until it accepts."""
        return self.site.server("uvicorn", *self._server_options)

    async def add_worker(self) -> Process:
        """Starts a worker and waits until it has begun."""
        process = self.site.start("worker", ["-m", "django", "runworker", *CHANNELS])
        self.workers.append(process)
        await asyncio.to_thread(process.wait_for_line, "Running worker")
        return process

    async def kill_worker(self) -> None:
        """Ends the oldest worker without a word."""
        worker = self.workers.pop(0)
        self.killed.add(worker.pid)
        await asyncio.to_thread(worker.kill)

    async def drain_worker(self) -> None:
        """Asks the oldest worker to go, and notes how it went."""
        worker = self.workers.pop(0)
        worker.signal(signal.SIGTERM)
        self.exit_codes[await asyncio.to_thread(worker.wait)] += 1

    async def replace_server(self) -> None:
        """Ends the mortal server without a word, and starts another."""
        await asyncio.to_thread(self.other.process.kill)
        self.other = await asyncio.to_thread(self.start_server)

    def sample_memory(self) -> None:
        """Notes how much memory the processes have, where that is more than ever before."""
        roles = {process.pid: process.name for process in self.site.processes if process.running}
        for pid, size in measure_memory(roles).items():
            role = "worker" if roles[pid].startswith("worker") else "server"
            self.peaks[role] = max(self.peaks[role], size)


def measure_memory(pids: Iterable[int]) -> dict[int, int]:
    """Measures processes.

    Args:
        pids: Their ids.

    Returns:
        The resident memory of each that runs, in kilobytes.
    """
    command = ["ps", "-o", "pid=,rss=", "-p", ",".join(map(str, pids))]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return {int(pid): int(size) for pid, size in map(str.split, listing.splitlines())}


def has_leaked(site: Site, unheard: Iterable[int]) -> int:
    """Counts the consumers that were connected and never disconnected.

    Args:
        site: The site, at whose end no client is left.
        unheard: Processes that were killed, whose consumers could say nothing.
    """
    lives: Counter[tuple[int, str, str, int]] = Counter()
    for entry in site.journal():
        if entry["event"] in ("connect", "disconnect") and entry["pid"] not in unheard:
            life = (entry["pid"], entry["connection"], entry["stream"], entry["attempt"])
            lives[life] += 1 if entry["event"] == "connect" else -1
    return sum(count != 0 for count in lives.values())


def find_tracebacks(processes: Iterable[Process]) -> Counter[str]:
    """Counts the tracebacks in logs, and what nobody took notice of.

    Args:
        processes: Whose logs to read.

    Returns:
        How often each came, named by the log line before it and the exception after it.
    """
    found: Counter[str] = Counter()
    for process in processes:
        before, began = "", None
        for line in process.log().splitlines():
            if any(mark in before for mark in UNRETRIEVED):
                owner = OWNER.match(line)
                found[f"{UNHANDLED}: {owner[1] if owner else line}"] += 1
            if line.startswith(TRACEBACK):
                began = began or before
            elif began is not None and (exception := EXCEPTION.match(line)):
                found[f"{_plain(began)} / {exception[1]}"] += 1
                began = None
            before = line or before
    return found


def _plain(line: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "N", line)[:100]
