"""Starts, watches and stops one process of the demo, and ends it with its parent.

A child ends when its parent ends, even by SIGKILL. The standard input of each child is a pipe from
the supervisor, which never writes to it. When the supervisor ends for any reason, the pipe closes.
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from .plan import Plan

STANDARD_INPUT = 0


def end_this_process() -> None:
    """Send SIGTERM to this process, as the supervisor would."""
    os.kill(os.getpid(), signal.SIGTERM)


def watch(pipe: int, end: Callable[[], object] = end_this_process) -> threading.Thread:
    """Start a thread that waits for a pipe to close.

    Args:
        pipe: The file descriptor of the pipe's reading end.
        end: Called when the pipe closes.

    Returns:
        The running thread. It is a daemon, so it does not keep the process alive.
    """

    def wait() -> None:
        # A thread that reads sys.stdin holds its lock, and the interpreter needs that to shut down.
        with contextlib.suppress(OSError):
            while os.read(pipe, 1):
                pass
        end()

    thread = threading.Thread(target=wait, name="lifeline", daemon=True)
    thread.start()
    return thread


class Child:
    """A process that runs a plan and writes its output to a file.

    Attributes:
        plan: What the process runs.
        log: The file with the process's output.
        ended: A task that is done when the process has ended.
    """

    def __init__(self, plan: Plan, log: Path, process: asyncio.subprocess.Process) -> None:
        self.plan = plan
        self.log = log
        self._process = process
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, plan: Plan, logs: Path) -> "Child":
        """Start a process.

        Args:
            plan: What the process runs.
            logs: The directory for its output.

        Returns:
            The running child.
        """
        log = logs / f"{plan.name}.log"
        with log.open("ab") as output:  # a restarted server appends to the same log
            process = await asyncio.create_subprocess_exec(
                *plan.command,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(plan.environ),
                stdin=asyncio.subprocess.PIPE,  # closes when this process ends (see watch())
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches only the supervisor
            )
        return cls(plan, log, process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def describe_end(self) -> str:
        """Return how the process ended.

        Returns:
            Part of a sentence, such as ``with exit code 1 (ImportError: ...)``.
        """
        code = self._process.returncode
        if code is not None and code < 0:
            return f"by signal {-code} ({signal.strsignal(-code)})"
        lines = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return f"with exit code {code} ({last})"

    def drain(self) -> None:
        """Send SIGTERM."""
        with contextlib.suppress(ProcessLookupError):  # the process has just ended
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self, grace: float) -> None:
        """Stop the process with SIGTERM, and with SIGKILL if it does not end in time.

        Args:
            grace: Seconds between the two signals.
        """
        if not self.ended.done():
            self._process.terminate()
            await asyncio.wait({self.ended}, timeout=grace)
        if not self.ended.done():
            self._process.kill()
        await self.ended
