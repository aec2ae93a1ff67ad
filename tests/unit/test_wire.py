"""Running a link over a node."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from channels_demux_layer.link.config import LinkConfig
from channels_demux_layer.link.frames import Accept, Batch, Close, Grant, encode_frames
from channels_demux_layer.link.machine import Link
from channels_demux_layer.wire import LinkWire, link_config
from tests.integration.harness import until


class Host:
    """The node, as far as a wire needs it.

    Attributes:
        published: What was published, in order.
        wakes: The times that were asked for.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.published: list[tuple[str | None, dict[str, Any]]] = []
        self.wakes: list[float] = []
        self.gate = asyncio.Event()

    def start_task(self, coroutine: Any) -> asyncio.Task[None]:
        """Run it."""
        return self.loop.create_task(coroutine)

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Note the message, and take as long as the test wants."""
        self.published.append((group, message))
        await self.gate.wait()
        return True

    def wake_at(self, when: float) -> None:
        """Note the time."""
        self.wakes.append(when)

    def granted(self, ref: str, port: Any) -> None:
        """Nobody wants it; and nobody disowns it."""


def a_batch(seq: int, *frames: Any) -> Batch:
    """A batch of an edge."""
    return Batch(
        version=1,
        link="l",
        to_edge=False,
        channel="edge!1",
        seq=seq,
        base=1,
        ack=0,
        early=[],
        again=False,
        frames=encode_frames(list(frames)),
    )


@pytest.fixture
async def host() -> Host:
    """The node."""
    return Host()


def a_wire(host: Host, *, is_edge: bool) -> LinkWire:
    """A wire with a link of the defaults."""
    now = host.loop.time()
    link = Link("l", is_edge=is_edge, channel="node!1", config=LinkConfig(), now=now)
    return LinkWire(host, link, "peer!1")


async def test_what_gathers_during_a_publish_goes_as_one(host: Host) -> None:
    """One publish is under way at a time, and the next takes all that has come meanwhile."""
    wire = a_wire(host, is_edge=True)
    for number in range(10):
        wire.link.open_session(str(number), wire.link.new_window(), wire.now())
        wire.flush()
        await asyncio.sleep(0)
    assert len(host.published) == 1
    assert wire.deadline == float("inf")
    host.gate.set()
    await until(lambda: len(host.published) == 2 and wire.deadline < float("inf"))
    assert len(host.published) == 2
    assert host.wakes[-1] == wire.link.deadline


async def test_time_that_has_not_come_changes_nothing(host: Host) -> None:
    """The node's timer may ring for another link."""
    wire = a_wire(host, is_edge=True)
    wire.handle_timeout(wire.now())
    assert not host.published
    assert not host.wakes


async def test_what_is_said_in_a_session_without_owner_is_moot(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that was granted in vain has nobody to tell."""
    wire = a_wire(host, is_edge=False)
    wire.receive(a_batch(1, Grant(1, "ref")))
    (session,) = wire.link.sessions.values()
    assert session.owner is None
    wire.receive(a_batch(2, Accept(1)))
    assert "ignored" in caplog.text
    wire.receive(a_batch(3, Close(1, 1000)))
    host.gate.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize(("peer_timeout", "longest"), [(60.0, 5.0), (8.0, 2.0), (0.1, 0.2)])
def test_who_is_heard_badly_has_several_tries(
    settings: Any, peer_timeout: float, longest: float
) -> None:
    """A batch that is lost again and again goes four times before its sender is taken for dead."""
    settings.CHANNELS_DEMUX_LAYER = {"PEER_TIMEOUT": peer_timeout}
    assert link_config().max_timeout == longest


async def test_a_link_that_cannot_be_sent_is_given_up(
    host: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the link ends it once, with its sessions, and is not tried for ever."""
    wire = a_wire(host, is_edge=True)
    session = wire.link.open_session("ref", wire.link.new_window(), wire.now())
    owner = session.owner = Mock()

    def fail(now: float) -> None:
        raise OverflowError("a number too large")

    monkeypatch.setattr(wire.link, "batch_to_send", fail)
    wire.flush()
    await until(lambda: owner.lost.called)
    owner.lost.assert_called_once_with(peer_is_dead=False)
    assert wire.link.is_over
    assert not wire.link.sessions
    assert caplog.text.count("The link to node peer!1 is given up.") == 1
    assert min(host.wakes) <= wire.now()  # The node clears it away at once.
    wire.flush()
    assert not host.published
