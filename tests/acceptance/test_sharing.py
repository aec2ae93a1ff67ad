"""Several workers for one stream, and more at once than the channel layer holds."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from .conftest import MakeSite
from .harness.client import Client, connect
from .harness.layers import Kind
from .harness.site import Site

CONNECTIONS = 30
WORKERS = 3
FRAMES = 50


async def ask_in_order(client: Client, frames: int) -> set[int]:
    """Sends numbered frames at once and checks that each comes back once, in order.

    Args:
        client: The socket.
        frames: How many.

    Returns:
        The ids of the processes that answered.
    """

    async def send() -> None:
        for number in range(frames):
            await client.send("echo", number)

    sending = asyncio.ensure_future(send())
    answers = [await client.receive_from("echo") for _ in range(frames)]
    await sending
    assert [answer["echo"] for answer in answers] == list(range(frames))
    return {answer["pid"] for answer in answers}


@contextlib.asynccontextmanager
async def many_clients(url: str, count: int) -> AsyncIterator[list[Client]]:
    """Opens sockets side by side for the length of a block.

    Args:
        url: The address.
        count: How many.

    Yields:
        The clients.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield await asyncio.gather(*(stack.enter_async_context(connect(url)) for _ in range(count)))


async def assert_nothing_more(client: Client) -> None:
    """Checks that no frame comes twice, however late.

    Args:
        client: A socket whose frames have all been answered.
    """
    # Frames stay in order: whatever was still on its way would come before this.
    assert (await client.ask("echo", "last"))["echo"] == "last"


def connects_by_connection(site: Site) -> dict[str, list[int]]:
    """Reads which processes connected a consumer for which connection.

    Args:
        site: The site.

    Returns:
        For each connection, the process ids of its consumers of the stream `echo`.
    """
    connects: dict[str, list[int]] = {}
    for entry in site.journal("connect", stream="echo"):
        connects.setdefault(entry["connection"], []).append(entry["pid"])
    return connects


async def test_workers_share_connections(make_site: MakeSite, layer_kind: Kind) -> None:
    """3 workers share 30 connections; each connection stays with one, in order, opened once."""
    site = make_site(layer_kind)
    url = site.server().url("single/")
    workers = site.workers([("single.echo",)] * WORKERS)
    async with many_clients(url, CONNECTIONS) as clients:
        rounds = [
            await asyncio.gather(*(ask_in_order(client, FRAMES) for client in clients))
            for _ in range(2)
        ]
        await asyncio.gather(*(assert_nothing_more(client) for client in clients))
    assert all(len(pids) == 1 for pids in rounds[0]), "a connection was split between workers"
    assert rounds[0] == rounds[1], "a connection moved"
    load = Counter(pid for pids in rounds[0] for pid in pids)
    assert set(load) == {worker.pid for worker in workers}, f"unshared: {load}"
    connects = connects_by_connection(site)
    assert len(connects) == CONNECTIONS
    assert all(len(pids) == 1 for pids in connects.values()), "a consumer connected twice"
    assert Counter(pids[0] for pids in connects.values()) == load


async def test_connections_one_after_the_other(make_site: MakeSite, layer_kind: Kind) -> None:
    """Short connections, one after the other, get one consumer each and leave none behind."""
    site = make_site(layer_kind)
    url = site.server().url("single/")
    site.workers([("single.echo",)] * WORKERS)
    for _ in range(CONNECTIONS):
        async with connect(url) as client:
            assert len(await ask_in_order(client, 3)) == 1
    connects = connects_by_connection(site)
    assert len(connects) == CONNECTIONS
    assert all(len(pids) == 1 for pids in connects.values())
    for connection in connects:
        site.wait_for_journal("disconnect", connection=connection)
    assert len(site.journal("disconnect")) == CONNECTIONS


@pytest.mark.parametrize(
    ("layer_kind", "config"),
    [pytest.param("core", {"capacity": 100}, id="core"), pytest.param("pubsub", {}, id="pubsub")],
    indirect=["layer_kind"],
)
async def test_a_flood_is_answered(
    make_site: MakeSite, layer_kind: Kind, config: dict[str, int]
) -> None:
    """2,000 frames sent at once on each of 50 sockets are all answered, in order, none twice.

    The core layer holds 100 messages and drops in silence what exceeds them.
    """
    site = make_site(layer_kind, layer_config=config)
    # A client that is held back is not read, nor are its pongs: uvicorn gives it 20 seconds,
    # which a busy machine may need.
    url = site.server("uvicorn", "--ws-ping-interval", "600").url("single/")
    worker = site.worker("single.echo")
    async with many_clients(url, 50) as clients:
        answered = await asyncio.gather(*(ask_in_order(client, 2_000) for client in clients))
        await asyncio.gather(*(assert_nothing_more(client) for client in clients))
    assert answered == [{worker.pid}] * 50
    assert len(site.journal("connect")) == 50
