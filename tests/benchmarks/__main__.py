"""What the package costs, beside what one would write without it: `python -m tests.benchmarks`.

Real processes on this machine: uvicorn, workers, Redis, and a load generator. The cases take turns
in every round, so that whatever else the machine does meets all of them; the tables have medians.
"""

import argparse
import json
import resource
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.harness.layers import KINDS
from tests.acceptance.harness.processes import ROOT, end_all
from tests.acceptance.harness.redis_server import find_redis_server

from .docs import write_docs
from .document import read_document, write_document
from .options import Options
from .report import report
from .running import run
from .suite import BENCHMARKS


def read_arguments() -> argparse.Namespace:
    """Reads the command line.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "benchmarks",
        nargs="*",
        metavar="BENCHMARK",
        help=f"all, or some of {', '.join(BENCHMARKS)}",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    parser.add_argument("--layers", nargs="+", choices=KINDS, default=KINDS)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--seconds", type=float, default=4.0, help="of one measurement (4)")
    amount.add_argument("--frames", type=int, help="of one measurement, instead of a length")
    parser.add_argument("--scale", type=float, default=1.0, help="of numbers of connections (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--from", type=Path, metavar="FILE", help="measure nothing, read this")
    parser.add_argument(
        "--docs",
        type=Path,
        metavar="FOLDER",
        nargs="?",
        const=ROOT / "docs",
        help="write the figures to topics/performance.md there, and its charts (docs)",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.benchmarks) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    return arguments


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures what is asked for.

    Args:
        arguments: The command line.

    Returns:
        The document of all figures.
    """
    if find_redis_server() is None:
        sys.exit("There is no redis-server here: install Debian's package redis-server.")
    # A socket needs a file of the generator and one of the server; children inherit the bound.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = Options(
        arguments.rounds,
        arguments.layers,
        arguments.seconds,
        arguments.frames,
        arguments.scale,
    )
    chosen = [
        benchmark
        for name, benchmark in BENCHMARKS.items()
        if name in (arguments.benchmarks or BENCHMARKS)
    ]
    try:
        return write_document(options, run(chosen, options))
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
    finally:
        end_all()


def main() -> None:
    """Measures, and prints the tables."""
    arguments = read_arguments()
    source: Path | None = getattr(arguments, "from")
    document = measure(arguments) if source is None else json.loads(source.read_text())
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    print("\n".join(f"{name} {version}" for name, version in document["versions"].items()), "\n")
    print(report(read_document(document)))
    if arguments.docs:
        write_docs(document, arguments.docs)


if __name__ == "__main__":
    main()
