"""The calls of channels_rabbitmq's layer, on a stand-in whose RabbitMQ answers when it is told."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_rabbitmq.core import RabbitmqChannelLayer

from channels_demux_layer.layer import rabbitmq
from channels_demux_layer.layer.rabbitmq import RabbitmqCalls, made_whole
from channels_demux_layer.layer.steadfast import make_steadfast


class Connection:
    """Stands for carehare's connection: what is done when it is lost."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.Future()


class Layer(RabbitmqChannelLayer):  # type: ignore[misc]
    """Answers calls when it is told to, and writes down which have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.connecting: asyncio.Future[Connection] = asyncio.Future()
        self.answer: asyncio.Future[None] = asyncio.Future()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.is_closed = False

    @property
    def carehare_connection(self) -> asyncio.Future[Connection]:
        return self.connecting

    def connect(self) -> Connection:
        connection = Connection()
        self.connecting.set_result(connection)
        return connection

    async def _call(self, name: str) -> None:
        self.begun.append(name)
        await asyncio.shield(self.answer)
        self.ended.append(name)

    async def send(self, channel: str, message: Any) -> None:
        await self._call(f"send {channel}")

    async def group_send(self, group: str, message: Any) -> None:
        await self._call(f"group_send {group}")

    async def group_add(self, group: str, channel: str) -> None:
        await self._call(f"group_add {group} {channel}")

    async def group_discard(self, group: str, channel: str) -> None:
        await self._call(f"group_discard {group} {channel}")

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
async def layer(monkeypatch: pytest.MonkeyPatch) -> Layer:
    """A layer without a connection, for the first of which nobody waits long."""
    monkeypatch.setattr(rabbitmq, "CONNECT_LIMIT", 0.01)
    return Layer()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_every_call_is_passed_on(layer: Layer) -> None:
    """Calls reach the layer, which may be in use by many at once, and return when it does."""
    calls = RabbitmqCalls(layer)
    layer.connect()
    made = [
        asyncio.ensure_future(call)
        for call in (
            calls.send("c", {}),
            calls.group_send("g", {}),
            calls.group_add("g", "c"),
            calls.group_discard("g", "c"),
        )
    ]
    await settle()
    assert layer.begun == ["send c", "group_send g", "group_add g c", "group_discard g c"]
    assert not any(call.done() for call in made)
    layer.answer.set_result(None)
    await asyncio.gather(*made)
    assert calls.begun == layer.ended == layer.begun


async def test_a_call_that_is_cancelled_goes_on_to_its_end(layer: Layer) -> None:
    """Who waits for a call may go at any time; RabbitMQ finds its answer expected all the same."""
    calls = RabbitmqCalls(layer)
    layer.connect()
    call = asyncio.ensure_future(calls.group_add("g", "c"))
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    layer.answer.set_result(None)
    await settle()
    assert layer.ended == ["group_add g c"]


async def test_what_the_layer_raises_is_raised(layer: Layer) -> None:
    """Also where nobody waits any more, it is nothing to complain of."""
    calls = RabbitmqCalls(layer)
    layer.connect()
    left, kept = (asyncio.ensure_future(calls.send("c", {})) for _ in range(2))
    await settle()
    left.cancel()
    layer.answer.set_exception(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        await kept


async def test_a_call_fails_with_its_connection(layer: Layer) -> None:
    """A call that the lost connection owes an answer fails, and so does one that seems to work."""
    calls = RabbitmqCalls(layer)
    connection = layer.connect()
    waiting, gone = (asyncio.ensure_future(calls.group_add("g", "c")) for _ in range(2))
    await settle()
    gone.cancel()
    connection.closed.set_exception(OSError("reset"))
    with pytest.raises(ConnectionError, match="was lost"):
        await waiting
    layer.answer.set_result(None)
    with pytest.raises(ConnectionError, match="was lost"):
        await calls.send("c", {})
    assert layer.ended == ["send c"]
    assert connection.closed.exception()


async def test_without_a_connection_calls_fail(layer: Layer) -> None:
    """The first connection is waited for a while; after it was lost, calls fail at once."""
    calls = RabbitmqCalls(layer)
    with pytest.raises(ConnectionError, match="no connection"):
        await calls.send("c", {})
    layer.connect()
    layer.answer.set_result(None)
    await calls.send("c", {})
    layer.connecting = asyncio.Future()
    with pytest.raises(ConnectionError, match="no connection"):
        await calls.send("c", {})
    assert layer.ended == ["send c"]


async def test_who_waits_for_the_connection_may_go(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is made all the same, for everybody else."""
    monkeypatch.setattr(rabbitmq, "CONNECT_LIMIT", 60.0)
    calls = RabbitmqCalls(layer)
    layer.answer.set_result(None)
    gone, waiting = (asyncio.ensure_future(calls.send("c", {})) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    layer.connect()
    await waiting


@pytest.mark.parametrize("was_connected", [True, False])
async def test_a_layer_that_has_given_up_is_made_to_connect(
    layer: Layer, was_connected: bool
) -> None:
    """Where its task has ended, its tasks are forgotten, so that it starts them again."""
    task: asyncio.Future[None] = asyncio.Future()
    expiring: asyncio.Future[None] = asyncio.Future()
    vars(layer).update({rabbitmq.TASKS[0]: task})
    calls = RabbitmqCalls(layer)
    layer.connect()
    layer.answer.set_result(None)
    await calls.send("c", {})
    assert rabbitmq.TASKS[0] in vars(layer)
    task.set_exception(OSError("over"))
    old = layer._carehare_connection
    if was_connected:
        old.set_result(None)
        vars(layer).update({rabbitmq.TASKS[1]: expiring})
    await calls.send("c", {})
    assert not set(rabbitmq.TASKS) & vars(layer).keys()
    assert expiring.cancelled() == was_connected
    assert (layer._carehare_connection is not old) == was_connected
    assert task.exception()


async def test_closing(layer: Layer) -> None:
    """A layer that has a connection is closed; the close() of one that has none would hang."""
    calls = RabbitmqCalls(layer)
    await calls.close_pools()
    assert not layer.is_closed
    layer.connect()
    await calls.close_pools()
    assert layer.is_closed


async def test_only_this_layer_is_treated_so(layer: Layer) -> None:
    """Nodes and consumers get it with its calls made whole; other layers stay as they are."""
    assert isinstance(made_whole(layer), RabbitmqCalls)
    assert isinstance(make_steadfast("default", layer).unsteady.inner, RabbitmqCalls)
    other = InMemoryChannelLayer()
    assert made_whole(other) is other


async def test_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs channels_rabbitmq."""
    monkeypatch.delitem(sys.modules, rabbitmq.RABBITMQ)
    other = InMemoryChannelLayer()
    assert made_whole(other) is other
