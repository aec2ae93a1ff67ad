"""What many servers and workers cost while nothing is said: `python -m tests.simulation.scale`.

Each server has a link to each worker, with sessions on it. Time is virtual, so that the messages
are the same on every machine; the processor time is that of this one, and the channel layer's
share, which is in memory here, is in it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

import django

HEADER = (
    "servers x workers",
    "links",
    "sessions",
    "messages/s",
    "CPU ms/s",
    "us/message",
    "per echo",
)
MESSAGES = ("send", "group_send")
#: Frames that each client has echoed.
FRAMES = 10


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scale", description=__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["1x1", "5x5", "10x10", "25x25", "50x50"],
        metavar="SERVERSxWORKERS",
        help="(1x1 5x5 10x10 25x25 50x50)",
    )
    parser.add_argument("--sessions", type=int, default=1, help="on each link (1)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of virtual time (30)")
    return parser.parse_args()


def measure(edges: int, workers: int, sessions: int, seconds: float) -> dict[str, float]:
    """Run a fleet in which nothing is said, and then each client has its frames echoed.

    Args:
        edges: How many servers.
        workers: How many workers.
        sessions: How many sessions on each link.
        seconds: For how long, in virtual time.

    Returns:
        The figures: `links`, `sessions`, `messages` of the layer for each second, `cpu` in
        seconds for each second, and `per_echo`, the messages for each frame that is echoed.
    """
    from .fleet import fleet

    with fleet(edges, workers) as system:
        system.connect(workers * sessions)
        system.pass_time(2 * seconds)  # from here on nothing is left of the beginning
        started = time.process_time()
        done = system.pass_time(seconds)
        cpu = (time.process_time() - started) / seconds
        figures = {
            "links": float(system.links),
            "sessions": float(len(system.sockets)),
            "messages": sum(done[name] for name in MESSAGES) / seconds,
            "cpu": cpu,
        }
        said = system.converse(FRAMES, 1)
        echoes = FRAMES * len(system.sockets)
        return {**figures, "per_echo": sum(said[name] for name in MESSAGES) / echoes}


def row(size: str, figures: dict[str, float]) -> Sequence[str]:
    """Write one line of the table."""
    return (
        size,
        f"{figures['links']:,.0f}",
        f"{figures['sessions']:,.0f}",
        f"{figures['messages']:,.1f}",
        f"{figures['cpu'] * 1e3:,.2f}",
        f"{figures['cpu'] / figures['messages'] * 1e6:,.0f}",
        f"{figures['per_echo']:.2f}",
    )


def show(cells: Sequence[str]) -> None:
    """Print one line of the table."""
    print(
        "  ".join(cell.rjust(len(head)) for cell, head in zip(cells, HEADER, strict=True)),
        flush=True,
    )


def main() -> None:
    """Measure all sizes."""
    arguments = read_arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    show(HEADER)
    for size in arguments.sizes:
        edges, workers = map(int, size.split("x"))
        show(row(size, measure(edges, workers, arguments.sessions, arguments.seconds)))


if __name__ == "__main__":
    main()
