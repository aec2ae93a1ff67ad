"""A node finds out that it does not hear what it sends itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from channels_demux_layer.transport import own as module
from channels_demux_layer.transport.own import (
    DEAF_AFTER,
    DOUBT,
    OVERDUE_AFTER,
    PROBE_AFTER,
    RENEW_AFTER,
    Hearing,
)


class Hearer:
    """A node, as far as this needs one.

    Attributes:
        probes: The refs of the probes that were sent.
        hears: Whether they arrive.
        renewed: How often its connections were replaced.
        recovered: How often it was told that it hears again.
    """

    channel = "node!1"
    alias = "opens"

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.probes: list[str] = []
        self.hears = False
        self.renewed = 0
        self.recovered = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.hearing = Hearing(self, 12.0, self._renew, self._recover)

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.ensure_future(coroutine)

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        assert (group, channel) == (None, self.channel)
        self.probes.append(message["ref"])
        await self.gate.wait()
        if self.hears:
            self.hear(message["ref"])
        return True

    def hear(self, ref: str | None = None) -> None:
        """Have something arrive."""
        self.heard_at += 1
        self.hearing.probed(ref)

    def _renew(self) -> None:
        self.renewed += 1

    def _recover(self) -> None:
        self.recovered += 1


class Ticks:
    """Lets the ticks of a node pass, one by one."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        assert seconds == 1.0
        self.waiting = asyncio.get_running_loop().create_future()
        await self.waiting

    async def passes(self, count: int = 1) -> None:
        """Let so many ticks pass, and what follows from each happen."""
        for _ in range(count):
            while self.waiting is None:
                await REAL_SLEEP(0)
            waiting, self.waiting = self.waiting, None
            waiting.set_result(None)
            for _ in range(5):
                await REAL_SLEEP(0)


REAL_SLEEP = asyncio.sleep


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    """What passes no time by itself."""
    ticks = Ticks()
    monkeypatch.setattr(module.asyncio, "sleep", ticks.sleep)
    return ticks


@pytest.fixture
async def node(ticks: Ticks) -> AsyncIterator[Hearer]:
    """A node that is watched.

    Yields:
        The node.
    """
    node = Hearer()
    watching = asyncio.ensure_future(node.hearing.run())
    yield node
    watching.cancel()


async def test_a_node_that_hears_others_sends_no_probes(node: Hearer, ticks: Ticks) -> None:
    """The heartbeats of its links are enough."""
    for _ in range(10):
        await ticks.passes(PROBE_AFTER - 1)
        node.hear()
    assert node.probes == []


async def test_a_silent_node_probes(node: Hearer, ticks: Ticks) -> None:
    """What it sends itself arrives: nothing is wrong."""
    node.hears = True
    await ticks.passes(5 * DEAF_AFTER)
    assert len(node.probes) == 5 * DEAF_AFTER // (PROBE_AFTER + 1)
    assert not node.hearing.is_deaf
    assert node.renewed == 0


async def test_a_deaf_node(node: Hearer, ticks: Ticks, caplog: pytest.LogCaptureFixture) -> None:
    """Its connections are replaced again and again, with one line in the log, until it hears."""
    caplog.set_level("INFO")
    await ticks.passes(DEAF_AFTER - 1)
    assert not node.hearing.is_deaf
    await ticks.passes()
    assert node.hearing.is_deaf
    await ticks.passes(2 * RENEW_AFTER)
    assert node.renewed == 3
    node.hear()
    assert node.hearing.is_deaf, "what others send may come over another connection"
    node.hears = True
    await ticks.passes()
    assert (node.hearing.is_deaf, node.recovered) == (False, 1)
    assert caplog.messages == [
        "Cannot receive this process's own messages on the channel layer 'opens': nothing arrived "
        "for 10.0 s, so it starts to receive again. Retrying.",
        "Can receive this process's own messages on the channel layer 'opens' again.",
    ]


async def test_a_probe_that_is_overdue(node: Hearer, ticks: Ticks) -> None:
    """The node may be deaf from when its first probe had a tick to arrive until it hears again."""
    await ticks.passes(OVERDUE_AFTER - 1)
    assert not node.hearing.is_overdue
    await ticks.passes()
    assert node.hearing.is_overdue
    await ticks.passes(DEAF_AFTER)
    assert node.hearing.is_overdue
    node.hears = True
    await ticks.passes()
    assert not node.hearing.is_overdue


async def test_a_probe_of_an_earlier_connection_tells_nothing(node: Hearer, ticks: Ticks) -> None:
    """It was sent before the connections were replaced."""
    await ticks.passes(DEAF_AFTER - 1)
    earlier = list(node.probes)
    await ticks.passes()
    for ref in earlier:
        node.hear(ref)
    assert node.hearing.is_deaf


async def test_a_call_that_hangs_is_a_doubt(node: Hearer, ticks: Ticks) -> None:
    """Then only a probe counts, and soon; what others send arrives over another connection."""
    node.hearing.doubt()
    node.hear()
    await ticks.passes(DOUBT)
    assert (node.hearing.is_deaf, node.renewed) == (True, 1)


async def test_a_doubt_that_is_dispelled(node: Hearer, ticks: Ticks) -> None:
    """A probe that arrives ends it, without a word to anybody."""
    node.hears = True
    node.hearing.doubt()
    await ticks.passes(DOUBT)
    assert (node.renewed, node.recovered) == (0, 0)


async def test_one_probe_at_a_time(node: Hearer, ticks: Ticks) -> None:
    """A layer that hangs is not asked again and again."""
    node.gate.clear()
    await ticks.passes(DEAF_AFTER - 1)
    assert len(node.probes) == 1
