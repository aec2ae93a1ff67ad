"""Whether a process is ready for work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.monitoring import readiness
from channels_demux_layer.monitoring.readiness import (
    CUT_OFF,
    DEAF,
    DRAINING,
    NOT_JOINED,
    SILENT,
    find_problems,
    health_page,
    health_pages,
    join_in_time,
)
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node, stop_nodes
from tests.integration.harness import until


@pytest.fixture
async def node(settings: Any) -> AsyncIterator[Node]:
    """A node that has joined the layer."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    node = await get_node("default")
    await until(lambda: node.reporter.has_joined)
    yield node
    await stop_nodes()


async def test_a_node_that_works_is_ready(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It sends itself a message, which says nothing to anybody."""
    heard_at = node.heard_at
    assert await find_problems(node) == []
    await until(lambda: node.heard_at > heard_at)
    assert not caplog.messages


async def test_a_node_that_drains_is_not_ready(node: Node) -> None:
    """It takes no session any more."""
    node.is_draining = True
    assert await find_problems(node) == [DRAINING]


async def test_a_node_that_hears_nothing_is_not_ready(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers could not answer it."""
    monkeypatch.setattr(Node, "is_deaf", True)
    assert await find_problems(node) == [DEAF]


async def test_a_node_that_has_not_joined_is_not_ready(node: Node) -> None:
    """Nobody can find it."""
    assert await find_problems(Node(node.layer, node.config)) == [NOT_JOINED]


async def test_a_layer_that_has_gone_is_found_out(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nothing was to be said, and again when it is back."""
    send = node.layer.send

    async def fail(channel: str, message: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(node.layer, "send", fail)
    assert await find_problems(node) == [CUT_OFF]
    monkeypatch.setattr(node.layer, "send", send)
    assert await find_problems(node) == []


async def test_a_layer_that_hangs_is_asked_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often somebody asks, one message waits; when it gets through, all is well."""
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 0.01)
    gate, sent = asyncio.Event(), []

    async def hang(channel: str, message: Any) -> None:
        sent.append(message)
        await gate.wait()

    monkeypatch.setattr(node.layer, "send", hang)
    assert [await find_problems(node) for _ in range(3)] == [[SILENT]] * 3
    assert len(sent) == 1
    gate.set()
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 20.0)
    assert await find_problems(node) == []


async def test_joining_takes_no_longer_than_it_may(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that hangs or fails gives a node that has not joined, and no error."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 0.01)
    layer = get_channel_layer()
    new_channel, gate = layer.new_channel, asyncio.Event()

    async def hang() -> Any:
        await gate.wait()
        raise ConnectionError

    monkeypatch.setattr(layer, "new_channel", hang)
    assert not (await join_in_time()).channel
    gate.set()
    assert not (await join_in_time()).channel
    monkeypatch.setattr(layer, "new_channel", new_channel)
    monkeypatch.setattr(readiness, "PROBE_LIMIT", 20.0)
    node = await join_in_time()
    assert node.channel
    assert node is find_node("default")
    await stop_nodes()


def test_the_page_says_what_is_wrong() -> None:
    """200 and no problems, or 503 and all of them, as JSON."""
    good, bad = health_page([]), health_page([CUT_OFF])
    assert (good.status, bad.status) == (200, 503)
    assert json.loads(good.body) == {"ready": True, "problems": []}
    assert json.loads(bad.body) == {"ready": False, "problems": [CUT_OFF]}
    assert bad.content_type == "application/json"


async def test_a_worker_of_streams_needs_a_node(node: Node) -> None:
    """It is ready with a node that is; before that it is not, and lives all the same."""
    pages = health_pages(["demux.a"])
    assert (await pages["/live"]("")).body == b"live\n"
    assert (await pages["/ready"]("")).status == 200
    node.is_draining = True
    assert json.loads((await pages["/ready"]("")).body)["problems"] == [DRAINING]
    await stop_nodes()
    assert json.loads((await pages["/ready"]("")).body)["problems"] == [NOT_JOINED]


async def test_a_worker_of_other_channels_needs_none() -> None:
    """Without streams there is nothing to join."""
    assert (await health_pages([])["/ready"]("")).status == 200
