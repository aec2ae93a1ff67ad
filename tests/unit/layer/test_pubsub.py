"""A node on channels_redis' pub/sub layer, over connections of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from channels_demux_layer.layer.calls import is_unreadable
from channels_demux_layer.layer.pubsub import PubSubInbox
from channels_demux_layer.link.frames import Batch
from tests.integration.harness import until, within
from tests.unit.layer.conftest import SERVERS
from tests.unit.layer.redis.server import ScriptedServer, ServerEnd
from tests.unit.layer.test_packing import SIZES, a_batch

MESSAGE = {"type": "x", "n": 1}
GROUPS = [f"group{number}" for number in range(20)]


class Site:
    """A node's inbox on several servers, with a channel and groups.

    Attributes:
        layer: The layer.
        inbox: The inbox.
        channel: Its channel.
        home: The server that the channel is listened for on.
        others: The other servers.
    """

    def __init__(self, layer: Any, servers: list[ScriptedServer]) -> None:
        self.layer = layer
        self.inbox = PubSubInbox(layer)
        self.servers = servers
        self.channel = ""

    async def start(self) -> None:
        """Take a channel, and join enough groups to have one on each server."""
        self.channel = await within(self.inbox.new_channel())
        for group in GROUPS:
            await within(self.inbox.group_add(group, self.channel))
        self.home = self.server_of(self.channel)
        self.others = [server for server in self.servers if server is not self.home]

    def server_of(self, name: str) -> ScriptedServer:
        """Return the server that a name belongs to."""
        shard = self.layer._get_shard(name)
        (server,) = [each for each in self.servers if each.host() == shard.host]
        return server

    def group_on(self, server: ScriptedServer) -> str:
        """Return a group whose messages go by a server."""
        names = {group: self.layer._get_group_channel_name(group) for group in GROUPS}
        return next(group for group in GROUPS if self.server_of(names[group]) is server)

    async def receive(self) -> Any:
        """Return the next message."""
        return await within(self.inbox.receive(self.channel))

    async def receive_at_last(self) -> Any:
        """Return the next message, whatever connections are lost before."""
        while True:
            with contextlib.suppress(RedisConnectionError):
                return await self.receive()

    async def end(self) -> None:
        """Cut off whoever receives, or would."""
        receiving = asyncio.ensure_future(self.receive_at_last())
        await asyncio.sleep(0)
        receiving.cancel()
        await within(asyncio.wait([receiving]))
        assert receiving.cancelled()

    def send(self, message: Any) -> None:
        """Have the channel's server say something to the channel."""
        self.home.deliver(self.channel.encode(), self.layer.serialize(message))

    def group_send(self, server: ScriptedServer, message: Any) -> None:
        """Have a server say something to a group."""
        name = self.layer._get_group_channel_name(self.group_on(server))
        server.deliver(name.encode(), self.layer.serialize(message))


@pytest.fixture
async def site(
    servers: list[ScriptedServer], make_layer: Callable[..., Any]
) -> AsyncIterator[Site]:
    """An inbox with a channel, and with groups on each of several servers."""
    site = Site(make_layer(*[server.host() for server in servers]), servers)
    await site.start()
    yield site
    await site.end()


async def reconnected(server: ScriptedServer, number: int = 1) -> ServerEnd:
    """Wait until a server has been subscribed to once more, for all that it was asked for."""
    end = await server.end(number)
    await until(lambda: end.names == server.ends[0].names)
    return end


# -- receiving --------------------------------------------------------------------------------


async def test_channel_and_groups_are_heard_on_all_servers(site: Site) -> None:
    """Of what the layer itself sends, and until a group is left."""
    await within(site.layer.send(site.channel, MESSAGE))
    assert await site.receive() == MESSAGE
    for number, server in enumerate(site.servers):
        await within(site.layer.group_send(site.group_on(server), {"type": "x", "n": number}))
        assert await site.receive() == {"type": "x", "n": number}
    assert [len(server.ends) for server in site.others] == [2] * (SERVERS - 1)  # one published
    left = site.group_on(site.home)
    await within(site.inbox.group_discard(left, site.channel))
    for message in (MESSAGE, {"type": "last"}):
        await within(
            site.layer.group_send(left, message)
            if message is MESSAGE
            else site.layer.send(site.channel, message)
        )
    assert await site.receive() == {"type": "last"}


