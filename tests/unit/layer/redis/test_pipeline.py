"""Publishing to one Redis server over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from channels_demux_layer.layer.redis.pipeline import Pipeline
from tests.integration.harness import until, within
from tests.unit.layer.redis.server import ScriptedServer

#: Seconds that a server is waited for which does not answer; one that does needs far less.
PATIENCE = 0.5


@pytest.fixture
async def layer(server: ScriptedServer, make_layer: Callable[..., Any]) -> Any:
    """A layer on the server."""
    return make_layer(server.host())


@pytest.fixture
async def shard(layer: Any) -> Any:
    """The layer's connection to the server."""
    return layer._get_shard("any")


@pytest.fixture
async def pipeline(shard: Any, server: ScriptedServer) -> Pipeline:
    """A pipeline to the server, which has published once."""
    pipeline = Pipeline(shard)
    await within(pipeline.publish("first", [b""]))
    server.ends[0].heard.clear()
    server.ends[0].bursts.clear()
    return pipeline


async def publish_together(
    pipeline: Pipeline, server: ScriptedServer, names: str
) -> list[asyncio.Task[None]]:
    """Publish to each name in turn while the server keeps the answer to the first one back."""
    server.is_holding = True
    tasks = [asyncio.ensure_future(pipeline.publish(name, [b""])) for name in names]
    await server.hears(1)
    return tasks


async def outcomes(tasks: list[asyncio.Task[None]]) -> list[type]:
    """Return the types of what tasks return or raise."""
    return [type(each) for each in await within(asyncio.gather(*tasks, return_exceptions=True))]


async def test_messages_one_after_the_other_share_a_connection(
    pipeline: Pipeline, server: ScriptedServer
) -> None:
    """Which is taken once."""
    await within(pipeline.publish("a", [b"1"]))
    await within(pipeline.publish("b", [b"2", b"3"]))
    assert [end.heard for end in server.ends] == [
        [[b"PUBLISH", b"a", b"1"], [b"PUBLISH", b"b", b"23"]]
    ]


async def test_messages_that_wait_go_together(pipeline: Pipeline, server: ScriptedServer) -> None:
    """In the order in which they came, and once all have gone the next one goes at once."""
    for number in (0, 1):
        waiting = await publish_together(pipeline, server, "abc")
        end = await server.hears(3 * number + 1)
        end.answer()
        await server.hears(3 * number + 3)
        server.answer()
        await within(asyncio.gather(*waiting))
    assert end.published == list("abc" * 2)
    assert end.bursts == [1, 3, 4, 6]


@pytest.mark.parametrize("refused", "abcd")
async def test_what_the_server_refuses_of_several_is_one_message(
    pipeline: Pipeline, server: ScriptedServer, refused: str
) -> None:
    """The others are published, and the connection is kept."""
    server.refused.add(refused)
    waiting = await publish_together(pipeline, server, "abcd")
    server.answer()
    errors = await within(asyncio.gather(*waiting, return_exceptions=True))
    assert [isinstance(error, ResponseError) for error in errors] == [
        name == refused for name in "abcd"
    ]
    await within(pipeline.publish("e", [b""]))
    assert [end.published for end in server.ends] == [list("abcde")]


async def test_what_the_server_says_to_a_refusal_is_told(
    pipeline: Pipeline, server: ScriptedServer
) -> None:
    """Whoever reads the log knows what to change."""
    server.refused.add("a")
    with pytest.raises(ResponseError, match=r"NOPERM You may not\."):
        await within(pipeline.publish("a", [b""]))


@pytest.mark.parametrize("loss", ["end", "drop"])
async def test_a_connection_that_was_closed_while_idle_is_made_anew(
    pipeline: Pipeline, server: ScriptedServer, loss: str
) -> None:
    """Whether or not that has been heard of, the message is published."""
    getattr(server.ends[0], loss)()
    await within(pipeline.publish("a", [b""]))
    await within(server.ends[0].has_ended.wait())
    await within(pipeline.publish("b", [b""]))
    assert [end.published for end in server.ends] == [[], ["a", "b"]]


