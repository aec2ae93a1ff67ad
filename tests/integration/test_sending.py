"""Sends keep the order of their calls and wait for room, whatever thread or loop makes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from channels_demux_layer.transport.tally import tallies_of

from . import consumers
from .harness import Place, closed, configure, demultiplexer, until, within
from .test_flow import Socket

#: Frames that a consumer sends, and those of a window.
COUNT, WINDOW = 40, 4


class Sender(AsyncJsonWebsocketConsumer):
    """Sends numbers in one way or another."""

    way: str
    other: asyncio.AbstractEventLoop

    async def connect(self) -> None:
        """Accept, and start to send."""
        self.left: list[Any] = []
        await self.accept()
        await getattr(self, self.way)()

    async def count(self) -> None:
        """Send all, one after the other."""
        for number in range(COUNT):
            await self.send_json(number)

    def count_in_thread(self) -> None:
        """The same, from synchronous code."""
        for number in range(COUNT):
            async_to_sync(self.send_json)(number)

    def keep(self, work: Any) -> None:
        """Start a task that nobody awaits."""
        self.left.append(asyncio.ensure_future(work))

    async def tasks(self) -> None:
        """Start a task for each send, and await none."""
        for number in range(COUNT):
            self.keep(self.send_json(number))

    async def running_loop(self) -> None:
        """Send from a loop that runs elsewhere."""
        asyncio.run_coroutine_threadsafe(self.count(), self.other)

    async def tasks_of_a_running_loop(self) -> None:
        """Start tasks in a loop that runs elsewhere."""
        asyncio.run_coroutine_threadsafe(self.tasks(), self.other)

    async def loop_of_a_thread(self) -> None:
        """Send from a loop that a thread makes for itself."""
        threading.Thread(target=lambda: asyncio.run(self.count())).start()

    async def thread(self) -> None:
        """Send from synchronous code of a thread."""
        threading.Thread(target=self.count_in_thread).start()

    async def executor(self) -> None:
        """Send from synchronous code of an executor of the consumer's own."""
        with_one = ThreadPoolExecutor(1)
        with_one.submit(self.count_in_thread)
        with_one.shutdown(wait=False)

    async def insensitive(self) -> None:
        """Send from synchronous code that asgiref runs in any thread."""
        self.keep(sync_to_async(self.count_in_thread, thread_sensitive=False)())

    async def sensitive(self) -> None:
        """Send from synchronous code that asgiref runs in its one thread."""
        self.keep(sync_to_async(self.count_in_thread)())

    async def threadsafe_calls(self) -> None:
        """Have a thread start tasks in the consumer's own loop."""
        loop = asyncio.get_running_loop()

        def start() -> None:
            for number in range(COUNT):
                loop.call_soon_threadsafe(self.keep, self.send_json(number))

        threading.Thread(target=start).start()

    async def signal_handler(self) -> None:
        """Start tasks where the process gets a signal."""
        loop = asyncio.get_running_loop()

        def start() -> None:
            loop.remove_signal_handler(signal.SIGUSR1)
            self.keep(self.count())

        loop.add_signal_handler(signal.SIGUSR1, start)
        os.kill(os.getpid(), signal.SIGUSR1)


class SyncSender(JsonWebsocketConsumer):
    """The same, synchronous."""

    way: str

    def connect(self) -> None:
        """Accept, and start to send."""
        self.accept()
        getattr(self, self.way)()

    def sync_consumer(self) -> None:
        """Send all, one after the other."""
        for number in range(COUNT):
            self.send_json(number)

    def threads_of_a_sync_consumer(self) -> None:
        """Send from a thread of the consumer's own."""
        threading.Thread(target=self.sync_consumer).start()


WAYS = (
    *("count", "tasks", "running_loop", "tasks_of_a_running_loop", "loop_of_a_thread", "thread"),
    *("executor", "insensitive", "sensitive", "threadsafe_calls", "signal_handler"),
    *("sync_consumer", "threads_of_a_sync_consumer"),
)


def sender(way: str, other_loop: asyncio.AbstractEventLoop) -> Any:
    """Make the consumer that sends in one of the ways."""
    base = SyncSender if hasattr(SyncSender, way) else Sender
    return type("Sending", (base,), {"way": way, "other": other_loop})


