"""A session whose consumer runs in a worker, and in the next worker if that one is lost.

`protocol/edge_session.py` has the table of its states.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable
from functools import partial
from itertools import repeat

from channels_demux_layer import tracing
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.hosting.flow import Outflow
from channels_demux_layer.hosting.outgoing import exact_close
from channels_demux_layer.logs import about
from channels_demux_layer.protocol.edge_session import TRANSITIONS, EdgeInput, EdgeState
from channels_demux_layer.protocol.frames import Carrier
from channels_demux_layer.protocol.naming import stream_channel, stream_group
from channels_demux_layer.transport.background import Deadline
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.ports import SessionPort
from channels_demux_layer.transport.tally import get_tally

from .inline import SessionListener
from .opening import RemoteAccess, ScopeFailed, Search
from .survival import Survival, note_suspect

__all__ = ["RemoteSession"]

logger = logging.getLogger(__name__)

STALLED = (CloseCode.STALLED, "the consumer takes nothing")
RESTART = (CloseCode.SERVICE_RESTART, "its worker is gone")
POISONED = (CloseCode.UNPROCESSABLE, "its workers do not survive it")


class RemoteSession:
    """One stream of a connection, hosted by one worker after the other.

    Args:
        name: The stream's name.
        access: What the connection's remote sessions share.
        listener: The connection.
        stateful: Whether the stream ends with its worker, for the client to open it again.

    Attributes:
        ended: Done when the consumer has ended, or there was none.
    """

    def __init__(
        self,
        name: str,
        access: RemoteAccess,
        listener: SessionListener,
        *,
        stateful: bool = False,
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._name = name
        self._access = access
        self._listener = listener
        self._is_stateful = stateful
        settings = get_settings()
        self._group = stream_group(access.prefix, access.connection, name)
        self._tally = get_tally("edge", stream_channel(access.prefix, name), name)
        self._tally.sessions.add(self)
        window = listener.new_window(name)
        self._flow = Outflow(
            window, settings.STALL_TIMEOUT, self._tally.inward, self.pass_on, self._stalled
        )
        self._survival = Survival(window)
        self._port: SessionPort | None = None
        self._trail: tracing.ContextTrail | None = None
        self._attempt = 0
        self._search: Search | None = None
        self._state = EdgeState.OPENING
        # Whether any consumer has accepted.
        self._has_begun = False
        self._code: tuple[int, str] | None = None
        self._closing: Deadline | None = None
        # The scope is always packed in this context: it has what middleware activated, such as the
        # language.
        self._context = contextvars.copy_context()
        self._alarm: Deadline | None = None
        self._doubts: Deadline | None = None
        self._start()

    def _start(self, wait: float = 0.0) -> None:
        self._attempt += 1
        if self._alarm is None:
            # Runs until a consumer accepts. For the client, one that never accepts is as bad as no
            # worker (C5.7).
            patience = get_settings().OPEN_TIMEOUT
            self._alarm = self._access.deadlines.after(patience, self._raise_alarm)
        search = self._search = Search(self._name, self._attempt, self._access)
        self._context.run(search.start, self._open(search, wait))

    async def _open(self, search: Search, wait: float) -> None:
        if wait:
            await asyncio.sleep(wait)
        if not await self._survival.wait():
            self._give_up()
            return
        try:
            found = await search.find()
        except ScopeFailed:
            self._finish(CloseCode.INTERNAL_ERROR, "")
            return
        self._search = None
        if found is not None:
            node, claim, ref = found
            granted_at = node.loop.time()
            self._port = node.grant(claim, ref, self._flow.window)
            self._port.attach(self, self._group)
            if self._survival.is_suspect:
                note_suspect(node, claim.channel, self._survival)
            patience = get_settings().OPEN_RETRY
            doubt = partial(self._doubt, node, self._port, granted_at)
            self._doubts = node.deadlines.after(patience, doubt)

    def _doubt(self, node: Node, port: SessionPort, granted_at: float) -> None:
        """Open the stream anew if the worker has not answered its grant (L2.8).

        A worker answers a grant at once, long before its consumer accepts. One that died just after
        its claim would otherwise hold the stream up until it counts as dead. Another worker costs
        nothing, because this one has received no payload.
        """
        is_silent = self._state.seeks and port.answered_at <= granted_at
        if port is self._port and self._code is None and is_silent and not node.is_cut_off:
            port.reset()
            # The worker may have died of its consumer's connect(). A live one answers the reset.
            self._survival.doubt(port.peer)
            settle = partial(self._settle_doubt, node, port, node.loop.time())
            node.deadlines.after(node.config.peer_timeout, settle)
            self._replace()

    def _settle_doubt(self, node: Node, port: SessionPort, doubted_at: float) -> None:
        is_silent = port.heard_at <= doubted_at
        can_hear = not (node.is_cut_off or node.may_be_deaf)
        self._survival.settle(port.peer, is_dead=is_silent and can_hear)

    def _raise_alarm(self) -> None:
        self._alarm = None
        self._listener.session_unavailable(self._name)

    def _give_up(self) -> None:
        text = "Stream %r is closed: %d workers in a row died with it. %s"
        hint = "Their logs, or the system's, may say of what (out of memory, a fault in C code)."
        facts = about(connection=self._access.connection, stream=self._name)
        logger.error(text, self._name, self._survival.deaths, hint, extra=facts)
        self._tally.poisoned += 1
        self._finish(*POISONED)

    # -- what reports read --------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether the stream waits for a consumer to accept, for the first time or again."""
        return self._state.is_pending

    @property
    def in_flight(self) -> int:
        """How many payloads no consumer has taken yet, sent or waiting."""
        return len(self._flow.window.untaken)

    # -- what the client does -----------------------------------------------------------------

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Send a payload to the consumer.

        Returns:
            What to await before the next payload, if the window has no room for this one yet.
        """
        return self._flow.send(data)

    def _stalled(self) -> None:
        self.cut_off(*STALLED)

    def pass_on(self, data: str | bytes) -> None:
        """Send a payload that is already in the session's window."""
        if tracing.tracer is not None:
            self._trace(tracing.tracer)
        # Otherwise it waits in the window for the next accept.
        if self._state.sends and self._port is not None:
            self._port.send(data)

    def _trace(self, tracer: tracing.Tracer) -> None:
        if self._trail is None:
            self._trail = tracing.ContextTrail(self._flow.window.untaken)
        carrier = self._trail.note(tracer)
        if self._state.sends and self._port is not None:
            self._port.trace(carrier)

    def end(self, code: int, reason: str) -> None:
        """Close the stream, after all payloads before.

        If payloads wait for a consumer, the search for one goes on for CONSUMER_CLOSE_TIMEOUT.
        """
        if self._code is not None:
            return
        if self._state.sends or not self._flow.window.untaken:
            self._close(code, reason)
            return
        self._code = (code, reason)
        self._flow.finish()
        patience = get_settings().CONSUMER_CLOSE_TIMEOUT
        self._closing = self._access.deadlines.after(patience, self.abandon)

    def abandon(self) -> None:
        """Close the stream, without waiting for a consumer."""
        self._close(CloseCode.GOING_AWAY, "")

    def cut_off(self, code: int, reason: str) -> None:
        """End the stream for the client at once. A consumer that takes nothing may not end soon."""
        if not self.ended.done():
            self._close(code, reason, EdgeInput.CUT_OFF)

    def _close(self, code: int, reason: str, what: EdgeInput = EdgeInput.CLOSE) -> None:
        if self.ended.done():
            return
        self._code = self._code or (code, reason)
        self._stop_timers()
        self._flow.finish()
        if self._search is not None:
            self._search.stop()
        if self._port is None:
            self._finish(code, reason)
            return
        self._apply(what)
        self._port.close(*self._code)
        if what is EdgeInput.CUT_OFF:
            self._tell_client(code, reason)

    def _finish(self, code: int, reason: str) -> None:
        if self.ended.done():
            return  # A search that was stopped may still fail to pack the scope.
        self._stop_timers()
        is_told = self._state.is_told
        self._apply(EdgeInput.END)
        self.ended.set_result(None)
        self._tally.sessions.discard(self)
        self._flow.finish()
        if not is_told:
            self._tell_client(*(self._code or (code, reason)))

    def _apply(self, what: EdgeInput) -> None:
        self._state = TRANSITIONS[self._state, what]

    def _tell_client(self, code: int, reason: str) -> None:
        self._tally.count_end(code)
        self._listener.session_closed(self._name, code, reason)

    def _stop_timers(self) -> None:
        for deadline in (self._alarm, self._doubts, self._closing):
            if deadline is not None:
                deadline.cancel()
        self._alarm = self._doubts = self._closing = None

    # -- what the worker sends ----------------------------------------------------------------

    def accepted(self) -> None:
        """Send the payloads that waited for the consumer."""
        assert self._port is not None
        before = self._state
        self._apply(EdgeInput.ACCEPT)
        if not self._state.sends:
            return  # It crossed with a close, or came with the worker's wish to move the stream.
        self._stop_timers()
        self._send_untaken(self._port)
        if before is EdgeState.REOPENING and self._has_begun:
            self._tally.reopened += 1
            self._listener.session_reopened(self._name)
        self._has_begun = True
        if self._code is not None:
            self._close(*self._code)

    def _send_untaken(self, port: SessionPort) -> None:
        untaken = self._flow.window.untaken
        carriers = repeat(None) if self._trail is None else self._trail
        for data, carrier in zip(untaken, carriers, strict=False):
            port.trace(carrier)
            port.send(data)

    def received(self, data: str | bytes) -> None:
        """Pass on a payload of the consumer."""
        assert self._port is not None
        self._tally.outward.frames += 1
        if self._state.is_told:
            self._port.take(len(data))  # The client may have opened the stream again meanwhile.
        else:
            self._listener.session_received(self._name, data, self._port, more=True)

    def delivered(self) -> None:
        """Write the payloads that came together."""
        self._listener.session_delivered()

    def traced(self, carrier: Carrier) -> None:
        """Does nothing: only the edge sends trace contexts."""

    def writable(self) -> None:
        """Let the client continue to send."""
        self._flow.resume()

    def closed(self, code: int, reason: str) -> None:
        """Answer the worker's close. End the stream, or open it on the next worker if it moves."""
        assert self._port is not None
        if self._state is EdgeState.LEAVING and code == CloseCode.SERVICE_RESTART:
            self._replace(EdgeInput.HAND_OVER)
        else:
            self._port.close(code, reason)
            # A peer of an earlier release, or a forged one, may have sent any code.
            self._finish(*(self._code or exact_close(code, reason, self._name)))

    def moved(self) -> None:
        """Send nothing more to this worker. When its consumer is done, the next takes over (L4.4).

        The worker may drain while the edge's close is in transit. Then the stream just ends.
        """
        assert self._port is not None
        self._apply(EdgeInput.MOVE)
        self._port.close(CloseCode.SERVICE_RESTART, "")

    def spoiled(self, fault: str) -> None:
        """End the stream: one of its frames cannot be encoded or decoded (L4.10)."""
        facts = about(connection=self._access.connection, stream=self._name)
        logger.error("Stream %r ends with 1011: %s.", self._name, fault, extra=facts)
        self.cut_off(CloseCode.INTERNAL_ERROR, "")

    def lost(self, *, peer_is_dead: bool) -> None:
        """Find another worker, which gets the payloads that this one has not taken (L4.8)."""
        if peer_is_dead and self._port is not None:
            self._access.expel(self._group, self._port.peer)
            self._survival.worker_died(self._port.peer, was_accepted=self._state.sends)
        self._replace()

    def _replace(self, what: EdgeInput = EdgeInput.LOSE) -> None:
        self._port = None
        if self._doubts is not None:
            self._doubts.cancel()
        if TRANSITIONS[self._state, what] is EdgeState.ENDED:
            assert self._code is not None
            self._finish(*self._code)
            return
        self._apply(what)
        if self._is_stateful and self._has_begun:
            self._finish(*RESTART)
        else:
            # Sessions that lost their worker together are opened one after the other (L2.9).
            self._start(self._access.turn())
