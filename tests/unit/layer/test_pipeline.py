"""Publishing to one Redis server over a connection of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from channels_demux_layer.layer.pipeline import Pipeline

GONE = RedisConnectionError("gone")
FORBIDDEN = NoPermissionError("forbidden")


class Connection:
    """A connection of redis-py to a server that answers as told, and no sooner.

    Attributes:
        writes: The names that each write published to.
        answers: What the server answers in turn; an error is raised. 1 where nothing is left.
        may_answer: Set while it answers.
        connects: How often it was connected.
    """

    def __init__(self) -> None:
        self.is_connected = True
        self.writes: list[list[str]] = []
        self.answers: deque[Any] = deque()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.connects = 0

    async def connect(self) -> None:
        """Connect."""
        self.is_connected = True
        self.connects += 1

    def pack_commands(self, commands: Iterable[tuple[str, str, bytes]]) -> list[Any]:
        """Pack commands."""
        return list(commands)

    async def send_packed_command(self, commands: list[Any]) -> None:
        """Write commands."""
        assert self.is_connected
        assert all(command == "PUBLISH" for command, _, _ in commands)
        self.writes.append([name for _, name, _ in commands])

    async def read_response(self) -> Any:
        """Read an answer; who is cut off meanwhile leaves no connection behind, as in redis-py."""
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.is_connected = False
            raise
        answer = self.answers.popleft() if self.answers else 1
        if isinstance(answer, Exception):
            self.is_connected = answer is FORBIDDEN
            raise answer
        return answer


class Shard:
    """channels_redis' connection to a server."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._redis: Any = None
        self.connections: list[Connection] = []

    def _ensure_redis(self) -> None:
        assert self._lock.locked()
        if self._redis is None:
            pool = SimpleNamespace(get_connection=self._get_connection)
            self._redis = SimpleNamespace(connection_pool=pool)

    async def _get_connection(self) -> Connection:
        self.connections.append(Connection())
        return self.connections[-1]

    async def flush(self) -> None:
        """Close the pool."""
        async with self._lock:
            self._redis = None


@pytest.fixture
async def shard() -> Shard:
    """The layer's connection to a server that nothing has been asked of."""
    return Shard()


@pytest.fixture
async def pipeline(shard: Shard) -> Pipeline:
    """A pipeline to that server, which has published."""
    pipeline = Pipeline(shard)
    await pipeline.publish("first", b"")
    shard.connections[0].writes.clear()
    return pipeline


@pytest.fixture
async def connection(shard: Shard, pipeline: Pipeline) -> Connection:
    """The pipeline's connection."""
    return shard.connections[0]


async def publish_together(
    pipeline: Pipeline, connection: Connection, names: str
) -> list[asyncio.Task[None]]:
    """Publish to each name in turn while the server does not answer."""
    connection.may_answer.clear()
    tasks = [asyncio.ensure_future(pipeline.publish(name, b"")) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_messages_one_after_the_other_share_a_connection(
    pipeline: Pipeline, connection: Connection, shard: Shard
) -> None:
    """Which is taken once."""
    await pipeline.publish("a", b"")
    await pipeline.publish("b", b"")
    assert connection.writes == [["a"], ["b"]]
    assert len(shard.connections) == 1


async def test_messages_that_wait_go_together(pipeline: Pipeline, connection: Connection) -> None:
    """In the order in which they came, and once all have gone the next one goes at once."""
    for number in (0, 1):
        waiting = await publish_together(pipeline, connection, "abc")
        assert connection.writes[2 * number :] == [["a"]]
        connection.may_answer.set()
        await asyncio.gather(*waiting)
    assert connection.writes == [["a"], ["b", "c"]] * 2


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_what_the_server_refuses_of_several_is_one_message(
    pipeline: Pipeline, connection: Connection, place: int
) -> None:
    """The others are published, and the connection is kept."""
    waiting = await publish_together(pipeline, connection, "abcd")
    connection.answers.extend([1, 1, 1, 1])
    connection.answers[1 + place] = FORBIDDEN
    connection.may_answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result is FORBIDDEN for result in results] == [n == 1 + place for n in range(4)]
    await pipeline.publish("e", b"")
    assert connection.connects == 0


async def test_what_the_server_refuses_is_raised(
    pipeline: Pipeline, connection: Connection
) -> None:
    """Also of a message that goes alone."""
    connection.answers.append(FORBIDDEN)
    with pytest.raises(NoPermissionError):
        await pipeline.publish("a", b"")
    await pipeline.publish("b", b"")


async def test_a_connection_that_was_closed_is_made_anew(
    pipeline: Pipeline, connection: Connection, shard: Shard
) -> None:
    """And what was not answered is published again: whoever has it twice knows."""
    waiting = await publish_together(pipeline, connection, "abc")
    connection.answers.extend([1, 1, GONE])
    connection.may_answer.set()
    await asyncio.gather(*waiting)
    assert connection.writes == [["a"], ["b", "c"], ["b", "c"]]
    assert connection.connects == len(shard.connections) == 1


async def test_a_server_that_is_gone_fails_all_that_wait(
    pipeline: Pipeline, connection: Connection
) -> None:
    """Each hears of it, and what comes later is tried."""
    waiting = await publish_together(pipeline, connection, "abc")
    connection.answers.extend([1, GONE, GONE])
    connection.may_answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results == [None, GONE, GONE]
    await pipeline.publish("d", b"")
    assert connection.writes[-1] == ["d"]


async def test_a_publisher_that_is_cut_off_holds_up_nobody(
    pipeline: Pipeline, connection: Connection
) -> None:
    """Neither the one whose message is under way nor one that waits."""
    waiting = await publish_together(pipeline, connection, "abcd")
    for number in (0, 2):
        waiting[number].cancel()
    connection.answers.extend([1, 1, 1])
    connection.may_answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [1, 0, 1, 0]
    assert connection.writes == [["a"], ["b", "c", "d"]]
    assert connection.connects == 1  # its answer was not read


async def test_a_pool_that_was_closed_is_left(
    pipeline: Pipeline, connection: Connection, shard: Shard
) -> None:
    """The layer's flush() closes it; the next one has a connection as well."""
    await shard.flush()
    await pipeline.publish("a", b"")
    assert not connection.writes
    assert [each.writes for each in shard.connections[1:]] == [[["a"]]]


async def test_a_pool_that_asks_what_for_is_told(shard: Shard) -> None:
    """As those of redis-py did before its release 5.3."""
    take = shard._get_connection

    async def get_connection(command_name: str) -> Connection:
        assert command_name == "PUBLISH"
        return await take()

    shard._get_connection = get_connection  # type: ignore[method-assign, assignment]
    await Pipeline(shard).publish("a", b"")
    assert shard.connections[0].writes == [["a"]]


async def test_a_pool_is_not_closed_while_a_connection_is_made(
    pipeline: Pipeline, connection: Connection, shard: Shard
) -> None:
    """It would be left open; so they wait for each other."""
    connection.is_connected = False
    await shard._lock.acquire()
    publishing = asyncio.ensure_future(pipeline.publish("a", b""))
    await asyncio.sleep(0)
    shard._redis = None
    assert connection.connects == 0
    shard._lock.release()
    await publishing
    assert connection.connects == 0
    assert shard.connections[1].writes == [["a"]]
