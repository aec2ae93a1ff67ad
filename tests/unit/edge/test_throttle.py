"""Holding up a client that is over its rates."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer.edge import throttle as throttle_module
from channels_demux_layer.edge.limits import Limits
from channels_demux_layer.edge.outbox import BoundedOutbox, Outbox
from channels_demux_layer.edge.throttle import Throttle
from tests.integration.harness import until, within


class Clock:
    """A clock that goes on when somebody sleeps.

    Attributes:
        now: The present time in seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the throttle."""
    clock = Clock()
    monkeypatch.setattr(throttle_module.asyncio, "sleep", clock.sleep)
    return clock


class Source:
    """Where payloads come from."""

    def take(self, size: int) -> None:
        """Note nothing."""


class Socket:
    """A client that reads when it is told to.

    Attributes:
        written: What it has read.
        reads: Set while it does.
    """

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.reads = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        """Take a message, once it reads."""
        await self.reads.wait()
        self.written.append(message)


def an_outbox(socket: Socket, limit: int) -> BoundedOutbox:
    """An outbox that may hold so many bytes."""
    return BoundedOutbox(lambda stream, data: {"text": data}, socket.send, "c", limit)


def plain_outbox() -> Outbox:
    """An outbox without a bound, of which nothing is wanted."""
    return Outbox(lambda stream, data: {}, Socket().send)


async def spend(throttle: Throttle, frames: list[str | bytes]) -> None:
    """Have a client send frames, waiting where it is told to."""
    for frame in frames:
        room = throttle.hold_up(frame, None)
        if room is not None:
            await room


async def test_frames_are_held_up_to_their_rate(clock: Clock) -> None:
    """After the burst of three seconds, as many pass as the rate says."""
    throttle = Throttle(Limits(frames_per_second=10), plain_outbox(), clock)
    await spend(throttle, ["x"] * 30)
    assert clock.now == 0.0
    await spend(throttle, ["x"] * 20)
    assert clock.now == pytest.approx(2.0)


@pytest.mark.parametrize("frame", ["x" * 100, b"x" * 100, "ä" * 50, "\ud800" * 33 + "x"])
async def test_bytes_are_held_up_to_their_rate(clock: Clock, frame: str | bytes) -> None:
    """They are counted as they come over the socket, in UTF-8."""
    throttle = Throttle(Limits(bytes_per_second=100), plain_outbox(), clock)
    await spend(throttle, [frame] * 5)
    assert clock.now == pytest.approx(2.0)


async def test_the_longer_wait_counts(clock: Clock) -> None:
    """With both rates set, a client keeps within both."""
    limits = Limits(frames_per_second=1000, bytes_per_second=100)
    await spend(Throttle(limits, plain_outbox(), clock), ["x" * 100] * 5)
    assert clock.now == pytest.approx(2.0)


async def test_a_very_small_rate_lets_the_first_frame_pass(clock: Clock) -> None:
    """A burst is one frame at least."""
    throttle = Throttle(Limits(frames_per_second=0.2), plain_outbox(), clock)
    assert throttle.hold_up("x", None) is None


async def test_room_that_is_waited_for_anyway_is_kept(clock: Clock) -> None:
    """A stream without room is waited for as well as the rate."""
    throttle = Throttle(Limits(frames_per_second=1), plain_outbox(), clock)
    waited: list[str] = []

    async def room() -> None:
        waited.append("room")

    for _ in range(4):
        coming = throttle.hold_up("x", room())
        assert coming is not None
        await coming
    assert waited == ["room"] * 4
    assert clock.now == pytest.approx(1.0)


async def test_a_client_that_does_not_read_is_not_read() -> None:
    """While too much waits for it, and no longer than that."""
    socket = Socket()
    outbox = an_outbox(socket, 10)
    throttle = Throttle(Limits(buffered_bytes=10), outbox, asyncio.get_running_loop().time)
    for _ in range(2):
        assert throttle.hold_up("x", None) is None
        outbox.put_payload("s", "x" * 6, Source())
    first, second = (throttle.hold_up("x", None) for _ in range(2))
    assert first is not None
    assert second is not None
    waits = asyncio.gather(first, second)
    await asyncio.sleep(0)
    assert not waits.done()
    socket.reads.set()
    await within(waits)
    assert throttle.hold_up("x", None) is None
    await outbox.drain(None)
    assert len(socket.written) == 2


async def test_nobody_waits_for_a_client_that_has_left() -> None:
    """Its socket takes everything."""
    outbox = an_outbox(Socket(), 1)
    outbox.put_payload("s", "xx", Source())
    relief = asyncio.ensure_future(outbox.relief())
    await asyncio.sleep(0)
    assert not relief.done()
    outbox.stop()
    await within(relief)
    assert not outbox.is_full
    await until(lambda: True)