async def test_a_channel_is_the_layers_kind_of_name(site: Site) -> None:
    """Its prefix is the layer's, and no two are alike."""
    other = await within(PubSubInbox(site.layer).new_channel())
    assert other != site.channel
    assert all(name.startswith("asgispecific.") for name in (other, site.channel))
    assert all(len(name) < 100 for name in (other, site.channel))


async def test_a_message_that_comes_later_is_waited_for(site: Site) -> None:
    """Each goes to the one that asks."""
    for number in range(3):
        receiving = asyncio.ensure_future(site.receive())
        await asyncio.sleep(0)
        site.send(number)
        assert await receiving == number


@pytest.mark.parametrize("size", SIZES)
async def test_batches_are_read(site: Site, size: int) -> None:
    """Small and large; their frames are not copied."""
    batch = a_batch(b"\x90" * size)
    site.send(batch.to_message())
    read = await site.receive()
    assert isinstance(read, Batch)
    assert bytes(read.frames) == batch.frames
    assert read.seq == batch.seq


async def test_what_cannot_be_read_is_told_as_such(site: Site) -> None:
    """The next message can."""
    site.home.deliver(site.channel.encode(), b"\xc1")
    site.home.deliver(site.channel.encode(), b"\x81\xa1\xff\x01")
    site.send(MESSAGE)
    for kind in (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises(kind) as caught:
            await site.receive()
        assert is_unreadable(caught.value)
    assert await site.receive() == MESSAGE


async def test_what_cannot_be_joined_is_told(site: Site) -> None:
    """The connection is kept, and the others are heard over it."""
    name = site.layer._get_group_channel_name("forbidden")
    site.server_of(name).refused.add(name)
    with pytest.raises(ResponseError):
        await within(site.inbox.group_add("forbidden", site.channel))
    site.send(MESSAGE)
    assert await site.receive() == MESSAGE


# -- losses -----------------------------------------------------------------------------------


async def test_a_loss_is_raised_once_and_made_good(site: Site) -> None:
    """By whoever receives: the channel and the groups are heard again."""
    site.home.ends[0].drop()
    with pytest.raises(RedisConnectionError) as caught:
        await site.receive()
    assert not is_unreadable(caught.value)
    receiving = asyncio.ensure_future(site.receive())
    await reconnected(site.home)
    site.send(MESSAGE)
    assert await receiving == MESSAGE
    site.group_send(site.home, MESSAGE)
    assert await site.receive() == MESSAGE


async def test_messages_come_before_an_error(site: Site) -> None:
    """They are there, whatever has been lost since."""
    site.inbox.received(site.layer.serialize(MESSAGE))
    site.inbox.lost(RedisConnectionError("lost"))
    assert await site.receive() == MESSAGE
    with pytest.raises(RedisConnectionError, match="lost"):
        await site.receive()


async def test_a_server_that_refuses_connections_is_raised_each_time(site: Site) -> None:
    """And what the other servers say is heard between."""
    site.home.close()
    for number in range(4):
        with pytest.raises(RedisConnectionError):
            await site.receive()
        for server in site.others:
            site.group_send(server, number)
        for _ in site.others:
            assert await site.receive_at_last() == number
    await site.home.open()
    receiving = asyncio.ensure_future(site.receive_at_last())
    await reconnected(site.home)
    site.send(MESSAGE)
    assert await receiving == MESSAGE


async def test_a_server_that_hangs_holds_up_no_other(site: Site) -> None:
    """What they say is heard, and it is waited for no less."""
    site.home.is_silent = True
    site.home.ends[0].drop()
    with pytest.raises(RedisConnectionError):
        await site.receive()
    for number in range(2):
        receiving = asyncio.ensure_future(site.receive())
        await site.home.end(1)
        for server in site.others:
            site.group_send(server, number)
        assert await receiving == number
        for _ in site.others[1:]:
            assert await site.receive() == number
    assert len(site.home.ends) == 2


@pytest.mark.parametrize("gone", range(SERVERS))
async def test_of_several_lost_servers_those_that_are_back_are_heard(site: Site, gone: int) -> None:
    """Whichever of them stays away."""
    for server in site.servers:
        server.close()
    back = [server for number, server in enumerate(site.servers) if number != gone]
    for server in back:
        await server.open()
    receiving = asyncio.ensure_future(site.receive_at_last())
    for server in back:
        await reconnected(server)
        site.group_send(server, MESSAGE)
    assert await receiving == MESSAGE
    assert await site.receive_at_last() == MESSAGE


async def test_the_layers_flush_is_a_loss(site: Site) -> None:
    """The connections of the next pools hear the same."""
    await within(site.layer.flush())
    with pytest.raises(RedisConnectionError):
        await site.receive()
    receiving = asyncio.ensure_future(site.receive_at_last())
    for server in site.servers:
        await reconnected(server)
        site.group_send(server, MESSAGE)
    assert await receiving == MESSAGE
    assert [await site.receive_at_last() for _ in site.others] == [MESSAGE] * (SERVERS - 1)


# -- ends -------------------------------------------------------------------------------------


async def test_cutting_off_receive_closes_all(site: Site) -> None:
    """As in the layer itself: nothing else says that the channel is not wanted any more."""
    await site.end()
    for server in site.servers:
        await within(server.ends[0].has_ended.wait())
    assert [len(server.ends) for server in site.servers] == [1] * SERVERS


async def test_cutting_off_receive_while_it_connects_closes_all(site: Site) -> None:
    """Nothing is left of the attempt, nor is it taken for what is asked next."""
    site.home.is_silent = True
    site.home.ends[0].drop()
    with pytest.raises(RedisConnectionError):
        await site.receive()
    receiving = asyncio.ensure_future(site.receive())
    await site.home.end(1)
    receiving.cancel()
    await within(asyncio.wait([receiving]))
    assert receiving.cancelled()
    for server in site.servers:
        await within(server.ends[-1].has_ended.wait())
    site.home.is_silent = False
    asking = asyncio.ensure_future(site.receive())
    await site.home.end(2)
    assert not asking.done()
    asking.cancel()
    await within(asyncio.wait([asking]))


async def test_cutting_off_receive_as_connecting_fails_closes_all(site: Site) -> None:
    """The failure is nobody's then."""
    site.home.is_silent = True
    site.home.ends[0].drop()
    with pytest.raises(RedisConnectionError):
        await site.receive()
    receiving = asyncio.ensure_future(site.inbox.receive(site.channel))
    await site.home.end(1)
    connecting = site.inbox._connecting
    assert connecting is not None
    connecting.add_done_callback(lambda _: receiving.cancel())
    site.home.close()
    await within(asyncio.wait([receiving]))
    assert receiving.cancelled()
    for server in site.servers:
        await within(server.ends[-1].has_ended.wait())


async def test_cutting_off_new_channel_closes_its_connection(
    servers: list[ScriptedServer], make_layer: Callable[..., Any]
) -> None:
    """Nobody would know the channel."""
    server = servers[0]
    server.is_holding = True
    asking = asyncio.ensure_future(PubSubInbox(make_layer(server.host())).new_channel())
    end = await server.hears(1)
    asking.cancel()
    await within(end.has_ended.wait())
    await within(asyncio.wait([asking]))
    assert asking.cancelled()


async def test_a_server_that_cannot_be_reached_is_told_of(
    servers: list[ScriptedServer], make_layer: Callable[..., Any]
) -> None:
    """Once it can, the same inbox has a channel."""
    server = servers[0]
    server.close()
    inbox = PubSubInbox(make_layer(server.host()))
    with pytest.raises(RedisError):
        await within(inbox.new_channel())
    await server.open()
    channel = await within(inbox.new_channel())
    assert server.ends[0].names == {channel.encode()}
