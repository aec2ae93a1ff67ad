"""Breaks a fleet under traffic and counts what is lost: `python -m tests.soak --help`.

Real processes on this machine: servers, workers, a private Redis. Each scenario runs on one layer
after the other, and ends with a table. The exit code is 0 where everything is as it should be.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from tests.acceptance.harness.layers import KINDS, Kind
from tests.acceptance.harness.processes import end_all
from tests.acceptance.harness.traffic import wait_for

from . import crowd, deploy, kill, mixed, outages, server
from .fleet import Fleet, has_leaked
from .scenario import Scenario
from .table import Row, fleet_rows, write_table

SCENARIOS: dict[str, Scenario] = {
    "mixed": mixed.SCENARIO,
    "kill": kill.SCENARIO,
    "deploy": deploy.SCENARIO,
    "redis": outages.SCENARIO,
    "server": server.SCENARIO,
    "crowd": crowd.SCENARIO,
}

#: The package's default, in seconds.
PEER_TIMEOUT = 10.0


def read_arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line.

    Args:
        words: Its words; without a scenario: `mixed`.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="scenario", metavar="SCENARIO")
    for name, scenario in SCENARIOS.items():
        command = commands.add_parser(name, help=scenario.help, description=scenario.help)
        _add_arguments(command, scenario)
    if words[:1] not in ([name] for name in ("-h", "--help", *SCENARIOS)):
        words = ["mixed", *words]
    return parser.parse_args(words)


def _add_arguments(parser: argparse.ArgumentParser, scenario: Scenario) -> None:
    def add(name: str, kind: type, default: object, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=f"{text} ({default})")

    if scenario.minutes is not None:
        add("--minutes", float, scenario.minutes, "length on each layer")
    if scenario.rounds is not None:
        add("--rounds", int, scenario.rounds, "how often on each layer")
    add("--connections", int, scenario.connections, "sockets")
    add("--workers", int, scenario.workers, "worker processes")
    add("--peer-timeout", float, PEER_TIMEOUT, "seconds of silence that count as death")
    parser.add_argument("--layers", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--logs", type=Path, help="write all logs and the journal there")
    scenario.add_arguments(parser)


def run_layer(layer: Kind, scenario: Scenario, options: argparse.Namespace) -> bool:
    """Runs on one layer, and prints what came of it.

    Returns:
        Whether everything was as it should be.
    """
    with tempfile.TemporaryDirectory() as directory:
        fleet = Fleet(
            Path(directory),
            layer,
            options.workers,
            {"PEER_TIMEOUT": options.peer_timeout, **scenario.options},
            layer_config=scenario.layer_config,
            server_options=scenario.server_options,
        )
        try:
            rows = asyncio.run(_run_scenario(scenario, fleet, options))
        finally:
            fleet.site.stop()
            if options.logs:
                _keep_logs(fleet, options.logs / layer)
    print(write_table(f"{options.scenario}, {layer}", rows), flush=True)
    return all(row.good is not False for row in rows)


async def _run_scenario(scenario: Scenario, fleet: Fleet, options: argparse.Namespace) -> list[Row]:
    rows = await scenario.run(fleet, options)
    # The consumers of a server that died last are told when it has been silent for long enough.
    # Not in another event loop: with its threads end the processes that were started in them.
    with contextlib.suppress(asyncio.TimeoutError):
        await wait_for(
            lambda: not has_leaked(fleet.site, fleet.killed), limit=2 * options.peer_timeout
        )
    return [*rows, *fleet_rows(fleet, has_leaked(fleet.site, fleet.killed))]


def _keep_logs(fleet: Fleet, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for process in fleet.site.processes:
        (directory / f"{process.name}.log").write_text(process.log(), encoding="utf-8")
    journal = "".join(f"{json.dumps(entry)}\n" for entry in fleet.site.journal())
    (directory / "journal").write_text(journal, encoding="utf-8")


def main() -> int:
    """Runs on all layers asked for.

    Returns:
        The exit code: 0 where everything was as it should be.
    """
    options = read_arguments(sys.argv[1:])
    scenario = SCENARIOS[options.scenario]
    try:
        results = [run_layer(layer, scenario, options) for layer in options.layers]
    finally:
        end_all()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
