"""The channel layer with faults, around Channels' in-memory layer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.test.utils import override_settings

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.testing import DemuxCommunicator, run_workers
from channels_demux_layer.testing.faulty import FaultyLayer

#: Longer than any message is under way, in seconds; nothing waits for it where all is well.
LIMIT = 10.0


def make(**faults: Any) -> FaultyLayer:
    """Return a faulty layer around an empty in-memory one."""
    return FaultyLayer(InMemoryChannelLayer(capacity=1000), **faults)


async def collect(layer: FaultyLayer, count: int, channel: str = "c") -> list[int]:
    """Receive so many messages."""
    return [(await asyncio.wait_for(layer.receive(channel), LIMIT))["n"] for _ in range(count)]


async def send(layer: FaultyLayer, count: int) -> None:
    """Send numbered messages to a channel."""
    for number in range(count):
        await layer.send("c", {"type": "t", "n": number})


async def test_without_faults_it_is_the_layer_that_it_is_around() -> None:
    """Channels, groups and attributes are those of the inner layer."""
    layer = make()
    channel = await layer.new_channel("prefix")
    assert channel.startswith("prefix")
    await layer.group_add("g", channel)
    await layer.group_send("g", {"type": "t", "n": 1})
    assert await collect(layer, 1, channel) == [1]
    await layer.group_discard("g", channel)
    assert layer.groups == {}
    assert layer.capacity == 1000
    await send(layer, 3)
    assert await collect(layer, 3) == [0, 1, 2]
    assert not layer.faults


async def test_it_is_made_by_the_settings() -> None:
    """The entry of CHANNEL_LAYERS names the inner layer as CHANNEL_LAYERS would."""
    inner = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1}}
    backend = "channels_demux_layer.testing.faulty.FaultyLayer"
    entry = {"BACKEND": backend, "CONFIG": {"layer": inner, "seed": 3, "repeat": 1.0}}
    with override_settings(CHANNEL_LAYERS={"default": entry}):
        layer = get_channel_layer()
        assert isinstance(layer, FaultyLayer)
        with pytest.raises(ChannelFull):
            await send(layer, 1)
        assert layer.faults == {"repeated": 1}


async def test_an_inner_layer_needs_no_config() -> None:
    """The inner layer's CONFIG may be left out."""
    layer = FaultyLayer({"BACKEND": "channels.layers.InMemoryChannelLayer"})
    await send(layer, 1)
    assert await collect(layer, 1) == [0]


async def test_messages_are_dropped_and_repeated() -> None:
    """Some messages are lost in silence and some come twice, as often as it counts them."""
    layer = make(seed=1, drop=0.2, repeat=0.2)
    await send(layer, 200)
    arrived = 200 - layer.faults["dropped"] + layer.faults["repeated"]
    numbers = await collect(layer, arrived)
    assert numbers == sorted(numbers)
    assert 20 < layer.faults["dropped"] < 60
    assert 15 < layer.faults["repeated"] < 60
    assert len(set(numbers)) == 200 - layer.faults["dropped"]


async def test_the_same_seed_does_the_same() -> None:
    """All faults come from the seed."""

    async def outcome(seed: int) -> list[int]:
        layer = make(seed=seed, drop=0.3)
        await send(layer, 50)
        return await collect(layer, 50 - layer.faults["dropped"])

    assert await outcome(1) == await outcome(1)
    assert await outcome(1) != await outcome(2)


async def test_delayed_messages_keep_their_order() -> None:
    """Messages to one channel come later, and none overtakes another."""
    layer = make(delay=(0.0, 0.02))
    await send(layer, 20)
    assert await collect(layer, 20) == list(range(20))
    assert layer.faults == {"delayed": 20}


async def test_held_back_messages_are_overtaken() -> None:
    """Messages of one sender to one channel may come in another order."""
    layer = make(reorder=0.5)
    await send(layer, 20)
    numbers = await collect(layer, 20)
    assert sorted(numbers) == list(range(20))
    assert numbers != sorted(numbers)


async def test_what_comes_late_to_a_full_channel_is_lost() -> None:
    """Nobody is left to be told that the channel is full."""
    layer = FaultyLayer(InMemoryChannelLayer(capacity=1), delay=(0.001, 0.002))
    await send(layer, 3)
    while layer.faults["dropped"] < 2:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)
    assert await collect(layer, 1) == [0]


async def test_calls_fail_before_or_after_they_are_done() -> None:
    """Whoever gets ConnectionError does not know whether the message was sent."""
    layer = make(seed=5, fail=0.5)
    failed = 0
    for number in range(100):
        try:
            await layer.send("c", {"type": "t", "n": number})
        except ConnectionError:
            failed += 1
    assert layer.faults["failed"] == failed
    layer.heal()
    arrived = layer._layer.channels["c"].qsize()
    assert 100 - failed < arrived < 100


