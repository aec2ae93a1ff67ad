"""The worker process lasts, ends with an error where it must, and leaves nothing undone."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer

from channels_demux_layer.monitoring.readiness import Page, serve_pages
from channels_demux_layer.transport.nodes import find_node, running_nodes
from channels_demux_layer.workers import runner
from channels_demux_layer.workers.runner import DrainingWorker, ListenerDied

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Every test finds the handlers of signals as they were."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def layer() -> InMemoryChannelLayer:
    """A layer of the test's own."""
    return InMemoryChannelLayer()


class Application:
    """Counts the messages it has begun with and is done with; each takes until it may end."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.done: list[Any] = []
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            self.taken.append(message)
            await self.may_end.wait()
            self.done.append(message)


async def until(look: Callable[[], object]) -> None:
    """Wait for something that will come."""
    for _ in range(10_000):
        if look():
            return
        await asyncio.sleep(0.001)
    pytest.fail("It never comes.")


@pytest.mark.parametrize("number", SIGNALS)
async def test_messages_in_hand_are_finished(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """After a signal what was received is handled, what waits in the process included."""
    drained = asyncio.Event()

    async def drain_workers(timeout: float) -> None:
        drained.set()

    monkeypatch.setattr(runner, "drain_workers", drain_workers)
    application = Application()
    worker = DrainingWorker(application, ["a"], layer, drain_timeout=60.0)
    running = asyncio.ensure_future(worker.arun())
    for text in "xy":
        await layer.send("a", {"type": "m", "text": text})
    await until(lambda: application.taken and layer.channels["a"].empty())
    os.kill(os.getpid(), number)
    await drained.wait()
    assert signal.getsignal(number) is signal.SIG_DFL
    assert not running.done()
    application.may_end.set()
    await running
    assert [message["text"] for message in application.done] == ["x", "y"]


async def test_a_bound_of_its_own(layer: InMemoryChannelLayer, settings: Any) -> None:
    """A worker's own bound of sessions is its process's from the start."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    worker = DrainingWorker(Application(), ["a"], layer, drain_timeout=0.0, max_sessions=7)
    running = asyncio.ensure_future(worker.arun())
    await until(running_nodes)
    assert [node.max_sessions for node in running_nodes()] == [7]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_drain_timeout_ends_the_wait(layer: InMemoryChannelLayer) -> None:
    """A message that is not finished in time is given up."""
    application = Application()
    worker = DrainingWorker(application, ["a"], layer, drain_timeout=0.0)
    running = asyncio.ensure_future(worker.arun())
    await layer.send("a", {"type": "m"})
    await until(lambda: application.taken)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert not application.done


