"""Nodes that are asked how they are, and what a conversation looks like from there."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest
from channels.layers import get_channel_layer

from channels_demux_layer import Stream, __version__
from channels_demux_layer import status as status_module
from channels_demux_layer.exceptions import ConfigurationError, LayerFailed
from channels_demux_layer.metrics import measure_process
from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.report import NODES, REPORT_VERSION, Answer, NodeReport, Question
from channels_demux_layer.status import ask_nodes
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport import reporter as reporter_module
from channels_demux_layer.transport.nodes import find_node, get_node, stop_nodes
from channels_demux_layer.transport.records import REASONS
from channels_demux_layer.transport.steadfast import inner_of, unsteady

from . import consumers
from .conftest import ODD, REDIS, params
from .harness import LIMIT, Place, configure, demultiplexer, until

NODE = NodeReport(node="n!1", kind="server", release="1", wire=1, host="h", pid=1)
#: However slow the machine is, an answer comes.
PATIENT = {"limit": LIMIT, "quiet": 0.45}


async def fleet_with(alias: str = "default") -> FleetReport:
    """Ask until the node, which joins in the background, can be found."""
    await until(lambda: find_node(alias).reporter.has_joined)
    return await ask_nodes(alias, **PATIENT)


def streams_by_side(fleet: FleetReport) -> dict[str, Any]:
    """The reports of the one stream there is."""
    (node,) = fleet.nodes
    return {report.side: report for report in node.streams}


async def test_a_conversation_is_seen_from_both_sides(layered: Place) -> None:
    """On each layer server and worker tell sessions, frames each way, and links."""
    async with layered.client({"echo": consumers.Json}) as client:
        for number in range(3):
            await client.send_to("echo", number)
            await client.receive_from("echo")
        if layered.name == ODD:
            inner_of(get_channel_layer()).heal()  # Who asks hears of a layer that fails.
        fleet = await fleet_with()
    (node,) = fleet.nodes
    assert (node.kind, node.release, node.wire) == ("both", __version__, VERSION)
    assert (node.pid, node.channels, node.load) == (os.getpid(), ["demux.echo"], 1)
    assert node.uptime > 0
    sides = streams_by_side(fleet)
    for side in ("edge", "worker"):
        report = sides[side]
        assert (report.stream, report.channel) == ("echo", "demux.echo")
        assert (report.sessions, report.pending) == (1, 0)
        assert (report.frames_in, report.frames_out) == (3, 3)
    assert sorted(link.is_edge for link in node.links) == [False, True]
    assert all(link.sessions == 1 and link.batches_sent >= 3 for link in node.links)
    assert all(link.round_trip and link.round_trip < LIMIT for link in node.links)


async def test_ignored_messages_are_told_of(memory: Place) -> None:
    """A message that is not for a node is in its report, by the reason why it was ignored."""
    async with memory.client({"echo": consumers.Json}):
        node = await get_node("default")
        await node.layer.send(node.channel, {"type": "foreign.word"})
        await until(lambda: node.ignored["foreign"])
        (report,) = (await fleet_with()).nodes
    assert {reason: count for reason, count in report.ignored.items() if count} == {"foreign": 1}
    assert set(report.ignored) == set(REASONS)


async def test_metrics_are_those_of_the_process(memory: Place) -> None:
    """What an exporter gets is what the nodes and the streams of the process say by then."""
    async with memory.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        await client.receive_from("echo")
        # A scrape may come in another thread than the event loop's.
        measured = await asyncio.to_thread(measure_process)
    values = {(each.metric.name, *each.labels): each.value for each in measured}
    for side in ("edge", "worker"):
        assert values["demux_sessions", side, "echo", "demux.echo"] == 1
        assert values["demux_frames_total", side, "echo", "demux.echo", "in"] == 1
    assert values[("demux_links",)] == 2
    assert values["demux_node_info", "both", __version__, str(VERSION)] == 1


async def test_an_inline_stream_is_seen(inline: Place) -> None:
    """A stream that is hosted in the server's process counts there."""
    async with inline.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        await client.receive_from("echo")
        await get_node("default")
        fleet = await fleet_with()
        await client.close("echo")
        await client.receive_event("echo")
        after = await fleet_with()
    (node,) = fleet.nodes
    assert node.kind == "server"
    report = streams_by_side(fleet)["inline"]
    assert (report.sessions, report.frames_in, report.frames_out) == (1, 1, 1)
    report = streams_by_side(after)["inline"]
    assert (report.sessions, report.closed) == (0, {1000: 1})
    await stop_nodes()