async def test_receiving_fails_too() -> None:
    """A receiver gets ConnectionError, and may go on."""
    layer = make(fail=1.0)
    with pytest.raises(ConnectionError):
        await layer.receive("c")
    layer.heal()
    await send(layer, 1)
    assert await collect(layer, 1) == [0]


async def test_what_the_inner_layer_raises_is_passed_on() -> None:
    """A wrong call is told of as without faults."""
    with pytest.raises(TypeError):
        await make().receive("a bad name")


@pytest.mark.parametrize(
    "call",
    [
        lambda layer: layer.new_channel(),
        lambda layer: layer.send("c", {"type": "t"}),
        lambda layer: layer.group_send("g", {"type": "t"}),
        lambda layer: layer.group_add("g", "c"),
        lambda layer: layer.group_discard("g", "c"),
        lambda layer: layer.receive("c"),
    ],
)
async def test_while_down_every_call_raises(
    call: Callable[[FaultyLayer], Awaitable[Any]],
) -> None:
    """A layer that is down raises ConnectionError, whatever it is asked."""
    layer = make()
    await layer.go_down()
    with pytest.raises(ConnectionError):
        await call(layer)


async def test_a_restart_forgets_everything() -> None:
    """Groups and messages are gone, those on their way too, and who waited gets an error."""
    layer = make(delay=(5.0, 6.0))
    await layer.group_add("g", "c")
    await send(layer, 1)
    waiting = asyncio.ensure_future(layer.receive("c"))
    await asyncio.sleep(0)
    await layer.go_down()
    with pytest.raises(ConnectionError):
        await waiting
    layer.come_back()
    layer.delay = (0.0, 0.0)
    assert layer.groups == {}
    await send(layer, 2)
    assert await collect(layer, 2) == [0, 1]


async def test_restarts_come_by_chance() -> None:
    """Where a restart has its chance, the layer goes down and comes back by itself."""
    layer = make(restart=1.0, downtime=0.01)
    with pytest.raises(ConnectionError):
        await send(layer, 1)
    assert layer.is_down
    layer.restart = 0.0
    while layer.is_down:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)
    await send(layer, 1)
    assert await collect(layer, 1) == [0]
    assert layer.faults == {"restarted": 1}


async def test_forgetting_does_not_make_receivers_deaf() -> None:
    """Who waits for a message while everything is forgotten gets the next one."""
    layer = make()
    waiting = asyncio.ensure_future(layer.receive("c"))
    await layer.group_add("g", "c")
    await layer.forget()
    assert layer.groups == {}
    await send(layer, 1)
    assert (await asyncio.wait_for(waiting, LIMIT))["n"] == 0
    assert layer.faults == {"forgot": 1}


async def test_a_message_that_has_come_survives_the_layer() -> None:
    """What was handed over before the layer went down is received."""
    layer = make()
    waiting = asyncio.ensure_future(layer.receive("c"))
    await asyncio.sleep(0)
    (receiver,) = layer._receivers
    receiver.set_result({"type": "t", "n": 0})
    await layer.go_down()
    assert (await waiting)["n"] == 0


async def test_messages_at_once_wait_for_those_before() -> None:
    """Where delays end while a message is under way, the next one comes after it."""
    layer = make(delay=(0.01, 0.01))
    await send(layer, 1)
    layer.delay = (0.0, 0.0)
    await layer.send("c", {"type": "t", "n": 1})
    assert await collect(layer, 2) == [0, 1]


async def test_a_receiver_may_be_cancelled() -> None:
    """Nothing is left of a receiver who has gone."""
    layer = make()
    waiting = asyncio.ensure_future(layer.receive("c"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not layer._receivers


class Echo(AsyncWebsocketConsumer):
    """Sends back what it gets."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


class Demultiplexer(WebsocketDemultiplexer):
    """One stream."""

    consumer_classes = {"echo": Echo}


async def test_streams_work_over_it() -> None:
    """Whatever the layer does, payloads arrive once and in order."""
    inner = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    config = {"layer": inner, "drop": 0.05, "repeat": 0.2, "reorder": 0.1, "delay": (0.0, 0.01)}
    entry = {"BACKEND": "channels_demux_layer.testing.faulty.FaultyLayer", "CONFIG": config}
    settings = {"CHANNEL_LAYERS": {"default": entry}, "CHANNELS_DEMUX_LAYER": {"OPEN_RETRY": 0.2}}
    with override_settings(**settings):
        application = Demultiplexer.as_asgi()
        async with (
            run_workers(Demultiplexer),
            DemuxCommunicator(application, "/", timeout=30) as client,
        ):
            for number in range(30):
                await client.send_to("echo", number)
            assert [await client.receive_from("echo") for _ in range(30)] == list(range(30))
