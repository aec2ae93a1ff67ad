"""A session whose consumer runs in the server's process, without a channel layer in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from channels_demux_layer import tracing
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.applications import has_sync_consumer
from channels_demux_layer.hosting.consumer import new_host
from channels_demux_layer.hosting.flow import Outflow
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.streams import ASGIApplication, Stream
from channels_demux_layer.transport.tally import Tally

from .outbox import Taker

__all__ = ["InlineSession", "SessionListener"]


class SessionListener(Protocol):
    """What a session tells its connection."""

    def new_window(self, name: str) -> SendWindow:
        """Return an empty window for what the consumer of a stream is sent."""

    def session_received(
        self, name: str, data: str | bytes, source: Taker, *, more: bool = False
    ) -> None:
        """The consumer has sent a payload; with more to come, session_delivered() follows."""

    def session_delivered(self) -> None:
        """All payloads that came together have been told of."""

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """The stream is over."""

    def session_reopened(self, name: str) -> None:
        """The stream goes on with another consumer."""

    def session_unavailable(self, name: str) -> None:
        """Nobody hosts the stream for now."""


class InlineSession:
    """One consumer in this process.

    Args:
        name: The stream's name.
        stream: The stream.
        scope: The consumer's scope.
        listener: The connection.
        tally: Counts what happens to the stream.

    Attributes:
        ended: Done when the consumer has ended.
    """

    def __init__(
        self,
        name: str,
        stream: Stream,
        scope: dict[str, Any],
        listener: SessionListener,
        tally: Tally,
    ) -> None:
        settings = get_settings()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._name = name
        self._listener = listener
        self._is_accepted = False
        self._is_closed = False
        self._code: tuple[int, str] | None = None
        self._tally = tally
        tally.sessions.add(self)
        window = SendWindow(settings.WINDOW_FRAMES, settings.WINDOW_BYTES)
        patience = settings.STALL_TIMEOUT
        self._inflow = Outflow(
            listener.new_window(name), patience, tally.inward, self.pass_on, self._starve
        )
        self._outflow = Outflow(window, patience, tally.outward, self._emit, self._clog)
        application = _load(stream)
        own_thread = stream.own_thread
        self._host = new_host(
            application,
            scope,
            self,
            stream,
            own_thread=has_sync_consumer(application) if own_thread is None else own_thread,
        )
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            await self._host.run()
        finally:
            self._tally.sessions.discard(self)
            self.ended.set_result(None)

    # -- what is looked at --------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether the consumer has yet to accept."""
        return not (self._is_accepted or self._is_closed)

    @property
    def in_flight(self) -> int:
        """How many payloads, of both directions, were not taken yet."""
        return len(self._inflow.window.untaken) + len(self._outflow.window.untaken)

    # -- what the client does -----------------------------------------------------------------

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Hand the consumer a payload.

        Returns:
            What to await before the next one, where there is no room for this one yet.
        """
        return self._inflow.send(data)

    def pass_on(self, data: str | bytes) -> None:
        """Hand the consumer a payload that is in the session's window already."""
        if tracing.tracer is not None:
            self._host.trace(tracing.ask(tracing.tracer.current))
        self._host.deliver(data)

    def take(self, size: int) -> None:
        """Let the consumer send on: the client's socket has taken a payload."""
        if self._outflow.window.taken(1):
            self._outflow.resume()

    def end(self, code: int, reason: str) -> None:
        """Tell the consumer that its stream is over."""
        self._code = self._code or (code, reason)
        self._inflow.finish()
        self._host.disconnect(code, reason)

    def abandon(self) -> None:
        """End, without waiting for anything more."""
        self.end(CloseCode.GOING_AWAY, "")

    # -- what the consumer does ---------------------------------------------------------------

    def accept(self) -> None:
        """Note it; payloads wait in the host until the consumer asks for them."""
        self._is_accepted = True

    def unaccepted(self) -> None:
        """Tell the client that nobody serves the stream for now."""
        self._listener.session_unavailable(self._name)

    def send(self, data: str | bytes) -> Awaitable[None] | None:
        """Send a payload to the client, once there is room for it."""
        return self._outflow.send(data)

    def _emit(self, data: str | bytes) -> None:
        self._listener.session_received(self._name, data, self)

    def after(self, call: Callable[[], None]) -> Awaitable[None] | None:
        """Call a function once all payloads that wait for room have been sent."""
        return self._outflow.after(call)

    def _starve(self) -> None:
        self._stalled("the consumer takes nothing")

    def _clog(self) -> None:
        self._stalled("the client does not read")

    def _stalled(self, reason: str) -> None:
        self.end(CloseCode.STALLED, reason)
        self.close(CloseCode.STALLED, reason)

    def consumed(self, size: int) -> None:
        """Let the client send on: the consumer has taken a payload."""
        if self._inflow.window.taken(1):
            self._inflow.resume()

    def close(self, code: int, reason: str) -> None:
        """Tell the client that the stream is over; once, and with whose word was first."""
        if not self._is_closed:
            self._is_closed = True
            self._inflow.finish()
            self._outflow.finish()
            code, reason = self._code or (code, reason)
            self._tally.count_end(code)
            self._listener.session_closed(self._name, code, reason)

    def finished(self, code: int) -> None:
        """Tell the client that the stream is over, unless it knows."""
        self.close(code, "")


def _load(stream: Stream) -> ASGIApplication:
    try:
        return stream.application()
    except ConfigurationError as error:
        problem = error  # a name that outlives this block

    async def fail(*args: Any) -> None:
        # Where the consumer would raise: the other streams are not to suffer.
        raise problem

    return fail
