"""What processes have used so far: processor time, memory, Redis commands."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.redis_server import RedisServer

#: Commands of the measurement itself.
NOT_COUNTED = frozenset({"info", "hello", "client|setname", "client|setinfo", "client|list"})

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

Processes = Mapping[str, Sequence[Process]]


@dataclass(frozen=True)
class Meter:
    """Processor time and Redis commands up to a moment.

    Attributes:
        cpu: Seconds of processor time, user and system, of all processes of each role.
        commands: Commands that Redis ran; those inside a script count as well.
    """

    cpu: dict[str, float]
    commands: int


def processor_seconds(pid: int) -> float:
    """Reads how much processor time a process has used.

    Args:
        pid: The process.

    Returns:
        Seconds of user and system time of all its threads, in steps of 10 ms.
    """
    # The name, in parentheses, may have spaces in it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Reads how much memory a process has.

    Args:
        pid: The process.

    Returns:
        Bytes of its resident set.
    """
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def read_meter(processes: Processes, redis: RedisServer | None) -> Meter:
    """Reads all meters.

    Args:
        processes: The processes of each role.
        redis: Their Redis; None: they have none.

    Returns:
        The state of the meters.
    """
    stats = redis.commandstats() if redis else {}
    return Meter(
        {
            role: sum(processor_seconds(process.pid) for process in some)
            for role, some in processes.items()
        },
        sum(calls for name, calls in stats.items() if name not in NOT_COUNTED),
    )
