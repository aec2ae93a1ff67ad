"""Calls from another event loop, step by step."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from channels_demux_layer.hosting.elsewhere import call_in, receive_in

Message = dict[str, Any]


class Source:
    """Gives one message at a time, in the loop that it is made in.

    Attributes:
        waiters: What was asked for.
        back: What was put back.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiters: list[asyncio.Future[Message]] = []
        self.asked = asyncio.Event()
        self.back: list[Message] = []
        self.was_put_back = asyncio.Event()

    def receive(self) -> asyncio.Future[Message]:
        """Ask for a message."""
        self.waiters.append(self.loop.create_future())
        self.asked.set()
        return self.waiters[-1]

    def put_back(self, message: Message) -> None:
        """Take a message that nobody got."""
        self.back.append(message)
        self.was_put_back.set()


async def test_a_call_into_a_loop_that_is_closed_is_an_error() -> None:
    """It says so, and leaves no coroutine that nobody awaits."""
    loop = asyncio.new_event_loop()
    loop.close()

    async def nothing() -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="closed"):
        await call_in(loop, nothing)


async def test_a_message_reaches_the_other_loop(other_loop: asyncio.AbstractEventLoop) -> None:
    """Its future is resolved in the loop that made it."""
    source = Source()
    receiving = receive_in(source.loop, source.receive, source.put_back)
    received = asyncio.run_coroutine_threadsafe(receiving, other_loop)
    await source.asked.wait()
    source.waiters[0].set_result({"type": "a"})
    assert await asyncio.wrap_future(received) == {"type": "a"}


async def test_a_receive_that_is_cancelled_asks_no_longer(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    """The future in the host's loop is cancelled with it."""
    source = Source()
    receiving = receive_in(source.loop, source.receive, source.put_back)
    received = asyncio.run_coroutine_threadsafe(receiving, other_loop)
    await source.asked.wait()
    received.cancel()
    await asyncio.wait([source.waiters[0]])
    assert source.waiters[0].cancelled()
    assert not source.back


async def test_a_receive_that_is_cancelled_at_once_asks_for_nothing() -> None:
    """Its call into the host's loop finds that nobody waits."""
    source = Source()
    receiving = asyncio.ensure_future(receive_in(source.loop, source.receive, source.put_back))
    source.loop.call_soon(receiving.cancel)
    await asyncio.wait([receiving])
    await asyncio.sleep(0)
    assert not [waiter for waiter in source.waiters if not waiter.cancelled()]


async def test_a_receive_ends_with_the_hosts_own() -> None:
    """Where the host's future is cancelled, so is the one that waits for it elsewhere."""
    source = Source()
    receiving = asyncio.ensure_future(receive_in(source.loop, source.receive, source.put_back))
    await source.asked.wait()
    source.waiters[0].cancel()
    await asyncio.wait([receiving])
    assert receiving.cancelled()
    assert not source.back


@pytest.mark.parametrize("moment", ["cancelled", "handed over", "received"])
async def test_a_message_that_a_cancelled_receive_did_not_get_is_put_back(moment: str) -> None:
    """It may be on its way to the other loop already; in neither case is it lost."""
    source = Source()
    receiving = asyncio.ensure_future(receive_in(source.loop, source.receive, source.put_back))
    await source.asked.wait()
    if moment == "cancelled":
        receiving.cancel()
    source.waiters[0].set_result({"type": "a"})
    if moment == "received":
        await asyncio.sleep(0)  # It is on its way to the task.
    receiving.cancel()
    await asyncio.wait([receiving])
    await source.was_put_back.wait()
    assert receiving.cancelled()
    assert source.back == [{"type": "a"}]


async def test_a_message_is_put_back_before_the_next_receive_asks(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    """A receive that is given up in the moment when its message comes keeps the order."""
    asked, given_up = threading.Event(), threading.Event()
    source = Source()
    order: list[str] = []

    def receive() -> asyncio.Future[Message]:
        order.append("asked")
        asked.set()
        return source.receive()

    def put_back(message: Message) -> None:
        order.append("put back")
        source.put_back(message)

    async def twice() -> Message:
        receiving = asyncio.ensure_future(receive_in(source.loop, receive, put_back))
        await asyncio.sleep(0)
        asked.wait()
        receiving.cancel()
        await asyncio.wait([receiving])
        again = asyncio.ensure_future(receive_in(source.loop, receive, put_back))
        await asyncio.sleep(0)
        given_up.set()
        return await again

    received = asyncio.run_coroutine_threadsafe(twice(), other_loop)
    await source.asked.wait()
    source.asked.clear()
    given_up.wait()  # Both calls into this loop are under way when the message comes.
    source.waiters[0].set_result({"type": "a"})
    await source.was_put_back.wait()
    await source.asked.wait()
    source.waiters[1].set_result(source.back[0])
    assert await asyncio.wrap_future(received) == {"type": "a"}
    assert order == ["asked", "put back", "asked"]
