"""Joining and leaving groups, so that the last word counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer.transport.groups import NodeGroups


class Layer:
    """A channel layer whose calls take until they are let through.

    Attributes:
        calls: What was called, in order.
        members: The groups joined.
        gate: Calls wait for it.
        failure: What the next calls raise.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.members: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def group_add(self, group: str, channel: str) -> None:
        self.calls.append(f"add {group}")
        self.members.add(group)  # the call has its effect before it returns
        await self._pass()

    async def group_discard(self, group: str, channel: str) -> None:
        self.calls.append(f"discard {group}")
        self.members.discard(group)
        await self._pass()

    async def _pass(self) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def layer() -> Layer:
    """The layer."""
    return Layer()


@pytest.fixture
def groups(layer: Layer) -> NodeGroups:
    """The memberships of one channel on it."""
    groups = NodeGroups(layer, _publish)
    groups.channel = "node!1"
    return groups


async def _publish(group: str | None, channel: str, message: dict[str, Any]) -> bool:
    raise NotImplementedError


async def test_joins_are_counted(layer: Layer, groups: NodeGroups) -> None:
    """A group is joined with the first reason to be in it, and left with the last."""
    for _ in range(2):
        await groups.join("g")
    await groups.leave("g")
    assert layer.members == {"g"}
    await groups.leave("g")
    assert layer.calls == ["add g", "discard g"]


async def test_the_last_word_counts(layer: Layer, groups: NodeGroups) -> None:
    """What is wanted in the end is what is, however the calls overlap; none run side by side."""
    await groups.join("g")
    layer.gate.clear()
    changes: list[Any] = []
    for _ in range(3):
        changes += [groups.leave("g"), groups.join("g")]
    tasks = [asyncio.ensure_future(change) for change in changes]
    await asyncio.sleep(0)
    assert len(layer.calls) <= 2
    layer.gate.set()
    await asyncio.gather(*tasks)
    assert layer.members == {"g"}
    await groups.leave("g")
    assert layer.members == set()
    assert not groups._turns


async def test_a_join_that_fails_does_not_count(layer: Layer, groups: NodeGroups) -> None:
    """It raises, what it may have done is undone, and the next one tries again."""
    layer.failure = ConnectionError()
    with pytest.raises(ConnectionError):
        await groups.join("g")
    layer.failure = None
    await groups.join("g")
    assert layer.calls == ["add g", "discard g", "add g"]


async def test_a_join_that_is_cut_off_leaves_no_membership(
    layer: Layer, groups: NodeGroups
) -> None:
    """A client that leaves while its group is being joined leaves the group as well."""
    layer.gate.clear()
    join = asyncio.ensure_future(groups.join("g"))
    await asyncio.sleep(0)
    assert layer.members == {"g"}
    join.cancel()
    layer.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await join
    assert layer.members == set()


async def test_a_leave_that_fails_is_told(layer: Layer, groups: NodeGroups) -> None:
    """It raises, and the next join does all that it must."""
    await groups.join("g")
    layer.failure = ConnectionError()
    with pytest.raises(ConnectionError):
        await groups.leave("g")
    layer.failure = None
    await groups.join("g")
    assert layer.calls == ["add g", "discard g", "add g"]


async def test_all_are_left_at_the_end(layer: Layer, groups: NodeGroups) -> None:
    """Whatever the number of joins, and whatever comes afterwards."""
    await groups.leave_all(20.0)
    for group in ("a", "b", "b"):
        await groups.join(group)
    await groups.leave_all(20.0)
    assert layer.members == set()
    await groups.leave("b")
    assert sorted(layer.calls) == ["add a", "add b", "discard a", "discard b"]


async def test_a_layer_that_hangs_is_left_alone_in_the_end(
    layer: Layer, groups: NodeGroups
) -> None:
    """Leaving all groups takes no longer than it may."""
    await groups.join("a")
    layer.gate.clear()
    await groups.leave_all(0.01)
    assert layer.calls == ["add a", "discard a"]


async def test_a_failing_join_is_logged_once_with_the_alias(
    layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which layer, when it fails and when it works again; each group may fail."""
    caplog.set_level("INFO")
    groups = NodeGroups(layer, _publish, "opens")
    layer.failure = ConnectionError("refused")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await groups.join("g")
    layer.failure = None
    await groups.join("g")
    assert caplog.messages == [
        "Cannot join a group on the channel layer 'opens': refused. Retrying.",
        "Can join a group on the channel layer 'opens' again.",
    ]
