"""Synchronous consumers leave no thread and no database connection behind."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.db import connections

from channels_demux_layer import Stream
from channels_demux_layer.hosting.threads import NAME, shared_threads
from channels_demux_layer.testing import DemuxCommunicator
from tests.acceptance.harness.postgres_server import PostgresServer

from .harness import LIMIT, PAUSE, Place, configure, demultiplexer, until

#: Threads that sessions share, and how many sessions there are.
THREADS, SESSIONS = 3, 20
ALIAS = "kept"


class Database:
    """A database whose connections are kept, as with CONN_MAX_AGE.

    Args:
        entry: Its entry in DATABASES.
    """

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry

    def open_connections(self) -> int:
        """Count the connections to it."""
        raise NotImplementedError


class Sqlite(Database):
    """A file, which this process has open once for each connection."""

    def open_connections(self) -> int:
        """Count the file's descriptors."""
        count = 0
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                count += str(link.readlink()) == self.entry["NAME"]
        return count


class Postgres(Database):
    """A server, which is asked."""

    def open_connections(self) -> int:
        """Ask it for connections of the name that the entry gives them."""
        where = {"host": self.entry["HOST"], "user": self.entry["USER"], "dbname": "postgres"}
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kept'"
        with psycopg.connect(**where) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any
) -> Iterator[Database]:
    """Each kind of database in turn, known to Django by an alias of its own."""
    found: Database
    if request.param == "sqlite":
        name = str(tmp_path / "kept.sqlite3")
        found = Sqlite({"ENGINE": "django.db.backends.sqlite3", "NAME": name})
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        found = Postgres({**server.database, "OPTIONS": {"application_name": "kept"}})
    entry = copy.deepcopy(connections.settings["default"])
    entry |= {**found.entry, "CONN_MAX_AGE": None}
    connections.settings[ALIAS] = entry
    with django_db_blocker.unblock():
        yield found
    del connections.settings[ALIAS]


def query() -> int:
    """Ask the database for something."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])


class Sync(JsonWebsocketConsumer):
    """Answers with what its database says, and the thread that asked."""

    def receive_json(self, content: Any) -> None:
        """Answer."""
        self.send_json([query(), threading.get_ident()])


class Async(AsyncJsonWebsocketConsumer):
    """The same, asynchronous."""

    async def receive_json(self, content: Any) -> None:
        """Answer."""
        answer = await database_sync_to_async(lambda: [query(), threading.get_ident()])()
        await self.send_json(answer)


def own_threads() -> int:
    """Count the threads of synchronous consumers."""
    return sum(thread.name.startswith(NAME) for thread in threading.enumerate())


async def until_closed(database: Database) -> None:
    """Wait until no connection is open; a server forgets one a moment after its client."""
    while await asyncio.to_thread(database.open_connections):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(PAUSE)


@contextlib.asynccontextmanager
async def clients(place: Place, stream: Any, count: int) -> AsyncIterator[list[DemuxCommunicator]]:
    """Connect many clients at once."""
    cls = demultiplexer({"s": stream})
    async with place.run(cls), contextlib.AsyncExitStack() as stack:
        made = [DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) for _ in range(count)]
        for client in made:
            await stack.enter_async_context(client)
        yield made


async def ask(client: DemuxCommunicator) -> int:
    """Have a consumer ask its database; return the thread that it did so in."""
    await client.send_to("s", None)
    answer, thread = await client.receive_from("s")
    assert answer == 1
    return int(thread)


async def test_many_sessions_at_once_have_few_threads(
    quick_place: Place, settings: Any, database: Database
) -> None:
    """They share SYNC_THREADS, each always the same; when all have ended nothing is left."""
    configure(settings, {"SYNC_THREADS": THREADS})
    async with clients(quick_place, Sync, SESSIONS) as many:
        used = await asyncio.gather(*map(ask, many))
        assert len(set(used)) == len(shared_threads) == own_threads() == THREADS
        assert await asyncio.to_thread(database.open_connections) == THREADS
        assert await asyncio.gather(*map(ask, many)) == used
    await until(lambda: not own_threads())
    await until_closed(database)


@pytest.mark.parametrize("own_thread", [None, True])
async def test_sessions_one_after_the_other_leave_nothing(
    quick_place: Place, database: Database, own_thread: bool | None
) -> None:
    """A session's connection is closed, and its thread ends, while others come."""
    cls = demultiplexer({"s": Stream(Sync, own_thread=own_thread)})
    async with quick_place.run(cls):
        for _ in range(SESSIONS):
            async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
                await ask(client)
            await until(lambda: not own_threads())
            await until_closed(database)


async def test_threads_of_their_own(quick_place: Place, settings: Any, database: Database) -> None:
    """With own_thread each session has one, however many there are."""
    configure(settings, {"SYNC_THREADS": THREADS})
    stream = Stream(Sync, own_thread=True)
    async with clients(quick_place, stream, SESSIONS) as many:
        assert len(set(await asyncio.gather(*map(ask, many)))) == own_threads() == SESSIONS
    await until(lambda: not own_threads())
    await until_closed(database)


@pytest.mark.parametrize("stream", [Async, Stream(Sync, own_thread=False)])
async def test_others_run_in_the_thread_that_all_share(
    quick_place: Place, database: Database, stream: Any
) -> None:
    """Asynchronous consumers, and streams without threads of their own, start none."""
    async with clients(quick_place, stream, SESSIONS) as many:
        assert len(set(await asyncio.gather(*map(ask, many)))) == 1
        assert own_threads() == 0
        assert await asyncio.to_thread(database.open_connections) <= 1
    await database_sync_to_async(forget)()


def forget() -> None:
    """Close this thread's connection, which another test must not find."""
    connections[ALIAS].close()
    del connections[ALIAS]
