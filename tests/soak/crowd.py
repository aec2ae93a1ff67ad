"""A thousand sockets of which some never read: memory stays flat, and the others miss no tick."""

import argparse
import asyncio
import contextlib
import json
from typing import Any

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.traffic import wait_for

from .fleet import Fleet
from .memory import memory_rows, sample_memory
from .scenario import Scenario, progress
from .table import Row, must_be

#: Seconds from the first ticks to the first sample of the memory.
WARM_UP = 20
#: Ticks that readers still get after the last sample, so that all are at work until then.
SPARE = 10
#: Bytes of a tick of those that never read; these come as fast as they are taken.
DEAF_SIZE = 20_000
#: Ticks of that size that fill a session's window of a megabyte.
WINDOW = 1_048_576 // DEAF_SIZE
#: What windows and the buffers of sockets hold at most; a consumer that is not held back sends
#: as many in a second.
HELD = 1_000
#: Seconds that all sockets may take to open, and the ticks to come.
LIMIT = 300.0
#: Longer than any run, in seconds.
NEVER = 100_000.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds who does not read, and how often ticks come."""
    parser.add_argument("--deaf", type=int, default=50, help="how many of them never read (50)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between ticks (1)")


async def run(fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    """Opens the sockets in a process of their own, and measures until the time is over."""
    seconds = 60 * options.minutes
    client = _start_client(fleet, options, WARM_UP + seconds + SPARE)
    stage = "opening"
    try:
        async with progress(fleet, lambda: stage):
            ticking = await _listen(client, "ticking", LIMIT)
            stage = "warming up"
            await asyncio.sleep(WARM_UP)
            stage = "measuring"
            pids = {"server": fleet.server.process.pid}
            pids |= {worker.name: worker.pid for worker in fleet.workers}
            samples = await sample_memory(pids, seconds)
            stage = "waiting for the last ticks"
            figures = await _listen(client, "asked", LIMIT)
            await asyncio.to_thread(client.wait)
    finally:
        client.stop()
    rows = [row for name, sizes in samples.items() for row in memory_rows(name, sizes)]
    return [
        *_tick_rows(options, ticking, figures),
        await _deaf_row(fleet, options.deaf),
        *rows,
    ]


def _start_client(fleet: Fleet, options: argparse.Namespace, seconds: float) -> Process:
    words = {
        "--port": fleet.server.port,
        "--readers": options.connections - options.deaf,
        "--deaf": options.deaf,
        "--ticks": round(seconds / options.pause),
        "--pause": options.pause,
        "--deaf-size": DEAF_SIZE,
    }
    arguments = [str(word) for option in words.items() for word in option]
    return Process("crowd", ["python", "-m", "tests.soak.crowd_client", *arguments])


async def _listen(client: Process, key: str, limit: float) -> dict[str, Any]:
    pattern = rf'^\{{"{key}".*\}}$'
    line = await asyncio.to_thread(client.wait_for_line, pattern, limit=limit)
    figures: dict[str, Any] = json.loads(line[0])
    return figures


def _tick_rows(
    options: argparse.Namespace, ticking: dict[str, Any], figures: dict[str, Any]
) -> list[Row]:
    return [
        must_be("sockets that read", ticking["ticking"], options.connections - options.deaf),
        Row("ticks they asked for", figures["asked"]),
        must_be("missing", figures["missing"], 0),
        must_be("repeated or disordered", figures["repeated"], 0),
        Row("longest time between two, s", f"{figures['slowest']:.2f}"),
        must_be("events, and sockets closed", figures["events"], {}),
    ]


async def _deaf_row(fleet: Fleet, count: int) -> Row:
    def ticks() -> list[int]:
        ends = fleet.site.journal("disconnect", stream="tick", size=DEAF_SIZE)
        return [end["ticks"] for end in ends]

    with contextlib.suppress(asyncio.TimeoutError):
        await wait_for(lambda: len(ticks()) >= count)
    taken = ticks()
    is_held = len(taken) == count and all(WINDOW <= number <= HELD for number in taken)
    text = f"{min(taken, default=0)} to {max(taken, default=0)}"
    return Row(f"ticks that the {count} that never read got out of a consumer", text, is_held)


SCENARIO = Scenario(
    run,
    "a thousand sockets, of which some never read",
    minutes=2.0,
    connections=1000,
    workers=1,
    # Who does not read answers no ping either, and both rules would end the test of windows.
    options={"STALL_TIMEOUT": NEVER},
    server_options=("--ws-ping-timeout", str(NEVER)),
    add_arguments=add_arguments,
)
