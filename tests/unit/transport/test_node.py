"""A process's endpoint on the channel layer."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, get_channel_layer

from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.protocol.frames import BATCH, VERSION, Grant, encode_frames
from channels_demux_layer.protocol.handshake import Claim
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.report import PROBE, STATUS
from channels_demux_layer.testing.faulty import FaultyLayer
from channels_demux_layer.transport import groups
from channels_demux_layer.transport import node as node_module
from channels_demux_layer.transport import nodes as nodes_module
from channels_demux_layer.transport.groups import MAX_CHORES
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node, stop_nodes
from channels_demux_layer.transport.ports import SessionPort
from channels_demux_layer.transport.steadfast import RememberingLayer
from channels_demux_layer.transport.typed import Outage
from tests.batches import make_batch

MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A started node on a layer of its own."""
    started = Node(InMemoryChannelLayer(), LinkConfig())
    await started.start()
    yield started
    await started.stop()


async def test_a_loop_has_one_node_for_each_layer(settings: Any) -> None:
    """The same node until the layer is another one, and none after the end."""
    settings.CHANNEL_LAYERS = {**MEMORY, "other": MEMORY["default"]}
    node = await get_node("default")
    assert find_node("default") is node
    assert find_node("other") is not node
    settings.CHANNEL_LAYERS = MEMORY
    assert find_node("default") is not node
    await node.stop()
    replaced = find_node("default")
    await stop_nodes()
    await stop_nodes()
    assert find_node("default") is not replaced
    await stop_nodes()


def test_a_node_goes_with_its_loop(settings: Any) -> None:
    """Nothing of a loop that has ended is kept, once there is another one."""
    settings.CHANNEL_LAYERS = MEMORY
    nodes: list[weakref.ref[Node]] = []

    async def use() -> None:
        nodes.append(weakref.ref(await get_node("default")))

    for _ in range(3):
        asyncio.run(use())
    gc.collect()
    assert [node() is None for node in nodes] == [True, True, False]

    async def end() -> None:
        find_node("default")
        await stop_nodes()

    asyncio.run(end())
    assert not any(loop.is_closed() for loop in nodes_module._nodes)


async def test_a_node_needs_a_layer(settings: Any) -> None:
    """Without one the message says what to do."""
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(ConfigurationError, match="CHANNEL_LAYERS has no 'default'"):
        find_node("default")


async def test_a_node_starts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, it takes one channel; after a failure it tries again."""
    calls: list[int] = []

    class Slow(InMemoryChannelLayer):
        async def new_channel(self, prefix: str = "specific.") -> Any:
            calls.append(1)
            await asyncio.sleep(0)
            if len(calls) == 1:
                raise ConnectionError
            return await super().new_channel(prefix)

    node = Node(Slow(), LinkConfig())
    outcomes = await asyncio.gather(node.start(), node.start(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Outage] * 2
    await asyncio.gather(node.start(), node.start())
    await node.start()
    assert len(calls) == 2
    await node.stop()


class Away(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer whose server is away at first."""

    def __init__(self, hosts: list[str]) -> None:
        super().__init__()
        self.is_away = True

    async def new_channel(self, prefix: str = "specific.") -> Any:
        if self.is_away:
            raise ConnectionError("refused")
        return await super().new_channel(prefix)


