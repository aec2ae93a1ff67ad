"""Listening on one Redis server over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from channels_demux_layer.layer.redis.resp import LARGE
from channels_demux_layer.layer.redis.subscriber import Subscriber
from tests.integration.harness import until, within
from tests.unit.layer.redis.server import ScriptedServer, ServerEnd, bulk


class Listener:
    """A subscriber, and what it says.

    Attributes:
        subscriber: The subscriber.
        messages: The messages that it has received.
        losses: Why connections were lost.
    """

    def __init__(self, shard: Any) -> None:
        self.messages: list[bytes | memoryview] = []
        self.losses: list[Exception] = []
        self.subscriber = Subscriber(shard, self.messages.append, self.losses.append)

    async def hears(self, count: int) -> None:
        """Wait until so many messages have come."""
        await until(lambda: len(self.messages) >= count)

    async def loses(self, end: ServerEnd) -> None:
        """Wait for the one loss of a connection."""
        await within(end.has_ended.wait())
        await until(lambda: self.losses)
        await asyncio.sleep(0)
        assert [type(loss) for loss in self.losses] == [RedisConnectionError]


@pytest.fixture(params=[2, 3])
async def layer(
    request: pytest.FixtureRequest, server: ScriptedServer, make_layer: Callable[..., Any]
) -> Any:
    """A layer on the server, with each version of the protocol."""
    return make_layer(server.host(protocol=request.param))


@pytest.fixture
async def listener(layer: Any) -> Listener:
    """A subscriber to nothing yet."""
    return Listener(layer._get_shard("any"))


@pytest.fixture
async def subscriber(listener: Listener) -> Subscriber:
    """The same, without what it says."""
    return listener.subscriber


@pytest.mark.parametrize("size", [0, 5, LARGE - 1, LARGE, 1_000_000])
async def test_messages_arrive(listener: Listener, server: ScriptedServer, size: int) -> None:
    """As bytes, or as a view where that spares a copy."""
    await within(listener.subscriber.subscribe("a"))
    content = b"x" * size
    for each in (b"before", content, b"after"):
        server.deliver(b"a", each)
    await listener.hears(3)
    assert listener.messages == [b"before", content, b"after"]
    assert type(listener.messages[1]) is (memoryview if size >= LARGE else bytes)


async def test_names_share_a_connection(listener: Listener, server: ScriptedServer) -> None:
    """Whether or not it is there when they are asked for."""
    subscriber = listener.subscriber
    await within(asyncio.gather(*[subscriber.subscribe(name) for name in "abc"]))
    await within(subscriber.subscribe("d"))
    for name in b"abcd":
        server.deliver(bytes([name]), bytes([name]))
    await listener.hears(4)
    assert listener.messages == [b"a", b"b", b"c", b"d"]
    assert len(server.ends) == 1


async def test_nothing_is_heard_of_a_name_that_was_left(
    listener: Listener, server: ScriptedServer
) -> None:
    """What others publish is not even sent; the other names are kept."""
    for name in "ab":
        await within(listener.subscriber.subscribe(name))
    await within(listener.subscriber.unsubscribe("a"))
    for name in (b"a", b"b"):
        server.deliver(name, name)
    await listener.hears(1)
    assert listener.messages == [b"b"]
    assert server.ends[0].names == {b"b"}


async def test_a_refused_name_is_not_asked_for_again(
    listener: Listener, server: ScriptedServer
) -> None:
    """Whoever wanted it is told, and the others are heard over the same connection."""
    server.refused.add("b")
    await within(listener.subscriber.subscribe("a"))
    with pytest.raises(ResponseError, match=r"NOPERM You may not\."):
        await within(listener.subscriber.subscribe("b"))
    assert listener.subscriber.is_connected
    server.ends[0].drop()
    await listener.loses(server.ends[0])
    server.refused.clear()
    await within(listener.subscriber.connect())
    assert server.ends[1].names == {b"a"}


async def test_a_name_that_is_refused_first_leaves_no_connection(
    subscriber: Subscriber, server: ScriptedServer
) -> None:
    """The next name has one."""
    server.refused.add("a")
    with pytest.raises(ResponseError):
        await within(subscriber.subscribe("a"))
    assert not subscriber.is_connected
    await within(server.ends[0].has_ended.wait())
    await within(subscriber.subscribe("b"))
    assert server.ends[1].names == {b"b"}


@pytest.mark.parametrize("loss", ["end", "drop"])
async def test_a_loss_is_told_once_and_made_good(
    listener: Listener, server: ScriptedServer, loss: str
) -> None:
    """However the connection is lost, all names are listened for again."""
    for name in "abc":
        await within(listener.subscriber.subscribe(name))
    getattr(server.ends[0], loss)()
    await listener.loses(server.ends[0])
    assert not listener.subscriber.is_connected
    await within(listener.subscriber.connect())
    await within(listener.subscriber.connect())
    assert [end.names for end in server.ends[1:]] == [{b"a", b"b", b"c"}]
    server.deliver(b"b", b"again")
    await listener.hears(1)
    assert len(listener.losses) == 1


async def test_the_layers_flush_is_a_loss(
    listener: Listener, server: ScriptedServer, layer: Any
) -> None:
    """The next connection is of the next pool."""
    await within(listener.subscriber.subscribe("a"))
    await within(layer.flush())
    await listener.loses(server.ends[0])
    await within(listener.subscriber.connect())
    assert server.ends[1].names == {b"a"}


async def test_a_server_that_is_gone_is_told_of(listener: Listener, server: ScriptedServer) -> None:
    """To whoever asks for a name, which is forgotten, and to whoever wants the connection back."""
    await within(listener.subscriber.subscribe("a"))
    server.is_holding = True
    asking = asyncio.ensure_future(listener.subscriber.subscribe("b"))
    await server.hears(2)
    server.close()
    with pytest.raises(RedisConnectionError):
        await within(asking)
    with pytest.raises(RedisConnectionError):
        await within(listener.subscriber.connect())
    with pytest.raises(RedisConnectionError):
        await within(listener.subscriber.subscribe("c"))
    server.is_holding = False
    await server.open()
    await within(listener.subscriber.connect())
    assert server.ends[-1].names == {b"a"}


async def test_a_cut_off_subscribe_leaves_the_order_of_answers(
    subscriber: Subscriber, server: ScriptedServer
) -> None:
    """Each of the others has its own."""
    await within(subscriber.subscribe("a"))
    server.refused.add("d")
    server.is_holding = True
    asking = [asyncio.ensure_future(subscriber.subscribe(name)) for name in "bcde"]
    await server.hears(5)
    for number in (0, 1):
        asking[number].cancel()
    server.answer()
    results = await within(asyncio.gather(*asking, return_exceptions=True))
    kinds = [asyncio.CancelledError] * 2 + [ResponseError, type(None)]
    assert [type(result) for result in results] == kinds
    server.ends[0].drop()
    await until(lambda: not subscriber.is_connected)
    await within(subscriber.connect())
    assert server.ends[1].names == {b"a", b"e"}


async def test_a_first_subscribe_that_is_cut_off_leaves_no_connection(
    subscriber: Subscriber, server: ScriptedServer
) -> None:
    """Whoever waits for it makes another one."""
    server.is_holding = True
    asking = [asyncio.ensure_future(subscriber.subscribe(name)) for name in "ab"]
    first = await server.hears(1)
    asking[0].cancel()
    await within(first.has_ended.wait())
    server.is_holding = False
    await within(asking[1])
    assert [end.names for end in server.ends[1:]] == [{b"b"}]


async def test_leaving_a_name_without_a_connection_asks_nothing(
    listener: Listener, server: ScriptedServer
) -> None:
    """It is left out when there is a connection again."""
    await within(listener.subscriber.unsubscribe("a"))
    assert server.ends == []
    for name in "ab":
        await within(listener.subscriber.subscribe(name))
    server.ends[0].drop()
    await listener.loses(server.ends[0])
    await within(listener.subscriber.unsubscribe("a"))
    await within(listener.subscriber.connect())
    assert [end.names for end in server.ends[1:]] == [{b"b"}]


async def test_closing_tells_nobody(listener: Listener, server: ScriptedServer) -> None:
    """And asks for nothing more; one that is closed can be closed."""
    await within(listener.subscriber.subscribe("a"))
    listener.subscriber.close()
    listener.subscriber.close()
    await within(server.ends[0].has_ended.wait())
    await asyncio.sleep(0)
    assert listener.losses == []
    await within(listener.subscriber.connect())
    assert [end.names for end in server.ends[1:]] == [set()]


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n", b":1\r\n", b">3\r\n+unsubscribe\r\n+x\r\n:0\r\n"]
)
async def test_what_no_redis_says_is_a_loss(
    listener: Listener, server: ScriptedServer, data: bytes
) -> None:
    """Nonsense, and answers that nobody waits for."""
    await within(listener.subscriber.subscribe("a"))
    server.ends[0].push(data)
    await listener.loses(server.ends[0])
    await within(listener.subscriber.connect())
    assert server.ends[1].names == {b"a"}


@pytest.mark.parametrize(
    "data",
    [
        b">4\r\n+MOVING\r\n:1\r\n:2\r\n+host\r\n",
        b">3\r\n+MIGRATING\r\n:1\r\n:2\r\n",
        b"*2\r\n" + bulk(b"pong") + bulk(b""),
        b"*4\r\n" + b"".join(map(bulk, (b"pmessage", b"*", b"a", b"content"))),
        b"*0\r\n",
    ],
    ids=repr,
)
async def test_other_pushes_are_ignored(
    listener: Listener, server: ScriptedServer, data: bytes
) -> None:
    """They are no messages, and answer nobody."""
    await within(listener.subscriber.subscribe("a"))
    server.is_holding = True
    asking = asyncio.ensure_future(listener.subscriber.subscribe("b"))
    end = await server.hears(2)
    end.push(data)
    end.push(end.pushed(b"message", b"a", bulk(b"1")))
    await listener.hears(1)
    assert listener.messages == [b"1"]
    assert not asking.done()
    server.answer()
    await within(asking)
    assert listener.losses == []


async def test_a_name_that_is_refused_later_leaves_it_unconnected(
    listener: Listener, server: ScriptedServer
) -> None:
    """Each attempt is told why, until it is let in again."""
    for name in "ab":
        await within(listener.subscriber.subscribe(name))
    server.ends[0].drop()
    await listener.loses(server.ends[0])
    server.refused.add("b")
    for number in (1, 2):
        with pytest.raises(ResponseError):
            await within(listener.subscriber.connect())
        assert not listener.subscriber.is_connected
        await within(server.ends[number].has_ended.wait())
    server.refused.clear()
    await within(listener.subscriber.connect())
    assert server.ends[3].names == {b"a", b"b"}
    assert len(listener.losses) == 1
