"""A child ends when its parent does, however that ended.

The supervisor holds one end of a pipe that is the standard input of each child and never writes
to it. When the supervisor is gone, even by a signal that it could not catch, the pipe closes.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable

STANDARD_INPUT = 0


def end_this_process() -> None:
    """Ask this process to end, as the supervisor would have."""
    os.kill(os.getpid(), signal.SIGTERM)


def watch(pipe: int, end: Callable[[], object] = end_this_process) -> threading.Thread:
    """Wait, in a thread, for a pipe to close.

    Args:
        pipe: The file descriptor of its reading end.
        end: What to call then.

    Returns:
        The thread, started. It keeps no process alive.
    """

    def wait() -> None:
        # Not sys.stdin: a thread that waits in it holds a lock that the interpreter's end needs.
        with contextlib.suppress(OSError):
            while os.read(pipe, 1):
                pass
        end()

    thread = threading.Thread(target=wait, name="lifeline", daemon=True)
    thread.start()
    return thread
