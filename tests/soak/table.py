"""The table that a run ends with: figures, and which of them are as they should be."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tests.acceptance.harness.traffic import Account

from .fleet import UNHANDLED, Fleet, find_tracebacks


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: What was counted or measured.
        value: The figure.
        good: Whether it is as it should be; None where any figure will do.
    """

    name: str
    value: object
    good: bool | None = None


MARKS = {None: " ", True: "+", False: "!"}


def write_table(title: str, rows: Iterable[Row]) -> str:
    """Writes the table.

    Args:
        title: What was run.
        rows: Its lines.

    Returns:
        The text; `+` is before what is as it should be, `!` before what is not.
    """
    return "\n".join([f"-- {title} --", *(f"{MARKS[r.good]} {r.name}: {r.value}" for r in rows)])


def must_be(name: str, value: object, wanted: object) -> Row:
    """Writes a line with the one figure that is good."""
    return Row(name, value, value == wanted)


def traffic_rows(account: Account, killed: Iterable[int]) -> list[Row]:
    """Says what became of the frames.

    Args:
        account: What became of them.
        killed: The processes that were killed; only what these had answered may come again.
    """
    excused = sum(account.repeated_of[pid] for pid in killed)
    return [
        Row("frames sent", account.sent, account.sent > 0),
        must_be("lost", account.lost, 0),
        Row("repeated", account.repeated),
        must_be("  of these not across a kill", account.repeated - excused, 0),
        must_be("  of these without `reopened`", account.unexcused, 0),
        must_be("disordered", account.disordered, 0),
        must_be("sockets closed", dict(account.closed), {}),
        Row("events", dict(account.events)),
    ]


def moved_row(account: Account) -> Row:
    """Says that sessions did move to other workers."""
    moved = sum(count for attempt, count in account.attempts.items() if attempt > 1)
    return Row("answers of sessions that had moved", moved, moved > 0)


def fleet_rows(fleet: Fleet, leaked: int) -> list[Row]:
    """Says how the processes fared.

    Args:
        fleet: The processes.
        leaked: How many consumers were never disconnected.
    """
    found = find_tracebacks(fleet.site.processes)
    return [
        must_be("consumers never disconnected", leaked, 0),
        Row("exit codes after SIGTERM", dict(fleet.exit_codes), set(fleet.exit_codes) <= {0}),
        Row("most memory, MB", {role: size // 1024 for role, size in fleet.peaks.items()}),
        Row("log lines", sum(process.lines for process in fleet.site.processes)),
        *_traceback_rows(found),
    ]


def _traceback_rows(found: Counter[str]) -> list[Row]:
    rows = [Row("tracebacks", found.total())]
    for name, count in found.most_common(20):
        # channels_redis has tasks of its own that nobody awaits.
        is_ours = name.startswith(UNHANDLED) and "RedisChannelLayer" not in name
        rows.append(Row(f"  {name}", count, False if is_ours else None))
    return rows
