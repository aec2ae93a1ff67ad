"""A worker is killed every other second: every frame is answered, and repeats need a kill."""

import argparse
import asyncio
import time

from tests.acceptance.harness.traffic import steady_traffic

from .fleet import Fleet
from .scenario import Scenario, describe_traffic, progress
from .table import Row, moved_row, traffic_rows

#: Seconds from one kill to the next.
PERIOD = 2.0


async def run(fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    """Kills the oldest worker, starts another, and so on until the time is over."""
    starting: list[asyncio.Future[object]] = []
    async with steady_traffic(fleet.server.url(), options.connections) as traffic:
        begun_at = time.monotonic()

        def describe() -> str:
            return f"kills {len(fleet.killed)}  {describe_traffic(traffic)}"

        async with progress(fleet, describe):
            for number in range(round(60 * options.minutes / PERIOD)):
                await asyncio.sleep(max(0.0, begun_at + number * PERIOD - time.monotonic()))
                await fleet.kill_worker()
                starting.append(asyncio.ensure_future(fleet.add_worker()))
            lasted = time.monotonic() - begun_at
            # On a slow machine one may die before it has begun.
            await asyncio.gather(*starting, return_exceptions=True)
            account = await traffic.finish()
    return [
        Row("workers killed", f"{len(fleet.killed)} in {lasted:.0f} s", bool(fleet.killed)),
        moved_row(account),
        *traffic_rows(account, fleet.killed),
    ]


SCENARIO = Scenario(run, "a worker is killed every other second", minutes=1.0)
