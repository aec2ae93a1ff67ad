"""Finding a worker for a stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.edge import opening
from channels_demux_layer.edge.opening import RemoteAccess, ScopeFailed, Search
from channels_demux_layer.edge.survival import Survival, note_suspect
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import Claim, parse_open
from channels_demux_layer.protocol.report import NODES
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node, stop_nodes
from channels_demux_layer.transport.typed import Outage
from tests.integration.harness import until

LIMIT = 20.0


@pytest.fixture
async def access(settings: Any) -> AsyncIterator[RemoteAccess]:
    """What the sessions of a connection share."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.CHANNELS_DEMUX_LAYER = {"OPEN_RETRY": 0.02, "OPEN_TIMEOUT": 0.05}

    async def pack() -> bytes:
        return b"scope"

    node = await get_node("default")
    await until(lambda: node.reporter.has_joined)
    yield RemoteAccess("0" * 32, "demux", pack)
    await stop_nodes()


def a_claim(ref: str, channel: str, load: int = 0) -> dict[str, Any]:
    """The claim of a worker."""
    return Claim(
        version=VERSION, refs=[ref], stream_channel="demux.echo", channel=channel, load=load
    ).to_message()


async def find(access: RemoteAccess) -> tuple[Node, Claim, str]:
    """Find a worker for the stream."""
    found = await asyncio.wait_for(Search("echo", 1, access).find(), LIMIT)
    assert found is not None
    return found


async def next_open() -> Any:
    """Take the next open, as a worker does."""
    layer = get_channel_layer()
    return parse_open(await asyncio.wait_for(layer.receive("demux.echo"), LIMIT))


async def test_the_worker_with_the_fewest_sessions_is_chosen(access: RemoteAccess) -> None:
    """Of several claims the one with the lowest load wins, where this edge has none with any."""
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    for channel, load in (("busy!1", 5), ("idle!2", 1), ("busy!3", 3)):
        await get_channel_layer().send(opened.channel, a_claim(opened.ref, channel, load))
    node, claim, ref = await finding
    assert node is find_node("default")
    assert (claim.channel, ref) == ("idle!2", opened.ref)
    assert not node.claimable


async def test_a_worker_with_a_suspect_is_chosen_last(access: RemoteAccess) -> None:
    """Whoever may end its worker is given apart, even where others have more sessions."""
    window = SendWindow(64, 1024)
    suspect = Survival(window)
    window.push("poison")
    suspect.worker_died("idle!2", was_accepted=True)
    note_suspect(find_node("default"), "idle!2", suspect)
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    for channel, load in (("busy!1", 5), ("idle!2", 1), ("busy!3", 3)):
        await get_channel_layer().send(opened.channel, a_claim(opened.ref, channel, load))
    assert (await finding)[1].channel == "busy!3"


async def test_a_layer_that_gives_an_open_to_one_worker_is_learned(access: RemoteAccess) -> None:
    """Where one claim comes nobody waits for more, until a second one shows up."""
    node = find_node("default")
    for channel in ("one!1", "one!2"):
        finding = asyncio.ensure_future(find(access))
        opened = await next_open()
        await get_channel_layer().send(opened.channel, a_claim(opened.ref, channel))
        assert (await finding)[1].channel == channel
        assert node.claimants == {"demux.echo": {"one!1"}}
    await get_channel_layer().send(node.channel, a_claim(opened.ref, "late!3"))
    await until(lambda: node.claimants == {"demux.echo": {"one!1", "late!3"}})


