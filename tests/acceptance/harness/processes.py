"""Child processes whose output is kept and whose end is certain."""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .waiting import LIMIT

#: The directory that has `tests` in it: where every child runs.
ROOT = Path(__file__).resolve().parents[3]

#: Seconds between asking a process to end and making it.
GRACE = 5.0

#: Has the kernel kill a child when the tests are killed themselves, where it can do that.
LAST_WILL = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()

#: Every process that was started, for the logs of a failed test and for the end of the run.
STARTED: list["Process"] = []


class ProcessEndedError(RuntimeError):
    """A process ended while something was still expected of it."""


class Process:
    """One child process in a process group of its own.

    Args:
        name: What logs and messages call it.
        argv: The command; `python` stands for the interpreter that runs the tests.
        env: What its environment has beside that of the tests.
        cwd: Its working directory; by default the one with `tests` in it.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._popen = subprocess.Popen(
            [*LAST_WILL, *(sys.executable if word == "python" else word for word in argv)],
            cwd=cwd,
            env=_environment(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()
        STARTED.append(self)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self._popen.poll() is None

    @property
    def lines(self) -> int:
        """How many lines it has written so far."""
        with self._changed:
            return len(self._lines)

    def log(self, since: int = 0) -> str:
        """What the process wrote.

        Args:
            since: The number of lines to leave out, as `lines` gave it at some earlier time.

        Returns:
            Standard output and standard error in the order in which they came.
        """
        with self._changed:
            return "".join(self._lines[since:])

    def wait_for_line(self, pattern: str, since: int = 0, limit: float = LIMIT) -> re.Match[str]:
        """Waits until the process has written a line.

        Args:
            pattern: A regular expression, searched for in each line.
            since: The number of lines to pass over, as `lines` gave it.
            limit: Seconds after which the wait is given up.

        Returns:
            The match in the first line that has one.

        Raises:
            ProcessEndedError: The process ended without having written such a line.
            TimeoutError: No such line within `limit`.
        """
        expression = re.compile(pattern)
        deadline = time.monotonic() + limit
        with self._changed:
            while True:
                for line in self._lines[since:]:
                    if match := expression.search(line):
                        return match
                since = len(self._lines)
                if self._ended:
                    raise ProcessEndedError(self._complaint(f"ended without {pattern!r}"))
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(self._complaint(f"gave no {pattern!r} in {limit:.0f} s"))

    def wait(self, limit: float = LIMIT) -> int:
        """Waits for the end of the process.

        Args:
            limit: Seconds after which the wait is given up.

        Returns:
            The exit code; negative: the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: The process still runs after `limit`.
        """
        code = self._popen.wait(limit)
        self._reader.join(limit)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its children, if it still runs.

        Args:
            number: The signal.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, grace: float = GRACE) -> None:
        """Ends the process: asks first, then makes it. Does nothing when it has ended.

        Args:
            grace: Seconds between asking and making.
        """
        if self.running:
            self.signal(signal.SIGTERM)
            try:
                self.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(LIMIT)
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def kill(self) -> None:
        """Ends the process and its children without a word."""
        self.signal(signal.SIGKILL)
        self.wait()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._popen.stdout:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _complaint(self, what: str) -> str:
        return f"{self.name} {what}. It wrote:\n{''.join(self._lines)}"


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", **extra}


@atexit.register
def end_all() -> None:
    """Kills whatever a broken teardown left running."""
    for process in STARTED:
        if process.running:
            process.kill()
