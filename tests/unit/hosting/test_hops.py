"""Consumers go to a thread for old database connections only where there may be one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import channels.consumer
import channels.db
import channels.generic.websocket
import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db.backends.signals import connection_created

from channels_demux_layer.hosting import hops
from channels_demux_layer.hosting.hops import aclose_old_connections, spare_hops

MODULES = (channels.consumer, channels.generic.websocket)


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test finds Channels as it is, and no thread with a connection."""
    for module in MODULES:
        monkeypatch.setattr(module, "aclose_old_connections", channels.db.aclose_old_connections)
    hops._threads.clear()
    yield
    hops._threads.clear()


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that were asked to close old connections, in order."""
    threads: list[threading.Thread] = []
    monkeypatch.setattr(
        channels.db, "close_old_connections", lambda: threads.append(threading.current_thread())
    )
    return threads


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The one connection of every thread; it stays open while its ``connection`` is set."""
    connection = Mock(connection=object())
    connections = Mock()
    connections.all.return_value = [connection]
    monkeypatch.setattr(hops, "connections", connections)
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
    assert len(hops._threads) == 1
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


def test_what_others_have_put_in_place_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has replaced Channels' function knows why."""
    other = Mock()
    monkeypatch.setattr(channels.consumer, "aclose_old_connections", other)
    spare_hops()
    assert channels.consumer.aclose_old_connections is other
