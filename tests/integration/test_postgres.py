"""The channel layer in PostgreSQL: two of its instances are as two processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from channels_demux_layer.contrib.postgres import SHORT, PostgresChannelLayer
from channels_demux_layer.transport.calls import receive
from tests.acceptance.harness.postgres_server import PostgresServer

from .harness import until, within

MakeLayer = Callable[..., PostgresChannelLayer]
#: One message that goes with NOTIFY, and one that is too long for it.
SIZES = (10, SHORT + 1)


@pytest.fixture
async def make_layer(postgres_server: PostgresServer) -> AsyncIterator[MakeLayer]:
    """Makes layers on an empty database; afterwards all their connections are closed."""
    made: list[PostgresChannelLayer] = []

    def make(**config: Any) -> PostgresChannelLayer:
        configured = postgres_server.channel_layers(**config)["default"]["CONFIG"]
        made.append(PostgresChannelLayer(**configured))
        return made[-1]

    await make().flush()
    yield make
    for layer in made:
        await layer.close_pools()


async def rows(layer: PostgresChannelLayer, table: str) -> int:
    """Counts the rows of one of the layer's tables."""
    ((count,),) = await layer._run(f"SELECT count(*) FROM channels_postgres_{table}", ())
    return int(count)


def numbered(number: int) -> dict[str, Any]:
    """Makes a message."""
    return {"type": "test", "number": number}


# ---- normal channels --------------------------------------------------------------------


async def test_a_message_on_a_normal_channel_reaches_one_of_many(make_layer: MakeLayer) -> None:
    """What waits and what comes is handed out once each; when one goes, others get the rest."""
    sender, first, second = make_layer(), make_layer(), make_layer()
    received: Counter[int] = Counter()

    async def take(layer: PostgresChannelLayer) -> None:
        while True:
            received[(await layer.receive("work"))["number"]] += 1

    await sender.send("work", numbered(0))
    tasks = [asyncio.ensure_future(take(layer)) for layer in (first, first, second)]
    for number in range(1, 30):
        await sender.send("work", numbered(number))
    await until(lambda: len(received) == 30)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.wait(tasks[:2])
    for number in range(30, 40):
        await sender.send("work", numbered(number))
    await until(lambda: len(received) == 40)
    assert set(received.values()) == {1}
    assert await rows(sender, "message") == 0
    tasks[2].cancel()
    await asyncio.wait(tasks)


# ---- a process's own channels -----------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_own_channels_and_groups_carry_any_size(make_layer: MakeLayer, size: int) -> None:
    """A message to a channel or to a group of channels arrives whole, and leaves no row."""
    sender, receiver = make_layer(), make_layer()
    channels = [await receiver.new_channel() for _ in range(2)]
    message = {"type": "test", "data": bytes(size)}
    await sender.send(channels[0], message)
    assert await within(receiver.receive(channels[0])) == message
    for channel in channels:
        await receiver.group_add("room", channel)
    await sender.group_send("room", message)
    for channel in channels:
        assert await within(receiver.receive(channel)) == message
    assert await rows(sender, "message") == 0


@pytest.mark.parametrize("size", SIZES)
async def test_what_has_expired_is_not_received(make_layer: MakeLayer, size: int) -> None:
    """A message that is too old is passed over, and its row deleted some time later."""
    late, sender, receiver = make_layer(expiry=-1), make_layer(), make_layer()
    channel = await receiver.new_channel()
    await late.send(channel, {"type": "test", "data": bytes(size)})
    await sender.send(channel, numbered(1))
    assert await within(receiver.receive(channel)) == numbered(1)
    await sender.group_add("room", channel)
    assert await rows(sender, "message") == 0


async def test_nobody_listens_any_more(make_layer: MakeLayer) -> None:
    """A receive that is cancelled forgets the channel: consumers come and go."""
    layer = make_layer()
    receiving = asyncio.ensure_future(layer.receive(await layer.new_channel()))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait([receiving])
    assert layer._queues == {}


# ---- groups -----------------------------------------------------------------------------


async def test_memberships(make_layer: MakeLayer) -> None:
    """One that is renewed is still one; one that has expired is none; left is left."""
    layer, soon, for_ever = make_layer(), make_layer(group_expiry=-1), make_layer(group_expiry=0)
    channel = await layer.new_channel()
    for member in (soon, layer, layer):
        await member.group_add("kept", channel)
    await for_ever.group_add("for-ever", channel)
    await soon.group_add("expired", channel)
    await layer.group_add("left", channel)
    await layer.group_discard("left", channel)
    assert await rows(layer, "groupchannel") == 3
    for number, group in enumerate(["left", "expired", "for-ever", "kept"]):
        await layer.group_send(group, numbered(number))
    assert [(await within(layer.receive(channel)))["number"] for _ in range(2)] == [2, 3]
    layer._sweep_at = 0.0
    await layer.group_add("kept", channel)
    assert await rows(layer, "groupchannel") == 2


async def test_long_names_of_groups_are_told_apart(make_layer: MakeLayer) -> None:
    """Groups have names of 99 characters, more than the table's column leaves."""
    layer = make_layer()
    channel = await layer.new_channel()
    await layer.group_add("x" * 98 + "1", channel)
    await layer.group_send("x" * 98 + "2", numbered(2))
    await layer.group_send("x" * 98 + "1", numbered(1))
    assert await within(layer.receive(channel)) == numbered(1)


async def test_names_that_are_none(make_layer: MakeLayer) -> None:
    """Each call refuses a name with other characters."""
    layer = make_layer()
    for call in (
        layer.send("a b", {}),
        layer.receive("a b"),
        layer.group_send("a b", {}),
        layer.group_add("a b", "c"),
        layer.group_discard("a", "b c"),
    ):
        with pytest.raises(TypeError, match=r"can only contain|valid"):
            await call


# ---- a server that goes away ------------------------------------------------------------


async def test_a_server_that_cannot_be_reached(make_layer: MakeLayer) -> None:
    """Each call says so, and a channel that was not to be had leaves nothing behind."""
    layer = make_layer(HOST="/nowhere")
    for call in (layer.new_channel(), layer.receive("a"), layer.send("a", {})):
        with pytest.raises(psycopg.OperationalError):
            await call
    assert set(layer._queues) == {"a"}


async def test_a_server_that_restarts(
    make_layer: MakeLayer, postgres_server: PostgresServer
) -> None:
    """Who receives is told, and hears what comes afterwards; who sends alone fails once."""
    layer, sender = make_layer(), make_layer()
    channel = await layer.new_channel()
    names = (channel, "work")
    receiving = [asyncio.ensure_future(layer.receive(name)) for name in names]
    await sender.send("other", numbered(0))
    await asyncio.to_thread(postgres_server.go_away)
    await within(asyncio.wait(receiving))
    for task in receiving:
        assert isinstance(task.exception(), psycopg.OperationalError)
    postgres_server.come_back()  # a process ends with the thread that has started it
    # Several connections are lost: who receives hears of one after the other.
    receiving = [asyncio.ensure_future(receive(layer, name)) for name in names]
    await layer.new_channel()  # listens by then
    with pytest.raises(psycopg.OperationalError):
        await sender.send(channel, numbered(1))
    for number, name in enumerate(names):
        await sender.send(name, numbered(number))
    assert await within(asyncio.gather(*receiving)) == [numbered(0), numbered(1)]
