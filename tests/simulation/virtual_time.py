"""An event loop without I/O, whose clock jumps to the next timer when nothing is to be done."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, ClassVar

#: Turns of the loop at one and the same time that show that time has come to a stand.
MAX_TURNS = 20_000


class Deadlock(AssertionError):  # noqa: N818 - it says what happened
    """Nothing is to be done, and nothing will ever be."""


class Standstill(AssertionError):  # noqa: N818 - it says what happened
    """So much is done at one instant that it must be done in a circle."""


class OrderedTask(asyncio.Task[Any]):
    """A task that sets keep in the same order in every run."""

    _numbers: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(self, coroutine: Any, **options: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class HeldHandle(asyncio.Handle):
    """A callback that waits while the event loop that it stands for is blocked."""

    __slots__ = ()

    def _run(self) -> None:
        if not self._loop.holds(self, self._context):
            super()._run()


class HeldTimer(asyncio.TimerHandle):
    """The same for a timer."""

    __slots__ = ()

    def _run(self) -> None:
        if not self._loop.holds(self, self._context):
            super()._run()


class VirtualSelector:
    """Stands where a selector waits for I/O: there is none, so time passes at once.

    Args:
        loop: The loop whose time passes.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Let time pass until the next timer."""
        if timeout is None:
            raise Deadlock("Nothing is to be done any more.")
        self._loop.let_pass(timeout)
        return []

    def close(self) -> None:
        """Nothing to close."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop.

    Args:
        started: Called with each task when it is created.
        key_of: Returns what a context's callbacks are blocked by; None where nothing blocks them.
    """

    def __init__(
        self,
        started: Callable[[asyncio.Task[Any]], None],
        key_of: Callable[[Context], Hashable] = lambda context: None,
    ) -> None:
        super().__init__()
        self._key_of = key_of
        self._held: dict[Hashable, list[asyncio.Handle]] = {}
        self._virtual_now = 0.0
        self._turns = 0
        self._least = 0.0
        self._selector = VirtualSelector(self)
        self._clock_resolution = 1e-9
        self._started = started
        self.set_task_factory(self._make_task)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = OrderedTask(coroutine, loop=loop, **options)
        self._started(task)
        return task

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_now

    def never_stand_still(self) -> None:
        """Let some time pass in each turn: for the end of a run in which it stood still."""
        self._least = 0.001
        for key in list(self._held):
            self.unblock(key)

    # -- blocked event loops ------------------------------------------------------------------

    def block(self, key: Hashable) -> None:
        """Hold back all callbacks and timers with a key, as a synchronous call does."""
        self._held.setdefault(key, [])

    def unblock(self, key: Hashable) -> None:
        """Run what was held back: as asyncio does, what is ready first, and then the timers."""
        held = self._held.pop(key, [])
        self._ready.extend(sorted(held, key=lambda handle: isinstance(handle, HeldTimer)))

    def holds(self, handle: asyncio.Handle, context: Context) -> bool:
        """Hold a callback back if what it belongs to is blocked; return whether that is so."""
        if not self._held:
            return False
        held = self._held.get(self._key_of(context))
        if held is None:
            return False
        held.append(handle)
        return True

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        handle = HeldHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call something at a time of the loop's."""
        timer = HeldTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    # -- time ---------------------------------------------------------------------------------

    def let_pass(self, seconds: float) -> None:
        """Let time pass."""
        seconds = max(seconds, self._least)
        if seconds > 0:
            self._virtual_now += seconds
            self._turns = 0
        else:
            self._turns += 1
            if self._turns > MAX_TURNS:
                raise Standstill("Time has come to a stand.")

    def _process_events(self, events: list[Any]) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""
