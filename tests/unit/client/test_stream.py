"""The bounded line of what waits."""

import asyncio

import pytest

from channels_demux_layer.client.stream import Buffer


def test_items_keep_their_order() -> None:
    """What was put first is taken first."""
    buffer: Buffer[str] = Buffer(10, 10)
    for item in "abc":
        buffer.put(item, 1)
    assert (buffer.first, list(buffer), len(buffer)) == ("a", ["a", "b", "c"], 3)
    assert [buffer.take() for _ in "abc"] == ["a", "b", "c"]
    assert not buffer


def test_many_items_fill_it() -> None:
    """It is full with so many items, and no longer when one is taken."""
    buffer: Buffer[str] = Buffer(2, 100)
    buffer.put("a", 1)
    assert not buffer.is_full
    buffer.put("b", 1)
    assert buffer.is_full
    buffer.take()
    assert not buffer.is_full


def test_many_bytes_fill_it() -> None:
    """It is full with so many bytes, be it one item, and no longer when they are taken."""
    buffer: Buffer[str] = Buffer(100, 10)
    buffer.put("a", 9)
    assert not buffer.is_full
    buffer.put("b", 1)
    assert buffer.is_full
    buffer.take()
    assert not buffer.is_full
    buffer.put("c", 1000)
    assert buffer.is_full


@pytest.mark.parametrize("change", ["put", "take", "stir"])
async def test_a_change_wakes_all_who_wait(change: str) -> None:
    """Whatever is done to it, all who wait look again, and who comes later waits anew."""
    buffer: Buffer[str] = Buffer(2, 2)
    buffer.put("a", 1)
    waiting = [asyncio.ensure_future(buffer.changed()) for _ in range(2)]
    await asyncio.sleep(0)
    {"put": lambda: buffer.put("b", 1), "take": buffer.take, "stir": buffer.stir}[change]()
    later = asyncio.ensure_future(buffer.changed())
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert not later.done()
    buffer.stir()
    await asyncio.wait_for(later, 10)
