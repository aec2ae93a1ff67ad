"""Echoes per second, and what each costs: `python -m tests.benchmarks --help`.

Real processes on this machine: uvicorn, one worker, Redis, and a load generator that keeps a
number of frames under way on each of its sockets. The variants take turns in every round, so that
whatever else the machine does meets all of them; the table has the medians.
"""

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.acceptance.harness.layers import KINDS
from tests.acceptance.harness.processes import end_all
from tests.acceptance.harness.redis_server import find_redis_server

from .measuring import VARIANTS, Load, measure
from .report import NAMES, Figures, Key, medians, ratios, table, warnings

PACKAGES = ("django", "channels", "channels-redis", "redis", "uvicorn", "websockets", "msgspec")


def read_arguments() -> argparse.Namespace:
    """Reads the command line.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--connections", type=int, default=100, help="sockets (100)")
    parser.add_argument("--in-flight", type=int, default=8, help="frames under way on each (8)")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--seconds", type=float, default=4.0, help="length of a round (4)")
    amount.add_argument("--frames", type=int, help="frames of a round, instead of a length")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--size", type=int, default=64, help="characters in each payload (64)")
    parser.add_argument("--layers", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


def run_rounds(arguments: argparse.Namespace) -> dict[Key, list[Figures]]:
    """Measures everything in turn.

    Args:
        arguments: The options.

    Returns:
        For each layer and variant the figures of its rounds.
    """
    load = Load(
        arguments.connections,
        arguments.in_flight,
        None if arguments.frames else arguments.seconds,
        arguments.frames,
        arguments.size,
    )
    keys: list[Key] = [
        (layer, variant) for layer in arguments.layers for variant in arguments.variants
    ]
    results: dict[Key, list[Figures]] = {key: [] for key in keys}
    for number in range(1, arguments.rounds + 1):
        for layer, variant in keys:
            show(f"round {number} of {arguments.rounds}: {NAMES[variant]}, {layer} layer ...")
            results[layer, variant].append(measure(layer, variant, load))
    show("")
    return results


def show(line: str) -> None:
    """Shows what is going on, in one line on a terminal.

    Args:
        line: What to show; nothing clears the line.
    """
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


def versions() -> dict[str, Any]:
    """Looks up what was measured, and on what.

    Returns:
        The versions, the platform and the number of processors.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def main() -> None:
    """Measures, and prints the table."""
    arguments = read_arguments()
    if find_redis_server() is None:
        sys.exit("There is no redis-server here: install Debian's package redis-server.")
    try:
        rounds = run_rounds(arguments)
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
    finally:
        end_all()
    results = {key: medians(figures) for key, figures in rounds.items()}
    print(
        f"{arguments.connections} connections, {arguments.in_flight} frames under way on each, "
        f"{arguments.size} characters; medians of {arguments.rounds} rounds; Python "
        f"{platform.python_version()}, {os.cpu_count()} processors\n"
    )
    print(table(results))
    for warning in warnings(results):
        print(f"\n! {warning}")
    if arguments.json:
        compared = ratios(results)
        entries = [
            {
                "layer": layer,
                "variant": variant,
                "median": results[layer, variant],
                "ratio": compared[layer, variant],
                "rounds": rounds[layer, variant],
            }
            for layer, variant in results
        ]
        options = {name: value for name, value in vars(arguments).items() if name != "json"}
        document = {"options": options, "versions": versions(), "results": entries}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
