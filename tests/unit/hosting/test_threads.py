"""Threads of synchronous consumers: how many there are, and what becomes of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async

from channels_demux_layer import Stream
from channels_demux_layer.conf import get_settings
from channels_demux_layer.hosting import patches, threads
from channels_demux_layer.hosting.consumer import Host
from channels_demux_layer.hosting.threads import Seat, SyncThreads, new_seat, shared_threads
from tests.integration.harness import LIMIT, until


class Session:
    """A task with a seat, that runs synchronous code until it is told to end.

    Args:
        pool: The threads.
        limit: How many there may be.

    Attributes:
        thread: The thread that it runs in.
        seat: Its seat.
    """

    def __init__(self, pool: SyncThreads, limit: int = 2) -> None:
        self.seat = Seat(pool, limit)
        self.thread: threading.Thread | None = None
        self._calls: asyncio.Queue[Any] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        await self.seat.enter()
        try:
            while (item := await self._calls.get()) is not None:
                call, result = item
                result.set_result(await sync_to_async(call)())
        finally:
            self.seat.leave()

    def call(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call a function in the session's thread."""
        result = asyncio.get_running_loop().create_future()
        self._calls.put_nowait((function, result))
        return result

    async def begin(self) -> Session:
        """Note the thread."""
        self.thread = await self.call(threading.current_thread)
        return self

    async def end(self) -> None:
        """End the session."""
        self._calls.put_nowait(None)
        await self._task

    async def cut_off(self) -> None:
        """End the session while its call runs on."""
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
def pool() -> SyncThreads:
    """Threads that no other test uses."""
    return SyncThreads()


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads whose connections were closed, in order."""
    found: list[threading.Thread] = []
    monkeypatch.setattr(
        threads, "close_connections", lambda: found.append(threading.current_thread())
    )
    return found


async def test_sessions_share_a_bounded_number_of_threads(pool: SyncThreads) -> None:
    """Each begins where there are fewest, and stays in its thread."""
    sessions = [await Session(pool).begin() for _ in range(6)]
    used = [session.thread for session in sessions]
    assert used[:2] == used[2:4] == used[4:]
    assert len(set(used)) == len(pool) == 2
    assert [await session.call(threading.current_thread) for session in sessions] == used
    for session in sessions:
        await session.end()
    await until(lambda: not len(pool))


async def test_a_thread_ends_with_its_last_session_and_its_connections_first(
    pool: SyncThreads, closings: list[threading.Thread]
) -> None:
    """Connections are closed in the thread that opened them, and the event loop waits for none."""
    first, second = await Session(pool, 1).begin(), await Session(pool, 1).begin()
    assert first.thread is second.thread is not None
    await first.end()
    assert await second.call(threading.current_thread) is second.thread
    assert not closings
    await second.end()
    await until(lambda: not first.thread.is_alive())  # type: ignore[union-attr]
    assert closings == [first.thread]
    assert not len(pool)


async def test_a_session_without_synchronous_code_has_no_thread(
    pool: SyncThreads, closings: list[threading.Thread]
) -> None:
    """A thread begins with the first call: where there was none, nothing is left to close."""
    before = threading.active_count()
    session = Session(pool)
    await asyncio.sleep(0)
    await session.end()
    assert (len(pool), closings, threading.active_count()) == (0, [], before)


async def test_a_session_takes_over_a_thread_that_closes(
    pool: SyncThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that close their connections count, so that there are never more than the limit."""
    closes, may_end = threading.Event(), threading.Event()

    def close() -> None:
        closes.set()
        may_end.wait(LIMIT)

    monkeypatch.setattr(threads, "close_connections", close)
    first = await Session(pool, 1).begin()
    await first.end()
    await until(closes.is_set)
    second = Session(pool, 1)
    beginning = asyncio.ensure_future(second.begin())
    await asyncio.sleep(0)
    may_end.set()
    await beginning
    assert second.thread is first.thread
    await second.end()
    await until(lambda: not len(pool))


async def test_a_call_may_outlast_its_session(
    pool: SyncThreads, closings: list[threading.Thread]
) -> None:
    """Its thread is the last choice for others, and ends when the call returns."""
    runs, may_return = threading.Event(), threading.Event()

    def block() -> None:
        runs.set()
        may_return.wait(LIMIT)

    stuck = await Session(pool).begin()
    stuck.call(block)
    await until(runs.is_set)
    await stuck.cut_off()
    others = [await Session(pool).begin() for _ in range(3)]
    assert len({session.thread for session in others}) == 1
    assert stuck.thread not in {session.thread for session in others}
    assert not closings
    may_return.set()
    await until(lambda: closings == [stuck.thread])
    for session in others:
        await session.end()
    await until(lambda: not len(pool))


