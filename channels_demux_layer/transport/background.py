"""What a node has running in the background: tasks that are kept, and one timer for everything.

Both exist for their cost. A new task and a new timer are cheap, but each connection would need a
dozen of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeAlias

__all__ = ["Deadline", "Deadlines", "StandingTask"]

Call: TypeAlias = Callable[[], Awaitable[None]]


class Starter(Protocol):
    """The node, as far as standing tasks need it."""

    #: Whether the node has stopped.
    is_stopped: bool

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""


class StandingTask:
    """Runs short calls in the background, and keeps one task ready for the next call.

    Calls that come while the task is busy get a task of their own, so no call waits for another.

    Args:
        node: Starts tasks. Once it has stopped, no task is kept.
    """

    __slots__ = ("_is_over", "_next", "_node")

    def __init__(self, node: Starter) -> None:
        self._node = node
        self._next: asyncio.Future[Call | None] | None = None
        self._is_over = False

    def run(self, call: Call) -> None:
        """Await a call in the background.

        Args:
            call: Returns the awaitable. It is called within the task.
        """
        # The future is done where the task was cancelled meanwhile.
        waiting, self._next = self._next, None
        if waiting is None or waiting.done():
            self._node.start_task(self._run(call))
        else:
            waiting.set_result(call)

    async def _run(self, call: Call | None) -> None:
        while call is not None:
            await call()
            call = None  # It may hold on to what has ended.
            if self._is_over or self._node.is_stopped or self._next is not None:
                return  # One task that waits is enough.
            self._next = asyncio.get_running_loop().create_future()
            call = await self._next

    def stop(self) -> None:
        """End the task once it has nothing to do."""
        self._is_over = True
        if self._next is not None and not self._next.done():
            self._next.set_result(None)


class Deadline:
    """A call that is to be made at a time, unless it is cancelled before."""

    __slots__ = ("_call", "_when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self._when = when
        self._call: Callable[[], None] | None = call

    def __lt__(self, other: Deadline) -> bool:
        return self._when < other._when

    @property
    def when(self) -> float:
        """When the call is due, on the loop's clock."""
        return self._when

    @property
    def is_cancelled(self) -> bool:
        """Whether the call was cancelled, or has been made."""
        return self._call is None

    def cancel(self) -> None:
        """Do not make the call, and hold on to nothing that it refers to."""
        self._call = None

    def meet(self) -> None:
        """Make the call, unless it was cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Deadlines:
    """Makes calls at their time. One timer of the event loop serves all of them.

    Most deadlines are never met: a worker answers, a consumer accepts, a call returns. So the timer
    is set anew only for an earlier deadline, or when it has rung.

    Args:
        loop: The event loop.
        context: What the calls are made in; a copy of the present context where it is None.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context | None = None
    ) -> None:
        self._loop = loop
        self._context = context or contextvars.copy_context()
        self._heap: list[Deadline] = []
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def at(self, when: float, call: Callable[[], None]) -> Deadline:
        """Make a call at a time of the loop's clock.

        Args:
            when: The time in seconds.
            call: The call. What it raises goes to the loop's exception handler.

        Returns:
            The deadline, to cancel it.
        """
        deadline = Deadline(when, call)
        heapq.heappush(self._heap, deadline)
        if when < self._rings_at:
            self._set_timer(when)
        return deadline

    def after(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Make a call when so many seconds have passed; see `at()`."""
        return self.at(self._loop.time() + seconds, call)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring, context=self._context)

    def _ring(self) -> None:
        # A loop may ring a little early: what the timer was set for is due in any case.
        now = max(self._loop.time(), self._rings_at)
        # While the calls are made, none of them sets the timer.
        self._timer, self._rings_at = None, -math.inf
        heap, due = self._heap, []
        while heap and (heap[0].is_cancelled or heap[0].when <= now):
            due.append(heapq.heappop(heap))
        try:
            # A call that finds its time a little early sets the same deadline again. That one waits
            # for the next turn of the loop.
            for deadline in due:
                self._meet(deadline)
        finally:
            self._rings_at = math.inf
            if heap:
                self._set_timer(heap[0].when)

    def _meet(self, deadline: Deadline) -> None:
        try:
            deadline.meet()
        except Exception as error:
            message = "A call at a deadline raised."
            self._loop.call_exception_handler({"message": message, "exception": error})

    def stop(self) -> None:
        """Make no more calls."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings_at = None, math.inf
