"""What middleware has set at the edge, seen by consumers in worker processes, on both layers."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from .conftest import Database
from .harness.client import connect
from .harness.layers import KINDS
from .harness.processes import Process
from .harness.site import PROJECT, Server, Site

CHANNELS = ("plain.report", "tenants.report", "tenants.sync")


class Running(NamedTuple):
    """A site with one server and one worker."""

    server: Server
    worker: Process


@pytest.fixture(scope="module", params=KINDS)
def running(
    request: pytest.FixtureRequest,
    redis_installed: None,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A site with a tenant, whose user has the primary key of another one, on each layer.

    Yields:
        Its server and its worker.
    """
    directory = tmp_path_factory.mktemp(f"tenants-{request.param}")
    tenant = database.copy_to(directory / "tenant.sqlite3").path
    with closing(sqlite3.connect(tenant)) as connection, connection:
        connection.execute("UPDATE auth_user SET username = 'bea' WHERE id = 1")
    site = Site(
        directory,
        database,
        request.param,
        application=f"{PROJECT}.tenants.application",
        settings={"TENANT_DATABASE": str(tenant), "TIME_ZONE": "UTC"},
    )
    try:
        yield Running(site.server(), site.worker(*CHANNELS))
    finally:
        site.stop()


async def ask(running: Running, path: str, stream: str) -> dict[str, Any]:
    """Asks one of the reporting streams."""
    async with connect(running.server.url(path)) as client:
        report: dict[str, Any] = await client.ask(stream, "report")
        return report


async def test_the_user_of_another_tenant_is_nobody(running: Running) -> None:
    """The same primary key is another user's where the worker looks; the log says why."""
    since = running.worker.lines
    report = await ask(running, "plain/", "report")
    assert report.pop("pid") == running.worker.pid
    assert report == {
        "user": "",
        "is_authenticated": False,
        "flags": None,
        "language": "de",
        "zone": "Asia/Tokyo",
        "tenant": "",
        "own": 1,
    }
    line = running.worker.wait_for_line("Nobody is logged in", since).string
    assert "user 1 of auth.user in database 'default'" in line
    assert "it has another username" in line


@pytest.mark.parametrize("stream", ["report", "sync"])
async def test_middleware_in_the_worker_finds_the_user(running: Running, stream: str) -> None:
    """With it around the fetch and the consumer, all is as in the server's own process."""
    remote = await ask(running, "tenants/", stream)
    inline = await ask(running, "tenants/", "inline")
    assert remote.pop("pid") == running.worker.pid
    assert inline.pop("pid") == running.server.process.pid
    assert remote == inline
    assert remote["user"] == "bea"
    assert remote["flags"] == ["beta"]
    assert remote["tenant"] == "acme"


async def test_what_cannot_travel_is_named(running: Running) -> None:
    """The server's log names the one value, by its path."""
    await ask(running, "plain/", "report")
    running.server.process.wait_for_line(r"own\.object \(builtins\.object has no portable form\)")


async def test_a_scope_that_cannot_be_packed(running: Running) -> None:
    """Its stream ends with 1011, with the project's traceback, and no layer is blamed for it."""
    since = running.server.process.lines
    async with connect(running.server.url("failing/")) as client:
        event = await client.receive_event("closed", stream="report")
        assert event["code"] == 1011
        assert await client.wait_closed() == 1011
    log = running.server.process
    log.wait_for_line("RuntimeError: the project was told to fail", since)
    assert "in portable_scope" in log.log(since)
    assert "Cannot join" not in log.log(since)
