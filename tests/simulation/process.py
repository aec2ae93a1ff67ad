"""Simulated processes: each with its own nodes and its own view of the channel layer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["NodesByProcess", "Process", "ProcessLayer", "current"]

_current: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


def current() -> Process:
    """Return the process whose code is running."""
    return _current.get()


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
        nodes: Its nodes, by alias.
        is_dead: Whether it was killed.
        is_over: Whether it is dead or has ended.
    """

    def __init__(self, name: str, layer: Any) -> None:
        self.name = name
        self.layers: dict[str, Any] = {"default": ProcessLayer(layer, self)}
        self.nodes: dict[str, Any] = {}
        self.is_dead = False
        self.is_over = False
        #: Its PEER_TIMEOUT, if it is not that of the others.
        self.peer_timeout: float | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.channels: list[str] = []
        #: Told of each call of the channel layer.
        self.tell: Callable[..., None] = lambda *what: None
        self.listeners: list[asyncio.Task[Any]] = []
        self._context = contextvars.copy_context()
        self._context.run(_current.set, self)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in the process."""
        return self._context.run(asyncio.get_running_loop().create_task, coroutine)

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
        self.is_dead = self.is_over = True
        for task in list(self.tasks):
            task.cancel()

    async def end(self) -> None:
        """End what is left, as the end of a program does."""
        self.is_over = True
        me = asyncio.current_task()
        while tasks := [task for task in self.tasks if task is not me]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


class ProcessLayer:
    """What one process sees of the channel layer; nothing, once it is dead.

    Args:
        layer: The channel layer.
        process: The process.
    """

    def __init__(self, layer: Any, process: Process) -> None:
        self._layer = layer
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

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
        channel = await self._call(self._layer.new_channel)
        self._process.channels.append(channel)
        return channel

    async def receive(self, channel: str) -> Any:
        return await self._call(self._layer.receive, channel)

    async def send(self, channel: str, message: dict[str, Any]) -> Any:
        return await self._call(self._layer.send, channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> Any:
        return await self._call(self._layer.group_send, group, message)

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

    @staticmethod
    def get_channel_layer(alias: str = "default") -> Any:
        return current().layers.get(alias)

    def set(self, alias: str, layer: Any) -> None:
        current().layers[alias] = layer
