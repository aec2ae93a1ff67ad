"""The calls of channels_rabbitmq's layer, where that alone would give up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import carehare
import pytest
from channels_rabbitmq import core

from channels_demux_layer.layer import rabbitmq
from channels_demux_layer.layer.calls import persist
from channels_demux_layer.layer.rabbitmq import RabbitmqCalls
from tests.acceptance.harness.rabbitmq_server import RabbitmqServer

from .harness import within


@pytest.fixture
async def calls(rabbitmq_server: RabbitmqServer) -> AsyncIterator[RabbitmqCalls]:
    """A layer with its calls made whole."""
    config = rabbitmq_server.channel_layers()["default"]["CONFIG"]
    calls = RabbitmqCalls(core.RabbitmqChannelLayer(**config))
    yield calls
    await within(calls.close_pools())


async def assert_works(calls: RabbitmqCalls) -> None:
    """Send a message to a group and get it."""
    channel = await calls.new_channel()
    await within(persist("join", lambda: calls.group_add("room", channel)))
    await within(calls.group_send("room", {"type": "said"}))
    assert await within(calls.receive(channel)) == {"type": "said"}


async def test_calls_that_are_cancelled_do_no_harm(calls: RabbitmqCalls) -> None:
    """Whoever waits for a call may go: the connection outlasts RabbitMQ's answer."""
    await assert_works(calls)
    connection = await calls.carehare_connection
    channel = await calls.new_channel()
    for call in (
        calls.send(channel, {"type": "said"}),
        calls.group_send("room", {"type": "said"}),
        calls.group_add("other", channel),
        calls.group_discard("other", channel),
    ):
        waiting = asyncio.ensure_future(call)
        # The first time it begins, the second it is sent: nothing is received in between.
        for _ in range(2):
            await asyncio.sleep(0)
        under_way = set(calls._under_way)
        waiting.cancel()
        await asyncio.wait([waiting, *under_way])
        assert waiting.cancelled()
    await assert_works(calls)
    assert await calls.carehare_connection is connection


@pytest.mark.parametrize("when", ["_setup_connection", "consume_into"])
async def test_a_layer_that_has_given_up_connects_again(
    calls: RabbitmqCalls, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A fault that ends the layer's task for connections ends it until the next call alone."""
    name = when if when.startswith("_") else f"{when}_multi_queue_until_connection_close"
    monkeypatch.setattr(rabbitmq, "CONNECT_LIMIT", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(core, name, give_up)
        task: Any = None
        while task is None or not task.done():
            waiting = asyncio.ensure_future(calls.group_send("room", {"type": "said"}))
            await asyncio.wait([waiting])
            waiting.exception()
            task = vars(calls._layer)["_reconnect_forever_task"]
    assert isinstance(task.exception(), carehare.ConnectionClosed)
    await assert_works(calls)


async def give_up(*, connection: carehare.Connection, **kwargs: Any) -> None:
    """Lose the connection."""
    await connection.close()
    raise carehare.ConnectionClosed
