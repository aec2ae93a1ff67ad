"""A rolling deployment: each worker in turn is asked to go, and another takes its place."""

import argparse
import asyncio
import time

from tests.acceptance.harness.traffic import steady_traffic

from .fleet import Fleet
from .scenario import Scenario, describe_traffic, progress
from .table import Row, moved_row, must_be, traffic_rows

#: Seconds of undisturbed traffic before each worker's turn.
PAUSE = 3.0


async def run(fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    """Replaces all workers, one after the other."""
    drains: list[float] = []
    turns = options.rounds * options.workers
    async with steady_traffic(fleet.server.url(), options.connections) as traffic:

        def describe() -> str:
            return f"replaced {len(drains)} of {turns}  {describe_traffic(traffic)}"

        async with progress(fleet, describe):
            for _ in range(turns):
                await asyncio.sleep(PAUSE)
                began_at = time.monotonic()
                await fleet.drain_worker()
                drains.append(time.monotonic() - began_at)
                await fleet.add_worker()
                await traffic.flows()
            account = await traffic.finish()
    return [
        must_be("workers that ended with 0", fleet.exit_codes[0], turns),
        Row("longest drain, s", f"{max(drains):.2f}"),
        moved_row(account),
        *traffic_rows(account, fleet.killed),
        must_be("repeated in all", account.repeated, 0),
        must_be("events in all", account.events.total(), 0),
    ]


SCENARIO = Scenario(run, "each worker in turn is asked to go, and replaced", rounds=1)
