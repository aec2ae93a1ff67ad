"""A session whose consumer runs in the server's process. It uses no channel layer."""

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
    """The methods of its connection that a session calls."""

    def new_window(self, name: str) -> SendWindow:
        """Return an empty window for the payloads to the consumer of a stream."""

    def session_received(
        self, name: str, data: str | bytes, source: Taker, *, more: bool = False
    ) -> None:
        """The consumer has sent a payload. With ``more``, session_delivered() follows."""

    def session_delivered(self) -> None:
        """All payloads that arrived together have been passed on."""

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """The stream has ended."""

    def session_reopened(self, name: str) -> None:
        """Another consumer has taken over the stream."""

    def session_unavailable(self, name: str) -> None:
        """No consumer serves the stream for now."""


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

    # -- what reports read ---------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether the consumer has yet to accept."""
        return not (self._is_accepted or self._is_closed)

    @property
    def in_flight(self) -> int:
        """How many payloads of both directions were not taken yet."""
        return len(self._inflow.window.untaken) + len(self._outflow.window.untaken)

    # -- what the client does -----------------------------------------------------------------

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Hand the consumer a payload.

        Returns:
            What to await before the next payload, if the window has no room for this one yet.
        """
        return self._inflow.send(data)

    def pass_on(self, data: str | bytes) -> None:
        """Hand the consumer a payload that is already in the session's window."""
        if tracing.tracer is not None:
            self._host.trace(tracing.ask(tracing.tracer.current))
        self._host.deliver(data)

    def take(self, size: int) -> None:
        """Let the consumer continue to send: the client's socket has taken a payload."""
        if self._outflow.window.taken(1):
            self._outflow.resume()

    def end(self, code: int, reason: str) -> None:
        """Close the stream: disconnect the consumer."""
        self._code = self._code or (code, reason)
        self._inflow.finish()
        self._host.disconnect(code, reason)

    def abandon(self) -> None:
        """Close the stream, because its connection is gone."""
        self.end(CloseCode.GOING_AWAY, "")

    # -- what the consumer does ---------------------------------------------------------------

    def accept(self) -> None:
        """Note the accept. Payloads wait in the host until the consumer asks for them."""
        self._is_accepted = True

    def unaccepted(self) -> None:
        """Tell the client that no consumer serves the stream for now."""
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
        """Let the client continue to send: the consumer has taken a payload."""
        if self._inflow.window.taken(1):
            self._inflow.resume()

    def close(self, code: int, reason: str) -> None:
        """Tell the client once that the stream has ended, with the code of the first close."""
        if not self._is_closed:
            self._is_closed = True
            self._inflow.finish()
            self._outflow.finish()
            code, reason = self._code or (code, reason)
            self._tally.count_end(code)
            self._listener.session_closed(self._name, code, reason)

    def finished(self, code: int) -> None:
        """Tell the client that the stream has ended, unless it was told before."""
        self.close(code, "")


def _load(stream: Stream) -> ASGIApplication:
    try:
        return stream.application()
    except ConfigurationError as error:
        problem = error  # a name that outlives this block

    async def fail(*args: Any) -> None:
        # Raise where the consumer would, so that only this stream ends.
        raise problem

    return fail
