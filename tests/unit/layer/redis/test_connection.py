"""A connection of a node's own, made as the layer makes its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from channels_demux_layer.layer.redis.connection import OwnConnection
from tests.integration.harness import until, within
from tests.unit.layer.redis.server import ScriptedServer


@pytest.fixture
async def shard(server: ScriptedServer, make_layer: Callable[..., Any]) -> Any:
    """A layer's connection to the server."""
    return make_layer(server.host(socket_timeout=7.0))._get_shard("any")


@pytest.fixture
async def own(shard: Any) -> OwnConnection:
    """A connection that has not been made."""
    return OwnConnection(shard, "PUBLISH")


def lose_when_taken(monkeypatch: pytest.MonkeyPatch, lose: Callable[[Any], Any]) -> None:
    """Have the next connection of a pool lost when it has been made, and no later."""
    take = ConnectionPool.get_connection

    async def get_connection(self: Any, *purpose: str) -> Any:
        connection = await take(self, *purpose)
        monkeypatch.undo()
        await lose(connection)
        return connection

    monkeypatch.setattr(ConnectionPool, "get_connection", get_connection)


async def test_it_is_made_once(own: OwnConnection, server: ScriptedServer) -> None:
    """However many ask; one of them is told that it was the one."""
    assert not own.is_open
    opened = await within(asyncio.gather(*[own.open() for _ in range(3)]))
    assert sorted(opened) == [False, False, True]
    assert own.is_open
    assert len(server.ends) == 1


async def test_it_waits_for_answers_as_long_as_redis_py_does(own: OwnConnection) -> None:
    """Which is what the project has set."""
    await within(own.open())
    assert own.patience == 7.0


async def test_one_whose_end_has_been_seen_is_not_taken(
    own: OwnConnection, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt makes another."""

    async def lose(connection: Any) -> None:
        server.ends[0].end()
        await until(connection._reader.at_eof)

    lose_when_taken(monkeypatch, lose)
    with pytest.raises(RedisConnectionError, match=r"Connection closed by server\."):
        await within(own.open())
    assert not own.is_open
    await within(own.open())
    assert own.is_open
    assert len(server.ends) == 2


async def test_one_that_is_closing_is_not_taken(
    own: OwnConnection, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt makes another."""

    async def lose(connection: Any) -> None:
        connection._writer.transport.abort()

    lose_when_taken(monkeypatch, lose)
    with pytest.raises(RedisConnectionError, match=r"Connection closed by server\."):
        await within(own.open())
    await within(server.ends[0].has_ended.wait())
    assert not own.is_open
    await within(own.open())
    assert len(server.ends) == 2


async def test_what_is_told_while_it_is_not_open_is_lost(own: OwnConnection) -> None:
    """Who waits for an answer hears of that, unless it does not wait any more."""
    answers = [asyncio.get_running_loop().create_future() for _ in range(3)]
    answers[1].cancel()
    own.tell([b""], answers)
    assert [answer.cancelled() for answer in answers] == [False, True, False]
    for answer in (answers[0], answers[2]):
        with pytest.raises(RedisConnectionError):
            await answer


async def test_a_greeting_comes_first(shard: Any, server: ScriptedServer) -> None:
    """Each time that it is connected, and nobody is told that it is open before."""
    greeted: list[bool] = []

    async def greet() -> None:
        greeted.append(own.is_open)
        answer = asyncio.get_running_loop().create_future()
        own.tell([b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n"], [answer])
        await answer

    own = OwnConnection(shard, "SUBSCRIBE", greet, lambda _: None)
    for number in (0, 1):
        await within(own.open())
        assert server.ends[number].names == {b"a"}
        own.abort()
        await within(server.ends[number].has_ended.wait())
    assert greeted == [True, True]


async def test_a_greeting_that_fails_closes_it(shard: Any, server: ScriptedServer) -> None:
    """Whoever wanted it open is told why."""

    async def greet() -> None:
        raise ZeroDivisionError

    own = OwnConnection(shard, "SUBSCRIBE", greet)
    with pytest.raises(ZeroDivisionError):
        await within(own.open())
    assert not own.is_open
    await within(server.ends[0].has_ended.wait())


async def test_one_that_is_lost_after_the_next_has_been_made_is_not_told_of(
    shard: Any, server: ScriptedServer
) -> None:
    """The loss of the next is."""
    losses: list[Exception] = []
    own = OwnConnection(shard, "SUBSCRIBE", lost=losses.append)
    await within(own.open())
    own.abort()
    await within(own.open())
    await within(server.ends[0].has_ended.wait())
    assert losses == []
    server.ends[1].drop()
    await until(lambda: losses)
    assert not own.is_open


async def test_redis_py_waits_for_its_end(
    own: OwnConnection, shard: Any, server: ScriptedServer
) -> None:
    """Whoever closes the pool is held up by nothing."""
    await within(own.open())
    await within(shard._redis.connection_pool.disconnect())
    await within(server.ends[0].has_ended.wait())
    await until(lambda: not own.is_open)
