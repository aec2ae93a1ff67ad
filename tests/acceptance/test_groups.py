"""Where payloads travel: seen on Redis itself."""

import re

from .conftest import MakeSite
from .harness.client import connect
from .harness.layers import Kind
from .harness.redis_server import Monitor
from .harness.waiting import wait_until

MARK = "a-payload-to-look-for"

#: The key of a group on each layer, as `MONITOR` writes it.
GROUP_KEYS = {"core": "asgi:group:{}", "pubsub": "asgi__group__{}"}


def groups_that_carried(monitor: Monitor, kind: Kind, mark: str) -> list[str]:
    """Finds the groups to which messages with a certain text were sent.

    Args:
        monitor: The commands.
        kind: The layer.
        mark: The text.

    Returns:
        The names of the groups, in the order of the messages.
    """
    if kind == "pubsub":
        expression = re.compile(rf'"PUBLISH" "asgi__group__([^"]+)" .*{mark}')
        return [found[1] for line in monitor.lines if (found := expression.search(line))]
    # The core layer reads a group's members and then writes to each member's own key.
    groups: list[str] = []
    read: dict[str, str] = {}
    members = re.compile(r'\[\d+ (\S+)\] "ZRANGE" "asgi:group:([^"]+)"')
    for line in monitor.lines:
        if found := members.search(line):
            read["last"] = found[2]
        elif '"EVAL"' in line and mark in line:
            groups.append(read["last"])
    return groups


async def test_payloads_travel_through_the_connections_groups(
    make_site: MakeSite, layer_kind: Kind
) -> None:
    """MONITOR shows a lone client's payloads on its two groups, one for each direction."""
    site = make_site(layer_kind)
    redis = site.redis
    assert redis is not None
    url = site.server().url()
    site.worker("demux.echo", "demux.scope")
    async with connect(url) as client:
        await client.ask("echo", "warm")
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
        with redis.monitor() as monitor:
            assert (await client.ask("echo", MARK))["echo"] == MARK
    assert re.fullmatch("[0-9a-f]{32}", connection)
    assert groups_that_carried(monitor, layer_kind, MARK) == [
        f"demux.{connection}.echo",
        f"demux.{connection}.edge",
    ]


async def test_groups_are_left(make_site: MakeSite, layer_kind: Kind) -> None:
    """A connection's groups are joined while it is open, and left when it ends."""
    site = make_site(layer_kind)
    redis = site.redis
    assert redis is not None
    url = site.server().url("single/")
    site.worker("single.echo")

    def groups() -> set[str]:
        pattern = GROUP_KEYS[layer_kind].format("single.*")
        with redis.client() as client:
            found = (
                client.keys(pattern) if layer_kind == "core" else client.pubsub_channels(pattern)
            )
        return {name.decode() for name in found}

    async with connect(url) as client:
        await client.ask("echo", 1)
        connection = site.journal("connect")[0]["connection"]
        assert groups() == {
            GROUP_KEYS[layer_kind].format(f"single.{connection}.{end}") for end in ("echo", "edge")
        }
    wait_until(lambda: not groups(), "the groups to be left")


async def test_one_receiver_for_many_connections(make_site: MakeSite, layer_kind: Kind) -> None:
    """The server has one channel on the layer, however many connections it has."""
    site = make_site(layer_kind)
    redis = site.redis
    assert redis is not None
    server = site.server()
    url = server.url("single/")
    site.worker("single.echo")
    with redis.monitor() as monitor:
        async with connect(url) as ada, connect(url) as bob, connect(url) as cy:
            for client in (ada, bob, cy):
                await client.ask("echo", 1)
            with redis.client() as redis_client:
                addresses = {
                    entry["addr"]
                    for entry in redis_client.client_list()
                    if entry["name"] == server.process.name
                }
    if layer_kind == "core":
        joined = re.compile(r'"ZADD" "asgi:group:single\.\w+\.edge" "[^"]+" "([^"]+)"')
        channels = [found[1] for line in monitor.lines if (found := joined.search(line))]
        assert len(channels) == 3
    else:
        joined = re.compile(r'\[\d+ (\S+)\] "SUBSCRIBE" "asgi(specific\.\w+)"')
        subscribed = [found for line in monitor.lines if (found := joined.search(line))]
        channels = [found[2] for found in subscribed if found[1] in addresses]
        assert len(monitor.matching(r'"SUBSCRIBE" "asgi__group__single\.\w+\.edge"')) == 3
    assert len(set(channels)) == 1