async def test_the_log_says_which_layer_cannot_be_joined(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the alias and the address, when that begins and when it is over."""
    caplog.set_level("INFO", "channels_demux_layer")
    backend = f"{Away.__module__}.{Away.__qualname__}"
    config = {"hosts": ["redis://10.0.0.1:6380"]}
    settings.CHANNEL_LAYERS = {"opens": {"BACKEND": backend, "CONFIG": config}}
    for _ in range(2):
        with pytest.raises(Outage):
            await get_node("opens")
    get_channel_layer("opens").is_away = False
    await get_node("opens")
    await stop_nodes()
    where = "join the channel layer 'opens' at 10.0.0.1:6380"
    assert caplog.messages[:2] == [f"Cannot {where}: refused. Retrying.", f"Can {where} again."]


async def test_a_node_that_was_never_started_can_be_stopped() -> None:
    """A node that only publishes has no channel and no group to leave."""
    await Node(InMemoryChannelLayer(), LinkConfig()).stop()


async def test_groups_are_joined_again_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that says 0 never forgets a member, and needs no reminder."""
    monkeypatch.setattr(groups, "PAUSE", 0.0)
    rejoins = {0.004: 0, 0: 0}
    reminded = asyncio.Event()

    def make(expiry: float) -> Node:
        node = Node(FaultyLayer(InMemoryChannelLayer(group_expiry=expiry)), LinkConfig())
        memory = RememberingLayer(node.layer)

        async def rejoin(only: Any = None) -> None:
            rejoins[expiry] += 1
            if rejoins[0.004] == 3:
                reminded.set()

        monkeypatch.setattr(memory, "rejoin", rejoin)
        node.memories.append(memory)
        return node

    nodes = [make(expiry) for expiry in rejoins]
    for node in nodes:
        await node.start()
    await asyncio.wait_for(reminded.wait(), 60)
    assert rejoins[0] == 0
    for node in nodes:
        await node.stop()


async def test_a_full_channel_is_no_fault(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Publishing says that the layer did not take it, and warns of nothing."""

    async def full(channel: str, message: Any) -> None:
        raise ChannelFull

    node.layer.send = full
    assert await node.publish(None, "somewhere", {"type": "x"}) is False
    assert not caplog.messages


async def test_what_cannot_be_handled_stops_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in handling one layer message leaves the node receiving."""
    handled = asyncio.Event()

    def dispatch(message: Any) -> None:
        if message["type"] == "bad":
            raise ZeroDivisionError
        handled.set()

    monkeypatch.setattr(node, "_dispatch", dispatch)
    for kind in ("bad", "good"):
        await node.layer.send(node.channel, {"type": kind})
    await asyncio.wait_for(handled.wait(), 20.0)
    assert caplog.messages == ["A channel-layer message could not be handled."]


async def test_a_link_is_taken_up_from_its_beginning_alone(node: Node) -> None:
    """A batch of an unknown link is for a predecessor, unless it is the first one."""
    fields = {"version": VERSION, "link": "l", "channel": "x", "ack": 0, "early": []}
    batch = {"type": BATCH, **fields, "again": False, "frames": b"\x90", "to_edge": False}
    for seq, base in ((2, 2), (0, 1)):
        node._dispatch({**batch, "seq": seq, "base": base})
    node._dispatch({**batch, "seq": 1, "base": 1, "to_edge": True})
    assert not node._wires
    node._dispatch({**batch, "seq": 2, "base": 1})
    assert list(node._wires) == [("l", False)]


async def test_all_that_a_node_has_started_ends_with_it(node: Node) -> None:
    """Even what is started while it stops."""
    ended: list[str] = []

    async def last_word() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("last word")

    async def session() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            node.start_task(last_word())
            ended.append("session")

    node.start_task(session())
    await asyncio.sleep(0)
    await node.stop()
    assert ended[0] == "session"
    assert not node._tasks


def a_batch(link: str, **fields: Any) -> dict[str, Any]:
    """The first batch of a link, in which nothing is said."""
    addressed = {"version": VERSION, "link": link, "channel": "x", "to_edge": False}
    counts = {"seq": 1, "base": 1, "ack": 0, "early": [], "again": False, "frames": b"\x90"}
    return {"type": BATCH, **addressed, **counts, **fields}


async def test_links_that_others_begin_are_bounded(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of links without a session the latest are kept; one with a session always is."""
    monkeypatch.setattr(node_module, "MAX_TAKEN_UP", 3)
    ports: list[SessionPort] = []
    node.grantable["ref"] = ports.append
    node._dispatch(a_batch("used", frames=encode_frames([Grant(1, "ref")])))
    for number in range(10):
        node._dispatch(a_batch(str(number)))
    assert list(node._wires) == [("used", False), *((str(n), False) for n in (7, 8, 9))]
    assert list(node._taken_up) == ["7", "8", "9"]
    node.forget(node._wires["8", False])
    assert list(node._taken_up) == ["7", "9"]
    assert len(ports) == 1


async def test_claimants_that_others_invent_are_bounded(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims of nothing that was asked for are remembered to a limit, and for known channels."""
    monkeypatch.setattr(node_module, "MAX_CLAIMANTS", 3)
    node.claimants["demux.s"] = set()
    for number in range(10):
        for stream in ("demux.s", f"demux.{number}"):
            claim = Claim(
                version=VERSION, refs=["x"], stream_channel=stream, channel=f"w{number}", load=0
            )
            node._dispatch(claim.to_message())
    assert node.claimants == {"demux.s": {"w0", "w1", "w2"}}


async def test_a_question_names_a_channel(node: Node) -> None:
    """An answer to no channel would raise in the layer, and look as if the layer failed."""
    question = {"type": STATUS, "version": 1, "ref": "r", "channel": "no channel"}
    node._dispatch(question)
    assert node.ignored == {"malformed": 1}
    assert not node.is_cut_off


class DisownedPort:
    """A worker's end of a session.

    Attributes:
        resets: How often it was disowned.
    """

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        """Note it."""
        self.resets += 1


async def test_a_grant_is_taken_only_where_there_is_room(node: Node) -> None:
    """Claims take up none: a worker may claim more than it can host, and disowns the rest."""
    node.max_sessions = 2
    granted: list[Any] = []

    def host(port: Any) -> None:
        granted.append(port)
        node.hosted.add(port)

    node.grantable = dict.fromkeys("abcd", host)
    assert (node.load, node.has_room) == (0, True)
    ports = [DisownedPort() for _ in range(5)]
    for ref, port in zip("abcde", ports, strict=True):
        node.granted(ref, port)  # type: ignore[arg-type]
    assert granted == ports[:2]
    assert [port.resets for port in ports] == [0, 0, 1, 1, 1]
    assert (node.load, node.has_room, node.grantable) == (2, False, {})
    node.hosted.clear()


async def test_payloads_do_not_wait_for_chores(node: Node) -> None:
    """When a peer dies, its groups are cleared a few at a time; a publish need not wait."""
    discards: list[str] = []
    goes_on = asyncio.Event()

    async def discard(group: str, channel: str) -> None:
        discards.append(group)
        await goes_on.wait()

    node.layer.group_discard = discard
    for number in range(200):
        node.expel(f"group{number}", "dead")
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(discards) == MAX_CHORES
    assert await asyncio.wait_for(node.publish(None, node.channel, {"type": PROBE}), 20.0)
    goes_on.set()
    while len(discards) < 200:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_the_silence_of_peers_is_excused_after_deafness(node: Node) -> None:
    """A node that heard nothing but itself knows nothing about its peers."""
    batch = make_batch(to_edge=False, seq=1, base=1, channel="edge!1")
    node._receive_batch(batch)
    (wire,) = node.wires
    wire.excuse()
    node.heard_at = node.loop.time()
    excused: list[float] = []
    wire.link.excuse_peer = excused.append  # type: ignore[method-assign]
    node._reconnected()
    assert len(excused) == 0
    node._reconnected(was_deaf=True)
    assert len(excused) == 1


async def test_calls_are_as_short_as_the_most_impatient_peer_needs(node: Node) -> None:
    """Peers tell their PEER_TIMEOUT with each batch; 0 comes from those that do not tell it."""
    shortened: list[float] = []
    node._own.shorten_calls = shortened.append  # type: ignore[method-assign]
    for seq, peer_timeout in enumerate((0.0, 60.0, 3.0, 3.0, 2.0), 1):
        fields = {"to_edge": False, "seq": seq, "base": 1, "channel": "edge!1"}
        node._receive_batch(make_batch(**fields, peer_timeout=peer_timeout))
    assert shortened == [3.0, 2.0]
