"""How much one client may do, counted with a clock of numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer.edge import limits as limits_module
from channels_demux_layer.edge.limits import (
    LONGEST_PAUSE,
    MOST_REFUSALS,
    BufferedBytes,
    Limits,
    OpenCount,
    SharedWindow,
    Throttle,
    TokenBucket,
)
from channels_demux_layer.edge.outbox import BoundedOutbox
from tests.integration.harness import until, within


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    """What was saved up costs no wait; each token after it costs its time."""
    bucket = TokenBucket(rate=10, burst=30, now=0.0)
    assert [bucket.use(1, 0.0) for _ in range(30)] == [0.0] * 30
    assert bucket.use(1, 0.0) == pytest.approx(0.1)
    assert bucket.use(1, 0.1) == pytest.approx(0.1)
    assert bucket.use(1, 1.0) == 0.0


def test_a_bucket_saves_no_more_than_its_burst() -> None:
    """A day of silence is worth no more than a few seconds of it."""
    bucket = TokenBucket(rate=10, burst=30, now=0.0)
    assert bucket.use(30, 86_400.0) == 0.0
    assert bucket.use(1, 86_400.0) == pytest.approx(0.1)


def test_a_debt_is_bounded() -> None:
    """However much comes at once, nobody is held up for longer than is bearable."""
    bucket = TokenBucket(rate=10, burst=30, now=0.0)
    assert bucket.use(10**9, 0.0) == LONGEST_PAUSE
    assert bucket.use(0, LONGEST_PAUSE) == 0.0


def test_opens_are_refused_when_there_are_too_many() -> None:
    """All of a minute's opens may come at once; each after it waits for its part of the minute."""
    count = OpenCount(6, 0.0)
    assert [count.may_open(0.0) for _ in range(7)] == [True] * 6 + [False]
    assert not count.may_open(9.9)
    assert count.may_open(10.0)


def test_without_a_limit_every_open_is_let_in() -> None:
    """0 is no bound."""
    count = OpenCount(0, 0.0)
    assert all(count.may_open(0.0) for _ in range(10_000))


def test_who_goes_on_asking_may_not_stay() -> None:
    """So many refusals within a minute are enough, and as many over a long time are not."""
    count = OpenCount(1, 0.0)
    assert [count.may_go_on(0.0) for _ in range(MOST_REFUSALS + 1)].count(False) == 1
    patient = OpenCount(1, 0.0)
    assert all(patient.may_go_on(2.0 * number) for number in range(10 * MOST_REFUSALS))


@pytest.mark.parametrize(
    ("limits", "hold_up"),
    [
        (Limits(), False),
        (Limits(open_streams=1, opens_per_minute=1), False),
        (Limits(frames_per_second=1), True),
        (Limits(bytes_per_second=1), True),
        (Limits(buffered_bytes=1), True),
    ],
)
def test_only_some_limits_hold_clients_up(limits: Limits, hold_up: bool) -> None:
    """Where none of them is set, frames are not looked at."""
    assert limits.hold_up is hold_up


def test_windows_share_what_a_connection_may_have() -> None:
    """One full stream leaves the others a payload each, and room again as it is taken."""
    shared = BufferedBytes(10)
    one, other = SharedWindow(64, 1000, shared), SharedWindow(64, 1000, shared)
    one.push("x" * 6)
    assert one.has_room
    one.push("x" * 6)
    assert not one.has_room
    assert other.has_room
    other.push("y")
    assert not other.has_room
    assert shared.used == 13
    assert one.taken(1)
    assert other.has_room
    assert shared.used == 7


def test_a_shared_window_keeps_its_own_bounds() -> None:
    """What the stream may have, it may not have more of."""
    window = SharedWindow(1, 1000, BufferedBytes(10**6))
    window.push("x")
    assert not window.has_room


def test_a_stream_that_ends_leaves_nothing_behind() -> None:
    """What it had counts no longer, not even when it is taken later."""
    shared = BufferedBytes(10)
    window = SharedWindow(64, 1000, shared)
    window.push("x" * 6)
    window.leave()
    assert shared.used == 0
    assert window.taken(1)
    assert shared.used == 0


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
    monkeypatch.setattr(limits_module.asyncio, "sleep", clock.sleep)
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


async def spend(throttle: Throttle, frames: list[str | bytes]) -> None:
    """Have a client send frames, waiting where it is told to."""
    for frame in frames:
        room = throttle.hold_up(frame, None)
        if room is not None:
            await room


async def test_frames_are_held_up_to_their_rate(clock: Clock) -> None:
    """After the burst of three seconds, as many pass as the rate says."""
    throttle = Throttle(Limits(frames_per_second=10), None, clock)
    await spend(throttle, ["x"] * 30)
    assert clock.now == 0.0
    await spend(throttle, ["x"] * 20)
    assert clock.now == pytest.approx(2.0)


@pytest.mark.parametrize("frame", ["x" * 100, b"x" * 100, "ä" * 50, "\ud800" * 33 + "x"])
async def test_bytes_are_held_up_to_their_rate(clock: Clock, frame: str | bytes) -> None:
    """They are counted as they come over the socket, in UTF-8."""
    throttle = Throttle(Limits(bytes_per_second=100), None, clock)
    await spend(throttle, [frame] * 5)
    assert clock.now == pytest.approx(2.0)


async def test_the_longer_wait_counts(clock: Clock) -> None:
    """With both rates set, a client keeps within both."""
    limits = Limits(frames_per_second=1000, bytes_per_second=100)
    await spend(Throttle(limits, None, clock), ["x" * 100] * 5)
    assert clock.now == pytest.approx(2.0)


async def test_a_very_small_rate_lets_the_first_frame_pass(clock: Clock) -> None:
    """A burst is one frame at least."""
    throttle = Throttle(Limits(frames_per_second=0.2), None, clock)
    assert throttle.hold_up("x", None) is None


async def test_room_that_is_waited_for_anyway_is_kept(clock: Clock) -> None:
    """A stream without room is waited for as well as the rate."""
    throttle = Throttle(Limits(frames_per_second=1), None, clock)
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
