"""Runs links over a node: publishes their batches, and passes their events to the owners."""

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
from channels_demux_layer.protocol.frames import Batch
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import Session

from .background import Deadline, Deadlines, StandingTask
from .calls import Publish
from .ports import SessionPort, tell
from .records import IgnoredMessages, LinkLog

__all__ = ["LinkHost", "LinkWire", "link_config"]

logger = logging.getLogger(__name__)

#: The longest pause between two batches of one link, in seconds.
LONGEST_PAUSE = 0.005


class LinkHost(Protocol):
    """What a wire needs of the node that it runs on."""

    loop: asyncio.AbstractEventLoop
    #: The node's channel.
    channel: str
    is_stopped: bool
    #: Makes calls at their time.
    deadlines: Deadlines
    #: Counts what makes no sense.
    ignored: IgnoredMessages
    #: When anything was heard on the node's channel.
    heard_at: float
    #: Sends a message to a group, or to a channel if there is no group.
    publish: Publish

    @property
    def is_cut_off(self) -> bool:
        """Whether the layer has failed, and taken nothing since."""

    @property
    def may_be_deaf(self) -> bool:
        """Whether the node is deaf, or has not heard a probe of its own that is overdue."""

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""

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
        self._publisher = StandingTask(node)
        self._is_publishing = False
        self._alarm: Deadline | None = None

    @property
    def deadline(self) -> float:
        """When the link has something to do. Never while a publish is under way.

        The time of a publish that hangs does not count against the peer.
        """
        return math.inf if self._is_publishing else self.link.deadline

    def flush(self) -> None:
        """Start to publish what waits, unless a publish is under way. Otherwise set the timer."""
        # Not while events are passed on: what they cause goes out together.
        if not (self._is_publishing or self._turn or self._is_passing_on):
            if self.link.wants_to_send(self.now()):
                self._is_publishing = True
                self._publisher.run(self._publish)
            else:
                self._set_timer()

    async def _publish(self) -> None:
        try:
            while (outgoing := self.link.batch_to_send(self.now())) is not None:
                if self._log.is_on:
                    self._log.batch(">", outgoing.batch, outgoing.group)
                if self._turn is None and self.link.events():
                    self._pass_on_events()  # A frame could not be encoded.
                began = self.now()
                await self._node.publish(outgoing.group, self.peer, outgoing.batch.to_message())
                if self._turn is None and self.link.wants_to_send(self.now()):
                    # Frames come faster than they are published. Twice as many in a batch cost
                    # the processes and the layer half as much, and most of it where a publish
                    # takes long: the core layer needs 15 Redis commands for each batch.
                    await asyncio.sleep(min(self.now() - began, LONGEST_PAUSE))
                if self._turn is not None:
                    break  # What waits is flushed at the portion's end.
        except Exception:
            # The batch could not be sent later either, so the sessions move to a new link.
            text = "Cannot publish to node %s. Its sessions here open again over another link."
            logger.exception(text, self.peer, extra=self._log.facts)
            self.link.abandon(self.now())
            self._pass_on_events()
            self._node.forget(self)
        finally:
            self._is_publishing = False
            self._set_timer()

    def receive(self, batch: Batch) -> None:
        """Pass a batch of the peer to the link, and the events that it causes to the owners."""
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
            # A client's socket takes all payloads at once. A consumer takes one after the other.
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
        # Publish its answers before the next portion is handed out.
        self.flush()
        self._pass_on_and_flush()

    def excuse(self, *, was_deaf: bool = False) -> None:
        """Restart the time that the peer has been silent, if an outage explains its silence.

        During an outage the node hears no peer, whether they speak or not. But a peer that stayed
        silent since the last outage, while others were heard, is dead: outages do not excuse it.

        Args:
            was_deaf: Whether the node heard nobody but itself since the last time.
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
        if self._alarm is not None:
            if self._alarm.when <= when:
                return
            self._alarm.cancel()
        self._alarm = self._node.deadlines.at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
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
        """Stop all timers."""
        if self._log.is_on:
            self._log.say("x", "over")
        self._publisher.stop()
        if self._alarm is not None:
            self._alarm.cancel()
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
                    session.owner.received(event.data)  # An accepted session has an owner.
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
        """End only the session whose owner has raised."""
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
        # Otherwise nobody wanted the session when it was granted, and it was reset at once.


def link_config() -> LinkConfig:
    """Return the configuration of links, from the settings."""
    settings = get_settings()
    return LinkConfig(
        batch_bytes=settings.BATCH_BYTES,
        window_frames=settings.WINDOW_FRAMES,
        window_bytes=settings.WINDOW_BYTES,
        # At least four retransmissions fit in PEER_TIMEOUT, before the peer counts as dead.
        max_timeout=min(
            LinkConfig.max_timeout, max(settings.PEER_TIMEOUT / 4, LinkConfig.min_timeout)
        ),
        peer_timeout=settings.PEER_TIMEOUT,
    )
