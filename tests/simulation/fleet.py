"""Servers and workers in any number on virtual time, with clients that say what they are told.

For what the system costs: nothing fails, and the same is done in every run, on every machine.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.transport.nodes import stop_nodes

from .layer import SharedLayer
from .process import Process, note_task
from .run import listening
from .virtual_time import VirtualLoop
from .world import environment, listen

#: How long a call of the layer takes at most, in seconds.
LATENCY = 0.002
#: More than a channel ever holds here.
CAPACITY = 100_000
#: How long everything takes until nothing is under way any more, in seconds.
SETTLING = 1.0
#: How often it may take so long until all is answered.
PATIENCE = 600


class CountingLoop(VirtualLoop):
    """A loop that counts what it is asked to do.

    Attributes:
        counts: Tasks that were made, callbacks, timers, and turns of the loop.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        super().__init__(self._count_task)

    def _count_task(self, task: asyncio.Task[Any]) -> None:
        self.counts["tasks"] += 1
        note_task(task)

    def call_soon(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        self.counts["callbacks"] += 1
        return super().call_soon(*arguments, **options)

    def call_at(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        self.counts["timers"] += 1
        return super().call_at(*arguments, **options)

    def _run_once(self) -> None:
        self.counts["turns"] += 1
        super()._run_once()  # type: ignore[misc]


class CountingLayer(SharedLayer):
    """A layer that counts its calls.

    Args:
        counts: Where they are counted, by the method's name.
        is_pubsub: Whether all workers get each open.
    """

    def __init__(self, counts: Counter[str], *, is_pubsub: bool) -> None:
        super().__init__(random.Random(0), CAPACITY, LATENCY, is_pubsub=is_pubsub)
        self._counts = counts

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._counts["send"] += 1
        await super().send(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._counts["group_send"] += 1
        await super().group_send(group, message)

    async def group_add(self, group: str, channel: str) -> None:
        self._counts["group_add"] += 1
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._counts["group_discard"] += 1
        await super().group_discard(group, channel)


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Say what is heard: a consumer that costs next to nothing itself."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            return


class Demultiplexer(WebsocketDemultiplexer):
    """One stream that echoes."""

    consumer_classes = {"echo": echo}


class Socket:
    """One client, and what its server does for it.

    Args:
        edge: The process that it connects to.
        application: The demultiplexer.
        number: Its number.
    """

    def __init__(self, edge: Process, application: Any, number: int) -> None:
        self.heard = 0
        self._left = 0
        self._inbox: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self._waiter: asyncio.Future[None] | None = None
        scope = {"type": "websocket", "path": f"/{number}", "headers": [], "subprotocols": []}
        self.serving = edge.start(application(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        while not self._inbox:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._inbox.popleft()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self.heard += 1
            self._say_one()

    def _put(self, message: dict[str, Any]) -> None:
        self._inbox.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _say_one(self) -> None:
        if self._left:
            self._left -= 1
            text = json.dumps({"stream": "echo", "payload": {"n": self._left}})
            self._put({"type": "websocket.receive", "text": text})

    def converse(self, frames: int, in_flight: int) -> None:
        """Have so many frames echoed, so many of them under way at a time."""
        self._left += frames
        for _ in range(in_flight):
            self._say_one()

    def leave(self) -> None:
        """Close the socket."""
        self._put({"type": "websocket.disconnect", "code": 1001})


class Fleet:
    """A system of servers and workers, and its clients.

    Args:
        edges: How many servers.
        workers: How many workers.
        is_pubsub: Whether the layer gives an open to all workers, or to one.

    Attributes:
        loop: The loop, which counts.
        counts: What was done since the beginning: by the loop, and of the layer's methods.
        processes: All servers, then all workers.
    """

    def __init__(self, edges: int, workers: int, *, is_pubsub: bool) -> None:
        self.loop = CountingLoop()
        self.counts = self.loop.counts
        self.layer = CountingLayer(self.counts, is_pubsub=is_pubsub)
        self.sockets: list[Socket] = []
        self._connected = 0
        self._application = Demultiplexer.as_asgi()
        self._edges = [Process(f"edge{number}", self.layer) for number in range(edges)]
        self._workers = [Process(f"worker{number}", self.layer) for number in range(workers)]
        self.processes = [*self._edges, *self._workers]

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(coroutine)

    def pass_time(self, seconds: float) -> Counter[str]:
        """Let time pass; return what was done meanwhile."""
        before = Counter(self.counts)
        self.run(asyncio.sleep(seconds))
        return self.counts - before

    def start(self) -> None:
        """Start the workers."""
        self.run(self._start())

    async def _start(self) -> None:
        streams = stream_workers(Demultiplexer).items()
        for worker in self._workers:
            worker.listeners = [worker.start(listen(*stream)) for stream in streams]

    def connect(self, clients: int) -> Counter[str]:
        """Connect so many clients to each server, one after the other.

        Returns:
            What was done for it.
        """
        before = Counter(self.counts)
        for _ in range(clients):
            self.run(self._connect())
            self.pass_time(SETTLING)
        return self.counts - before

    async def _connect(self) -> None:
        for edge in self._edges:
            self._connected += 1
            self.sockets.append(Socket(edge, self._application, self._connected))

    def converse(self, frames: int, in_flight: int) -> Counter[str]:
        """Have each client's frames echoed.

        Args:
            frames: How many of each client.
            in_flight: How many of them are under way at a time.

        Returns:
            What was done for it.
        """
        before = Counter(self.counts)
        due = self.heard + frames * len(self.sockets)
        for socket in self.sockets:
            socket.converse(frames, in_flight)
        for _ in range(PATIENCE):
            self.pass_time(SETTLING)
            if self.heard == due:
                break
        self.pass_time(SETTLING)
        assert self.heard == due, f"{self.heard} of {due} answers came"
        return self.counts - before

    @property
    def heard(self) -> int:
        """How many frames all clients have got."""
        return sum(socket.heard for socket in self.sockets)

    def disconnect(self, clients: int | None = None) -> Counter[str]:
        """Have clients leave.

        Args:
            clients: How many of those that came last; None: all.

        Returns:
            What was done for it.
        """
        before = Counter(self.counts)
        leaving = self.sockets[-clients:] if clients else self.sockets[:]
        del self.sockets[-len(leaving) :]
        self.run(self._disconnect(leaving))
        self.pass_time(SETTLING)
        return self.counts - before

    async def _disconnect(self, sockets: list[Socket]) -> None:
        for socket in sockets:
            socket.leave()
        await asyncio.gather(*(socket.serving for socket in sockets))

    @property
    def links(self) -> int:
        """How many links there are."""
        ends = sum(len(node._wires) for p in self.processes for node in p.nodes.values())
        return ends // 2

    @property
    def timers(self) -> int:
        """How many timers will ring."""
        return sum(not timer.cancelled() for timer in self.loop._scheduled)  # type: ignore[attr-defined]

    def stop(self) -> None:
        """End everything."""
        self.run(self._stop())
        self.loop.close()

    async def _stop(self) -> None:
        for process in self.processes:
            await process.start(stop_nodes())
        for process in self.processes:
            await process.end()


@contextmanager
def fleet(edges: int, workers: int, *, is_pubsub: bool = True) -> Iterator[Fleet]:
    """Run a fleet for the length of a block.

    Args:
        edges: How many servers.
        workers: How many workers.
        is_pubsub: Whether the layer gives an open to all workers, or to one.

    Yields:
        The fleet, whose workers listen.
    """
    made = Fleet(edges, workers, is_pubsub=is_pubsub)
    scenario: Any = SimpleNamespace(settings={"HOSTING": "workers"})
    with listening(is_told=False) as ear, environment(scenario, random.Random(0), made.loop.time):
        made.start()
        try:
            yield made
        finally:
            made.stop()
    assert not ear.errors, ear.errors
