"""Waiting for room in a window."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable
from typing import Any

import pytest

from channels_demux_layer.hosting.flow import Outflow, excess_size
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport.tally import FlowTally

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


class Flow(Outflow):
    """A flow with room for one frame.

    Attributes:
        sent: What it has sent, calls included, in order.
        tally: What it has counted.
        stalls: How often it has stalled.
    """

    def __init__(self, stall_timeout: float = 20.0) -> None:
        self.sent: list[Any] = []
        self.tally = FlowTally()
        self.stalls = 0
        window = SendWindow(1, 100)
        super().__init__(window, stall_timeout, self.tally, self.sent.append, self.note_stall)

    def note_stall(self) -> None:
        """End it, as sessions do."""
        self.stalls += 1
        self.finish()

    def take(self, frames: int = 1) -> None:
        """Have the other end take frames."""
        if self.window.taken(frames):
            self.resume()


@pytest.fixture
async def full() -> Flow:
    """A flow whose one place is taken."""
    flow = Flow()
    assert flow.send("first") is None
    return flow


def wait(waiting: Awaitable[None] | None) -> asyncio.Future[None]:
    """Await what a send returned, in a task."""
    assert waiting is not None
    return asyncio.ensure_future(waiting)


@pytest.mark.parametrize(
    ("data", "size"),
    [("x" * 10, 0), (b"x" * 10, 0), ("x" * 11, 11), (b"x" * 11, 11), ("ü" * 5, 0), ("ü" * 6, 12)],
)
def test_a_payload_is_measured_in_bytes(data: str | bytes, size: int) -> None:
    """Text counts as UTF-8, bytes as they are, and what fits has no excess."""
    assert excess_size(data, 10) == size


def test_half_a_surrogate_pair_has_a_size() -> None:
    """Text that has no UTF-8 is measured all the same."""
    assert excess_size("\ud800" * 4, 10) == 12


async def test_payloads_that_wait_go_in_the_order_of_their_sends(full: Flow) -> None:
    """Each frame that is taken lets one payload go, and its sender alone."""
    second, third = [wait(full.send(text)) for text in ("second", "third")]
    full.take()
    await second
    assert full.sent == ["first", "second"]
    assert not third.done()
    full.take()
    await third
    assert full.sent == ["first", "second", "third"]
    assert (full.tally.frames, full.tally.full) == (3, 2)


async def test_nobody_overtakes_a_payload_that_waits(full: Flow) -> None:
    """A payload that comes when there is room again goes behind those that wait for it."""
    second = wait(full.send("second"))
    full.window.taken(1)  # The session is told of it later, with what else has arrived.
    third = wait(full.send("third"))
    full.resume()
    full.take()
    await asyncio.gather(second, third)
    assert full.sent == ["first", "second", "third"]


async def test_a_send_that_is_cancelled_is_not_sent(full: Flow) -> None:
    """Its payload is withdrawn, and those behind it keep their places."""
    sends = [wait(full.send(str(number))) for number in range(5)]
    sends[0].cancel()
    sends[2].cancel()
    await asyncio.wait([sends[0], sends[2]])
    full.take()
    sends[3].cancel()  # in the very moment
    full.take()
    await sends[4]
    assert full.sent == ["first", "1", "4"]
    assert len(full.window.untaken) == 1


async def test_a_send_that_is_cancelled_too_late_was_sent(full: Flow) -> None:
    """A payload is sent whole or not at all: once it was, its sender's end changes nothing."""
    second = wait(full.send("second"))
    full.take()
    second.cancel()
    await asyncio.wait([second])
    assert full.sent == ["first", "second"]
    assert full.send("third") is not None


async def test_a_flow_where_all_have_given_up_is_as_before(full: Flow) -> None:
    """Nobody waits, so the next payload goes as soon as there is room, and nothing stalls."""
    second = wait(full.send("second"))
    second.cancel()
    await asyncio.wait([second])
    full.take()
    assert full.send("third") is None
    assert full.sent == ["first", "third"]


async def test_a_call_comes_after_what_waits(full: Flow) -> None:
    """It needs no room, only that all payloads before it have gone."""
    full.after(lambda: full.sent.append("at once"))
    second, call = wait(full.send("second")), wait(full.after(lambda: full.sent.append("call")))
    third = wait(full.send("third"))
    await asyncio.sleep(0)
    full.take()
    await asyncio.gather(second, call)
    assert full.sent == ["first", "at once", "second", "call"]
    assert not third.done()


