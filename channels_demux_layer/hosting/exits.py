"""Contains exits: a SystemExit or KeyboardInterrupt of a consumer ends only its own stream.

asyncio lets both pass from any task through the event loop, which ends the process. So they are
caught in the consumer's task, and in the tasks that the consumer starts.
"""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import CodeType
from typing import Any

__all__ = ["comes_from_outside", "contain_exits", "hosted_by", "is_of_signal"]

#: A function for the exits of tasks that a consumer started; None outside of consumers.
hosted_by: ContextVar[Callable[[BaseException], None] | None] = ContextVar(
    "hosted_by", default=None
)


def comes_from_outside(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether an exception of a task is no fault of the code that runs in it.

    Args:
        error: The exception.
        task: The task; None if it has not begun.

    Returns:
        Whether the handler of a signal raised the exception, the task was cancelled, or the task is
        discarded with its loop. Before Python 3.11, a task does not tell whether it was cancelled.
        There, each CancelledError counts as one from outside.
    """
    if isinstance(error, asyncio.CancelledError):
        return getattr(task, "cancelling", lambda: 1)() > 0
    if isinstance(error, GeneratorExit):
        return not _runs(task)
    return is_of_signal(error)


def _runs(task: asyncio.Task[Any] | None) -> bool:
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:  # No loop runs.
        return False


def is_of_signal(error: BaseException) -> bool:
    """Return whether the handler of a signal raised an exception that ends the process.

    Args:
        error: Any exception.
    """
    if not isinstance(error, (SystemExit, KeyboardInterrupt)):
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    if isinstance(error, KeyboardInterrupt) and signal.default_int_handler in handlers:
        return True  # Python's own handler, of Ctrl-C, leaves no trace in the traceback.
    codes = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    return any(_code_of(handler) in codes for handler in handlers if callable(handler))


def _code_of(handler: Any) -> CodeType | None:
    code: CodeType | None = getattr(handler, "__code__", None)
    return code


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Contain exits in the tasks that consumers start on a loop: they end their stream instead.

    Args:
        loop: An event loop that this package runs. If it has a task factory, nothing changes.
    """
    if loop.get_task_factory() is None:
        loop.set_task_factory(_make_task)


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
) -> asyncio.Task[Any]:
    failed = hosted_by.get()
    if failed is not None:
        coroutine = _Contained(coroutine, failed)
    return asyncio.Task(coroutine, loop=loop, **options)


class _Contained(Coroutine[Any, Any, Any]):
    """Wraps a coroutine, and raises CancelledError in place of an exit.

    This is an object and not a coroutine. A coroutine that is cancelled before its first step could
    not close the wrapped one, and Python would warn about that.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], failed: Callable[[BaseException], None]
    ) -> None:
        self._coroutine = coroutine
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def send(self, value: Any) -> Any:
        """Run the next step with a value."""
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """Run the next step with an exception."""
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        """Close the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Any:
        """Return the wrapped coroutine's iterator."""
        return self._coroutine.__await__()

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        try:
            return step(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            if is_of_signal(error):
                raise
            self._failed(error)
            raise asyncio.CancelledError from error
