"""A node on channels_redis' core layer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels_redis.core import RedisChannelLayer

from channels_demux_layer.layer.core import DELIVER, MEMBERS
from channels_demux_layer.layer.inbox import inbox_of
from channels_demux_layer.layer.publisher import publisher_of
from channels_demux_layer.layer.steadfast import RememberingLayer
from channels_demux_layer.link.frames import Batch
from tests.batches import make_batch
from tests.integration.harness import until, within
from tests.unit.layer.conftest import SERVERS
from tests.unit.layer.redis.server import REFUSAL, ScriptedServer, bulk

BATCH = make_batch(to_edge=True, frames=b"\x90" * 100_000)
NONE = b"*-1\r\n"


@pytest.fixture
async def layer(servers: list[ScriptedServer], make_layer: Callable[..., Any]) -> Any:
    """A core layer on several servers."""
    hosts = [server.host(protocol=2, socket_timeout=None) for server in servers]
    return make_layer(*hosts, cls=RedisChannelLayer, prefix="p")


def server_of(layer: Any, servers: list[ScriptedServer], channel: str) -> ScriptedServer:
    """Return the server that a channel's messages are waited for at."""
    return servers[layer.consistent_hash(layer.non_local_name(channel))]


def popped(message: bytes) -> bytes:
    """Write Redis' answer to who waits for a message."""
    return b"*3\r\n" + bulk(b"key") + bulk(message) + bulk(b"1.5")


async def test_channels_have_keys_of_their_own(layer: RedisChannelLayer) -> None:
    """What Redis keeps for one is never what another waits for; names stay within their bound."""
    inbox = inbox_of(layer)
    names = [await inbox.new_channel(), await inbox.new_channel(), await layer.new_channel()]
    assert len({layer.non_local_name(name) for name in names}) == len(names)
    assert all(layer.require_valid_channel_name(name) for name in names)
    assert all(name.startswith("specific.") for name in names)


async def test_all_that_is_sent_to_a_channel_goes_to_one_server(layer: RedisChannelLayer) -> None:
    """The one that its messages are waited for at, whether sent to the channel or to a group."""
    inbox = inbox_of(layer)
    names = [await inbox.new_channel() for _ in range(20)]
    assert all(
        layer.consistent_hash(name) == layer.consistent_hash(layer.non_local_name(name))
        for name in names
    )


@pytest.mark.parametrize("message", [{"type": "x", "n": 1}, [1, 2]], ids=["message", "none"])
async def test_a_message_takes_one_command(
    layer: RedisChannelLayer, servers: list[ScriptedServer], message: Any
) -> None:
    """It comes from the right server, however late; what is no message, as it is."""
    inbox = inbox_of(layer)
    channel = await inbox.new_channel()
    server = server_of(layer, servers, channel)
    sent = {**message, "__asgi_channel__": [channel]} if isinstance(message, dict) else message
    server.replies.extend([NONE, popped(layer.serialize(sent))])
    assert await within(inbox.receive(channel)) == message
    command = [b"BZPOPMIN", f"p{layer.non_local_name(channel)}".encode(), b"5"]
    assert [end.heard for end in server.ends] == [[command] * 2]


async def test_batches_come_as_such(
    layer: RedisChannelLayer, servers: list[ScriptedServer]
) -> None:
    """With their frames, however large."""
    inbox = inbox_of(layer)
    channel = await inbox.new_channel()
    server = server_of(layer, servers, channel)
    sent = {**BATCH.to_message(), "__asgi_channel__": [channel]}
    server.replies.append(popped(layer.serialize(sent)))
    received = await within(inbox.receive(channel))
    assert isinstance(received, Batch)
    assert received.frames == BATCH.frames


async def test_who_is_cut_off_leaves_nothing_waiting(
    layer: RedisChannelLayer, servers: list[ScriptedServer]
) -> None:
    """A node that stops is cut off while it waits for a message."""
    inbox = inbox_of(layer)
    channel = await inbox.new_channel()
    waiting = asyncio.ensure_future(inbox.receive(channel))
    end = await server_of(layer, servers, channel).hears(1)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await within(end.has_ended.wait())


