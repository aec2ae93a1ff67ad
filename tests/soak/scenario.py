"""What a scenario consists of, and the line that shows how far it is."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.harness.traffic import Traffic

from .fleet import Fleet
from .table import Row

WIDTH = 118


@dataclass(frozen=True)
class Scenario:
    """One way to break things.

    Attributes:
        run: Does it to a fleet, by the command line, and gives the rows of its own.
        help: Says what it does.
        minutes: How long by default; None where its length is not chosen.
        rounds: How often by default; None where that is not chosen.
        connections: Sockets by default.
        workers: Workers by default.
        options: Keys of the setting CHANNELS_DEMUX_LAYER.
        layer_config: More entries of the layer's CONFIG.
        server_options: More words of the servers' command line.
        add_arguments: Adds what only this one takes to the command line.
    """

    run: Callable[[Fleet, argparse.Namespace], Awaitable[list[Row]]]
    help: str
    minutes: float | None = None
    rounds: int | None = None
    connections: int = 50
    workers: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    layer_config: Mapping[str, Any] = field(default_factory=dict)
    server_options: Sequence[str] = ()
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


@contextlib.asynccontextmanager
async def progress(fleet: Fleet, describe: Callable[[], str]) -> AsyncIterator[None]:
    """Shows a line and samples the memory, every second for the length of a block.

    Args:
        fleet: The processes.
        describe: Writes the line.

    Yields:
        Nothing.
    """

    async def show() -> None:
        while True:
            await asyncio.to_thread(fleet.sample_memory)
            _show(describe())
            await asyncio.sleep(1)

    task = asyncio.ensure_future(show())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        _show("")


def _show(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line:<{WIDTH}.{WIDTH}}\r", end="", file=sys.stderr, flush=True)


def describe_traffic(traffic: Traffic) -> str:
    """Writes how the traffic fares."""
    account = traffic.account
    answered = account.attempts.total() - account.repeated
    waiting = sum(talker.next_number for talker in traffic.talkers) - answered
    return (
        f"answered {answered}  waiting {waiting}  repeated {account.repeated}  "
        f"closed {account.closed.total()}"
    )
