"""What a consumer sends: where it goes, and how it waits for room in a window (C4.1)."""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from channels_demux_layer.protocol.json_text import UTF8_BYTES
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport.tally import FlowTally

__all__ = ["Outflow", "Outlet", "excess_size"]


def excess_size(data: str | bytes, limit: int) -> int:
    """Return the size of a payload that is too large.

    Args:
        data: The payload.
        limit: The most bytes it may have, in UTF-8 for text.

    Returns:
        Its size in bytes; 0 where it is within the limit.
    """
    length = len(data)
    if isinstance(data, str) and length * UTF8_BYTES > limit and not data.isascii():
        length = len(data.encode("utf-8", "surrogatepass"))
    return length if length > limit else 0


class Outlet(Protocol):
    """What a host needs of the session whose consumer it runs."""

    def accept(self) -> None:
        """Note that the consumer has accepted."""

    def unaccepted(self) -> None:
        """Note that the consumer has not accepted within OPEN_TIMEOUT. It may still do so."""

    def send(self, data: str | bytes) -> Awaitable[None] | None:
        """Send a payload of the consumer; return what to await if there is no room for it."""

    def after(self, call: Callable[[], None]) -> Awaitable[None] | None:
        """Call a function after all payloads that wait; return what to await if some do."""

    def consumed(self, size: int) -> None:
        """Note that the consumer took a payload of this size: it asks for the next one (L5.2)."""

    def close(self, code: int, reason: str) -> None:
        """End the stream because the consumer wants it, or fails. Only the first end counts."""

    def finished(self, code: int) -> None:
        """Note that the consumer has returned without a close of its own."""


class Outflow:
    """The sending end of one direction of a session.

    Payloads that find the window full wait in one line, first come, first served. Call all
    methods in the event loop of the session.

    Args:
        window: The window that counts the payloads under way.
        stall_timeout: How long to wait for room, in seconds.
        tally: Counts the payloads.
        transmit: Sends one payload, which has been pushed to the window.
        stalled: Called when payloads have waited and the window has had no room for the length
            of the stall timeout (C4.3). It must end the session.
    """

    __slots__ = (
        *("_is_resuming", "_line", "_stall_timeout", "_stalled", "_tally", "_timer", "_transmit"),
        *("is_over", "window"),
    )

    def __init__(
        self,
        window: SendWindow,
        stall_timeout: float,
        tally: FlowTally,
        transmit: Callable[[str | bytes], None],
        stalled: Callable[[], None],
    ) -> None:
        self.window = window
        self._tally = tally
        tally.frames += len(window.untaken)  # What has waited in it for a permission.
        self._stall_timeout = stall_timeout
        self._transmit = transmit
        self._stalled = stalled
        #: Payloads that wait for room, and calls that wait for the payloads before them, each with
        #: the future that its sender awaits. None while nobody waits: most sessions never do.
        self._line: OrderedDict[asyncio.Future[None], _Entry] | None = None
        self._is_resuming = False
        self._timer: asyncio.TimerHandle | None = None
        #: The other end takes nothing more: payloads are dropped.
        self.is_over = False

    def send(self, data: str | bytes) -> Awaitable[None] | None:
        """Send one payload, or put it at the end of the line.

        Args:
            data: The payload.

        Returns:
            None if it was sent. Otherwise an awaitable that returns when the payload has been
            sent, or dropped because the flow is over. Cancel it to withdraw the payload.
        """
        if self._line or self.is_over or not self.window.has_room:
            if self.is_over:
                # A consumer that sends in a loop would otherwise let no other task run.
                return asyncio.sleep(0)
            self._tally.full += 1
            return self._wait(data)
        self.window.push(data)
        self._tally.frames += 1
        self._transmit(data)
        return None

    def after(self, call: Callable[[], None]) -> Awaitable[None] | None:
        """Call a function after all payloads that wait now.

        Args:
            call: The function. It is called even if the awaitable is cancelled or the flow ends.

        Returns:
            None if no payload waits and the function has been called. Otherwise an awaitable that
            returns after the call.
        """
        if self._line:
            return self._wait(call)
        call()
        return None

    def _wait(self, entry: str | bytes | Callable[[], None]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if self._line is None:
            self._line = OrderedDict()
            self._timer = loop.call_later(self._stall_timeout, self._stall)
        waiter: asyncio.Future[None] = loop.create_future()
        waiter.add_done_callback(self._withdraw)
        # resume() runs in the context of the task that made room. The entry keeps its sender's.
        self._line[waiter] = _Entry(entry, contextvars.copy_context())
        return waiter

    def _withdraw(self, waiter: asyncio.Future[None]) -> None:
        if waiter.cancelled() and self._line is not None:
            entry = self._line.get(waiter)
            if entry is not None and not callable(entry.content):
                del self._line[waiter]
                self._advance()  # A call may have waited for this payload alone.

    def resume(self) -> None:
        """Send what waits, in order, as far as there is room."""
        if self._line is not None and not self._is_resuming:
            self._advance()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_later(
                    self._stall_timeout, self._stall
                )

    def _advance(self) -> None:
        # A transmit may end in another resume(), where the client has left and takes everything.
        self._is_resuming = True
        try:
            while self._line:
                waiter, entry = next(iter(self._line.items()))
                if not (callable(entry.content) or self.is_over or self.window.has_room):
                    return
                del self._line[waiter]
                self._pass(waiter, entry)
        finally:
            self._is_resuming = False
        self._line = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self, waiter: asyncio.Future[None], entry: _Entry) -> None:
        content = entry.content
        try:
            if callable(content):
                entry.context.run(content)
            elif not (self.is_over or waiter.cancelled()):
                self.window.push(content)
                self._tally.frames += 1
                entry.context.run(self._transmit, content)
        except Exception as error:
            # resume() must not raise: the sender gets the error.
            if not waiter.done():
                waiter.set_exception(error)
        else:
            if not waiter.done():
                waiter.set_result(None)

    def _stall(self) -> None:
        self._timer = None
        self._tally.stalls += 1
        self._stalled()

    def finish(self) -> None:
        """End the flow: drop what waits, and release the senders."""
        self.is_over = True
        if self._line is not None and not self._is_resuming:
            self._advance()


class _Entry(NamedTuple):
    """A payload that waits for room, or a call that waits for the payloads before it."""

    content: str | bytes | Callable[[], None]
    context: contextvars.Context