async def test_what_was_not_answered_is_published_again(
    pipeline: Pipeline, server: ScriptedServer
) -> None:
    """In the same order: whoever has it twice knows."""
    waiting = await publish_together(pipeline, server, "abc")
    server.ends[0].answer()
    await server.hears(3)
    server.is_holding = False
    server.ends[0].drop()
    assert await outcomes(waiting) == [type(None)] * 3
    assert [end.published for end in server.ends] == [["a", "b", "c"], ["b", "c"]]


async def test_a_server_that_is_gone_fails_all_that_wait(
    pipeline: Pipeline, server: ScriptedServer
) -> None:
    """Each hears of it, and what comes later is tried."""
    waiting = await publish_together(pipeline, server, "abc")
    server.close()
    assert await outcomes(waiting) == [RedisConnectionError] * 3
    with pytest.raises(RedisConnectionError):
        await within(pipeline.publish("d", [b""]))
    server.is_holding = False
    await server.open()
    await within(pipeline.publish("e", [b""]))
    assert server.ends[-1].published == ["e"]


@pytest.mark.parametrize("cut_off", ["a", "b", "d", "ad", "bcd"])
async def test_a_publisher_that_is_cut_off_holds_up_nobody(
    pipeline: Pipeline, server: ScriptedServer, cut_off: str
) -> None:
    """Neither the one whose message is under way nor one that waits; its message may be sent."""
    waiting = await publish_together(pipeline, server, "abcd")
    for name in cut_off:
        waiting["abcd".index(name)].cancel()
    server.answer()
    assert await outcomes(waiting) == [
        asyncio.CancelledError if name in cut_off else type(None) for name in "abcd"
    ]
    await within(pipeline.publish("e", [b""]))
    assert [end.published for end in server.ends] == [list("abcde")]


@pytest.mark.parametrize("cut_off", ["a", "b", "c", "d", "bcd"])
async def test_one_that_is_cut_off_as_the_connection_is_lost_holds_up_nobody(
    pipeline: Pipeline, server: ScriptedServer, cut_off: str
) -> None:
    """All others are published over the next connection."""
    waiting = await publish_together(pipeline, server, "abcd")
    server.is_holding = False
    server.ends[0].drop()
    for name in cut_off:
        waiting["abcd".index(name)].cancel()
    assert await outcomes(waiting) == [
        asyncio.CancelledError if name in cut_off else type(None) for name in "abcd"
    ]
    await within(pipeline.publish("e", [b""]))
    assert server.ends[1].published == [name for name in "abcde" if name not in cut_off]


async def test_the_layers_flush_closes_it(
    pipeline: Pipeline, server: ScriptedServer, layer: Any
) -> None:
    """The next message has a connection of the next pool."""
    await within(layer.flush())
    await within(server.ends[0].has_ended.wait())
    for name in "ab":
        await within(pipeline.publish(name, [b""]))
    assert [end.published for end in server.ends] == [[], ["a", "b"]]


async def test_a_flush_waits_while_a_connection_is_made(
    server: ScriptedServer, layer: Any, shard: Any
) -> None:
    """It would be left open."""
    server.is_silent = True
    publishing = asyncio.ensure_future(Pipeline(shard).publish("a", [b""]))
    end = await server.end(0)
    flushing = asyncio.ensure_future(layer.flush())
    await asyncio.sleep(0)
    assert shard._lock.locked()
    publishing.cancel()
    await within(flushing)
    await within(end.has_ended.wait())
    assert await outcomes([publishing]) == [asyncio.CancelledError]


@pytest.fixture
async def impatient(server: ScriptedServer, make_layer: Callable[..., Any]) -> Pipeline:
    """A pipeline with redis-py's time-out, which has published to a server that says no more."""
    layer = make_layer(server.host(socket_timeout=PATIENCE))
    pipeline = Pipeline(layer._get_shard("any"))
    await within(pipeline.publish("first", [b""]))
    server.is_holding = True
    return pipeline


