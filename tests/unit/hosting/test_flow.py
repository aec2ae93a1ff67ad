"""Waiting for room in a window."""

import asyncio

import pytest

from channels_demux_layer.hosting.flow import Outflow, Stalled, excess_size
from channels_demux_layer.link.window import SendWindow
from channels_demux_layer.reports.tally import FlowTally


def full(stall_timeout: float = 20.0) -> Outflow:
    """A flow with room for one frame, which is taken up."""
    flow = Outflow(SendWindow(1, 100), stall_timeout, FlowTally())
    flow.window.push("first")
    return flow


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


async def test_everybody_who_waits_is_let_in_when_there_is_room() -> None:
    """Several who wait share one signal, and each looks for room itself."""
    flow = full()
    pushes = [asyncio.ensure_future(flow.push(text)) for text in ("second", "third")]
    await asyncio.sleep(0)
    for _ in pushes:
        flow.window.taken(1)
        flow.resume()
        await asyncio.wait(pushes, return_when=asyncio.FIRST_COMPLETED)
    assert await asyncio.gather(*pushes) == [True, True]
    assert list(flow.window.untaken) == ["third"]


async def test_the_end_of_a_flow_lets_everybody_go() -> None:
    """Who waits, and who comes later, is told that nothing was taken."""
    flow = full()
    push = asyncio.ensure_future(flow.push("second"))
    await asyncio.sleep(0)
    flow.finish()
    assert await push is False
    assert await flow.push("third") is False
    assert list(flow.window.untaken) == ["first"]


async def test_a_flow_without_room_stalls() -> None:
    """Nobody waits for longer than the stall timeout."""
    with pytest.raises(Stalled):
        await full(0.01).push("second")


async def test_nobody_has_to_wait_to_be_resumed() -> None:
    """Resuming where nobody waits is nothing."""
    flow = Outflow(SendWindow(1, 100), 20.0, FlowTally())
    flow.resume()
    assert await flow.push("first") is True


async def test_who_sends_on_after_the_end_lets_others_run() -> None:
    """A consumer that sends in a loop never waits otherwise."""
    flow = full()
    flow.finish()
    asyncio.get_running_loop().call_soon(flow.window.push, "others ran")
    while len(flow.window.untaken) == 1:
        assert not await flow.push("second")
    assert list(flow.window.untaken) == ["first", "others ran"]
