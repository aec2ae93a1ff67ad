"""Threads for synchronous consumers: a bounded number, each shared by some sessions.

asgiref runs the synchronous code of a `ThreadSensitiveContext` in one thread, which ends when the
garbage collector finds the context, with whatever database connections it has open. Here each
session has a context of its own, and asgiref is given a `Seat` as that context's executor. The
seat passes calls on to a thread that ends with its last session, after it has closed its
database connections.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from channels_demux_layer.conf import get_settings
from channels_demux_layer.streams import Stream

from .patches import close_connections, run_synchronous_code_in

__all__ = ["Seat", "SyncThreads", "new_seat", "shared_threads"]

Result = TypeVar("Result")
Params = ParamSpec("Params")

#: What names of the threads begin with.
NAME = "demux-sync"


class _SyncThread:
    """One thread, from its first call to its end.

    Attributes:
        sessions: How many sessions have a seat in it.
        left_running: How many calls run, or wait to run, for sessions that have ended.
        pool: Runs the calls, one after the other. It starts the thread with the first call.
        has_started: Whether there has been a call.
    """

    def __init__(self) -> None:
        self.sessions = 0
        self.left_running = 0
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=NAME)
        self.has_started = False

    @property
    def is_free(self) -> bool:
        return not (self.sessions or self.left_running)

    @property
    def load(self) -> tuple[bool, int]:
        # A call that has outlasted its session may never return.
        return self.left_running > 0, self.sessions


class SyncThreads:
    """Assigns sessions to threads, and ends each thread when no session needs it.

    All methods may be called from any thread.
    """

    def __init__(self) -> None:
        # Reentrant: a future that is done calls its callback at once.
        self._lock = threading.RLock()
        self._threads: list[_SyncThread] = []

    def __len__(self) -> int:
        """Return how many threads are in use."""
        return len(self._threads)

    def join(self, limit: int) -> _SyncThread:
        """Assign a session to a thread: an unused one, or else the one with the fewest sessions.

        Args:
            limit: How many threads there may be.

        Returns:
            The thread. Give it back with leave().
        """
        with self._lock:
            thread = min(self._threads, key=lambda each: each.load, default=None)
            if thread is None or not (thread.is_free or len(self._threads) >= limit):
                thread = _SyncThread()
                self._threads.append(thread)
            thread.sessions += 1
            return thread

    def leave(self, thread: _SyncThread, calls: Iterable[Future[Any]] = ()) -> None:
        """Give a thread back. It ends once nobody needs it; nobody waits for that.

        Args:
            thread: What join() returned.
            calls: Calls of the session that have not returned. The thread goes on until they have.
        """
        calls = list(calls)
        with self._lock:
            thread.sessions -= 1
            thread.left_running += len(calls)
            self._close_if_free(thread)
        for call in calls:
            call.add_done_callback(lambda done: self._returned(thread))

    def _returned(self, thread: _SyncThread) -> None:
        with self._lock:
            thread.left_running -= 1
            self._close_if_free(thread)

    def _close_if_free(self, thread: _SyncThread) -> None:
        if not thread.is_free:
            return
        if not thread.has_started:
            self._end_if_free(thread)
            return
        # Connections belong to the thread that opened them. Until it has closed them it counts.
        with contextlib.suppress(RuntimeError):  # The interpreter ends, and the thread with it.
            closing = thread.pool.submit(close_connections)
            closing.add_done_callback(lambda closed: self._end_if_free(thread))

    def _end_if_free(self, thread: _SyncThread) -> None:
        with self._lock:
            if thread.is_free and thread in self._threads:
                self._threads.remove(thread)
                thread.pool.shutdown(wait=False)


class Seat(Executor):
    """One session's share of a thread: all synchronous code of the session runs there.

    Args:
        threads: The threads to choose from.
        limit: How many of them there may be.
    """

    def __init__(self, threads: SyncThreads, limit: int) -> None:
        self._threads = threads
        self._limit = limit
        self._thread: _SyncThread | None = None
        self._calls: set[Future[Any]] = set()

    async def enter(self) -> None:
        """Have asgiref run the synchronous code of the current task in the session's thread."""
        if await run_synchronous_code_in(self):
            self._thread = self._threads.join(self._limit)

    def leave(self) -> None:
        """Give up the thread. Calls that have not returned go on."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._threads.leave(thread, [call for call in list(self._calls) if not call.done()])

    @property
    def is_waiting(self) -> bool:
        """Whether the session's calls wait for those of other sessions."""
        calls = [call for call in list(self._calls) if not call.done()]
        return bool(calls) and not any(call.running() for call in calls)

    def submit(
        self, fn: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Future[Result]:
        """Call a function in the session's thread.

        Args:
            fn: The function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The future of its result.
        """
        thread = self._thread
        if thread is None:
            return self._submit_late(functools.partial(fn, *args, **kwargs))
        thread.has_started = True
        call = thread.pool.submit(fn, *args, **kwargs)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def _submit_late(self, fn: Callable[[], Result]) -> Future[Result]:
        # A task that the consumer has started and not awaited: it may outlive the session.
        thread = self._threads.join(self._limit)
        thread.has_started = True
        call = thread.pool.submit(fn)
        self._threads.leave(thread, [call])
        return call


#: The threads of this process that sessions share.
shared_threads = SyncThreads()


def new_seat(stream: Stream) -> Seat:
    """Return a seat for a session: in a shared thread, or in its own if the stream says so.

    Args:
        stream: The session's stream.
    """
    threads = SyncThreads() if stream.own_thread else shared_threads
    return Seat(threads, get_settings().SYNC_THREADS)
