"""Consumers go to a thread for old database connections only where there may be one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import channels.consumer
import channels.db
import channels.generic.websocket
import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db.backends.signals import connection_created

from channels_demux_layer.hosting import patches
from channels_demux_layer.hosting.patches import (
    aclose_old_connections,
    run_synchronous_code_in,
    spare_hops,
)

MODULES = (channels.consumer, channels.generic.websocket)


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test finds Channels as it is, and no thread with a connection."""
    for module in MODULES:
        monkeypatch.setattr(module, "aclose_old_connections", channels.db.aclose_old_connections)
    monkeypatch.setattr(patches, "_logged", set())
    patches._threads.clear()
    yield
    patches._threads.clear()


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that were asked to close old connections, in order."""
    threads: list[threading.Thread] = []

    def note() -> None:
        threads.append(threading.current_thread())

    monkeypatch.setattr(channels.db, "close_old_connections", note)
    return threads


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The one connection of every thread; it stays open while its ``connection`` is set."""
    connection = Mock(connection=object())
    connections = Mock()
    connections.all.return_value = [connection]
    monkeypatch.setattr(patches, "connections", connections)
    return connection


async def test_nobody_goes_where_there_is_no_connection(closings: list[Any]) -> None:
    """Without a connection there is nothing to close."""
    await aclose_old_connections()
    assert not closings


async def test_whoever_opened_a_connection_is_asked_until_it_is_closed(
    closings: list[threading.Thread], connection: Mock
) -> None:
    """A connection that is kept open is looked at before each message, as Channels does."""
    async with ThreadSensitiveContext():
        opener = await sync_to_async(_open)()
        await aclose_old_connections()
        await aclose_old_connections()
        assert closings == [opener] * 2
        connection.connection = None
        await aclose_old_connections()
        await aclose_old_connections()
        assert closings == [opener] * 3


async def test_a_thread_that_is_over_is_forgotten(closings: list[Any], connection: Mock) -> None:
    """A consumer's own thread takes its connection along."""
    thread = threading.Thread(target=_open)
    thread.start()
    thread.join()
    assert len(patches._threads) == 1
    del thread
    await aclose_old_connections()
    assert not closings


def _open() -> threading.Thread:
    connection_created.send(sender=None, connection=None)
    return threading.current_thread()


async def test_consumers_are_spared(closings: list[Any]) -> None:
    """Once spared, Channels' consumers go nowhere, and answer as ever."""

    class Consumer(channels.consumer.AsyncConsumer):  # type: ignore[misc]
        async def anything(self, message: Any) -> None:
            answers.put_nowait(message)

    answers: asyncio.Queue[Any] = asyncio.Queue()
    await Consumer().dispatch({"type": "anything"})
    assert len(closings) == 1
    spare_hops()
    spare_hops()
    await Consumer().dispatch({"type": "anything"})
    assert len(closings) == 1
    assert answers.qsize() == 2
    assert all(module.aclose_old_connections is aclose_old_connections for module in MODULES)


def other() -> None:
    """Close old connections in another way."""


async def newer() -> None:
    """Close old connections as a release does that nobody knows yet."""
    await sync_to_async(other)()


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (channels.consumer, "aclose_old_connections", newer),
        (channels.generic.websocket, "aclose_old_connections", newer),
        (channels.db, "aclose_old_connections", newer),
        (channels.db, "aclose_old_connections", None),
        (channels.db, "sync_to_async", Mock()),
    ],
)
def test_what_is_not_known_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    module: Any,
    name: str,
    value: Any,
) -> None:
    """Whatever has changed in Channels: nothing is replaced, and the log says so once."""
    monkeypatch.setattr(module, name, value)
    before = [vars(module)["aclose_old_connections"] for module in MODULES]
    spare_hops()
    spare_hops()
    assert [vars(module)["aclose_old_connections"] for module in MODULES] == before
    assert len(caplog.messages) == 1
    assert "is not the one that this release knows" in caplog.text


def test_a_release_without_the_function_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Channels may call something else before a message."""
    for module in MODULES:
        monkeypatch.delattr(module, "aclose_old_connections")
    spare_hops()
    assert not any(hasattr(module, "aclose_old_connections") for module in MODULES)
    assert len(caplog.messages) == 1


async def test_synchronous_code_runs_in_an_executor() -> None:
    """That of the current task does, and of what it starts."""
    with ThreadPoolExecutor(1, thread_name_prefix="ours") as executor:

        async def work() -> str:
            assert await run_synchronous_code_in(executor)
            name: str = await sync_to_async(lambda: threading.current_thread().name)()
            return name

        assert (await asyncio.ensure_future(work())).startswith("ours")


async def test_an_asgiref_that_is_not_known_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A session then shares asgiref's thread, and says so once in a process."""
    monkeypatch.delattr(SyncToAsync, "context_to_thread_executor")
    with ThreadPoolExecutor(1) as executor:
        assert not await run_synchronous_code_in(executor)
        assert not await run_synchronous_code_in(executor)
    assert len(caplog.messages) == 1
