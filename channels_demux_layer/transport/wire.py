"""Runs links over a node: publishes their batches, and brings their events to the owners."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine
from typing import Any, Protocol

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.backlog import PORTION_SIZE, Portion
from channels_demux_layer.protocol.frames import Batch, Carrier
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import SendWindow, Session

from .ignored import IgnoredMessages
from .link_log import LinkLog
from .owners import Hosted, SessionOwner, tell

__all__ = ["Hosted", "LinkHost", "LinkWire", "SessionOwner", "SessionPort", "link_config"]

logger = logging.getLogger(__name__)


class SessionPort:
    """One end of a session, for its owner to speak through.

    Args:
        wire: The wire that the session's link runs on.
        session: The session.
    """

    __slots__ = ("_session", "_wire")

    def __init__(self, wire: LinkWire, session: Session) -> None:
        self._wire = wire
        self._session = session

    @property
    def window(self) -> SendWindow:
        """The window of what this end sends."""
        return self._session.outgoing

    @property
    def peer(self) -> str:
        """The channel of the peer's node."""
        return self._wire.peer

    @property
    def heard_at(self) -> float:
        """When the peer was last heard, on the loop's clock."""
        return self._wire.heard_at

    @property
    def answered_at(self) -> float:
        """When the peer last showed that it works on the link, on the loop's clock."""
        return self._wire.answered_at

    def attach(self, owner: SessionOwner, group: str) -> None:
        """Say who owns this end, and which group its payloads are published to."""
        self._session.owner = owner
        self._session.group = group

    def accept(self) -> None:
        """Worker: open the way for payloads."""
        self._wire.link.accept(self._session)
        self._wire.flush()

    def send(self, data: str | bytes) -> None:
        """Send a payload that has been pushed to the window."""
        self._wire.link.send(self._session, data)
        self._wire.flush()

    def trace(self, carrier: Carrier | None) -> None:
        """Edge: say what the trace context of the next payloads is; it goes with them."""
        self._wire.link.trace(self._session, carrier)

    def take(self, size: int) -> None:
        """Say that a received payload of this size has been taken."""
        self._wire.taken += 1
        if self._wire.link.take(self._session, size, self._wire.now()):
            self._wire.flush()

    def move(self) -> None:
        """Worker: ask the edge to go on with another worker."""
        self._wire.link.move_session(self._session)
        self._wire.flush()

    def close(self, code: int, reason: str) -> None:
        """Say this end's last word, unless it has been said."""
        self._wire.link.close_session(self._session, code, reason, self._wire.now())
        self._wire.flush()

    def reset(self) -> None:
        """Disown the session."""
        self._wire.link.reset_session(self._session, self._wire.now())
        self._wire.flush()


