"""How edges find workers: unavailable streams, room, repeats, stale opens, foreign messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.protocol.frames import BATCH, VERSION
from channels_demux_layer.protocol.handshake import Open
from channels_demux_layer.testing import DemuxCommunicator, run_workers
from channels_demux_layer.transport.nodes import find_node

from . import consumers
from .harness import LIMIT, Place, configure, demultiplexer, lone_worker, opens_layer, until, within

WORKERS = {"HOSTING": "workers", "OPEN_RETRY": 0.1, "OPEN_TIMEOUT": 0.2}


@pytest.fixture
def opened() -> list[str]:
    """The connections for which a `Noting` consumer was started."""
    return []


@pytest.fixture
def noting(opened: list[str]) -> type[consumers.Json]:
    """A consumer that notes its connection."""

    class Noting(consumers.Json):
        async def connect(self) -> None:
            opened.append(self.scope["demux"]["connection"])
            await self.accept()

    return Noting


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The package's log, all of it."""
    with caplog.at_level(logging.DEBUG, "channels_demux_layer"):
        yield caplog


def an_open(channel: str, **changes: Any) -> dict[str, Any]:
    """An open that answers to a channel."""
    fields: dict[str, Any] = {
        "version": VERSION,
        "ref": "ref",
        "connection": "0" * 32,
        "stream": "echo",
        "channel": channel,
        "edge_group": "demux.edge",
        "stream_group": "demux.echo",
        "attempt": 1,
        "expires_at": time.time() + 60,
        "scope": b"",
        **changes,
    }
    return Open(**fields).to_message()


async def test_a_stream_without_a_worker_is_unavailable_until_one_comes(
    quick_layer: Place, settings: Any
) -> None:
    """The client is told once, other streams are not concerned, and what it sent is kept."""
    configure(settings, WORKERS)
    here = demultiplexer({"echo": consumers.Json})
    both = demultiplexer({"echo": consumers.Json, "later": consumers.Json})
    later = demultiplexer({"later": consumers.Json})
    async with run_workers(here), DemuxCommunicator(both.as_asgi(), timeout=LIMIT) as client:
        await client.send_to("later", "kept")
        unavailable = await client.receive_event("later")
        assert unavailable == {"stream": "later", "event": "unavailable"}
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        async with lone_worker(later):
            assert await client.receive_from("later") == "kept"
            assert await client.receive_nothing(stream="later")
            await client.disconnect()


async def test_a_full_worker_claims_nothing(
    memory: Place, settings: Any, log: pytest.LogCaptureFixture
) -> None:
    """With MAX_SESSIONS sessions a worker leaves opens to others, until one ends."""
    configure(settings, {**WORKERS, "MAX_SESSIONS": 1})
    cls = demultiplexer({"echo": consumers.Json})
    async with memory.run(cls), DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as first:
        await first.send_to("echo", 1)
        assert await first.receive_from("echo") == 1
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as second:
            assert (await second.receive_event("echo"))["event"] == "unavailable"
            await second.send_to("echo", 2)
            assert await second.receive_nothing()
            await first.disconnect()
            assert await second.receive_from("echo") == 2
    assert "No room for a session of stream 'echo'." in log.messages


class Repeating:
    """A layer that delivers every message to a normal channel three times."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send it, thrice where any process could receive it."""
        for _ in range(1 if "!" in channel else 3):
            await self._layer.send(channel, message)


async def test_an_open_that_comes_repeatedly_starts_one_consumer(
    memory: Place,
    monkeypatch: pytest.MonkeyPatch,
    noting: type[consumers.Json],
    opened: list[str],
) -> None:
    """However often an open is delivered, its stream has one consumer."""
    cls = demultiplexer({"one": noting, "two": noting})
    monkeypatch.setattr(
        "channels_demux_layer.transport.nodes.get_channel_layer", _wrapped(Repeating)
    )
    async with memory.run(cls):
        for _ in range(5):
            async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
                for stream in ("one", "two"):
                    await client.send_to(stream, 1)
                    await client.receive_from(stream)
        assert len(opened) == 10


def _wrapped(wrapper: type[Any]) -> Any:
    """Make a get_channel_layer() that wraps the layer, always the same way."""
    wrappers: dict[str, Any] = {}

    def get(alias: str) -> Any:
        return wrappers.setdefault(alias, wrapper(get_channel_layer(alias)))

    return get


async def test_an_open_that_comes_too_late_is_not_claimed(
    memory: Place, log: pytest.LogCaptureFixture
) -> None:
    """A backlog of opens whose edges have stopped waiting starts nothing."""
    cls = demultiplexer({"echo": consumers.Json})
    layer = get_channel_layer()
    async with memory.run(cls):
        reply = await layer.new_channel()
        stale = an_open(reply, expires_at=time.time() - 10)
        await layer.send("demux.echo", stale)
        await layer.send("demux.echo", an_open(reply, ref="fresh"))
        claim = await within(layer.receive(reply))
        assert claim["refs"] == ["fresh"]
    assert any("expired 10.0 s ago" in text for text in log.messages)


async def test_claims_that_gather_travel_together(memory: Place) -> None:
    """While one claim is on its way others for the same edge wait, and go as one message."""
    cls = demultiplexer({"echo": consumers.Json})
    layer = get_channel_layer()
    async with memory.run(cls):
        reply = await layer.new_channel()
        refs = [str(number) for number in range(20)]
        for ref in refs:
            await layer.send("demux.echo", an_open(reply, ref=ref))
        claimed: list[str] = []
        messages = 0
        while len(claimed) < len(refs):
            claimed += (await within(layer.receive(reply)))["refs"]
            messages += 1
        assert sorted(claimed, key=int) == refs
        assert messages < len(refs)


