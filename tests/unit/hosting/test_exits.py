"""What a consumer raises that would end the process ends its stream alone."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from channels_demux_layer.hosting.exits import _Contained, comes_from_outside, contain_exits
from channels_demux_layer.hosting.threads import Seat, SyncThreads

from .test_consumer import Outlet, host

ENDS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("own"), ValueError()]


@pytest.fixture(autouse=True)
def no_handler_of_ctrl_c() -> Iterator[None]:
    """As in a worker or a server: Ctrl-C does not raise in whatever is running."""
    before = signal.signal(signal.SIGINT, lambda *args: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def outlet() -> Outlet:
    """Where the consumer's doings go."""
    return Outlet()


@pytest.mark.parametrize("error", ENDS, ids=repr)
async def test_whatever_a_consumer_raises_ends_its_stream(
    outlet: Outlet, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """With 1011 and a traceback, and the task that hosts it goes on."""

    async def raising(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise error

    await host(raising, outlet).run()
    assert outlet.said == [(1011, "")]
    assert caplog.records[-1].exc_info is not None
    assert caplog.records[-1].exc_info[1] is error


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Nobody knows who has cancelled there.")
async def test_a_cancellation_of_its_own_ends_its_stream(outlet: Outlet) -> None:
    """A consumer that raises CancelledError, or waits for what was cancelled, has failed."""

    async def raising(scope: Any, receive: Any, send: Any) -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    await host(raising, outlet).run()
    assert outlet.said == [(1011, "")]


async def test_a_synchronous_consumer_that_exits(outlet: Outlet) -> None:
    """What is raised in its thread ends its stream as well."""

    class Exiting(WebsocketConsumer):
        def connect(self) -> None:
            sys.exit(1)

    await asyncio.ensure_future(host(Exiting.as_asgi(), outlet, seat=Seat(SyncThreads(), 1)).run())
    assert outlet.said == [(1011, "")]


async def test_a_consumer_that_changes_its_scope(outlet: Outlet) -> None:
    """A scope without what names the stream does not keep its end from being told."""

    async def raising(scope: Any, receive: Any, send: Any) -> None:
        scope.clear()
        raise ValueError

    await host(raising, outlet).run()
    assert outlet.said == [(1011, "")]


async def test_a_fault_before_the_consumer_begins(
    outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails on the way to a consumer ends its stream with a word."""

    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr("channels_demux_layer.hosting.consumer.spare_hops", fail)
    await host(AsyncWebsocketConsumer.as_asgi(), outlet).run()
    assert outlet.said == [(1011, "")]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_signal_ends_the_process(outlet: Outlet, error: type[BaseException]) -> None:
    """What a signal's handler raises in the middle of a consumer passes through it."""

    def handler(number: int, frame: Any) -> None:
        raise error

    async def signalled(scope: Any, receive: Any, send: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)

    async def run() -> None:
        await host(signalled, outlet).run()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(error):
            asyncio.run(run())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert outlet.said == []


def test_ctrl_c_is_of_a_signal() -> None:
    """Python's own handler leaves no trace, so any KeyboardInterrupt may be of it."""
    assert not comes_from_outside(KeyboardInterrupt(), None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert comes_from_outside(KeyboardInterrupt(), None)
    assert not comes_from_outside(SystemExit(), None)


def test_a_host_that_is_thrown_away_says_nothing(outlet: Outlet) -> None:
    """A loop that is closed closes its coroutines: no consumer has failed then."""

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def start() -> asyncio.Task[None]:
        task = asyncio.ensure_future(host(waiting, outlet).run())
        await asyncio.sleep(0)
        return task

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *args: None)  # It would tell of a task that is destroyed.
    coroutine: Any = loop.run_until_complete(start()).get_coro()
    loop.close()
    coroutine.close()
    assert outlet.said == []


# -- tasks that a consumer starts -------------------------------------------------------------


async def test_a_task_that_exits_ends_the_stream_of_its_consumer(
    outlet: Outlet, caplog: pytest.LogCaptureFixture
) -> None:
    """The consumer is disconnected with 1011, and the loop turns on."""
    contain_exits(asyncio.get_running_loop())
    contain_exits(asyncio.get_running_loop())  # Once is enough.
    tasks: list[asyncio.Task[None]] = []
    ends: list[Any] = []

    async def exiting() -> None:
        await asyncio.sleep(0)
        sys.exit(1)

    async def starting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        tasks.append(asyncio.create_task(exiting(), name="its own"))
        ends.append(await receive())

    await asyncio.ensure_future(host(starting, outlet).run())
    assert outlet.said == ["accept", (1011, ""), (1000, "")]
    assert ends == [{"type": "websocket.disconnect", "code": 1011, "reason": ""}]
    assert tasks[0].cancelled()
    assert "exiting" in repr(tasks[0])
    assert any("would have ended the process" in record.message for record in caplog.records)


async def test_tasks_of_a_consumer_are_tasks_like_others(outlet: Outlet) -> None:
    """They return, raise and are cancelled as ever, even before their first step."""
    contain_exits(asyncio.get_running_loop())
    results: list[Any] = []

    async def returning() -> int:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return 7
        return 0

    async def starting(scope: Any, receive: Any, send: Any) -> None:
        late = asyncio.create_task(returning())
        early = asyncio.create_task(returning())
        early.cancel()
        await asyncio.sleep(0)
        late.cancel()
        results.extend(await asyncio.gather(late, early, return_exceptions=True))

    await asyncio.ensure_future(host(starting, outlet).run())
    assert results[0] == 7
    assert isinstance(results[1], asyncio.CancelledError)


async def test_a_signal_in_a_task_of_a_consumer_ends_the_process() -> None:
    """The handler's exception is let through."""

    def handler(number: int, frame: Any) -> None:
        raise SystemExit

    async def signalled() -> None:
        signal.raise_signal(signal.SIGINT)

    async def sleeping() -> None:
        await asyncio.sleep(0)

    signal.signal(signal.SIGINT, handler)
    said: list[BaseException] = []
    with pytest.raises(SystemExit):
        _Contained(signalled(), said.append).send(None)
    assert said == []
    await _Contained(sleeping(), said.append)
    _Contained(sleeping(), said.append).close()
