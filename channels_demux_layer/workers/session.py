"""One session at the worker: its consumer, and what it says to the edge."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from channels_demux_layer import tracing
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.hosting.consumer import Host, new_host
from channels_demux_layer.hosting.fetching import InWorker, fetch
from channels_demux_layer.hosting.flow import Outflow
from channels_demux_layer.hosting.scope import enter_scope, stream_scope
from channels_demux_layer.logs import RepeatedLog, about
from channels_demux_layer.protocol.frames import Carrier
from channels_demux_layer.protocol.handshake import Open
from channels_demux_layer.streams import ASGIApplication, Stream
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.ports import SessionPort
from channels_demux_layer.transport.tally import Tally

__all__ = ["WorkerSession", "opening_facts"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)


class WorkerSession:
    """One consumer instance and its end of the session.

    Args:
        opening: The open that it answers.
        port: This end of the session.
        node: The process's node.
        tally: Counts what happens to the stream.

    Attributes:
        over: Set when the consumer has ended and nothing of the session is left here.
    """

    def __init__(self, opening: Open, port: SessionPort, node: Node, tally: Tally) -> None:
        settings = get_settings()
        self._opening = opening
        self._port = port
        self._node = node
        self._tally = tally
        self._flow = Outflow(
            port.window, settings.STALL_TIMEOUT, tally.outward, port.send, self._stalled
        )
        self._host: Host | None = None
        self._is_moving = False
        self._is_lost = False
        self._closed: tuple[int, str] | None = None
        self._gone = asyncio.Event()
        self.over = asyncio.Event()
        tally.sessions.add(self)
        port.attach(self, opening.edge_group)

    async def run(self, application: ASGIApplication, stream: Stream, *, own_thread: bool) -> None:
        """Host the consumer from its connect to its end (L2.6)."""
        node, group = self._node, self._opening.stream_group
        try:
            if await self._join(group):
                try:
                    if not self._is_lost:
                        await self._run_host(application, stream, own_thread)
                    await self._gone.wait()
                finally:
                    node.leave_after(group, [])
        except Exception as error:
            # A few times a minute: what cannot be hosted may be an open that somebody forges.
            facts = opening_facts(self._opening, node)
            text = "Stream %r could not be hosted."
            name, level = self._opening.stream, logging.ERROR
            repeated.warning("unhosted", text, name, extra=facts, exc=error, level=level)
            self.close(CloseCode.INTERNAL_ERROR, "")
        finally:
            self.forget()

    def forget(self) -> None:
        """Leave nothing of the session here."""
        self._node.hosted.discard(self)
        self._tally.sessions.discard(self)
        self.over.set()

    async def _join(self, group: str) -> bool:
        try:
            await self._node.groups.join(group)
        except Exception:  # The node has logged it.
            # Nothing has begun: the edge opens the stream again, here or elsewhere.
            self._node.settle(group)
            self._port.reset()
            return False
        return True

    async def _run_host(
        self, application: ASGIApplication, stream: Stream, own_thread: bool
    ) -> None:
        opening = self._opening
        scope = enter_scope(opening.scope, opening_facts(opening, self._node))
        if not isinstance(application, InWorker):
            scope = await fetch(scope)
        scope = stream_scope(
            scope,
            stream,
            connection=opening.connection,
            name=opening.stream,
            attempt=opening.attempt,
        )
        self._host = new_host(
            application,
            scope,
            self,
            stream,
            own_thread=own_thread,
        )
        if self._closed is not None:
            self._host.disconnect(*self._closed)
        await self._host.run()

    # -- what is looked at --------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Never: what waits for a worker is known at the edge."""
        return False

    @property
    def in_flight(self) -> int:
        """How many payloads of the consumer were not taken by the client yet."""
        return len(self._flow.window.untaken)

    # -- what the edge says -------------------------------------------------------------------

    def accepted(self) -> None:
        """Does not come: it is the worker that accepts."""

    def received(self, data: str | bytes) -> None:
        """Hand a payload to the consumer."""
        self._tally.inward.frames += 1
        if self._host is not None:
            self._host.deliver(data)

    def delivered(self) -> None:
        """Does not come: consumers take one payload after the other."""

    def traced(self, carrier: Carrier) -> None:
        """Note the trace context of the payloads that follow."""
        if tracing.tracer is not None and self._host is not None:
            self._host.trace(tracing.ask(tracing.tracer.extract, carrier))

    def writable(self) -> None:
        """Let the consumer's send() go on."""
        self._flow.resume()

    def closed(self, code: int, reason: str) -> None:
        """Tell the consumer that the client, or the edge, has closed its stream."""
        self._end(code, reason)

    def moved(self) -> None:
        """Does not come: it is the worker that asks."""

    def spoiled(self, fault: str) -> None:
        """End the consumer: something of its stream cannot be sent or read (L4.10)."""
        facts = opening_facts(self._opening, self._node)
        text = "Stream %r ends with 1011: %s."
        logger.error(text, self._opening.stream, fault, extra=facts)
        self._flow.finish()
        self._end(CloseCode.INTERNAL_ERROR, "")

    def lost(self, *, peer_is_dead: bool) -> None:
        """Tell the consumer that its edge is gone (L4.8)."""
        if peer_is_dead:
            self._node.expel(self._opening.edge_group, self._port.peer)
        self._is_lost = True
        self._flow.finish()
        self._end(CloseCode.ABNORMAL, "")

    def move(self) -> None:
        """Have the session go on with another worker, once the consumer is done with its own."""
        self._is_moving = True
        self._port.move()

    def disown(self) -> None:
        """Have the session go on with another worker, whatever the consumer is doing."""
        self._is_lost = True
        self._port.reset()
        self._flow.finish()
        if self._host is not None:
            self._host.drop_payloads()
        self._end(CloseCode.SERVICE_RESTART, "")

    def _end(self, code: int, reason: str) -> None:
        self._closed = (code, reason)
        self._gone.set()
        if self._host is not None:
            self._host.disconnect(code, reason)

    # -- what the consumer does ---------------------------------------------------------------

    def accept(self) -> None:
        """Open the way for payloads."""
        if self._closed is None:
            self._port.accept()

    def unaccepted(self) -> None:
        """Nothing to do: the edge counts from the stream's open."""

    def send(self, data: str | bytes) -> Awaitable[None] | None:
        """Send a payload to the edge, once there is room for it."""
        return self._flow.send(data)

    def after(self, call: Callable[[], None]) -> Awaitable[None] | None:
        """Call a function once all payloads that wait for room have been sent."""
        return self._flow.after(call)

    def _stalled(self) -> None:
        self.close(CloseCode.STALLED, "the client does not read")

    def consumed(self, size: int) -> None:
        """Give the edge its credit back."""
        self._port.take(size)

    def finished(self, code: int) -> None:
        """Say this end's last word: the consumer has none."""
        moves = self._is_moving and self._closed is not None
        self.close(self._closed[0] if moves and self._closed else code, "")

    def close(self, code: int, reason: str) -> None:
        """Say this end's last word."""
        self._port.close(code, reason)
        self._flow.finish()


def opening_facts(opening: Open, node: Node) -> dict[str, str | None]:
    """Return whom a log record about an open, or its session, is about."""
    return about(
        connection=opening.connection,
        stream=opening.stream,
        node=node.channel,
        peer=opening.channel,
        ref=opening.ref,
    )