async def test_a_claim_that_lapses_is_forgotten(memory: Place, settings: Any) -> None:
    """What no edge grants is not kept, and takes up no room meanwhile."""
    configure(settings, {**WORKERS, "MAX_SESSIONS": 1})
    cls = demultiplexer({"echo": consumers.Json})
    layer = get_channel_layer()
    async with memory.run(cls):
        reply = await layer.new_channel()
        await layer.send("demux.echo", an_open(reply))
        await within(layer.receive(reply))
        node = find_node("default")
        assert (node.load, node.has_room) == (0, True)
        await until(lambda: not node.grantable)


async def test_claims_that_nobody_grants_take_up_no_room(
    memory: Place, settings: Any, log: pytest.LogCaptureFixture
) -> None:
    """However many opens others grant elsewhere, a worker with room takes a session at once."""
    configure(settings, {**WORKERS, "MAX_SESSIONS": 1, "OPEN_RETRY": 60.0})
    cls = demultiplexer({"echo": consumers.Json})
    layer = get_channel_layer()
    async with memory.run(cls):
        reply = await layer.new_channel()
        for number in range(20):
            await layer.send("demux.echo", an_open(reply, ref=f"elsewhere {number}"))
            await within(layer.receive(reply))
        assert len(find_node("default").grantable) == 20
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            await client.send_to("echo", 1)
            assert await client.receive_from("echo") == 1
    assert not [text for text in log.messages if "No room" in text]


async def test_a_grant_beyond_the_room_goes_to_another_worker(memory: Place, settings: Any) -> None:
    """A worker that has claimed more than it can host disowns the rest, which opens anew."""
    configure(settings, {**WORKERS, "MAX_SESSIONS": 2})
    cls = demultiplexer({"echo": consumers.Json})
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(memory.run(cls))
        clients = [DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) for _ in range(3)]
        for client in clients:
            await stack.enter_async_context(client)
            await client.send_to("echo", 1)
        answers = {asyncio.ensure_future(each.receive_from("echo")): each for each in clients}
        await until(lambda: sum(answer.done() for answer in answers) == 2)
        assert find_node("default").load == 2
        await next(client for answer, client in answers.items() if answer.done()).disconnect()
        assert await asyncio.gather(*answers) == [1, 1, 1]


async def test_foreign_messages_on_a_streams_channel_are_ignored(
    layered: Place, log: pytest.LogCaptureFixture
) -> None:
    """Whatever is sent to a stream's channel, its workers go on, and say what they ignored."""
    cls = demultiplexer({"echo": consumers.Json})
    layer = opens_layer()
    async with layered.run(cls):
        await layer.send("demux.echo", {"type": "somebody.elses"})
        await layer.send("demux.echo", {"type": "demux.open"})
        await layer.send("demux.echo", {**an_open("x"), "attempt": "first"})
        for _ in range(2):
            await layer.send("demux.echo", {**an_open("x"), "version": 99})
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            await client.send_to("echo", 1)
            assert await client.receive_from("echo") == 1
    texts = "\n".join(log.messages)
    assert "A message of type 'somebody.elses' is not for us; ignored." in texts
    assert texts.count("A malformed demux.open was ignored") == 2
    assert texts.count("Cannot take opens of version 99") == 1


async def test_foreign_messages_on_a_nodes_channel_are_ignored(
    layered: Place, log: pytest.LogCaptureFixture
) -> None:
    """Whatever is sent to a node, it goes on, and says what it ignored."""
    batch = {
        "version": VERSION,
        "link": "0" * 32,
        "to_edge": False,
        "channel": "x",
        "seq": 1,
        "base": 1,
        "ack": 0,
        "early": [],
        "again": False,
        "frames": b"\xff",
    }
    cls = demultiplexer({"echo": consumers.Json})
    layer = get_channel_layer()
    async with layered.run(cls), DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        node = find_node("default")
        claim = {"version": VERSION, "refs": ["none"], "channel": node.channel, "load": 0}
        for message in (
            {"type": "somebody.elses"},
            {"no": "type"},
            {"type": BATCH, "version": VERSION},
            {"type": "demux.claim", "refs": 1},
            {"type": "demux.claim", "stream_channel": "demux.echo", **claim},
            {"type": "demux.claim", "stream_channel": "demux.echo", **claim, "version": 99},
            {"type": BATCH, **batch, "version": 99},
            {"type": BATCH, **batch, "to_edge": True},
            {"type": BATCH, **batch, "channel": await layer.new_channel()},
        ):
            await layer.send(node.channel, message)
        await client.send_to("echo", 2)
        assert await client.receive_from("echo") == 2
    texts = "\n".join(log.messages)
    assert "A message of type 'somebody.elses' is not for us; ignored." in texts
    assert "A message of type None is not for us; ignored." in texts
    assert texts.count("A malformed demux.batch was ignored") == 1
    assert texts.count("A malformed demux.claim was ignored") == 1
    assert texts.count("Cannot take batches of version 99") == 1
    assert texts.count("Cannot take claims of version 99") == 1
    assert "frames that cannot be decoded" in texts


async def test_a_grant_of_nothing_claimed_is_disowned(memory: Place) -> None:
    """A worker that is granted what it did not claim says so, and the edge looks further."""
    cls = demultiplexer({"echo": consumers.Json})
    async with memory.run(cls):
        node = find_node("default")
        granted, late = node.granted, []

        def come_too_late(ref: str, port: Any) -> None:
            if not late:
                late.append(node.grantable.pop(ref))
            granted(ref, port)

        node.granted = come_too_late  # type: ignore[method-assign]
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            await client.send_to("echo", 1)
            assert await client.receive_from("echo") == 1
        assert late