async def test_what_waits_for_a_worker_is_pending(memory: Place, settings: Any) -> None:
    """An open that no consumer has accepted is pending, and nobody takes it."""
    configure(settings, {"HOSTING": "workers"})
    cls = demultiplexer({"echo": consumers.Json})
    async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
        await client.send_to("echo", 1)
        await until(lambda: find_node("default").channel)
        fleet = await fleet_with()
    (summary,) = fleet.unhosted
    assert (summary.channel, summary.pending, summary.sessions) == ("demux.echo", 1, 0)
    await stop_nodes()


async def test_an_end_is_counted_by_its_code(memory: Place) -> None:
    """What the client is told when a stream ends is what counts; nothing of it lives on."""
    streams = {"echo": Stream(consumers.Json, lazy=True), "kept": consumers.Json}
    async with memory.client(streams) as client:
        await client.open("echo")
        await client.send_to("echo", 1)
        await client.receive_from("echo")
        await client.close("echo")
        await client.receive_event("echo")
        await until(lambda: len(find_node("default").hosted) == 1)
        fleet = await fleet_with()
    reports = [report for report in fleet.nodes[0].streams if report.stream == "echo"]
    assert {report.side: report.closed for report in reports} == {"edge": {1000: 1}, "worker": {}}
    assert [report.sessions for report in reports] == [0, 0]


async def test_a_node_that_has_stopped_does_not_answer(layered: Place) -> None:
    """A node leaves the group of all nodes when it stops: who asks then, hears nothing."""
    async with layered.client({"echo": consumers.Json}):
        pass
    assert (await ask_nodes(limit=0.25)).nodes == []


async def test_a_layer_that_is_not_there(settings: Any) -> None:
    """Without a layer nobody can be asked, and the message names the setting."""
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(ConfigurationError, match="CHANNEL_LAYERS has no 'default'"):
        await ask_nodes()


