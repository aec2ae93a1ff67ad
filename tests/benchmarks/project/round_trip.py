"""The layer alone: one group send each way between two processes, and nothing else.

`python -m tests.benchmarks.project.round_trip pong` answers, `... ping --seconds 4` asks. As in a
deployment both run on uvloop where that is installed.
"""

import argparse
import json
import time
from typing import Any

import django
from channels.layers import get_channel_layer

from tests.benchmarks.load import run
from tests.benchmarks.numbers import BASE, SPAN, quantile, template

PONG, PING = "trip.pong", "trip.ping"


async def join(group: str) -> tuple[Any, str]:
    """Joins a group.

    Args:
        group: Its name.

    Returns:
        The layer, and the channel that the group's messages come to.
    """
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    print("ready", flush=True)
    return layer, channel


async def pong() -> None:
    """Answers for ever."""
    layer, channel = await join(PONG)
    while True:
        message = await layer.receive(channel)
        await layer.group_send(PING, message)


async def ping(seconds: float | None, frames: int | None) -> None:
    """Asks one time after the other, and says how long that took.

    Args:
        seconds: For how long; None: it is the frames that count.
        frames: How often; None: as often as the time allows.
    """
    layer, channel = await join(PING)
    text = (template(None, 130) % (BASE + SPAN)).decode()
    latencies: list[float] = []
    began = time.perf_counter()
    while len(latencies) != frames and (seconds is None or time.perf_counter() - began < seconds):
        sent = time.perf_counter()
        await layer.group_send(PONG, {"type": "trip", "text": text})
        await layer.receive(channel)
        latencies.append(time.perf_counter() - sent)
    latencies.sort()
    figures = {
        "frames": len(latencies),
        "p50": quantile(latencies, 0.5) * 1e3,
        "p99": quantile(latencies, 0.99) * 1e3,
    }
    print(json.dumps(figures), flush=True)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ping", "pong"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--frames", type=int)
    arguments = parser.parse_args()
    django.setup()
    if arguments.side == "pong":
        run(pong())
    else:
        run(ping(arguments.seconds, arguments.frames))


if __name__ == "__main__":
    main()
