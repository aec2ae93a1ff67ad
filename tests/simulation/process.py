"""Simulated processes: each with its own nodes and its own view of the channel layer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

__all__ = ["NodesByProcess", "Process", "ProcessLayer", "current", "leave_loop", "loop_of"]

_current: contextvars.ContextVar[Process] = contextvars.ContextVar("process")
#: The process whose event loop runs the code; None for its threads, and for the channel layer.
_loop: contextvars.ContextVar[Process | None] = contextvars.ContextVar("loop", default=None)


def current() -> Process:
    """Return the process whose code is running."""
    return _current.get()


def loop_of(context: contextvars.Context) -> Process | None:
    """Return the process whose event loop runs the code of a context; None for other code."""
    return context.get(_loop)


def leave_loop() -> None:
    """Have the current task go on while the event loop of its process is blocked."""
    _loop.set(None)


def note_task(task: asyncio.Task[Any]) -> None:
    """Give a new task to the process that has started it."""
    process = _current.get(None)
    if process is not None:
        process.adopt(task)


class Process:
    """One process of the simulated system.

    Args:
        name: Its name.
        layer: The channel layer that all share.

    Attributes:
        layers: The channel layers that the process sees, by alias.
        own_layers: The layer objects that its nodes have made, in order.
        nodes: Its nodes, by alias.
        is_dead: Whether it was killed.
        is_over: Whether it is dead or has ended.
        over_at: When that was.
        is_blocked: Whether its event loop is blocked.
        hears: Whether messages reach it. Where not, `keeps` tells whether they come later.
        speaks: Whether what it sends reaches anybody.
        blocks: When its event loop was blocked: from and to.
        cuts: When it did not hear, or was not heard: from and to.
        deafness: When a node of it was deaf: from, and to when it made another layer object.
    """

    def __init__(self, name: str, layer: Any) -> None:
        self.name = name
        self._layer = layer
        self.layers: dict[str, Any] = {"default": ProcessLayer(layer, self, name)}
        self.own_layers: list[ProcessLayer] = []
        self.nodes: dict[str, Any] = {}
        self.is_dead = False
        self.is_over = False
        self.over_at = math.inf
        self.is_blocked = False
        self.hears = self.speaks = True
        self.keeps = False
        self.blocks: list[tuple[float, float]] = []
        self.cuts: list[tuple[float, float]] = []
        self.deafness: list[tuple[float, float]] = []
        #: Its PEER_TIMEOUT, if it is not that of the others.
        self.peer_timeout: float | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.channels: list[str] = []
        #: Told of each call of the channel layer.
        self.tell: Callable[..., None] = lambda *what: None
        self.listeners: list[asyncio.Task[Any]] = []
        self._connected = asyncio.Event()
        self._context = contextvars.copy_context()
        self._context.run(_current.set, self)
        self._thread_context = self._context.copy()
        self._context.run(_loop.set, self)

    def make_layer(self) -> ProcessLayer:
        """Return a new layer object, with connections of its own."""
        if self.own_layers and self.own_layers[-1].deaf_since is not None:
            now = asyncio.get_running_loop().time()
            self.deafness.append((self.own_layers[-1].deaf_since, now))
        prefix = f"{self.name}.{len(self.own_layers) + 1}"
        layer = ProcessLayer(self._layer, self, prefix)
        self.own_layers.append(layer)
        return layer

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in the process."""
        return self._context.run(asyncio.get_running_loop().create_task, coroutine)

    def start_thread(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a thread of the process would: even while its loop is blocked."""
        context = self._thread_context.copy()
        return context.run(asyncio.get_running_loop().create_task, coroutine)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the process."""
        return self._context.run(function)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Note a task of the process; the dead start none."""
        self.tasks[task] = None
        task.add_done_callback(self._forget)
        if self.is_dead:
            task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)

    def kill(self) -> None:
        """End at once, without a word: what its code does on its way out reaches nobody."""
        self.is_dead = True
        self._is_over()
        self.unblock()
        for task in list(self.tasks):
            task.cancel()

    async def end(self) -> None:
        """End what is left, as the end of a program does."""
        self._is_over()
        me = asyncio.current_task()
        while tasks := [task for task in self.tasks if task is not me]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _is_over(self) -> None:
        self.is_over = True
        self.over_at = min(self.over_at, asyncio.get_running_loop().time())

    # -- what goes wrong ----------------------------------------------------------------------

    @property
    def is_troubled(self) -> bool:
        """Whether it is blocked or cut off, or over."""
        return self.is_over or self.is_blocked or not (self.hears and self.speaks)

    async def be_blocked(self, seconds: float) -> None:
        """Have its event loop stand still for a time."""
        loop: Any = asyncio.get_running_loop()
        began_at = loop.time()
        self.is_blocked = True
        loop.block(self)
        threads = [
            self.start_thread(stand_in(node.watchdog, layer))
            for node in self.nodes.values()
            if node.watchdog is not None
            for layer in self.layers.values()
        ]
        await asyncio.sleep(seconds)
        for thread in threads:
            thread.cancel()
        self.unblock()
        self.blocks.append((began_at, loop.time()))

    def unblock(self) -> None:
        """Have its event loop go on."""
        self.is_blocked = False
        loop: Any = asyncio.get_running_loop()
        loop.unblock(self)

    async def be_cut_off(self, seconds: float, *, hears: bool, speaks: bool, keeps: bool) -> None:
        """Have its connection half-open for a time, so that no call fails."""
        now = asyncio.get_running_loop().time
        began_at = now()
        self.hears, self.speaks, self.keeps = hears, speaks, keeps
        self._connected.clear()
        await asyncio.sleep(seconds)
        self.hears = self.speaks = True
        self._connected.set()
        self.cuts.append((began_at, now()))

    @property
    def may_go_deaf(self) -> bool:
        """Whether it has a node with connections that work."""
        return not self.is_over and bool(self.own_layers) and not self.own_layers[-1].is_deaf

    async def until_connected(self) -> None:
        """Wait until it hears again."""
        await self._connected.wait()


async def stand_in(watchdog: Any, layer: Any) -> None:
    """Do what a watchdog's thread does while the event loop is blocked."""
    watchdog._set_interval()
    # It is somewhere in its pause when the block begins, and has a doubt of half an interval.
    phase = watchdog.rng.random()
    await asyncio.sleep((phase + 0.5) * watchdog._interval)
    while True:
        # As for the real one, what the layer raises is only logged.
        with contextlib.suppress(Exception):
            await watchdog._send_heartbeats(layer)
        await asyncio.sleep(watchdog._interval)


class ProcessLayer:
    """A layer object of one process: what it sees of the channel layer; nothing, once it is dead.

    Args:
        layer: The channel layer.
        process: The process.
        client_prefix: The beginning of its channels' names. It receives on no other channels, as
            the core layer of channels_redis.

    Attributes:
        deaf_since: Since when its connections are half-open for good: it sends, and hears nothing
            any more. Another object does. None where they work.
    """

    def __init__(self, layer: Any, process: Process, client_prefix: str) -> None:
        self._layer = layer
        self._process = process
        self.client_prefix = client_prefix
        self.deaf_since: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    @property
    def is_deaf(self) -> bool:
        """Whether it hears nothing."""
        return self.deaf_since is not None

    async def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self._process.is_dead:
            raise asyncio.CancelledError
        try:
            result = await call(*arguments)
        except Exception as error:
            self._process.tell(call.__name__, *arguments, repr(error))
            raise
        if self._process.is_dead:
            raise asyncio.CancelledError
        self._process.tell(call.__name__, *arguments, result)
        return result

    async def new_channel(self) -> Any:
        channel = await self._call(self._layer.new_channel, f"specific.{self.client_prefix}")
        self._process.channels.append(channel)
        return channel

    async def _say(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self._process.speaks:
            return await self._call(call, *arguments)
        await asyncio.sleep(0)
        return None

    async def receive(self, channel: str) -> Any:
        local, mark, _ = channel.partition("!")
        if mark and local != f"specific.{self.client_prefix}":
            raise AssertionError(f"The prefix of {channel} is not {self.client_prefix}.")
        while True:
            if self.is_deaf and not self._layer.is_pubsub:
                # The server hands one message to a request that is under way, and no more.
                await asyncio.Event().wait()
            message = await self._call(self._layer.receive, channel)
            if self.is_deaf:
                continue
            if not self._process.hears and self._process.keeps:
                await self._process.until_connected()
            if self._process.hears:
                return message

    async def send(self, channel: str, message: dict[str, Any]) -> Any:
        return await self._say(self._layer.send, channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> Any:
        return await self._say(self._layer.group_send, group, message)

    async def group_add(self, group: str, channel: str) -> Any:
        return await self._call(self._layer.group_add, group, channel)

    async def group_discard(self, group: str, channel: str) -> Any:
        return await self._call(self._layer.group_discard, group, channel)


class NodesByProcess:
    """Stands where the package keeps its nodes by event loop: here one loop has many processes."""

    def __contains__(self, loop: object) -> bool:
        return True

    def setdefault(self, loop: object, default: object) -> dict[str, Any]:
        return current().nodes

    def get(self, loop: object, default: object) -> dict[str, Any]:
        return current().nodes

    def pop(self, loop: object, default: object) -> dict[str, Any]:
        nodes, current().nodes = current().nodes, {}
        return nodes


class LayersByProcess:
    """Stands where Channels keeps its channel layers."""

    #: The setting CHANNEL_LAYERS.
    configs: ClassVar = {"default": {"BACKEND": f"{__name__}.ProcessLayer"}}

    @staticmethod
    def get_channel_layer(alias: str = "default") -> Any:
        return current().layers.get(alias)

    @staticmethod
    def make_backend(alias: str) -> ProcessLayer:
        return current().make_layer()

    def set(self, alias: str, layer: Any) -> None:
        current().layers[alias] = layer
