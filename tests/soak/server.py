"""The server is killed: its consumers hear of it in time, and nothing of it is left in Redis."""

import argparse
import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from channels_demux_layer.protocol.report import NODES
from tests.acceptance.harness.traffic import steady_traffic, wait_for

from .fleet import Fleet
from .rooms import rooms
from .scenario import Scenario, describe_traffic, progress
from .table import Row, must_be

#: Seconds after which the layer forgets messages and groups that nobody renews.
EXPIRY, GROUP_EXPIRY = 5, 10
#: Seconds of traffic before the kill: long enough for groups that are not renewed to be forgotten.
TALK = 12.0
#: Sockets whose consumers have a group of their own.
ROOMS = 5
#: Seconds beyond the promised time: for the disconnects, and for Redis to remove what has expired.
GRACE = 1.0
#: Seconds beyond the promised time after which the wait is given up.
PATIENCE = 20.0


@dataclass
class Kill:
    """One kill, and what became of all that hung on the server.

    Attributes:
        at: When it was, in seconds since the epoch.
        closed: How many of the sockets with traffic were closed by it.
        ends: What the consumers wrote down when they were disconnected.
        left: The keys that stay in Redis, and the groups with subscribers.
        emptied: Seconds from the kill until none was left, or the wait was given up.
    """

    at: float
    closed: int
    ends: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    emptied: float = 0.0


async def run(fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    """Kills the server under traffic, then counts what is left of it; and again with another."""
    rows: list[Row] = []
    for number in range(1, options.rounds + 1):
        if number > 1:
            fleet.server = await asyncio.to_thread(fleet.start_server)
        kill = await _kill_server(fleet, options.connections)
        await _await_ends(fleet, kill, options)
        await _await_no_keys(fleet, kill, options.peer_timeout)
        rows += _rows(f"kill {number}: ", kill, options)
    return rows


async def _kill_server(fleet: Fleet, connections: int) -> Kill:
    async with contextlib.AsyncExitStack() as stack:
        url = fleet.server.url()
        traffic = await stack.enter_async_context(steady_traffic(url, connections))
        await stack.enter_async_context(rooms(url, ROOMS))
        await stack.enter_async_context(progress(fleet, lambda: describe_traffic(traffic)))
        await asyncio.sleep(TALK)
        killed_at = time.time()
        await asyncio.to_thread(fleet.server.process.kill)
        account = await traffic.finish()
    return Kill(killed_at, account.closed.total())


async def _await_ends(fleet: Fleet, kill: Kill, options: argparse.Namespace) -> None:
    def all_ended() -> bool:
        entries = fleet.site.journal("disconnect", stream="number")
        kill.ends = [entry for entry in entries if entry["at"] >= kill.at]
        return len(kill.ends) >= options.connections + ROOMS

    with contextlib.suppress(asyncio.TimeoutError):
        await wait_for(all_ended, options.peer_timeout + PATIENCE)


async def _await_no_keys(fleet: Fleet, kill: Kill, peer_timeout: float) -> None:
    give_up_after = peer_timeout + max(EXPIRY, GROUP_EXPIRY) + PATIENCE
    with fleet.redis.client() as client:
        while True:
            found = [*client.keys("*"), *client.pubsub_channels("*group*")]
            # The group of all nodes stays for as long as one of them lives.
            kill.left = sorted(name.decode() for name in found if NODES.encode() not in name)
            kill.emptied = time.time() - kill.at
            if not kill.left or kill.emptied > give_up_after:
                return
            await asyncio.sleep(0.1)


def _rows(title: str, kill: Kill, options: argparse.Namespace) -> list[Row]:
    promised = options.peer_timeout + GRACE
    expired = options.peer_timeout + max(EXPIRY, GROUP_EXPIRY) + GRACE
    last = max((entry["at"] - kill.at for entry in kill.ends), default=float("inf"))
    is_empty = not kill.left and kill.emptied <= expired
    codes = Counter(entry["code"] for entry in kill.ends)
    return [
        must_be(f"{title}sockets closed", kill.closed, options.connections),
        must_be("  consumers, by code", dict(codes), {1006: options.connections + ROOMS}),
        Row(f"  last one told, s (at most {promised:g})", f"{last:.2f}", last <= promised),
        Row(f"  nothing left in Redis, s (at most {expired:g})", f"{kill.emptied:.2f}", is_empty),
        *(Row("    left", name, False) for name in kill.left),
    ]


SCENARIO = Scenario(
    run,
    "the server is killed: its consumers are told, nothing of it stays in Redis",
    rounds=1,
    layer_config={"expiry": EXPIRY, "group_expiry": GROUP_EXPIRY},
)