async def test_a_worker_of_streams_is_on_the_layer_from_its_start(
    layer: InMemoryChannelLayer, settings: Any
) -> None:
    """It can be asked how it is before the first open, and says which streams it takes."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    running = asyncio.ensure_future(
        DrainingWorker(
            Application(), ["demux.a", "b"], layer, 0.0, streams={"demux.a": Application()}
        ).arun()
    )
    await until(lambda: find_node("default").serves)
    assert find_node("default").reporter.report().channels == ["demux.a"]
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert running_nodes() == []


async def test_a_worker_of_streams_listens_over_its_nodes_connections(settings: Any) -> None:
    """Those that are lost without a word are replaced by the node, and by nobody else."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    layer = get_channel_layer()
    application = Application()
    application.may_end.set()
    streams = {"demux.a": application}
    worker = DrainingWorker(application, ["demux.a", "b"], layer, 0.0, streams=streams)
    running = asyncio.ensure_future(worker.arun())
    await until(lambda: find_node("default")._own._listeners)
    for channel in ("demux.a", "b"):
        await layer.send(channel, {"type": "m"})
    await until(lambda: len(application.taken) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_a_worker_without_a_layer_for_payloads_listens_all_the_same(
    layer: InMemoryChannelLayer, settings: Any
) -> None:
    """Where CHANNEL_LAYER names none, each open says so: that is no fault of the process."""
    settings.CHANNELS_DEMUX_LAYER = {"CHANNEL_LAYER": "none"}
    application = Application()
    application.may_end.set()
    worker = DrainingWorker(application, ["demux.a"], layer, 0.0, streams={"demux.a": application})
    running = asyncio.ensure_future(worker.arun())
    await layer.send("demux.a", {"type": "m"})
    await until(lambda: application.taken)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_pages_are_served_to_the_end(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the worker drains its pages are there, and with its end the port is free."""

    async def page(accept: str) -> Page:
        return Page(b"here")

    async def fetch(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /page HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    servers: list[Any] = []

    async def serve(pages: Any, host: str, port: int) -> Any:
        servers.append(await serve_pages(pages, host, port))
        return servers[0]

    answers: list[bytes] = []

    async def drain(timeout: float) -> None:
        answers.append(await fetch(servers[0].sockets[0].getsockname()[1]))

    monkeypatch.setattr(runner, "serve_pages", serve)
    monkeypatch.setattr(runner, "drain_workers", drain)
    pages = {0: {"/page": page}}
    running = asyncio.ensure_future(
        DrainingWorker(Application(), ["a"], layer, 60.0, pages=pages).arun()
    )
    await until(lambda: signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None))
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert answers[0].endswith(b"here")
    assert not servers[0].is_serving()


async def test_two_signals_at_once(layer: InMemoryChannelLayer) -> None:
    """Signals that come together are one."""
    stop = asyncio.ensure_future(DrainingWorker(Application(), ["a"], layer, 60.0).arun())
    await until(lambda: signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None))
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    await stop


def test_a_signal_after_the_first_is_nobodys() -> None:
    """A signal that comes when the end has begun changes nothing."""
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    runner._resolve(future)
    runner._resolve(future)
    loop.close()
    assert future.done()


async def test_a_message_without_a_type_is_ignored(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that no application could dispatch is logged, and the next one is handled."""
    application = Application()
    worker = DrainingWorker(application, ["a"], layer, drain_timeout=0.0)
    running = asyncio.ensure_future(worker.arun())
    await layer.send("a", {"text": "x"})
    await layer.send("a", {"type": "m"})
    await until(lambda: application.taken)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert application.taken == [{"type": "m"}]
    assert "Dropped a message without a type on channel a." in caplog.messages


async def test_an_application_that_ends_has_nothing_in_hand(layer: InMemoryChannelLayer) -> None:
    """An application that raises, or returns before it receives, does not hold up the end."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["channel"] == "a":
            await receive()
            raise RuntimeError

    worker = DrainingWorker(application, ["a", "b"], layer, drain_timeout=60.0)
    running = asyncio.ensure_future(worker.arun())
    await layer.send("a", {"type": "m"})
    await layer.send("b", {"type": "m"})
    await until(lambda: worker.application_instances.keys() >= {"a", "b"})
    await until(lambda: not worker.application_instances)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


@pytest.mark.parametrize(
    ("failure", "words"), [(RuntimeError("broken"), "broken"), (asyncio.CancelledError(), "cance")]
)
async def test_a_listener_that_ends_is_an_error(
    layer: InMemoryChannelLayer,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    words: str,
) -> None:
    """Nothing would be heard on its channel: the worker says why, drains and ends."""
    drains: list[float] = []

    async def listener(self: Any, channel: str) -> None:
        raise failure

    async def drain(timeout: float) -> None:
        drains.append(timeout)

    monkeypatch.setattr(DrainingWorker, "listener", listener)
    monkeypatch.setattr(runner, "drain_workers", drain)
    with pytest.raises(ListenerDied, match=words):
        await DrainingWorker(Application(), ["a"], layer, 7.0).arun()
    assert drains == [7.0]


async def test_a_layer_that_fails_is_waited_for(layer: InMemoryChannelLayer) -> None:
    """A layer that raises does not end the worker."""
    application = Application()
    receive = layer.receive
    failures = [OSError("away")]

    async def failing(channel: str) -> Any:
        if failures:
            raise failures.pop()
        return await receive(channel)

    layer.receive = failing
    running = asyncio.ensure_future(DrainingWorker(application, ["a"], layer, 0.0).arun())
    await layer.send("a", {"type": "m"})
    await until(lambda: application.taken)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_a_layer_that_hangs_does_not_hold_up_the_end(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receive() that will not be cancelled is left behind."""
    monkeypatch.setattr(runner, "CANCEL_LIMIT", 0.01)
    release = asyncio.Event()

    async def hang(channel: str) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        raise asyncio.CancelledError

    layer.receive = hang
    worker = DrainingWorker(Application(), ["a"], layer, 0.0)
    running = asyncio.ensure_future(worker.arun())
    await until(lambda: signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None))
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    release.set()


def test_a_process_of_its_own_ends_for_certain(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has the process to itself sees to it that a signal ends that, in a while."""
    limits: list[float] = []
    monkeypatch.setattr(runner, "_end_process_after", limits.append)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        os.kill(os.getpid(), signal.SIGTERM)

    async def listener(self: Any, channel: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(DrainingWorker, "listener", listener)
    DrainingWorker(application, ["a"], layer, 7.0).run()
    assert limits == [7.0 + runner.LAST_RESORT]


def test_the_last_resort(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A process that something holds up ends with 0 all the same, and says so."""
    ended = threading.Event()
    codes: list[int] = []
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    runner._end_process_after(0.0)
    assert ended.wait(60)
    assert codes == [0]
    assert "Shutdown timed out: a task or a thread still runs. Exiting." in caplog.messages


def test_beside_the_main_thread_there_are_no_signals(layer: InMemoryChannelLayer) -> None:
    """Under the reloader the worker runs in a thread, where it works until it is cancelled."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken: list[Any] = []

    async def work() -> None:
        application = Application()
        running = asyncio.ensure_future(DrainingWorker(application, ["a"], layer, 0.0).arun())
        await layer.send("a", {"type": "m"})
        await until(lambda: application.taken)
        taken.extend(application.taken)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join(60)
    assert taken
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.mark.parametrize("is_installed", [True, False])
def test_uvloop_runs_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    """Where uvloop is installed, it is what the worker runs on."""
    uvloop = SimpleNamespace(run=Mock())
    monkeypatch.setitem(sys.modules, "uvloop", uvloop if is_installed else None)
    run = Mock()
    monkeypatch.setattr(runner.asyncio, "run", run)
    work = Mock()
    runner._run_loop(work)
    (uvloop.run if is_installed else run).assert_called_once_with(work)


async def test_what_stands_around_the_router_is_left_out_for_streams(
    layer: InMemoryChannelLayer,
) -> None:
    """It was written for HTTP and WebSockets; other channels are served as ever."""
    around, stream = Application(), Application()
    for application in (around, stream):
        application.may_end.set()
    worker = DrainingWorker(around, ["demux.a", "b"], layer, 0.0, streams={"demux.a": stream})
    running = asyncio.ensure_future(worker.arun())
    for channel in ("demux.a", "b"):
        await layer.send(channel, {"type": channel})
    await until(lambda: around.taken and stream.taken)
    assert around.taken == [{"type": "b"}]
    assert stream.taken == [{"type": "demux.a"}]
    signal.raise_signal(signal.SIGTERM)
    await running