async def test_groups_are_joined_as_ever(layer: RedisChannelLayer) -> None:
    """By the layer, with its memory of who is in which."""
    remembering = RememberingLayer(layer)
    inbox = inbox_of(remembering)
    assert inbox.group_add == remembering.group_add
    assert inbox.group_discard == remembering.group_discard


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
async def test_a_message_to_a_channel_is_one_command(
    layer: RedisChannelLayer, servers: list[ScriptedServer], size: int
) -> None:
    """To its server, with what there may be under its key."""
    server = servers[layer.consistent_hash("specific.a!b")]
    server.replies.append(b":0\r\n")
    message = {"type": "x", "data": b"\x00" * size}
    await within(publisher_of(layer).send("specific.a!b", message))
    ((command,),) = [end.heard for end in server.ends]
    assert command[:4] == [b"EVAL", DELIVER.encode(), b"1", b"pspecific.a!"]
    assert layer.deserialize(command[-2]) == {**message, "__asgi_channel__": "specific.a!b"}
    assert command[-1] == b"100"
    assert all(not other.ends for other in servers if other is not server)


async def test_normal_channels_are_on_all_servers(
    layer: RedisChannelLayer, servers: list[ScriptedServer]
) -> None:
    """As the layer sends to them: whoever receives asks all."""
    publisher = publisher_of(layer)
    for server in servers:
        server.replies.append(b":0\r\n")
    for _ in servers:
        await within(publisher.send("normal", {"type": "x"}))
    assert [end.heard[0][3] for server in servers for end in server.ends] == [b"pnormal"] * SERVERS


async def test_a_channel_that_is_full(
    layer: RedisChannelLayer, servers: list[ScriptedServer]
) -> None:
    """The sender is told."""
    servers[layer.consistent_hash("specific.a!b")].replies.append(b":1\r\n")
    with pytest.raises(ChannelFull):
        await within(publisher_of(layer).send("specific.a!b", {"type": "x"}))


async def test_a_group_is_on_several_servers(
    layer: RedisChannelLayer, servers: list[ScriptedServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Each gets one message for each of its keys; how many were full is logged."""
    names = [f"specific.{n}!{end}" for n in range(9) for end in "ab"]
    asked = servers[layer.consistent_hash("g")]
    asked.replies.append(b"*%d\r\n" % len(names) + b"".join(bulk(n.encode()) for n in names))
    for server in servers:
        server.replies.append(b":2\r\n")
    with caplog.at_level("DEBUG", "channels_demux_layer"):
        await within(publisher_of(layer).group_send("g", {"type": "x", "n": 1}))
    assert asked.ends[0].heard.pop(0)[:4] == [b"EVAL", MEMBERS.encode(), b"1", b"p:group:g"]
    reached = set()
    for index, server in enumerate(servers):
        ((command,),) = [end.heard for end in server.ends]
        count = int(command[2])
        for key, data in zip(command[3 : 3 + count], command[6 + count :: 2], strict=True):
            message = layer.deserialize(data)
            channels = message.pop("__asgi_channel__")
            assert {layer.prefix + layer.non_local_name(name) for name in channels} == {
                key.decode()
            }
            assert layer.consistent_hash(key.decode().removeprefix("p")) == index
            assert message == {"type": "x", "n": 1}
            reached.update(channels)
    assert reached == set(names)
    assert [record.getMessage() for record in caplog.records] == [
        "2 channels of group g are full."
    ] * SERVERS


async def test_what_the_server_refuses_is_raised(
    layer: RedisChannelLayer, servers: list[ScriptedServer]
) -> None:
    """And said once for each message."""
    server = servers[layer.consistent_hash("g")]
    server.replies.append(REFUSAL)
    with pytest.raises(Exception, match="NOPERM"):
        await within(publisher_of(layer).group_send("g", {"type": "x"}))
    await until(lambda: len(server.ends[0].heard) == 1)
