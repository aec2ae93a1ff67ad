"""Which groups are joined again when a batch comes again, and when all of them are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.report import NODES
from channels_demux_layer.transport import groups
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.steadfast import RememberingLayer
from tests.batches import make_batch
from tests.integration.harness import until


class Layer(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer whose joins and probes are noted, and which can forget and lose.

    Attributes:
        joins: The groups that were joined, in order.
        probes: The groups that probes were sent to.
        is_lossy: Whether it loses what is sent to groups.
        fails: Whether it raises at that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.joins: list[str] = []
        self.probes: list[str] = []
        self.is_lossy = False
        self.fails = False

    async def group_add(self, group: str, channel: str) -> None:
        self.joins.append(group)
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.probes.append(group)
        if self.fails:
            raise OSError
        if not self.is_lossy:
            await super().group_send(group, message)


class Remote:
    """What stands for a layer over a network: it is no in-memory one."""

    def __init__(self, inner: Layer) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


GROUPS = ["demux.a", "demux.b", "demux.c"]
ALL = [NODES, *GROUPS, "room"]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The pauses that the node makes between joins: each lasts until it is ended."""
    ends: list[Callable[[], None]] = []
    sleep = asyncio.sleep

    async def pause(seconds: float, *args: Any) -> None:
        if seconds != groups.PAUSE:
            await sleep(seconds, *args)
            return
        end = asyncio.Event()
        ends.append(end.set)
        await end.wait()

    monkeypatch.setattr(groups.asyncio, "sleep", pause)
    monkeypatch.setattr(groups, "PROBE_TIME", 0.02)
    return ends


@pytest.fixture
async def node(pauses: list[Any]) -> AsyncIterator[Node]:
    """A started node that is in some groups, as is a consumer of its process.

    Yields:
        The node.
    """
    node = Node(Remote(Layer()), LinkConfig())
    memory = RememberingLayer(node.layer)
    node.memories.append(memory)
    await node.start()
    await until(lambda: node.reporter.has_joined)
    for group in GROUPS:
        await node.groups.join(group)
    await memory.group_add("room", "consumer!1")
    node.layer.joins.clear()
    yield node
    await node.stop()


def repeat(node: Node, group: str | None, seq: int = 2) -> None:
    """Have a batch come again that did not arrive before."""
    batch = make_batch(link="l", seq=seq, base=1, again=True, channel="edge", group=group)
    node._receive_batch(batch)


async def test_one_batch_that_comes_again_has_its_group_joined(
    node: Node, pauses: list[Any]
) -> None:
    """The layer has lost it, and no more: a probe of another group arrives."""
    repeat(node, "demux.b")
    await until(lambda: pauses)
    assert node.layer.joins == ["demux.b"]
    assert node.layer.probes == ["demux.a"]


async def test_a_layer_that_forgets_has_all_groups_joined(node: Node, pauses: list[Any]) -> None:
    """No probe arrives: the groups of consumers are joined again as well."""
    node.layer.groups.clear()
    repeat(node, "demux.a")
    await until(lambda: pauses)
    assert node.layer.joins == ["demux.a", *ALL]
    assert set(node.layer.groups) == set(ALL)
    # It does not lose much: the next time it is asked again.
    node.layer.groups.clear()
    repeat(node, "demux.c", seq=3)
    pauses[0]()
    await until(lambda: len(pauses) == 2)
    assert set(node.layer.groups) == set(ALL)


async def test_a_layer_that_loses_much_does_not_have_all_groups_joined_again_and_again(
    node: Node, pauses: list[Any]
) -> None:
    """Where probes are lost by groups that have just been joined, they tell nothing."""
    node.layer.inner.is_lossy = True
    for seq in range(2, 6):
        repeat(node, "demux.a", seq=seq)
        await until(lambda seq=seq: len(pauses) == seq - 1)
        pauses[-1]()
    assert node.layer.joins.count("demux.a") == 5
    assert node.layer.joins.count("room") == 1
    assert len(node.layer.probes) == 2 * groups.PROBES


async def test_a_node_in_no_other_group_probes_that_of_all_nodes(
    node: Node, pauses: list[Any]
) -> None:
    """It is always in that one."""
    for group in GROUPS[1:]:
        await node.groups.leave(group)
    repeat(node, "demux.a")
    await until(lambda: pauses)
    assert node.layer.probes == [NODES]
    assert node.layer.joins == ["demux.a"]


@pytest.mark.parametrize("group", ["", "demux.none", NODES + ".x"])
async def test_what_went_to_no_group_of_ours_says_nothing(
    node: Node, pauses: list[Any], group: str
) -> None:
    """A batch that went to the channel was only lost; a group may be one that somebody invents."""
    repeat(node, group)
    repeat(node, "demux.b", seq=3)
    await until(lambda: pauses)
    assert node.layer.joins == ["demux.b"]


async def test_an_earlier_release_has_all_groups_joined(node: Node, pauses: list[Any]) -> None:
    """It does not tell by which group a batch should have come."""
    repeat(node, None)
    await until(lambda: pauses)
    assert node.layer.joins == ALL
    assert not node.layer.probes


async def test_a_layer_that_works_again_has_all_groups_joined(
    node: Node, pauses: list[Any]
) -> None:
    """It may have forgotten them while it failed; a probe that fails leaves it to that."""
    node.layer.inner.fails = True
    repeat(node, "demux.b")
    await until(lambda: pauses)
    assert node.layer.joins == ["demux.b"]
    node.layer.inner.fails = False
    await node.publish(None, node.channel, {"type": "demux.probe"})
    pauses[0]()
    await until(lambda: len(pauses) == 2)
    assert node.layer.joins == ["demux.b", *ALL]


async def test_groups_that_are_suspected_at_once_are_bounded(
    node: Node, pauses: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' turn comes with their next batch that comes again."""
    monkeypatch.setattr(groups, "MOST_SUSPECTS", 2)
    for seq, group in enumerate(GROUPS, 2):
        repeat(node, group, seq)
    await until(lambda: pauses)
    assert node.layer.joins == GROUPS[:2]


async def test_a_late_probe_tells_nothing(node: Node) -> None:
    """Nor does one of another node."""
    node._dispatch({"type": "demux.probe", "ref": "another"})
    node._dispatch({"type": "demux.probe"})
    assert not node.groups._arrived.is_set()