@pytest.mark.parametrize("end", ["cancelled", "withdrawn", "finished"])
async def test_a_call_is_made_whatever_happens(full: Flow, end: str) -> None:
    """Neither its sender's end, nor that of the payload before it, nor the flow's, prevents it."""
    second, call = wait(full.send("second")), wait(full.after(lambda: full.sent.append("call")))
    if end == "cancelled":
        call.cancel()
        await asyncio.wait([call])
        full.take()
    elif end == "withdrawn":
        second.cancel()
        await call
    else:
        full.finish()
        await asyncio.gather(second, call)
    assert full.sent == ["first", *(["second"] if end == "cancelled" else []), "call"]


async def test_the_end_of_a_flow_lets_everybody_go(full: Flow) -> None:
    """Senders that wait, and those that come later, return; nothing is sent."""
    second = wait(full.send("second"))
    full.finish()
    await second
    await wait(full.send("third"))
    full.finish()
    assert full.sent == ["first"]


async def test_a_flow_without_room_stalls_once() -> None:
    """However many wait, nobody does for longer than the stall timeout."""
    flow = Flow(0.01)
    flow.send("first")
    await asyncio.gather(wait(flow.send("second")), wait(flow.send("third")))
    assert (flow.stalls, flow.tally.stalls, flow.sent) == (1, 1, ["first"])


async def test_a_flow_that_moves_does_not_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that there is room the stall timeout begins anew."""
    flow = Flow()
    flow.send("first")
    waits = [wait(flow.send(str(number))) for number in range(3)]
    loop = asyncio.get_running_loop()
    timers: list[float] = []

    def note(delay: float, *args: Any) -> asyncio.TimerHandle:
        timers.append(delay)
        return call_later(delay, *args)

    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", note)
    flow.take()
    flow.take()
    assert timers == [20.0] * 2
    flow.take()
    assert timers == [20.0] * 2  # nobody waits any more
    await asyncio.gather(*waits)


async def test_a_stalled_flow_may_be_resumed_before_its_session_ends() -> None:
    """A session that is slow to end does no harm."""
    flow = Flow(0.01)
    stalled = asyncio.Event()
    flow._stalled = stalled.set
    flow.send("first")
    second, third = wait(flow.send("second")), wait(flow.send("third"))
    await stalled.wait()
    flow.take()
    await second
    flow.finish()
    await third
    assert flow.sent == ["first", "second"]


async def test_nobody_has_to_wait_to_be_resumed() -> None:
    """Resuming where nobody waits is nothing."""
    flow = Flow()
    flow.resume()
    assert flow.send("first") is None


async def test_a_receiver_that_takes_everything_at_once_empties_a_long_line(full: Flow) -> None:
    """A payload may be taken while it is sent: the line moves on without nested calls."""
    waits = [wait(full.send(str(number))) for number in range(5000)]
    full._transmit = lambda data: full.take()
    full.take()
    await asyncio.gather(*waits)
    assert full.tally.frames == 5001


async def test_a_session_may_end_while_a_payload_is_sent(full: Flow) -> None:
    """What waits behind that payload is dropped."""
    waits = [wait(full.send(str(number))) for number in range(3)]
    full._transmit = lambda data: full.finish()
    full.take()
    await asyncio.gather(*waits)
    assert full.tally.frames == 2


async def test_a_payload_is_sent_in_its_senders_context(full: Flow) -> None:
    """Who makes room is another task, whose context is nobody else's."""
    seen: list[str] = []
    full._transmit = lambda data: seen.append(variable.get())
    context = contextvars.copy_context()
    context.run(variable.set, "sender")
    second = wait(context.run(full.send, "second"))
    full.take()
    await second
    assert seen == ["sender"]


async def test_an_error_is_the_senders(full: Flow) -> None:
    """What cannot be sent holds up nobody behind it, and does not harm who made room."""

    def fail(data: Any) -> None:
        full.window.taken(1)
        raise ValueError(data)

    full._transmit = fail
    waits = [wait(full.send(str(number))) for number in range(2)]
    call = wait(full.after(fail_call))
    call.cancel()
    full.take()
    results = await asyncio.gather(*waits, call, return_exceptions=True)
    assert [str(result) for result in results[:2]] == ["0", "1"]
    assert isinstance(results[2], asyncio.CancelledError)


def fail_call() -> None:
    """Fail, where nobody waits for it any more."""
    raise ValueError


async def test_who_sends_on_after_the_end_lets_others_run(full: Flow) -> None:
    """A consumer that sends in a loop never waits otherwise."""
    full.finish()
    asyncio.get_running_loop().call_soon(full.sent.append, "others ran")
    while len(full.sent) == 1:
        waiting = full.send("second")
        assert waiting is not None
        await waiting
    assert full.sent == ["first", "others ran"]
