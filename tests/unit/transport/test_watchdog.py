"""Heartbeats of a node whose event loop is blocked."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, channel_layers

from channels_demux_layer.logs import about, note_task
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport import nodes, watchdog
from channels_demux_layer.transport.watchdog import Watchdog

#: How long to wait for what must come, in seconds.
LIMIT = 30.0
#: A heartbeat is due each 50 ms.
CONFIG = LinkConfig(peer_timeout=0.2)


class Layer:
    """The layer that a watchdog makes for itself.

    Attributes:
        sent: What was sent, with its channel.
        faults: What to raise, one for each send; nothing once they are used up.
        heard: Set with each send that works.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Exception] = []
        self.heard = threading.Semaphore(0)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Note a message."""
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append((channel, message))
        self.heard.release()

    def wait(self, count: int = 1) -> None:
        """Block until so many messages more were sent."""
        for _ in range(count):
            assert self.heard.acquire(timeout=LIMIT)


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Layer:
    """What is made for the watchdog, as of the settings."""
    made = Layer()
    monkeypatch.setattr(channel_layers, "make_backend", lambda alias: made)
    return made


class Node:
    """A node with three links.

    The first carries a session and the second none. The third carries none any more, which its
    peer does not know yet.

    Attributes:
        wires: Its links.
        blocks: How often it was blocked.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.config = CONFIG
        self.channel = "here"
        self.blocks = 0
        links = [
            Link(name * 32, is_edge=True, channel="here", config=CONFIG, now=0.0) for name in "abc"
        ]
        links[0].open_session("ref", SendWindow(1, 1), 0.0)
        links[2].reset_session(links[2].open_session("ref", SendWindow(1, 1), 0.0), 0.0)
        self.wires = [SimpleNamespace(link=link, peer=f"peer-{link.id[0]}") for link in links]


@pytest.fixture
async def node(layer: Layer) -> AsyncIterator[Node]:
    """A node that is watched."""
    watched = Node()
    watching = Watchdog(watched, "default")
    watching.start()
    yield watched
    watching.stop()
    await _until(lambda: watchdog.THREAD not in {each.name for each in threading.enumerate()})


async def _until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.01)