async def test_a_server_that_does_not_answer_is_given_up(
    impatient: Pipeline, server: ScriptedServer
) -> None:
    """It is tried once more, and the next message has another connection."""
    publishing = asyncio.ensure_future(impatient.publish("a", [b""]))
    assert await outcomes([publishing]) == [RedisConnectionError]
    server.is_holding = False
    await within(impatient.publish("b", [b""]))
    assert [end.published for end in server.ends] == [["first", "a"], ["a"], ["b"]]


@pytest.mark.parametrize("cut_off", ["a", "ac"])
async def test_one_that_is_cut_off_leaves_the_others_their_time_out(
    impatient: Pipeline, server: ScriptedServer, cut_off: str
) -> None:
    """Also where its message is the last of those that go together."""
    waiting = [asyncio.ensure_future(impatient.publish(name, [b""])) for name in "abc"]
    await asyncio.sleep(0)
    for name in cut_off:
        waiting["abc".index(name)].cancel()
    assert await outcomes(waiting) == [
        asyncio.CancelledError if name in cut_off else RedisConnectionError for name in "abc"
    ]


async def test_the_time_out_of_one_that_was_cut_off_ends_no_connection_that_answers(
    impatient: Pipeline, server: ScriptedServer
) -> None:
    """Nobody waits for an answer any more when it has passed."""
    server.is_holding = False
    publishing = asyncio.ensure_future(impatient.publish("a", [b""]))
    await asyncio.sleep(0)
    publishing.cancel()
    loop = asyncio.get_running_loop()
    passed = loop.time() + PATIENCE
    await until(lambda: loop.time() > passed)
    await within(impatient.publish("b", [b""]))
    assert [end.published for end in server.ends] == [["first", "a", "b"]]


async def test_a_server_may_take_as_long_as_it_likes(
    server: ScriptedServer, make_layer: Callable[..., Any]
) -> None:
    """Where redis-py has no time-out."""
    pipeline = Pipeline(make_layer(server.host(socket_timeout=None))._get_shard("any"))
    waiting = await publish_together(pipeline, server, "a")
    server.answer()
    assert await outcomes(waiting) == [type(None)]


@pytest.mark.parametrize("sizes", [(70_000,), (10, 200_000), (40_000, 40_000), (0, 3_000_000)])
async def test_large_messages_arrive_as_they_are(
    pipeline: Pipeline, server: ScriptedServer, sizes: tuple[int, ...]
) -> None:
    """In one part or several, with small ones before and after them."""
    parts = [(b"%d." % number * size)[:size] for number, size in enumerate(sizes)]
    await within(
        asyncio.gather(
            pipeline.publish("a", [b"before"]),
            pipeline.publish("b", parts),
            pipeline.publish("c", [b"after"]),
        )
    )
    contents = [content for _, _, content in server.ends[0].heard]
    assert contents == [b"before", b"".join(parts), b"after"]


async def test_a_pool_that_asks_what_for_is_told(
    server: ScriptedServer, shard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of redis-py did before its release 5.3."""
    take = ConnectionPool.get_connection
    asked: list[str] = []

    async def get_connection(self: Any, command_name: str) -> Any:
        asked.append(command_name)
        try:
            return await take(self)
        except TypeError:
            return await take(self, command_name)

    monkeypatch.setattr(ConnectionPool, "get_connection", get_connection)
    await within(Pipeline(shard).publish("a", [b""]))
    assert asked == ["PUBLISH"]
    assert server.ends[0].published == ["a"]


@pytest.mark.parametrize("push", [b">4\r\n+MOVING\r\n:1\r\n:2\r\n+host\r\n", b">0\r\n"])
async def test_what_the_server_says_unasked_is_no_answer(
    pipeline: Pipeline, server: ScriptedServer, push: bytes
) -> None:
    """Such as that it will be gone for a while."""
    server.refused.add("b")
    waiting = await publish_together(pipeline, server, "ab")
    server.ends[0].push(push)
    server.answer()
    assert await outcomes(waiting) == [type(None), ResponseError]
    assert len(server.ends) == 1
