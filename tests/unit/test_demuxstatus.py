"""The command: tables or JSON, plain sentences for what is wrong, exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.core.management import CommandError, call_command

from channels_demux_layer.exceptions import LayerFailed
from channels_demux_layer.management.commands import demuxstatus
from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.protocol.report import LinkReport, NodeReport, StreamReport

STREAM = StreamReport(side="edge", stream="a", channel="demux.a", pending=2, frames_in=4)
LINK = LinkReport(peer="w!1", is_edge=True)
NODE = NodeReport(
    node="n!1",
    kind="server",
    release="1.0",
    wire=1,
    host="[web]",
    pid=77,
    streams=[STREAM],
    links=[LINK],
)
SOMEBODY, NOBODY = FleetReport(nodes=[NODE]), FleetReport(nodes=[])

Run = Callable[..., str]


class Layer(InMemoryChannelLayer):  # type: ignore[misc]
    """Stands for a layer between processes."""


class PooledLayer(Layer):
    """Stands for one with connections."""

    closed = 0

    async def close_pools(self) -> None:
        """Note it."""
        PooledLayer.closed += 1


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is answered to one asking after the other; the last one again and again."""
    told: list[Any] = [SOMEBODY]

    async def ask_nodes(*, limit: float) -> FleetReport:
        answer: Any = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(demuxstatus, "ask_nodes", ask_nodes)
    monkeypatch.setattr(demuxstatus, "GLANCE", 0.001)
    monkeypatch.setattr(demuxstatus, "get_channel_layer", lambda alias: None)
    return told


@pytest.fixture
def run() -> Run:
    """Runs the command as its command line would, on a wide terminal.

    Returns:
        A function that takes arguments, and returns what was printed.
    """

    def run(*arguments: str) -> str:
        out = io.StringIO()
        call_command(demuxstatus.Command(), *arguments, stdout=out)
        return out.getvalue()

    return run


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they want to be."""
    monkeypatch.setenv("COLUMNS", "200")


def test_tables(answers: list[Any], run: Run) -> None:
    """Nodes, streams, links and what should be known at once; names are shown as they are."""
    text = run()
    for shown in ("Nodes", "Streams", "Links", "[web]", "77", "demux.a", "w!1", "pending"):
        assert shown in text
    assert "! demux.a: 2 connections wait, but no worker hosts the stream." in text


def test_json(answers: list[Any], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is known, for programs; without rich too."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    told = json.loads(run("--json"))
    assert told["nodes"][0]["host"] == "[web]"
    assert told["nodes"][0]["streams"][0]["frames_in"] == 4
    assert told["streams"][0]["pending"] == 2
    assert told["unhosted"] == ["demux.a"]
    assert (told["releases"], told["unreadable"], len(told["remarks"])) == ({"1.0": 1}, 0, 1)


def test_without_rich(answers: list[Any], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(CommandError, match=r"'channels-demux-layer\[status\]', or use --json"):
        run()


@pytest.mark.parametrize("arguments", [(), ("--once",), ("--json",)])
def test_nobody_answers(answers: list[Any], run: Run, arguments: tuple[str, ...]) -> None:
    """That is an error, said in a sentence: exit code 1."""
    answers[:] = [NOBODY]
    with pytest.raises(CommandError, match="No node answers") as caught:
        run(*arguments)
    assert caught.value.returncode == 1


def test_nobody_answers_any_more(answers: list[Any], run: Run) -> None:
    """A fleet that goes between the two looks is no fleet."""
    answers[:] = [SOMEBODY, NOBODY]
    with pytest.raises(CommandError, match="No node answers"):
        run()


def test_a_layer_that_fails(answers: list[Any], run: Run) -> None:
    """What the layer did is said in a sentence, without a traceback."""
    answers[:] = [LayerFailed("The channel layer cannot be asked: refused.")]
    with pytest.raises(CommandError, match=r"^The channel layer cannot be asked: refused\.$"):
        run("--json")


def test_an_in_memory_layer(run: Run, settings: Any) -> None:
    """Nobody else is on it, and the message says so."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with pytest.raises(CommandError, match="'default' is in memory, so no other process"):
        run()


def test_watching(answers: list[Any], run: Run) -> None:
    """The tables are shown again and again, nobody's too, until the user ends it."""
    answers[:] = [SOMEBODY, SOMEBODY, NOBODY, KeyboardInterrupt()]
    text = run("--watch", "0.001")
    assert text.count("Streams") == 2
    assert "! No node answers." in text


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_connections_are_closed(
    answers: list[Any], run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """A layer with connections of its own is taken leave of."""
    layer = PooledLayer()
    monkeypatch.setattr(PooledLayer, "closed", 0)
    monkeypatch.setattr(demuxstatus, "InMemoryChannelLayer", int)
    monkeypatch.setattr(demuxstatus, "get_channel_layer", lambda alias: layer)
    run(*arguments)
    assert PooledLayer.closed == 1


def test_what_a_layer_has_under_way_is_ended(
    answers: list[Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends, though the first cancellation of a layer's task is swallowed."""
    monkeypatch.setattr(demuxstatus, "PATIENCE", 0.001)
    cancelled: list[int] = []

    async def receive() -> None:
        while len(cancelled) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(1)

    class Receiving(PooledLayer):
        async def close_pools(self) -> None:
            self.task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)

    layer = Receiving()
    monkeypatch.setattr(demuxstatus, "InMemoryChannelLayer", int)
    monkeypatch.setattr(demuxstatus, "get_channel_layer", lambda alias: layer)
    run("--json")
    assert len(cancelled) == 2
    assert layer.task.done()