async def test_a_task_may_outlast_its_session(
    pool: SyncThreads, closings: list[threading.Thread]
) -> None:
    """Synchronous code that a task of the session calls later runs, and leaves nothing behind."""
    released = asyncio.Event()
    found: list[Any] = []

    async def later() -> None:
        await released.wait()
        found.append(await sync_to_async(threading.current_thread)())

    async def run() -> asyncio.Task[None]:
        seat = Seat(pool, 1)
        await seat.enter()
        await sync_to_async(threading.current_thread)()
        task = asyncio.create_task(later())
        seat.leave()
        seat.leave()
        return task

    task = await asyncio.create_task(run())
    await until(lambda: not len(pool))
    released.set()
    await task
    await until(lambda: len(closings) == 2 and not len(pool))
    assert closings[1] is found[0]


async def test_a_neighbor_knows_that_it_waits(pool: SyncThreads) -> None:
    """A session whose call waits for another session's is told from one that takes long."""
    may_return = threading.Event()
    first, second = await Session(pool, 1).begin(), await Session(pool, 1).begin()
    blocking = first.call(lambda: may_return.wait(LIMIT))
    await until(lambda: any(call.running() for call in first.seat._calls))
    waiting = second.call(threading.current_thread)
    await until(lambda: second.seat._calls)
    assert (first.seat.is_waiting, second.seat.is_waiting) == (False, True)
    may_return.set()
    await asyncio.gather(blocking, waiting)
    assert not second.seat.is_waiting
    for session in (first, second):
        await session.end()


async def test_synchronous_code_may_wait_for_the_loop(pool: SyncThreads) -> None:
    """async_to_sync() in a shared thread works, and what it calls may need the thread again."""

    async def back() -> Any:
        return await sync_to_async(threading.current_thread)()

    session = await Session(pool, 1).begin()
    assert await session.call(async_to_sync(back)) is session.thread
    await session.end()


async def test_the_end_of_the_interpreter_is_borne(
    pool: SyncThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last call may return when no new one can be made."""
    session = await Session(pool).begin()
    used = session.seat._thread
    assert used is not None
    used.pool.shutdown(wait=False)
    await session.end()
    assert len(pool) == 1


def test_a_stream_may_ask_for_threads_of_its_own() -> None:
    """own_thread gives each session one; else sessions share SYNC_THREADS."""

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    shared, own = new_seat(Stream(application)), new_seat(Stream(application, own_thread=True))
    assert shared._threads is shared_threads
    assert shared._limit == get_settings().SYNC_THREADS == 16
    assert own._threads is not shared_threads


def test_one_connection_that_cannot_be_closed_keeps_no_other_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged."""
    broken = Mock(alias="broken", close=Mock(side_effect=OSError("gone")))
    whole = Mock()
    monkeypatch.setattr(patches, "connections", Mock(all=Mock(return_value=[broken, whole])))
    patches._threads.add(threading.current_thread())
    patches.close_connections()
    assert whole.close.called
    assert threading.current_thread() not in patches._threads
    assert "'broken'" in caplog.text


@pytest.mark.parametrize("gets_its_turn", [True, False])
async def test_a_consumer_that_waits_for_its_neighbors_has_time(
    pool: SyncThreads, gets_its_turn: bool
) -> None:
    """The time for disconnect() begins when the shared thread gets to it; in all, STALL_TIMEOUT."""
    may_return, ran = threading.Event(), threading.Event()
    neighbor = await Session(pool, 1).begin()
    blocking = neighbor.call(lambda: may_return.wait(LIMIT))
    await until(lambda: any(call.running() for call in neighbor.seat._calls))
    said: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await sync_to_async(ran.set)()

    outlet = Mock(after=lambda call: call(), finished=said.append, close=Mock())
    scope = {"type": "websocket", "demux": {"stream": "s"}}
    seat = Seat(pool, 1)
    host = Host(
        application,
        scope,
        outlet,
        write_text=str,
        max_payload=10,
        open_timeout=LIMIT,
        close_timeout=LIMIT,
        stall_timeout=LIMIT if gets_its_turn else 0.01,
        seat=seat,
    )
    running = asyncio.ensure_future(host.run())
    await asyncio.sleep(0)
    host.disconnect(1000)
    await until(lambda: seat.is_waiting)
    if gets_its_turn:
        host._kill()  # as where CONSUMER_CLOSE_TIMEOUT is over
    else:
        await asyncio.sleep(0.01)
        host._kill()
        await running
    may_return.set()
    await asyncio.gather(running, blocking)
    await neighbor.end()
    assert (said, ran.is_set()) == (([1000], True) if gets_its_turn else ([1011], False))


async def test_a_seat_that_asgiref_does_not_use_takes_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an asgiref that nobody knows yet, the session's code runs in asgiref's own thread."""
    monkeypatch.delattr(SyncToAsync, "context_to_thread_executor")
    shared = SyncThreads()
    seat = Seat(shared, 1)
    await seat.enter()
    assert len(shared) == 0
    assert await sync_to_async(threading.current_thread)() is await asyncio.ensure_future(
        sync_to_async(threading.current_thread)()
    )
    seat.leave()