@pytest.mark.parametrize("call", ["new_channel", "group_send", "receive"])
async def test_a_layer_that_fails(
    memory: Place, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whatever the layer raises becomes one error that says so."""

    async def refuse(*args: Any) -> Any:
        raise ConnectionError("refused.")

    monkeypatch.setattr(unsteady(get_channel_layer()), call, refuse)
    with pytest.raises(LayerFailed, match=r"^The channel layer cannot be asked: refused\.$"):
        await ask_nodes()


async def test_a_receive_that_will_not_end(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that is swallowed below the layer is given again; what comes of it is moot."""
    monkeypatch.setattr(status_module, "PATIENCE", 0.001)
    cancelled: list[str] = []

    async def swallow(channel: str) -> Any:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(channel)
                if len(cancelled) == 2:
                    raise ConnectionError from None

    monkeypatch.setattr(unsteady(get_channel_layer()), "receive", swallow)
    assert (await ask_nodes(limit=0.01)).nodes == []
    assert len(cancelled) == 2


async def test_a_layer_that_hangs(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that does not answer is given up after the limit."""

    async def hang(*args: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(unsteady(get_channel_layer()), "new_channel", hang)
    with pytest.raises(LayerFailed, match="does not answer in time"):
        await ask_nodes(limit=0.01)


async def test_what_is_no_answer_is_passed_over(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Foreign, malformed and late messages do no harm; unreadable reports are counted."""
    layer = unsteady(get_channel_layer())
    send, report = layer.group_send, msgspec.msgpack.encode(NODE)

    async def answer(group: str, message: dict[str, Any]) -> None:
        assert group == NODES
        ref, version = message["ref"], REPORT_VERSION
        for said in (
            {"type": "foreign"},
            {"type": "demux.report", "version": 1},
            Answer(version=version, ref="earlier", report=report).to_message(),
            Answer(version=version, ref=ref, report=b"\xc1").to_message(),
            Answer(version=version + 1, ref=ref, report=report).to_message(),
            Answer(version=version, ref=ref, report=report).to_message(),
        ):
            await layer.send(message["channel"], said)
        await send(group, message)

    monkeypatch.setattr(layer, "group_send", answer)
    fleet = await ask_nodes(**PATIENT)
    assert fleet == FleetReport(nodes=[NODE], unreadable=3)


async def test_a_full_channel_is_tried_again(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that the layer does not take is sent again a few times, and no longer."""
    monkeypatch.setattr(reporter_module, "PAUSES", (0.0, 0.0))
    node = await get_node("default")
    tries: list[str] = []

    async def full(group: str | None, channel: str, message: Any) -> bool:
        tries.append(channel)
        return channel == "b!1" and tries.count("b!1") == 2

    monkeypatch.setattr(node, "publish", full)
    for channel in ("a!1", "b!1"):
        node.reporter.asked(Question(version=REPORT_VERSION, ref="r", channel=channel))
    await until(lambda: len(tries) == 4)
    await stop_nodes()
    assert sorted(tries) == ["a!1", "a!1", "b!1", "b!1"]


async def test_a_crowd_that_asks_is_not_all_answered(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many questions are answered at a time, and what comes beyond is dropped."""
    node, gate, asked = await get_node("default"), asyncio.Event(), []

    async def publish(group: str | None, channel: str, message: Any) -> bool:
        asked.append(channel)
        return await gate.wait()

    monkeypatch.setattr(node, "publish", publish)
    question = Question(version=REPORT_VERSION, ref="r", channel="a!1")
    for _ in range(reporter_module.MAX_ANSWERS + 5):
        node.reporter.asked(question)
    await until(lambda: len(asked) == reporter_module.MAX_ANSWERS)
    gate.set()
    await until(lambda: not node._tasks or node.reporter._answering == 0)
    node.reporter.asked(question)
    await until(lambda: len(asked) == reporter_module.MAX_ANSWERS + 1)
    await stop_nodes()


async def test_what_links_have_counted_outlives_them(memory: Place, settings: Any) -> None:
    """The totals of a node never go down when a link is over."""
    configure(settings, {"PEER_TIMEOUT": 0.05})
    async with memory.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        await client.receive_from("echo")
        node = find_node("default")
        before = node.reporter.report()
        await client.close("echo")
        await until(lambda: not node.wires)
        after = node.reporter.report()
    assert before.batches_sent == sum(link.batches_sent for link in before.links) > 0
    assert after.links == []
    assert after.batches_sent >= before.batches_sent
    assert after.batches_received >= before.batches_received


def strings(value: Any) -> list[str]:
    """All strings in a value."""
    if isinstance(value, dict):
        return strings([*value, *value.values()])
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


async def test_forged_reports_are_printable(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No string of an answer, whoever sent it, does more to a terminal than to be shown."""
    evil = "\x1b]0;title\x07\x1b[2J\n" + "x" * 1_000
    told = msgspec.to_builtins(NODE)
    told |= {"node": evil, "release": evil, "host": evil, "channels": [evil], "ignored": {evil: 1}}
    told["streams"] = [{"side": "worker", "stream": evil, "channel": evil}]
    told["links"] = [{"peer": evil, "is_edge": True}]
    layer = unsteady(get_channel_layer())

    async def answer(group: str, message: dict[str, Any]) -> None:
        report = Answer(version=1, ref=message["ref"], report=msgspec.msgpack.encode(told))
        await layer.send(message["channel"], report.to_message())

    monkeypatch.setattr(layer, "group_send", answer)
    (node,) = (await ask_nodes(**PATIENT)).nodes
    found = strings(msgspec.to_builtins(node))
    assert sum("title" in text for text in found) == 8
    assert all(text.isprintable() and len(text) < 500 for text in found)
    assert node.links[0].peer == node.node


async def test_nonsense_does_not_end_the_asking(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no message at all is passed over, and what cannot be read is counted."""
    layer = unsteady(get_channel_layer())
    receive, report = layer.receive, msgspec.msgpack.encode(NODE)
    said: list[Any] = [[], "x", None]

    def deserialize() -> None:
        raise ValueError("no message")

    async def answer(group: str, message: dict[str, Any]) -> None:
        said.append(deserialize)
        said.append(Answer(version=1, ref=message["ref"], report=report).to_message())

    async def hear(channel: str) -> Any:
        if not said:
            return await receive(channel)
        return word() if callable(word := said.pop(0)) else word

    monkeypatch.setattr(layer, "group_send", answer)
    monkeypatch.setattr(layer, "receive", hear)
    assert await ask_nodes(**PATIENT) == FleetReport(nodes=[NODE], unreadable=1)


@pytest.mark.parametrize("layered", params(REDIS), indirect=True)
async def test_asking_again_and_again_uses_nothing_up(layered: Place) -> None:
    """redis-py's pools have 100 connections: the layer works on after as many questions."""
    async with layered.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        await fleet_with()
        for _ in range(110):
            fleet = await ask_nodes(limit=LIMIT, quiet=0.01)
            assert len(fleet.nodes) == 1
        await client.send_to("echo", 2)
        assert await client.receive_from("echo") == 2