class LinkHost(Protocol):
    """What a wire needs of the node that it runs on."""

    loop: asyncio.AbstractEventLoop
    #: The node's channel.
    channel: str
    #: Counts what makes no sense.
    ignored: IgnoredMessages
    #: When anything was heard on the node's channel.
    heard_at: float

    @property
    def is_cut_off(self) -> bool:
        """Whether the layer has failed, and taken nothing since."""

    @property
    def may_be_deaf(self) -> bool:
        """Whether the node is deaf, or has not heard a probe of its own that is overdue."""

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Send a message to a group, or to a channel where there is none."""

    def forget(self, wire: LinkWire) -> None:
        """Drop a wire whose link is over."""

    def granted(self, ref: str, port: SessionPort) -> None:
        """Hand a granted session to the claim that it answers."""


class LinkWire:
    """Runs one link over the node's channel layer: publishes its batches, passes on its events.

    Args:
        node: The node.
        link: The link.
        peer: The channel of the peer's node.

    Attributes:
        heard_at: When the peer was last heard, or the wire was made.
        answered_at: When the peer last sent frames, or acknowledged some: more than a heartbeat,
            which comes from a blocked process as well.
        taken: How many of the peer's payloads were taken here.
    """

    def __init__(self, node: LinkHost, link: Link, peer: str) -> None:
        self.link = link
        self.peer = peer
        self.now = node.loop.time
        self.heard_at = self.answered_at = self.now()
        self._node = node
        self._log = LinkLog(link.id, node.channel, peer)
        if self._log.is_on:
            self._log.say("+", "to %s, as %s", peer, "edge" if link.is_edge else "worker")
        self._excused_at = -math.inf
        self.taken = 0
        self._is_passing_on = False
        #: The end of a turn of the event loop, while consumers go through a portion.
        self._turn: asyncio.Handle | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    @property
    def deadline(self) -> float:
        """When the link has something to do; never while a publish is under way.

        A layer that hangs is no fault of the peer's, and its time does not count.
        """
        return math.inf if self._publishing else self.link.deadline

    def flush(self) -> None:
        """Start to publish what waits, unless that is under way; see to the timer."""
        # Once for all that is answered at once, and not for each of it.
        if self._publishing is None and self._turn is None and not self._is_passing_on:
            if self.link.wants_to_send(self.now()):
                self._publishing = self._node.start_task(self._publish())
            else:
                self._set_timer()

    async def _publish(self) -> None:
        try:
            while (outgoing := self.link.batch_to_send(self.now())) is not None:
                if self._log.is_on:
                    self._log.batch(">", outgoing.batch, outgoing.group)
                if self._turn is None and self.link.events():
                    self._pass_on_events()  # A frame could not be encoded.
                await self._node.publish(outgoing.group, self.peer, outgoing.batch.to_message())
                if self._turn is not None:
                    break  # What waits is flushed at the portion's end.
        except Exception:
            # What cannot be sent now cannot be sent later: better another link than none.
            text = "The link to node %s is given up."
            logger.exception(text, self.peer, extra=self._log.facts)
            self.link.abandon(self.now())
            self._pass_on_events()
            self._node.forget(self)
        finally:
            self._publishing = None
            self._set_timer()

    def receive(self, batch: Batch) -> None:
        """Pass a batch of the peer to the link, and what follows from it to the owners."""
        if self._log.is_on:
            self._log.batch("<", batch)
        self.heard_at = self.now()
        acknowledged = self.link.acknowledged
        self.link.receive_batch(batch, self.heard_at)
        if batch.seq or self.link.acknowledged != acknowledged:
            self.answered_at = self.heard_at
        if self._turn is None:
            self._pass_on_and_flush()

    def _pass_on_and_flush(self) -> None:
        self._is_passing_on = True
        try:
            # A client's socket takes everything at once, a consumer one payload after the other.
            if self.link.is_edge:
                self._pass_on_events()
            else:
                self._pass_on_portion()
        finally:
            self._is_passing_on = False
        self.flush()

    def _pass_on_portion(self) -> None:
        payloads = self._pass_on_events(PORTION_SIZE)
        if payloads > 1:
            portion = Portion(payloads, self.taken, self.now())
            self._turn = self._node.loop.call_soon(self._end_turn, portion)

    def _end_turn(self, portion: Portion) -> None:
        if not portion.is_over(self.taken, self.now()):
            self._turn = self._node.loop.call_soon(self._end_turn, portion)
            return
        self._turn = None
        # Its answers go before those to the next.
        self.flush()
        self._pass_on_and_flush()

    def excuse(self, *, was_deaf: bool = False) -> None:
        """Let the peer's silence count from now, unless it is the peer's own.

        Args:
            was_deaf: Whether the node heard nobody but itself since the last time.

        Who has no layer cannot hear, and knows nothing about those who may be speaking. But whom
        we have not heard since the last time, when others were, is silent by himself: a layer
        that fails again and again does not hide a death.
        """
        was_deaf = was_deaf or self._node.heard_at <= self._excused_at
        if was_deaf or self.heard_at > self._excused_at:
            self.link.excuse_peer(self.now())
        self._excused_at = self.now()

    # -- time ---------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if self.link.is_over:
            return
        when = self.deadline
        if self._timer is not None:
            if self._rings_at <= when:
                return
            self._timer.cancel()
        # Kept here, since uvloop's handle of a time that has passed has no when().
        self._rings_at = when
        self._timer = self._node.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._node.is_cut_off or self._node.may_be_deaf:
            self.excuse()
        if self.now() >= self.deadline:
            if self._log.is_on:
                self._log.say("%", "timer")
            self.link.handle_timeout(self.now())
            self._pass_on_events()
        if self.link.is_over:
            self._node.forget(self)
        else:
            self.flush()

    def stop(self) -> None:
        """Let no more time pass."""
        if self._log.is_on:
            self._log.say("x", "over")
        if self._timer is not None:
            self._timer.cancel()
        if self._turn is not None:
            self._turn.cancel()

    # -- events -------------------------------------------------------------------------------

    def _pass_on_events(self, max_payloads: float = math.inf) -> int:
        events = self.link.events()
        payloads = 0
        receivers: dict[Session, None] = {}
        while events and payloads < max_payloads:
            event = events.popleft()
            try:
                if isinstance(event, ev.Received):  # first: there is one for each frame
                    payloads += 1
                    session = event.session
                    session.owner.received(event.data)  # A session that has accepted has an owner.
                    receivers[session] = None
                else:
                    self._pass_on(event)
            except Exception as error:
                self._fail(event, error)
        if self.link.is_edge:
            for session in receivers:
                try:
                    session.owner.delivered()
                except Exception as error:
                    self._fail(ev.Writable(session), error)
        return payloads

    def _fail(self, event: ev.Event, error: Exception) -> None:
        """End the session whose owner has raised, and nothing else."""
        session: Session | None = getattr(event, "session", None)
        text = "The %s of session %s with node %s could not be handled: it ends with 1011."
        what, number = type(event).__name__.lower(), session and session.id
        logger.error(text, what, number, self.peer, extra=self._log.facts, exc_info=error)
        if session is not None:
            self.link.close_session(session, CloseCode.INTERNAL_ERROR.value, "", self.now())

    def _pass_on(self, event: ev.RareEvent) -> None:
        if self._log.is_on:
            self._log.event(event)
        if isinstance(event, ev.PeerLost):
            text = "Node %s has been silent for %.1f s."
            logger.warning(text, self.peer, event.silence, extra=self._log.facts)
        elif isinstance(event, ev.Refused):
            text, reason = "Node %s sent %s; ignored.", event.reason
            self._node.ignored.note("misplaced", text, self.peer, reason, peer=self.peer)
        elif isinstance(event, ev.Granted):
            self._node.granted(event.ref, SessionPort(self, event.session))
        elif isinstance(event, ev.Spoiled):
            if event.session is None or event.session.owner is None:
                text = "A frame to or from node %s was dropped: %s."
                logger.error(text, self.peer, event.fault, extra=self._log.facts)
            else:
                event.session.owner.spoiled(event.fault)
        elif event.session.owner is not None:
            tell(event.session.owner, event)
        # Else it was granted in vain and disowned at once; what its edge said meanwhile is moot.


def link_config() -> LinkConfig:
    """Return the numbers that the settings give links."""
    settings = get_settings()
    return LinkConfig(
        batch_bytes=settings.BATCH_BYTES,
        window_frames=settings.WINDOW_FRAMES,
        window_bytes=settings.WINDOW_BYTES,
        # Whoever is heard badly gets through in one of four tries, before it is taken for dead.
        max_timeout=min(
            LinkConfig.max_timeout, max(settings.PEER_TIMEOUT / 4, LinkConfig.min_timeout)
        ),
        peer_timeout=settings.PEER_TIMEOUT,
    )