async def test_those_who_claimed_before_are_waited_for_and_nobody_else(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all of them have claimed, the one with the lowest load has it."""
    monkeypatch.setattr(opening, "CLAIM_WINDOW", LIMIT * 2)
    known = {"busy!1", "idle!2", "busy!3"}
    find_node("default").claimants["demux.echo"] = known
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    for channel in sorted(known):
        assert not finding.done()
        load = 0 if channel == "idle!2" else 5
        await get_channel_layer().send(opened.channel, a_claim(opened.ref, channel, load))
    assert (await finding)[1].channel == "idle!2"
    assert find_node("default").claimants == {"demux.echo": known}


async def test_where_nobody_is_known_there_is_another_bound(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers may have to connect first, and all who claim within it have the choice."""
    monkeypatch.setattr(opening, "CLAIM_WINDOW", LIMIT * 2)
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    for channel, load in (("quick!1", 5), ("slow!2", 0)):
        await get_channel_layer().send(opened.channel, a_claim(opened.ref, channel, load))
    assert (await finding)[1].channel == "slow!2"
    assert find_node("default").claimants == {"demux.echo": {"quick!1", "slow!2"}}


async def test_who_claims_no_more_is_waited_for_once(access: RemoteAccess) -> None:
    """A worker that is full, or gone, holds up one open and no other."""
    node = find_node("default")
    node.claimants["demux.echo"] = {"one!1", "gone!2"}
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    await get_channel_layer().send(opened.channel, a_claim(opened.ref, "one!1"))
    assert (await finding)[1].channel == "one!1"
    assert node.claimants == {"demux.echo": {"one!1"}}


async def test_every_try_has_a_new_ref_and_an_expiry(access: RemoteAccess) -> None:
    """An open that nobody claims is sent again."""
    finding = asyncio.ensure_future(find(access))
    refs = []
    while len(refs) < 6:
        opened = await next_open()
        refs.append(opened.ref)
    await get_channel_layer().send(opened.channel, a_claim(opened.ref, "late!1"))
    assert (await finding)[2] == refs[-1]
    assert len(set(refs)) == 6


async def test_a_claim_that_comes_late_counts(access: RemoteAccess) -> None:
    """A worker that takes its time to read an open is as good as a quick one."""
    finding = asyncio.ensure_future(find(access))
    first, second = await next_open(), await next_open()
    assert second.expires_at > first.expires_at
    await get_channel_layer().send(first.channel, a_claim(first.ref, "late!1"))
    node, claim, ref = await finding
    assert (claim.channel, ref) == ("late!1", first.ref)
    assert not node.claimable


async def test_a_layer_that_refuses_an_open_is_asked_again_soon(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full channel is tried again after a short and random pause."""
    monkeypatch.setattr(opening, "REFUSED_PAUSE", (0.001, 0.002))
    node = find_node("default")
    publish, refusals = node.publish, [3]

    async def refuse(group: str | None, channel: str, message: Any) -> bool:
        refusals[0] -= 1
        return refusals[0] < 0 and await publish(group, channel, message)

    monkeypatch.setattr(node, "publish", refuse)
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    await get_channel_layer().send(opened.channel, a_claim(opened.ref, "one!1"))
    await finding
    assert refusals == [-1]


@pytest.mark.parametrize("refuses", ["join", "publish"])
async def test_opens_that_the_layer_refuses_make_no_pause_longer(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch, settings: Any, refuses: str
) -> None:
    """After an outage of any length the second open comes OPEN_RETRY after the first."""
    settings.CHANNELS_DEMUX_LAYER = {"OPEN_RETRY": 2.0, "OPEN_TIMEOUT": 0.001}
    monkeypatch.setattr(opening, "REFUSED_PAUSE", (0.001, 0.002))
    node = find_node("default")
    publish, join = node.publish, node.groups.join
    refusals = 20

    def is_refused(by: str) -> bool:
        nonlocal refusals
        refusals -= by == refuses
        return by == refuses and refusals >= 0

    async def maybe_publish(group: str | None, channel: str, message: Any) -> bool:
        return not is_refused("publish") and await publish(group, channel, message)

    async def maybe_join(group: str) -> None:
        if is_refused("join"):
            raise Outage("away")
        await join(group)

    monkeypatch.setattr(node, "publish", maybe_publish)
    monkeypatch.setattr(node.groups, "join", maybe_join)
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    assert opened.expires_at - time.time() <= opening.LATEST * 2.0
    await get_channel_layer().send(opened.channel, a_claim(opened.ref, "one!1"))
    await finding
    assert refusals == -1


async def test_a_layer_call_is_not_cut_off(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that leaves while its group is being joined has it joined, and left."""
    layer, calls, gate = get_channel_layer(), [], asyncio.Event()
    add, discard = layer.group_add, layer.group_discard

    async def group_add(group: str, channel: str) -> None:
        calls.append("add")
        await gate.wait()
        await add(group, channel)
        calls.append("added")

    async def group_discard(group: str, channel: str) -> None:
        await discard(group, channel)
        calls.append("discarded")

    monkeypatch.setattr(layer, "group_add", group_add)
    monkeypatch.setattr(layer, "group_discard", group_discard)
    search = Search("echo", 1, access)

    async def find() -> None:
        await search.find()
        raise AssertionError("The connection has ended.")

    search.start(find())
    await until(lambda: calls)
    search.stop()
    access.leave([])
    await asyncio.sleep(0)
    gate.set()
    await until(lambda: calls == ["add", "added", "discarded"])
    assert layer.groups.keys() == {NODES}


async def test_a_search_that_is_stopped_ends_at_once(access: RemoteAccess) -> None:
    """It waits for no claim any more, and none counts that comes later."""
    search, ended = Search("echo", 1, access), asyncio.Event()

    async def find() -> None:
        try:
            await search.find()
        finally:
            ended.set()

    search.start(find())
    opened = await next_open()
    assert opened.ref in find_node("default").claimable
    search.stop()
    await asyncio.wait_for(ended.wait(), LIMIT)
    assert not find_node("default").claimable


async def test_a_search_that_is_stopped_while_it_joins_sends_no_open(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finishes the call that is under way, and makes no other."""
    search = Search("echo", 1, access)
    get_node = access.get_node

    async def stopped_meanwhile() -> Any:
        search.stop()
        return await get_node()

    monkeypatch.setattr(access, "get_node", stopped_meanwhile)
    assert await search.find() is None
    assert not find_node("default").claimable


async def test_a_search_that_cannot_be_cancelled_ends_all_the_same(access: RemoteAccess) -> None:
    """Who does not want a worker any more gets none, even where a cancellation was swallowed."""
    search = Search("echo", 1, access)
    finding = asyncio.ensure_future(search.find())
    opened = await next_open()
    search.stop()  # There is no task of its own to cancel.
    await get_channel_layer().send(opened.channel, a_claim(opened.ref, "one!1"))
    assert await asyncio.wait_for(finding, LIMIT) is None
    never = Search("echo", 1, access)
    never.stop()
    assert await never.find() is None
    assert not find_node("default").claimable


async def test_the_group_is_left_when_the_last_session_has_ended(access: RemoteAccess) -> None:
    """Until then workers may publish to it; who never joined it has nothing to leave."""
    group, ended = f"demux.{'0' * 32}.edge", asyncio.get_running_loop().create_future()
    finding = asyncio.ensure_future(find(access))
    opened = await next_open()
    assert opened.edge_group == group
    assert opened.scope == b"scope"
    await get_channel_layer().send(opened.channel, a_claim(opened.ref, "one!1"))
    await finding
    groups = get_channel_layer().groups
    access.leave([ended])
    access.leave([])
    with pytest.raises(asyncio.CancelledError):
        await access.get_node()
    await asyncio.sleep(0)
    assert group in groups
    ended.set_result(None)
    await until(lambda: group not in groups)


async def test_streams_that_open_together_share_a_packed_scope() -> None:
    """The next one has the scope as it is then; one that is not awaited takes it from nobody."""
    packed: list[int] = []

    async def pack() -> bytes:
        packed.append(1)
        await asyncio.sleep(0)
        return b"%d" % len(packed)

    access = RemoteAccess("0" * 32, "demux", pack)
    first, second, third = (asyncio.ensure_future(access.pack_scope()) for _ in range(3))
    await until(lambda: packed)
    second.cancel()
    assert await first == b"1"
    assert await third == b"1"
    assert await access.pack_scope() == b"2"


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_a_scope_that_cannot_be_packed_is_the_projects_fault(
    access: RemoteAccess, failure: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The search ends with it, one record has its traceback, and no layer is blamed."""

    async def pack() -> bytes:
        raise failure("by the project")

    failing = RemoteAccess("0" * 32, "demux", pack)
    searches = [Search(name, 1, failing).find() for name in ("a", "b")]
    for ended in await asyncio.gather(*searches, return_exceptions=True):
        assert isinstance(ended, ScopeFailed)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is failure
    assert vars(record)["demux_connection"] == "0" * 32
    assert "portable_scope()" in record.getMessage()


async def test_a_join_that_fails_leaves_no_membership(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join that raises may have been done, and the leave after it may fail as well."""
    layer, calls = get_channel_layer(), []

    def failing_once(name: str) -> Any:
        original = getattr(layer, name)

        async def call(group: str, channel: str) -> None:
            calls.append(name)
            await original(group, channel) if name == "group_add" else None
            monkeypatch.setattr(layer, name, original)
            raise ConnectionError

        return call

    for name in ("group_add", "group_discard"):
        monkeypatch.setattr(layer, name, failing_once(name))
    with pytest.raises(Outage):
        await access.get_node()
    assert calls == ["group_add", "group_discard"]
    await until(lambda: layer.groups.keys() == {NODES})


async def test_without_a_channel_layer_there_are_deadlines(settings: Any) -> None:
    """The client is told that its stream is unavailable, though there is no node."""
    settings.CHANNEL_LAYERS = {}
    access = RemoteAccess("0" * 32, "demux", AsyncMock())
    met = asyncio.Event()
    access.deadlines.after(0.0, met.set)
    await asyncio.wait_for(met.wait(), LIMIT)
    assert access.deadlines is access.deadlines


async def test_a_stream_that_waits_for_the_group_does_not_join_it_after_the_end(
    access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first stream's join ends after the connection, the second stream joins nothing."""
    node, gate, joins = find_node("default"), asyncio.Event(), []
    join = node.groups.join

    async def slow_join(group: str) -> None:
        joins.append(group)
        await gate.wait()
        await join(group)

    monkeypatch.setattr(node.groups, "join", slow_join)
    asking = [asyncio.ensure_future(access.get_node()) for _ in range(2)]
    await until(lambda: joins)
    access.leave([])
    gate.set()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
    assert len(joins) == 1
