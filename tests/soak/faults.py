"""The faults: what each does to a fleet, and how long to leave it alone afterwards."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from .fleet import Fleet

#: Seconds that Redis is away, frozen, or has its clients cut.
OUTAGE = 1.0
FREEZE = 3.0
CUTS = 5


async def kill(fleet: Fleet) -> None:
    """A worker dies; another takes its place."""
    await fleet.kill_worker()
    await fleet.add_worker()


async def drain(fleet: Fleet) -> None:
    """A worker is replaced, as a deployment does."""
    await fleet.add_worker()
    await fleet.drain_worker()


async def restart(fleet: Fleet) -> None:
    """Redis is away, and comes back empty."""
    await asyncio.to_thread(fleet.redis.go_away)
    await asyncio.sleep(OUTAGE)
    await asyncio.to_thread(fleet.redis.come_back)


async def flush(fleet: Fleet) -> None:
    """Redis forgets everything."""
    with fleet.redis.client() as client:
        client.flushall()


async def cut(fleet: Fleet, times: int = CUTS) -> None:
    """Redis closes everybody's connections, once a second."""
    for _ in range(times):
        await asyncio.to_thread(fleet.redis.cut_clients)
        await asyncio.sleep(1)


async def freeze(fleet: Fleet) -> None:
    """Redis answers nothing for a while, and closes no connection."""
    fleet.redis.process.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(FREEZE)
    finally:
        fleet.redis.process.signal(signal.SIGCONT)


async def stall(fleet: Fleet) -> None:
    """A worker stands still for a while, and goes on."""
    worker = fleet.workers[-1]
    worker.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(FREEZE)
    finally:
        worker.signal(signal.SIGCONT)


async def kill_server(fleet: Fleet) -> None:
    """A server dies with its sockets; another takes its place."""
    await fleet.replace_server()


Fault = Callable[[Fleet], Awaitable[None]]

FAULTS: dict[str, Fault] = {
    "kill": kill,
    "drain": drain,
    "restart": restart,
    "flush": flush,
    "cut": cut,
    "freeze": freeze,
    "stall": stall,
    "server": kill_server,
}


def endless(names: list[str], seed: int) -> "list[str]":
    """Gives the faults in an order of their own, each as often as the others.

    Args:
        names: Their names.
        seed: Tells one order from another.

    Returns:
        Enough of them for a day.
    """
    shuffler = random.Random(seed)
    order: list[str] = []
    while len(order) < 86_400:
        order += shuffler.sample(names, len(names))
    return order