@contextlib.asynccontextmanager
async def held_back(place: Place, settings: Any, consumer: Any) -> AsyncIterator[Socket]:
    """Connect a client that does not read yet, with a stream whose window is full."""
    configure(settings, {"WINDOW_FRAMES": WINDOW})
    cls = demultiplexer({"s": consumer})
    async with place.run(cls):
        socket = Socket()
        await socket.input.put({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/", "headers": []}
        edge = asyncio.ensure_future(cls.as_asgi()(scope, socket.input.get, socket.send))
        await until(found_full)
        yield socket
        await socket.input.put({"type": "websocket.disconnect", "code": 1000})
        await within(edge)
        socket.reads.set()  # as servers let a send() go when the client has left


def found_full() -> int:
    """Count how often a consumer found its window full."""
    return sum(tally.outward.full for tally in tallies_of(asyncio.get_running_loop()))


def payloads(numbers: Any) -> list[str]:
    """Write the frames that a client gets."""
    return [f'{{"stream":"s","payload":{number}}}' for number in numbers]


@pytest.mark.parametrize("way", WAYS)
async def test_sends_keep_their_order_and_wait_for_room(
    place: Place, settings: Any, way: str, other_loop: asyncio.AbstractEventLoop
) -> None:
    """Whatever a consumer sends from arrives whole and in order, however often the window fills."""
    async with held_back(place, settings, sender(way, other_loop)) as socket:
        socket.reads.set()
        await until(lambda: len(socket.texts()) == COUNT)
        assert socket.texts() == payloads(range(COUNT))


@pytest.mark.parametrize("way", ["tasks", "loop_of_a_thread", "thread", "sync_consumer"])
async def test_whoever_waits_is_let_go_when_the_client_leaves(
    quick_place: Place, settings: Any, way: str, other_loop: asyncio.AbstractEventLoop
) -> None:
    """No thread hangs in a send() whose client is gone."""

    def threads() -> int:
        # Executors of async_to_sync() and of the loop keep idle threads. A send() that hangs would
        # also hold the thread that has called it.
        names = [thread.name for thread in threading.enumerate()]
        return sum(not name.startswith(("ThreadPoolExecutor", "asyncio_")) for name in names)

    before = threads()
    async with held_back(quick_place, settings, sender(way, other_loop)):
        pass
    await until(lambda: threads() <= before)


class Closing(AsyncJsonWebsocketConsumer):
    """Accepts from elsewhere, starts to send, and closes from elsewhere."""

    other: asyncio.AbstractEventLoop
    codes: list[int]
    closes_in: str

    async def connect(self) -> None:
        """Do all of it."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.accept(), self.other))
        self.left = [asyncio.ensure_future(self.send_json(n)) for n in range(COUNT)]
        await asyncio.sleep(0)
        closing = self.close(4000, "said all")
        if self.closes_in == "elsewhere":
            asyncio.run_coroutine_threadsafe(closing, self.other)
        elif self.closes_in == "task":
            self.left.append(asyncio.ensure_future(closing))
        else:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(closing, 0.01)  # nobody reads so soon

    async def disconnect(self, code: int) -> None:
        """Note it."""
        self.codes.append(code)


@pytest.mark.parametrize("closes_in", ["elsewhere", "task", "time"])
async def test_a_close_comes_after_the_sends_before_it(
    quick_place: Place, settings: Any, closes_in: str, other_loop: asyncio.AbstractEventLoop
) -> None:
    """accept() and close() are sends like others: from elsewhere, unawaited or given up."""
    codes: list[int] = []
    attributes = {"other": other_loop, "codes": codes, "closes_in": closes_in}
    async with held_back(quick_place, settings, type("C", (Closing,), attributes)) as socket:
        socket.reads.set()
        await until(lambda: codes)
        await until(lambda: len(socket.texts()) == COUNT + 1)
        assert socket.texts()[:-1] == payloads(range(COUNT))
        assert '"code":4000' in socket.texts()[-1]
        assert codes == [4000]


async def test_what_an_application_leaves_to_be_sent_comes_before_its_end(
    quick_place: Place, settings: Any
) -> None:
    """An application that returns with sends that nobody awaits has them sent."""
    left: list[Any] = []

    async def returning(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        messages = [{"type": "websocket.send", "text": str(number)} for number in range(COUNT)]
        left.extend(asyncio.ensure_future(send(message)) for message in messages)
        await asyncio.sleep(0)

    async with held_back(quick_place, settings, returning) as socket:
        socket.reads.set()
        await until(lambda: len(socket.texts()) == COUNT + 1)
        assert socket.texts()[:-1] == payloads(range(COUNT))


async def test_a_send_that_is_given_up_is_sent_whole_or_not_at_all(
    quick_place: Place, settings: Any, other_loop: asyncio.AbstractEventLoop
) -> None:
    """A send() with a timeout, in the consumer's loop or another, costs no other its place."""
    given_up: list[asyncio.AbstractEventLoop] = []

    class Hasty(AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            for number in range(WINDOW):
                await self.send_json(number)
            self.left = [asyncio.ensure_future(self.send_json("a"))]
            for loop in (asyncio.get_running_loop(), other_loop):
                asyncio.run_coroutine_threadsafe(self.hurry(), loop)
            await until(lambda: len(given_up) == 2)
            await self.send_json("b")

        async def hurry(self) -> None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.send_json("given up"), 0.01)
            given_up.append(asyncio.get_running_loop())

    async with held_back(quick_place, settings, Hasty) as socket:
        await until(lambda: len(given_up) == 2)
        socket.reads.set()
        await until(lambda: len(socket.texts()) == WINDOW + 2)
        assert socket.texts() == payloads([*range(WINDOW), '"a"', '"b"'])


async def test_an_application_may_run_in_another_loop(
    place: Place, other_loop: asyncio.AbstractEventLoop
) -> None:
    """receive() and send() both work there, and a receive() that is given up loses nothing."""

    async def work(receive: Any, send: Any) -> None:
        while (message := await patiently(receive))["type"] != "websocket.disconnect":
            if message["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            else:
                await send({"type": "websocket.send", "text": message["text"]})

    async def patiently(receive: Any) -> Any:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(receive(), 0.001)

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        running = asyncio.run_coroutine_threadsafe(work(receive, send), other_loop)
        await asyncio.wrap_future(running)

    async with place.client({"s": elsewhere}) as client:
        for number in range(COUNT):
            await client.send_to("s", number)
        assert [await client.receive_from("s") for _ in range(COUNT)] == list(range(COUNT))
        await client.close("s")
        assert await client.receive_event("s") == closed("s", 1000)


async def test_a_whole_consumer_may_run_in_another_loop(
    inline: Place, other_loop: asyncio.AbstractEventLoop
) -> None:
    """A class that has its __call__ run elsewhere, in a loop without a channel layer of its own."""

    class Elsewhere(AsyncJsonWebsocketConsumer):
        channel_layer_alias = "none"

        async def __call__(self, *args: Any) -> None:
            running = asyncio.run_coroutine_threadsafe(super().__call__(*args), other_loop)
            await asyncio.wrap_future(running)

        async def receive_json(self, content: Any) -> None:
            await self.send_json(content)

    async with inline.client({"s": Elsewhere}) as client:
        for number in range(COUNT):
            await client.send_to("s", number)
        assert [await client.receive_from("s") for _ in range(COUNT)] == list(range(COUNT))


async def test_a_thread_may_send_after_the_end(quick_place: Place) -> None:
    """As with servers, what is sent to a client that has left is dropped; the thread goes on."""
    gone, over = threading.Event(), threading.Event()

    class Lingering(JsonWebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            self.send_json("begun")
            threading.Thread(target=self.work).start()

        def work(self) -> None:
            gone.wait()
            for number in range(COUNT):
                self.send_json(number)
            over.set()

        def disconnect(self, code: int) -> None:
            gone.set()

    streams = {"s": Lingering, "other": consumers.Json}
    async with quick_place.client(streams) as client:
        assert await client.receive_from("s") == "begun"
        await client.close("s")
        assert await client.receive_event("s") == closed("s", 1000)
        await until(over.is_set)
        assert await client.receive_nothing()