async def test_a_blocked_loop_has_its_heartbeats(
    node: Node, layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    """They go to peers that have sessions, and change nothing; the log shows who blocks, where."""
    caplog.set_level(logging.INFO)
    task = asyncio.current_task()
    assert task is not None
    note_task(task, about(connection="c", stream="slow"))
    link = node.wires[0].link
    before = link.heartbeat()
    layer.wait(6)
    await _until(lambda: "The event loop turns again" in caplog.text)
    assert {channel for channel, _ in layer.sent} == {"peer-a", "peer-c"}
    message = dict(layer.sent)["peer-a"]
    assert message == before.to_message()
    assert (message["seq"], message["frames"], message["again"]) == (0, b"", False)
    assert link.wants_to_send(0.0)
    assert node.blocks == 1
    blocked, over = (record for record in caplog.records if record.name == watchdog.__name__)
    assert "by the consumer of stream 'slow'" in blocked.getMessage()
    assert "layer.wait(6)" in blocked.getMessage()
    for record in (blocked, over):
        assert record.__dict__["demux_connection"] == "c"
        assert record.__dict__["demux_node"] == "here"


async def test_a_loop_that_turns_is_left_alone(node: Node, layer: Layer) -> None:
    """Nothing is sent for it, however often it is looked at."""
    await asyncio.sleep(4 * CONFIG.heartbeat_interval)
    assert layer.sent == []
    assert node.blocks == 0


async def test_a_layer_that_fails_is_tried_again(
    node: Node, layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    """A full channel is no fault; what else the layer raises is logged once for each block."""
    layer.faults = [ChannelFull(), OSError("away"), OSError("away")]
    layer.wait()
    await _until(lambda: not layer.faults)
    assert caplog.text.count("Cannot send heartbeats for the blocked event loop over") == 1
    assert "by code outside of consumers" in caplog.text


async def test_a_loop_that_is_blocked_for_good_is_given_up(
    layer: Layer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """After STALL_TIMEOUT no more heartbeats go out, so that others can take over."""
    settings.CHANNELS_DEMUX_LAYER = {"STALL_TIMEOUT": 0.2}
    watching = Watchdog(Node(), "default")
    watching.start()
    ends_at = time.monotonic() + LIMIT
    while "no more heartbeats" not in caplog.text:
        assert time.monotonic() < ends_at
        time.sleep(0.01)  # noqa: ASYNC251 - that is the point
    sent = len(layer.sent)
    time.sleep(3 * CONFIG.heartbeat_interval)  # noqa: ASYNC251
    assert len(layer.sent) == sent
    watching.stop()


async def test_a_process_that_was_stopped_is_not_blocked(
    node: Node, layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds his own wait too long was away himself, and looks again."""
    looks = threading.Semaphore(0)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 3600.0
        looks.release()
        return now

    monkeypatch.setattr(watchdog, "monotonic", clock)
    for _ in range(6):
        assert looks.acquire(timeout=LIMIT)
    assert layer.sent == []
    assert node.blocks == 0


def _run(coroutine: Any) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop, loop.run_until_complete(coroutine)
    except BaseException:
        loop.close()
        raise


def test_a_loop_that_does_not_run_is_not_blocked(layer: Layer) -> None:
    """Between two runs of a loop, as in scripts, nobody waits for it; its end ends the thread."""

    async def watched() -> Node:
        node = Node()
        Watchdog(node, "default").start()
        return node

    loop, node = _run(watched())
    time.sleep(4 * CONFIG.heartbeat_interval)
    assert node.blocks == 0
    loop.close()
    ends_at = time.monotonic() + LIMIT
    while watchdog.THREAD in {each.name for each in threading.enumerate()}:
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_a_loop_that_ends_while_it_is_blocked(layer: Layer) -> None:
    """The heartbeats end with it."""

    async def blocking() -> Node:
        node = Node()
        Watchdog(node, "default").start()
        await asyncio.sleep(2 * CONFIG.heartbeat_interval)
        asyncio.get_running_loop().stop()
        layer.wait(2)
        return node

    loop = asyncio.new_event_loop()
    running = loop.create_task(blocking())
    loop.run_forever()
    time.sleep(3 * CONFIG.heartbeat_interval)
    sent = len(layer.sent)
    time.sleep(3 * CONFIG.heartbeat_interval)
    assert len(layer.sent) == sent
    loop.run_until_complete(running)
    loop.close()


async def test_tasks_of_a_layer_end_with_the_block(
    node: Node, layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a layer has running in the background is cancelled, before its loop is closed."""
    ended = threading.Event()

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def send(channel: str, message: dict[str, Any]) -> None:
        layer.heard.release()
        if not layer.sent:
            layer.sent.append((channel, message))
            tasks.append(asyncio.ensure_future(background()))

    tasks: list[Any] = []
    monkeypatch.setattr(layer, "send", send)
    layer.wait(2)
    await _until(ended.is_set)


async def test_nodes_are_watched_where_others_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, and not on the in-memory layer."""
    started: list[Any] = []

    def start(watching: Watchdog) -> None:
        started.append(watching)

    monkeypatch.setattr(nodes.Watchdog, "start", start)
    memory: Any = SimpleNamespace(layer=InMemoryChannelLayer(), watchdog=None)
    nodes.watch(memory, "default")
    assert memory.watchdog is None
    other: Any = SimpleNamespace(
        layer=object(), watchdog=None, wires=[], loop=asyncio.get_running_loop(), config=CONFIG
    )
    nodes.watch(other, "default")
    nodes.watch(other, "default")
    assert started == [other.watchdog]


async def test_the_peer_with_the_least_patience_counts(layer: Layer) -> None:
    """A process that waits long itself has heartbeats as often as its peers need them."""
    node = Node()
    node.config = LinkConfig(peer_timeout=3600.0)
    impatient = Link("c" * 32, is_edge=False, channel="p", config=LinkConfig(), now=0.0)
    node.wires[0].link.receive_batch(impatient.heartbeat(), 0.0)
    assert Watchdog(node, "default")._interval == CONFIG.heartbeat_interval
    slow = Link("d" * 32, is_edge=True, channel="here", config=node.config, now=0.0)
    slow.open_session("ref", SendWindow(1, 1), 0.0)
    slow.receive_batch(impatient.heartbeat(), 0.0)
    node.wires = [SimpleNamespace(link=slow, peer="p")]
    assert Watchdog(node, "default")._interval == 2.5
