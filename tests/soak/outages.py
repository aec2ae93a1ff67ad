"""Redis is restarted, flushed, and has its clients cut: nothing is lost, nothing comes twice."""

import argparse

from tests.acceptance.harness.traffic import steady_traffic

from . import faults
from .fleet import Fleet
from .rooms import rooms
from .scenario import Scenario, describe_traffic, progress
from .table import Row, must_be, traffic_rows

RESTARTS = 5
#: How often all connections are cut, once a second.
CUTS = 20
#: Sockets whose consumers send to a group of their own all the while.
ROOMS = 5


async def run(fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    """Breaks Redis in three ways, and waits each time until the traffic flows again."""
    url = fleet.server.url()
    async with (
        rooms(url, ROOMS) as events,
        steady_traffic(url, options.connections) as traffic,
        progress(fleet, lambda: describe_traffic(traffic)),
    ):
        for _ in range(options.rounds):
            for _ in range(RESTARTS):
                await faults.restart(fleet)
                await traffic.flows()
            await faults.flush(fleet)
            await traffic.flows()
            await faults.cut(fleet, CUTS)
            await traffic.flows()
        account = await traffic.finish()
    done = {"restart": RESTARTS, "flush": 1, "cut": CUTS}
    return [
        Row("outages", {name: options.rounds * count for name, count in done.items()}),
        *traffic_rows(account, fleet.killed),
        must_be("repeated in all", account.repeated, 0),
        must_be("events in all", account.events.total(), 0),
        must_be("events of consumers that use groups", dict(events), {"said": events["said"]}),
    ]


SCENARIO = Scenario(run, "Redis is restarted, flushed, and cuts its clients", rounds=1)
