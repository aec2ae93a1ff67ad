"""Nodes speak with Redis over connections of their own, and with whoever uses the layer."""

from __future__ import annotations

from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.layer.inbox import inbox_of
from channels_demux_layer.layer.publisher import publisher_of
from tests.batches import make_batch

from .conftest import FAKE, REDIS, params
from .harness import Place, within

BATCH = make_batch(to_edge=True, early=[2], frames=b"\x90" * 300_000)
MESSAGES: list[dict[str, Any]] = [
    {"type": "x", "n": 1, "data": b"\x00", "list": ["a", None]},
    BATCH.to_message(),
]
layers = pytest.mark.parametrize("layered", params((*FAKE, *REDIS)), indirect=True)


@layers
@pytest.mark.parametrize("message", MESSAGES, ids=["small", "large"])
async def test_the_layer_receives_what_a_node_publishes(
    layered: Place, message: dict[str, Any]
) -> None:
    """On a channel and in a group."""
    layer = get_channel_layer()
    publisher = publisher_of(layer)
    assert publisher is not layer
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await within(publisher.send(channel, dict(message)))
    assert await within(layer.receive(channel)) == message
    await within(publisher.group_send("group", dict(message)))
    assert await within(layer.receive(channel)) == message


@layers
async def test_a_node_receives_what_the_layer_publishes(layered: Place) -> None:
    """A batch as such, with its frames."""
    layer = get_channel_layer()
    inbox = inbox_of(layer)
    assert inbox is not layer
    channel = await inbox.new_channel()
    await inbox.group_add("group", channel)
    await within(layer.send(channel, dict(MESSAGES[0])))
    assert await within(inbox.receive(channel)) == MESSAGES[0]
    await within(layer.group_send("group", BATCH.to_message()))
    received: Any = await within(inbox.receive(channel))
    assert received.to_message() == BATCH.to_message()
    await inbox.group_discard("group", channel)
