"""Ends a child process when its parent ends, even by SIGKILL.

The standard input of each child is a pipe from the supervisor, which never writes to it. When the
supervisor ends for any reason, the pipe closes.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable

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
