"""What all tests share: a private Redis, and both channel layers over it."""

import os
from collections.abc import Iterator

import pytest

from tests.acceptance.harness.layers import KINDS, Layer
from tests.acceptance.harness.redis_server import RedisServer, find_redis_server


@pytest.fixture(scope="session")
def redis_installed() -> None:
    """Skips what needs a Redis where there is none; on CI that is a failure."""
    if find_redis_server() is None:
        reason = "There is no redis-server here: install Debian's package redis-server."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


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


@pytest.fixture(params=KINDS)
def layer(request: pytest.FixtureRequest, redis_server: RedisServer) -> Layer:
    """Each of the two Redis channel layers in turn, on an empty Redis.

    Returns:
        The layer; `channel_layers` is the setting of that name.
    """
    with redis_server.client() as client:
        client.flushall()
    return Layer(request.param, redis_server)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a real Redis."""
    for item in items:
        if "redis_installed" in getattr(item, "fixturenames", ()):
            item.add_marker("redis")
