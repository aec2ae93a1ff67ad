"""One process of the demo: started, watched, ended."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from channels_demux_layer.demo.plan import Plan


class Child:
    """A process that runs a plan, its output in a file.

    Attributes:
        plan: What it runs.
        log: The file that its output goes to.
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
            plan: What is to run.
            logs: The directory for its output.

        Returns:
            The child, running.
        """
        log = logs / f"{plan.name}.log"
        with log.open("ab") as output:  # a server that is started again goes on in it
            process = await asyncio.create_subprocess_exec(
                *plan.command,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(plan.environ),
                stdin=asyncio.subprocess.PIPE,  # its lifeline: closed when this process is gone
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            )
        return cls(plan, log, process)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def describe_end(self) -> str:
        """Say how the process ended.

        Returns:
            A part of a sentence, such as ``with exit code 1 (ImportError: ...)``.
        """
        code = self._process.returncode
        if code is not None and code < 0:
            return f"by signal {-code} ({signal.strsignal(-code)})"
        lines = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return f"with exit code {code} ({last})"

    def drain(self) -> None:
        """Ask the process to end."""
        with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody has noticed yet
            self._process.terminate()

    def kill(self) -> None:
        """End the process without a word."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self, grace: float) -> None:
        """End the process, if it has not ended: politely, then by force.

        Args:
            grace: Seconds that it has to end by itself.
        """
        if not self.ended.done():
            self._process.terminate()
            await asyncio.wait({self.ended}, timeout=grace)
        if not self.ended.done():
            self._process.kill()
        await self.ended
