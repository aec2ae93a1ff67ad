"""A session whose consumer runs in a worker, or in one after the other."""

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
from channels_demux_layer.protocol.frames import Carrier
from channels_demux_layer.protocol.naming import stream_channel, stream_group
from channels_demux_layer.transport.background import Deadline
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.tally import get_tally
from channels_demux_layer.transport.wire import SessionPort

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
        stateful: Whether no consumer goes on where another one has begun.

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
        self._was_accepted = False
        self._is_moving = False
        self._is_leaving = False
        self._is_accepted = False
        self._is_told = False
        self._code: tuple[int, str] | None = None
        self._closing: asyncio.TimerHandle | None = None
        # What middleware has activated: the scope is packed in it, whoever opens the stream again.
        self._context = contextvars.copy_context()
        self._alarm: Deadline | None = None
        self._doubts: Deadline | None = None
        self._start()

    def _start(self, wait: float = 0.0) -> None:
        self._attempt += 1
        if self._alarm is None:
            # Until a consumer accepts: one that never does is no better than no worker (C5.7).
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
        # A worker answers a grant at once, long before its consumer accepts. One that died as soon
        # as it had claimed would otherwise be waited for until it is certainly dead; and another
        # costs nothing, since this one has been given nothing (L2.8).
        has_answered = self._is_accepted or self._is_leaving or port.answered_at > granted_at
        if port is self._port and self._code is None and not (has_answered or node.is_cut_off):
            port.reset()
            # It may have died of its consumer's connect(). One that lives answers the reset.
            self._survival.doubt(port.peer)
            settle = partial(self._settle_doubt, node, port, node.loop.time())
            node.deadlines.after(node.config.peer_timeout, settle)
            self._replace()

    def _raise_alarm(self) -> None:
        self._alarm = None
        self._listener.session_unavailable(self._name)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._doubts is not None:
            self._doubts.cancel()
            self._doubts = None

    def _settle_doubt(self, node: Node, port: SessionPort, doubted_at: float) -> None:
        is_silent = port.heard_at <= doubted_at
        can_hear = not (node.is_cut_off or node.may_be_deaf)
        self._survival.settle(port.peer, is_dead=is_silent and can_hear)

    def _give_up(self) -> None:
        text = "Stream %r is closed: %d workers in a row died with it. %s"
        hint = "Their logs, or the system's, may say of what (out of memory, a fault in C code)."
        facts = about(connection=self._access.connection, stream=self._name)
        logger.error(text, self._name, self._survival.deaths, hint, extra=facts)
        self._tally.poisoned += 1
        self._finish(*POISONED)

    # -- what is looked at --------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether no consumer has accepted, or none since the last one was lost."""
        return not (self._is_accepted or self._is_told)

    @property
    def in_flight(self) -> int:
        """How many payloads were sent, or wait to be, and were not taken by a consumer."""
        return len(self._flow.window.untaken)

    # -- what the client does -----------------------------------------------------------------

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Send the consumer a payload.

        Returns:
            What to await before the next one, where there is no room for this one yet.
        """
        return self._flow.send(data)

    def _stalled(self) -> None:
        self.cut_off(*STALLED)

    def pass_on(self, data: str | bytes) -> None:
        """Send the consumer a payload that is in the session's window already."""
        if tracing.tracer is not None:
            self._trace(tracing.tracer)
        # Else it waits in the window for the next consumer to accept.
        if self._is_accepted and self._port is not None:
            self._port.send(data)

    def _trace(self, tracer: tracing.Tracer) -> None:
        if self._trail is None:
            self._trail = tracing.ContextTrail(self._flow.window.untaken)
        carrier = self._trail.note(tracer)
        if self._is_accepted and self._port is not None:
            self._port.trace(carrier)

    def end(self, code: int, reason: str) -> None:
        """Tell the consumer that its stream is over, after all payloads before.

        Payloads that wait for a consumer have CONSUMER_CLOSE_TIMEOUT to find one.
        """
        if self._code is not None:
            return
        if self._is_accepted or not self._flow.window.untaken:
            self._close(code, reason)
            return
        self._code = (code, reason)
        self._flow.finish()
        patience = get_settings().CONSUMER_CLOSE_TIMEOUT
        self._closing = asyncio.get_running_loop().call_later(patience, self.abandon)

    def abandon(self) -> None:
        """End, without waiting for anything more."""
        self._close(CloseCode.GOING_AWAY, "")

    def cut_off(self, code: int, reason: str) -> None:
        """End at once for the client: a consumer that takes nothing may not end for long."""
        self._close(code, reason)
        self._tell_client(code, reason)

    def _close(self, code: int, reason: str) -> None:
        self._code = self._code or (code, reason)
        self._stop_waiting()
        self._stop_alarm()
        self._flow.finish()
        if self._search is not None:
            self._search.stop()
        if self._port is None:
            self._finish(code, reason)
        else:
            self._port.close(*self._code)

    def _finish(self, code: int, reason: str) -> None:
        self._stop_waiting()
        self._stop_alarm()
        if not self.ended.done():
            self.ended.set_result(None)
            self._tally.sessions.discard(self)
            self._flow.finish()
            self._tell_client(*(self._code or (code, reason)))

    def _tell_client(self, code: int, reason: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._tally.count_end(code)
            self._listener.session_closed(self._name, code, reason)

    def _stop_waiting(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    # -- what the worker says -----------------------------------------------------------------

    def accepted(self) -> None:
        """Send what has waited for the consumer."""
        assert self._port is not None
        if self._is_leaving:
            return  # It came with the worker's wish to be rid of the session.
        self._is_accepted = True
        self._stop_alarm()
        self._send_untaken(self._port)
        if self._was_accepted and not self._is_moving:
            self._tally.reopened += 1
            self._listener.session_reopened(self._name)
        self._was_accepted, self._is_moving = True, False
        if self._code is not None:
            self._close(*self._code)

    def _send_untaken(self, port: SessionPort) -> None:
        untaken = self._flow.window.untaken
        carriers = repeat(None) if self._trail is None else self._trail
        for data, carrier in zip(untaken, carriers, strict=False):
            port.trace(carrier)
            port.send(data)

    def received(self, data: str | bytes) -> None:
        """Pass on what the consumer sends."""
        assert self._port is not None
        self._tally.outward.frames += 1
        if self._is_told:
            self._port.take(len(data))  # The stream is over for the client, or is another one.
        else:
            self._listener.session_received(self._name, data, self._port, more=True)

    def delivered(self) -> None:
        """Have all of it written together."""
        self._listener.session_delivered()

    def traced(self, carrier: Carrier) -> None:
        """Does not come: it is the edge that traces."""

    def writable(self) -> None:
        """Let the client send on."""
        self._flow.resume()

    def closed(self, code: int, reason: str) -> None:
        """Answer the worker's last word, and tell the client."""
        assert self._port is not None
        if self._is_leaving and code == CloseCode.SERVICE_RESTART:
            self._replace()
        else:
            self._port.close(code, reason)
            # A peer of an earlier release, or a forged one, may have sent anything.
            self._finish(*(self._code or exact_close(code, reason, self._name)))

    def moved(self) -> None:
        """Send this worker nothing more: when its consumer is done, another goes on (L4.4)."""
        assert self._port is not None
        self._is_accepted = False
        self._is_moving = self._is_leaving = True
        self._port.close(CloseCode.SERVICE_RESTART, "")

    def spoiled(self, fault: str) -> None:
        """End the stream: something of it cannot be sent or read (L4.10)."""
        facts = about(connection=self._access.connection, stream=self._name)
        logger.error("Stream %r ends with 1011: %s.", self._name, fault, extra=facts)
        self.cut_off(CloseCode.INTERNAL_ERROR, "")

    def lost(self, *, peer_is_dead: bool) -> None:
        """Find another worker; it gets what this one had not taken (L4.8)."""
        if peer_is_dead and self._port is not None:
            self._access.expel(self._group, self._port.peer)
            self._survival.worker_died(self._port.peer, was_accepted=self._is_accepted)
        if self._is_accepted or self._is_leaving:
            # Else no consumer is lost: the next worker did not begin, and the stream still moves.
            self._is_moving = False
        self._replace()

    def _replace(self) -> None:
        self._port = None
        self._is_accepted = self._is_leaving = False
        if self._code is not None and self._closing is None:
            self._finish(*self._code)
        elif self._is_stateful and self._was_accepted:
            self._finish(*RESTART)
        else:
            # With others whose worker has gone, it waits for its turn (L2.9).
            self._start(self._access.turn())
