"""ASGI calls that a consumer makes from another thread's event loop.

``async_to_sync(self.send)`` in a thread of the consumer's own runs in a new event loop, and so do
``asyncio.run()`` and libraries that render in a thread. A future resolved by the host's loop wakes
nobody in another loop, so such calls are handed to the host's loop and waited for from there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["call_in", "receive_in"]

Message = dict[str, Any]


async def call_in(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Run a coroutine in another event loop, and wait for it in this one.

    Calls run in the order in which they were made. If the caller is cancelled, the coroutine is
    cancelled too.

    Args:
        loop: The other event loop.
        call: Makes the coroutine.

    Raises:
        RuntimeError: The other loop is closed.
    """
    coroutine = call()
    try:
        running = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()  # Python would warn that it was never awaited.
        raise
    await asyncio.wrap_future(running)


async def receive_in(
    loop: asyncio.AbstractEventLoop,
    receive: Callable[[], asyncio.Future[Message]],
    put_back: Callable[[Message], None],
) -> Message:
    """Receive a message in another event loop, and wait for it in this one.

    Args:
        loop: The other event loop.
        receive: Returns a future of the next message; called in the other loop.
        put_back: Takes a message that the caller did not get because it was cancelled; called in
            the other loop.

    Returns:
        The message.

    Raises:
        RuntimeError: The other loop is closed.
    """
    receiving = _Receiving(receive, put_back)
    loop.call_soon_threadsafe(receiving.begin)
    try:
        return await asyncio.wrap_future(receiving.taken)
    except asyncio.CancelledError:
        loop.call_soon_threadsafe(receiving.give_up)
        raise


class _Receiving:
    """A receive() whose caller waits in another event loop. Its methods run in the host's loop."""

    def __init__(
        self,
        receive: Callable[[], asyncio.Future[Message]],
        put_back: Callable[[Message], None],
    ) -> None:
        self._receive = receive
        self._put_back = put_back
        #: What the caller waits for.
        self.taken: concurrent.futures.Future[Message] = concurrent.futures.Future()
        self._is_settled = False

    def begin(self) -> None:
        self._waiter = self._receive()
        self._waiter.add_done_callback(self._hand_over)

    def _hand_over(self, waiter: asyncio.Future[Message]) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        if waiter.cancelled():
            self.taken.cancel()
        elif self.taken.set_running_or_notify_cancel():
            self.taken.set_result(waiter.result())
        else:
            self._put_back(waiter.result())

    def give_up(self) -> None:
        if self._is_settled:
            if not self.taken.cancelled():
                self._put_back(self.taken.result())
        elif not self._waiter.cancel():
            # It has a message, and _hand_over() has yet to be called. The message goes back at
            # once: the caller's next receive() must not find the one that follows it.
            self._hand_over(self._waiter)
