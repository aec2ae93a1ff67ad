"""Asking a server of the core layer over a connection of a node's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from channels_demux_layer.layer.redis.client import CoreClient, CoreServer
from tests.integration.harness import within
from tests.unit.layer.redis.server import REFUSAL, ScriptedServer, bulk

#: Seconds that a server is waited for which does not answer.
PATIENCE = 0.1


@pytest.fixture
async def make_client(
    server: ScriptedServer, make_layer: Callable[..., Any]
) -> Callable[..., CoreClient]:
    """Makes a client to the server of a core layer, with options of redis-py's."""

    def make(blocks: bool = False, **options: Any) -> CoreClient:
        layer = make_layer(server.host(**options), cls=RedisChannelLayer)
        return CoreClient(CoreServer(layer, 0), "EVAL", blocks=blocks)

    return make


@pytest.mark.parametrize("version", [2, 3])
async def test_answers_are_what_the_server_says(
    server: ScriptedServer, make_client: Callable[..., CoreClient], version: int
) -> None:
    """In either version of the protocol, on one connection, which is taken once."""
    client = make_client(protocol=version)
    score = bulk(b"1.5") if version == 2 else b",1.5\r\n"
    server.replies.extend(
        [
            b":1\r\n",
            b"*2\r\n" + bulk(b"a") + bulk(b"b"),
            b"*3\r\n" + bulk(b"key") + bulk(b"member") + score,
            b"*-1\r\n" if version == 2 else b"_\r\n",
        ]
    )
    assert await within(client.ask("ZADD", "key", 1.5, [b"mem", b"ber"])) == 1
    assert await within(client.ask("ZRANGE", b"key", 0, -1)) == [b"a", b"b"]
    key, member, read = await within(client.ask("BZPOPMIN", "key", 5))
    assert (key, member, float(read)) == (b"key", b"member", 1.5)
    assert await within(client.ask("BZPOPMIN", "key", 5)) is None
    assert [end.version for end in server.ends] == [version]
    assert server.ends[0].heard[:2] == [
        [b"ZADD", b"key", b"1.5", b"member"],
        [b"ZRANGE", b"key", b"0", b"-1"],
    ]


async def test_commands_at_the_same_time_share_the_connection(
    server: ScriptedServer, make_client: Callable[..., CoreClient]
) -> None:
    """Each gets its own answer, also behind one whose caller has been cut off."""
    client = make_client()
    calls = [asyncio.ensure_future(client.ask("ZCOUNT", f"key{n}", 0, 1)) for n in range(4)]
    end = await server.hears(4)
    calls[1].cancel()
    end.push(b":0\r\n:1\r\n:2\r\n:3\r\n")
    answers = await within(asyncio.gather(*calls, return_exceptions=True))
    assert [answers[0], *answers[2:]] == [0, 2, 3]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert len(server.ends) == 1


async def test_what_the_server_refuses_is_raised(
    server: ScriptedServer, make_client: Callable[..., CoreClient]
) -> None:
    """And the connection is kept."""
    client = make_client()
    server.replies.extend([REFUSAL, b":1\r\n"])
    with pytest.raises(ResponseError, match="NOPERM"):
        await within(client.ask("EXPIRE", "key", 1))
    assert await within(client.ask("EXPIRE", "key", 1))
    assert len(server.ends) == 1


async def test_a_lost_connection_is_made_again(
    server: ScriptedServer, make_client: Callable[..., CoreClient]
) -> None:
    """And what was not answered is asked again, once."""
    client = make_client()
    asking = asyncio.ensure_future(client.ask("ZCOUNT", "key", 0, 1))
    (await server.hears(1)).drop()
    (await server.hears(1, 1)).push(b":7\r\n")
    assert await within(asking) == 7
    server.close()
    with pytest.raises(RedisConnectionError):
        await within(client.ask("ZCOUNT", "key", 0, 1))


async def test_what_waits_at_the_server_is_not_asked_again(
    server: ScriptedServer, make_client: Callable[..., CoreClient]
) -> None:
    """Who waits is told of each connection that is lost; the next one gets another."""
    client = make_client(blocks=True)
    waiting = asyncio.ensure_future(client.ask("BZPOPMIN", "key", 5))
    (await server.hears(1)).drop()
    with pytest.raises(RedisConnectionError):
        await within(waiting)
    server.replies.append(b"*-1\r\n")
    assert await within(client.ask("BZPOPMIN", "key", 5)) is None
    assert len(server.ends) == 2


async def test_who_is_cut_off_leaves_nothing_waiting_at_the_server(
    server: ScriptedServer, make_client: Callable[..., CoreClient]
) -> None:
    """It would take a message for nobody."""
    waiting = asyncio.ensure_future(make_client(blocks=True).ask("BZPOPMIN", "key", 5))
    end = await server.hears(1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await within(end.has_ended.wait())


async def test_a_server_that_does_not_answer(
    server: ScriptedServer, make_client: Callable[..., CoreClient]
) -> None:
    """It is not waited for beyond `socket_timeout`, but for what waits there on purpose."""
    blocked = make_client(blocks=True, socket_timeout=PATIENCE)
    waiting = asyncio.ensure_future(blocked.ask("BZPOPMIN", "key", 5))
    end = await server.hears(1)
    client = make_client(socket_timeout=PATIENCE)
    with pytest.raises(RedisConnectionError):
        await within(client.ask("ZCOUNT", "key", 0, 1))
    server.replies.append(b":1\r\n")
    assert await within(client.ask("ZCOUNT", "key", 0, 1)) == 1
    end.push(b"*-1\r\n")
    assert await within(waiting) is None


async def test_pools_that_were_closed_are_left(
    server: ScriptedServer, make_layer: Callable[..., Any]
) -> None:
    """The layer's close_pools() closes them; the next one has a connection as well."""
    layer = make_layer(server.host(), cls=RedisChannelLayer)
    client = CoreClient(CoreServer(layer, 0), "EVAL")
    server.replies.extend([b":1\r\n", b":2\r\n"])
    assert await within(client.ask("ZCOUNT", "key", 0, 1)) == 1
    await within(layer.close_pools())
    assert await within(client.ask("ZCOUNT", "key", 0, 1)) == 2
    assert len(server.ends) == 2
