"""All faults, mixed.

The sockets of the one server carry numbers that must all come back; those of the other server die
with it, now and then.
"""

import argparse
import asyncio
import contextlib
import time
from collections import Counter

from tests.acceptance.harness.traffic import Account, steady_traffic, wait_for

from .faults import FAULTS, endless
from .fleet import Fleet
from .scenario import Scenario, describe_traffic, progress
from .table import Row, must_be, traffic_rows

#: Sockets on the server that dies.
VISITORS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which faults, and in which order."""
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between faults (2)")
    parser.add_argument("--seed", type=int, default=1, help="the order of the faults (1)")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))


async def run(fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    """Breaks things under traffic until the time is over, then waits for every answer."""
    counts: Counter[str] = Counter()
    visits = Account()
    fleet.other  # noqa: B018 - starts it
    ends_at = time.monotonic() + 60 * options.minutes
    async with steady_traffic(fleet.server.url(), options.connections) as traffic:

        def describe() -> str:
            faults = " ".join(f"{name}:{count}" for name, count in counts.items())
            return f"{ends_at - time.monotonic():5.0f} s  {describe_traffic(traffic)}  {faults}"

        visiting = asyncio.ensure_future(_visit(fleet, visits))
        async with progress(fleet, describe):
            for name in endless(options.faults, options.seed):
                if time.monotonic() >= ends_at:
                    break
                counts[name] += 1
                await FAULTS[name](fleet)
                await asyncio.sleep(options.pause)
            account = await traffic.finish()
        visiting.cancel()
        await asyncio.gather(visiting, return_exceptions=True)
    longest = max(talker.longest_pause for talker in traffic.talkers)
    return [
        *traffic_rows(account, fleet.killed),
        Row("longest pause of a socket, s", f"{longest:.1f}"),
        Row("sockets lost with their server", visits.closed.total()),
        must_be("frames disordered there", visits.disordered, 0),
        Row("faults", dict(counts)),
    ]


async def _visit(fleet: Fleet, visits: Account) -> None:
    while True:
        with contextlib.suppress(asyncio.TimeoutError):
            async with steady_traffic(fleet.other.url(), VISITORS) as traffic:
                await wait_for(lambda: traffic.account.closed, limit=float("inf"))
                account = await traffic.finish()
                visits.closed += account.closed
                visits.disordered += account.disordered
        await asyncio.sleep(1)


SCENARIO = Scenario(
    run,
    "all faults, mixed",
    minutes=10.0,
    # Faults come so close together that a stream may be away for longer than uvicorn waits for the
    # pong of a client that it does not read.
    server_options=("--ws-ping-interval", "600"),
    add_arguments=add_arguments,
)
