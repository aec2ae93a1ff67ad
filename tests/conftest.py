"""What all tests share: private servers; with Redis come both channel layers over it."""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from channels_demux_layer.logs import KEYS, RepeatedLog
from tests.acceptance.harness.layers import KINDS, Layer
from tests.acceptance.harness.postgres_server import PostgresServer, find_postgres
from tests.acceptance.harness.redis_server import RedisServer, find_redis_server
from tests.installed import need


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def redis_installed() -> None:
    """Skips what needs a Redis where there is none; on CI that is a failure."""
    need(find_redis_server(), "redis-server", "redis-server")


@pytest.fixture(scope="session")
def redis_server(
    redis_installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """A Redis of this run's own, on a free port.

    Yields:
        The running server; it has `url`, `port`, `client()`, `commandstats()`, `monitor()`.
    """
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this run's own; skips where there is none, which on CI is a failure.

    Yields:
        The running server.
    """
    need(find_postgres(), "PostgreSQL", "postgresql")
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=KINDS)
def layer(request: pytest.FixtureRequest, redis_server: RedisServer) -> Layer:
    """Each of the two Redis channel layers in turn, on an empty Redis.

    Returns:
        The layer; `channel_layers` is the setting of that name.
    """
    with redis_server.client() as client:
        client.flushall()
    return Layer(request.param, redis_server)


@pytest.fixture(autouse=True)
def connections_are_left_alone() -> Iterator[None]:
    """Keeps Channels from closing the connections to a database that earlier tests have left.

    To look at one is forbidden where a test has no database, and one in memory is never closed.
    """
    with mock.patch("channels.db.close_old_connections", return_value=None):
        yield


@pytest.fixture(autouse=True)
def repeated_warnings_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the warnings of earlier tests from using up what one minute allows."""
    for name, module in list(sys.modules.items()):
        is_ours = name.startswith("channels_demux_layer.")
        if is_ours and isinstance(vars(module).get("repeated"), RepeatedLog):
            monkeypatch.setattr(module, "repeated", RepeatedLog(logging.getLogger(name)))


#: Of this tree, what is no part of a deployment, or said by a test itself.
OTHER_LOGGERS = tuple(f"channels_demux_layer.{name}" for name in ("client", "demo", "tests"))


@pytest.fixture(autouse=True)
def records_are_complete(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which a log record of the package lacks what all of them say."""
    yield
    incomplete = [
        f"{record.name}: {record.getMessage()}"
        for when in ("setup", "call")
        for record in caplog.get_records(when)  # type: ignore[arg-type]
        if record.name.startswith("channels_demux_layer.")
        and not record.name.startswith(OTHER_LOGGERS)
        and not all(key in vars(record) for key in KEYS)
    ]
    assert incomplete == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a real server."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "redis_installed" in fixtures:
            item.add_marker("redis")
        if "postgres_server" in fixtures:
            item.add_marker("postgres")
