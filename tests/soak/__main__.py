"""Mixes all faults with steady traffic: `python -m tests.soak --help`.

Real processes on this machine: two servers, workers, a private Redis. The sockets of the one
server carry numbers that must all come back; those of the other server die with it, now and then.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.acceptance.harness.layers import KINDS, Kind
from tests.acceptance.harness.processes import end_all
from tests.acceptance.harness.traffic import Account, Traffic, steady_traffic, wait_for

from .faults import FAULTS, endless
from .fleet import UNHANDLED, Fleet, find_tracebacks, has_leaked

#: Sockets on the server that dies.
VISITORS = 10


def read_arguments() -> argparse.Namespace:
    """Reads the command line.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length on each layer (10)")
    parser.add_argument("--connections", type=int, default=50, help="sockets (50)")
    parser.add_argument("--workers", type=int, default=3, help="worker processes (3)")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between faults (2)")
    parser.add_argument("--seed", type=int, default=1, help="the order of the faults (1)")
    parser.add_argument("--layers", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--logs", type=Path, help="write the logs of all processes there")
    return parser.parse_args()


class Soak:
    """One run on one layer.

    Args:
        fleet: The processes.
        options: The command line.

    Attributes:
        counts: How often each fault came.
        account: What became of the frames.
        visits: The same for the sockets of the server that dies.
    """

    def __init__(self, fleet: Fleet, options: argparse.Namespace) -> None:
        self.counts: Counter[str] = Counter()
        self.account = Account()
        self.visits = Account()
        self._fleet = fleet
        self._options = options
        self._ends_at = time.monotonic() + 60 * options.minutes

    async def run(self) -> None:
        """Breaks things under traffic until the time is over, then waits for every answer."""
        async with steady_traffic(self._fleet.server.url(), self._options.connections) as traffic:
            helpers = [
                asyncio.ensure_future(self._visit()),
                asyncio.ensure_future(self._watch(traffic)),
            ]
            for name in endless(self._options.faults, self._options.seed):
                if time.monotonic() >= self._ends_at:
                    break
                self.counts[name] += 1
                await FAULTS[name](self._fleet)
                await asyncio.sleep(self._options.pause)
            self.account = await traffic.finish()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _visit(self) -> None:
        while True:
            url = self._fleet.other.url()
            with contextlib.suppress(asyncio.TimeoutError):
                async with steady_traffic(url, VISITORS) as traffic:
                    await wait_for(lambda: traffic.account.closed, limit=float("inf"))
                    await traffic.finish()
                    self.visits += traffic.account
            await asyncio.sleep(1)

    async def _watch(self, traffic: Traffic) -> None:
        while True:
            await asyncio.to_thread(self._fleet.sample_memory)
            account = traffic.account
            left = max(0.0, self._ends_at - time.monotonic())
            answered = account.attempts.total() - account.repeated
            waiting = sum(talker.next_number for talker in traffic.talkers) - answered
            faults = " ".join(f"{name}:{count}" for name, count in self.counts.items())
            line = (
                f"{left:5.0f} s left  answered {answered}  waiting {waiting}  "
                f"repeated {account.repeated}  closed {account.closed.total()}  {faults}"
            )
            print(f"\r{line:<118.118}", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(1)


def summary(layer: Kind, soak: Soak, fleet: Fleet, leaked: int) -> tuple[str, bool]:
    """Writes the table of one run.

    Returns:
        The table, and whether everything was as it should be.
    """
    account = soak.account
    tracebacks = find_tracebacks(fleet.site.processes)
    rows: list[tuple[str, object, bool]] = [
        ("frames sent", account.sent, account.sent > 0),
        ("lost", account.lost, account.lost == 0),
        ("repeated", account.repeated, True),
        ("  of these without `reopened`", account.unexcused, account.unexcused == 0),
        ("disordered", account.disordered, account.disordered == 0),
        ("sockets closed", dict(account.closed), not account.closed),
        ("events", dict(account.events), True),
        ("sockets lost with their server", soak.visits.closed.total(), True),
        ("frames disordered there", soak.visits.disordered, soak.visits.disordered == 0),
        ("consumers never disconnected", leaked, leaked == 0),
        ("faults", dict(soak.counts), True),
        ("exit codes after SIGTERM", dict(fleet.exit_codes), set(fleet.exit_codes) <= {0}),
        ("most memory, MB", {k: v // 1024 for k, v in fleet.peaks.items()}, True),
        ("log lines", sum(process.lines for process in fleet.site.processes), True),
        ("tracebacks", sum(tracebacks.values()), True),
        *((f"  {name}", count, not _is_ours(name)) for name, count in tracebacks.most_common(20)),
    ]
    lines = [f"{'' if good else '! '}{name}: {value}" for name, value, good in rows]
    return "\n".join([f"-- {layer} --", *lines]), all(good for _, _, good in rows)


def _is_ours(name: str) -> bool:
    # channels_redis has tasks of its own that nobody awaits.
    return name.startswith(UNHANDLED) and "RedisChannelLayer" not in name


def run_layer(layer: Kind, options: argparse.Namespace) -> bool:
    """Runs on one layer, and prints what came of it.

    Returns:
        Whether everything was as it should be.
    """
    with tempfile.TemporaryDirectory() as directory:
        fleet = Fleet(Path(directory), layer, options.workers)
        try:
            soak = Soak(fleet, options)
            asyncio.run(soak.run())
            killed = {p.pid for p in fleet.site.processes if not p.running and p.wait() < 0}
            leaked = _settle(fleet, killed)
            text, good = summary(layer, soak, fleet, leaked)
        finally:
            fleet.site.stop()
            if options.logs:
                _keep_logs(fleet, options.logs / layer)
    print(f"\r{'':118}\r{text}", flush=True)
    return good


def _settle(fleet: Fleet, killed: set[int]) -> int:
    # The consumers of a server that died last are told when it has been silent for long enough.
    with contextlib.suppress(asyncio.TimeoutError):
        asyncio.run(wait_for(lambda: not has_leaked(fleet.site, killed), limit=20.0))
    return has_leaked(fleet.site, killed)


def _keep_logs(fleet: Fleet, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for process in fleet.site.processes:
        (directory / f"{process.name}.log").write_text(process.log(), encoding="utf-8")


def main() -> int:
    """Runs on all layers asked for.

    Returns:
        The exit code: 0 where everything was as it should be.
    """
    options = read_arguments()
    try:
        results = [run_layer(layer, options) for layer in options.layers]
    finally:
        end_all()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
