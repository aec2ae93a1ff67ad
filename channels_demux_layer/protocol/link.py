"""The link: one end of the conversation between two nodes, composed of its parts.

`Recovery` keeps sent batches, `Receiver` orders those that arrive, and `Liveness` watches the peer.
`SessionTable` has the sessions with their states and windows. `FrameDispatch` applies the peer's
frames to them. `Link` fills batches with frames, and has a single deadline.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from channels_demux_layer.codes import CloseCode

from . import events as ev
from .backlog import Backlog
from .delivery import LinkFigures, Receiver, Recovery, read_figures
from .events import FrameDispatch
from .frames import (
    VERSION,
    Accept,
    Batch,
    Binary,
    Carrier,
    Close,
    Context,
    Credit,
    Frame,
    Grant,
    Move,
    Reset,
    Text,
    encode_frames,
    fault_of,
)
from .liveness import LinkConfig, Liveness
from .session import SendWindow, Session, SessionInput, SessionState, SessionTable

__all__ = ["Link", "Outgoing"]


class Outgoing(NamedTuple):
    """A batch to publish to a group, or to the peer's channel if the group is None."""

    group: str | None
    batch: Batch


class Link:
    """One end of the link between an edge's node and a worker's.

    Args:
        link_id: The link's id, the same at both ends and unique for each link.
        is_edge: Whether this is the edge's end, which opens sessions.
        channel: The channel of this node, for the peer's answers.
        config: The link's parameters.
        now: The current time in seconds.
    """

    def __init__(
        self, link_id: str, *, is_edge: bool, channel: str, config: LinkConfig, now: float
    ) -> None:
        self.id = link_id
        self.is_edge = is_edge
        self.is_over = False
        self._channel = channel
        self._config = config
        self._recovery = Recovery(config)
        self._receiver = Receiver(config)
        self._liveness = Liveness(config, now)
        self._queue = Backlog()
        self._events: deque[ev.Event] = deque()
        self._table = SessionTable(config, self._liveness, now)
        self.sessions = self._table.sessions
        # An attribute rather than a method: it is called for each payload.
        self.take = self._table.take
        self._dispatch = FrameDispatch(
            is_edge=is_edge,
            table=self._table,
            queue=self._queue,
            events=self._events,
            spoil=self._spoil,
        )
        self._next_session = 1

    # -- inputs: sessions ---------------------------------------------------------------------

    def open_session(self, ref: str, outgoing: SendWindow, now: float) -> Session:
        """Edge: grant a new session to the worker that claimed it.

        Args:
            ref: The ref of the open that the worker claimed.
            outgoing: The window of the payloads towards the consumer.
            now: The current time in seconds.

        Returns:
            The granted session.
        """
        session = self._table.add(self._next_session, outgoing, now)
        self._next_session += 1
        self._queue.put(Grant(session.id, ref))
        return session

    def new_window(self) -> SendWindow:
        """Return an empty window of the link's size."""
        return self._table.new_window()

    def accept(self, session: Session) -> None:
        """Worker: tell the edge that the consumer has accepted a session that is still granted."""
        if session.state is SessionState.GRANTED:
            session.apply(SessionInput.ACCEPT)
            self._queue.put(Accept(session.id), group=session.group)

    def send(self, session: Session, data: str | bytes) -> None:
        """Enqueue a payload, which the caller has pushed to the session's window.

        It is discarded before the accept, and after this end's close.

        Raises:
            TypeError: The payload is neither str nor bytes.
        """
        if session.state.sends:
            if isinstance(data, str):
                self._queue.put(Text(session.id, data), session.group)
            elif isinstance(data, bytes):
                self._queue.put(Binary(session.id, data), session.group)
            else:
                raise TypeError(f"A payload must be str or bytes, not {type(data).__name__}.")

    def trace(self, session: Session, carrier: Carrier | None) -> None:
        """Edge: send the trace context of the next payloads, if it has changed (L4.7).

        Args:
            session: The session of the payloads.
            carrier: The context; None without one.
        """
        if session.state.sends and carrier != session.carrier:
            session.carrier = carrier
            self._queue.put(Context(session.id, carrier or {}), session.group)

    def move_session(self, session: Session) -> None:
        """Worker: ask the edge to continue a session on another worker (L4.4)."""
        if session.may(SessionInput.SEND_CLOSE):
            self._queue.put(Move(session.id), group=session.group)

    def close_session(self, session: Session, code: int, reason: str, now: float) -> None:
        """Send this end's close of a session, unless it was sent before.

        If the code or the reason cannot be encoded, the session closes with 1011 instead.
        """
        if not session.may(SessionInput.SEND_CLOSE):
            return
        last = Close(session.id, code, reason)
        if fault := fault_of(last):
            self._spoil(session, fault, now)
            return
        session.apply(SessionInput.SEND_CLOSE)
        self._settle_credit(session, session.group)
        self._queue.put(last, group=session.group)
        self._table.forget_if_ended(session, now)

    def _spoil(self, session: Session, fault: str, now: float) -> None:
        """Close a session because of an invalid frame. Other sessions continue (L4.10)."""
        self._events.append(ev.Spoiled(session, fault))
        self.close_session(session, CloseCode.INTERNAL_ERROR.value, "", now)

    def reset_session(self, session: Session, now: float) -> None:
        """Drop a session unless it has ended. The peer gets a Lost event."""
        if session.id in self.sessions:
            self._settle_credit(session, group=None)
            self._queue.put(Reset(session.id))
            self._table.remove(session, now)

    def _settle_credit(self, session: Session, group: str | None) -> None:
        # Send credit before the last frame, because the peer ignores it afterwards. Otherwise,
        # payloads that were taken would be resent to another consumer (L5.3).
        if session in self._table.indebted:
            self._table.indebted.discard(session)
            self._queue.put(Credit(session.id, session.incoming.tell()), group=group)

    # -- inputs: the peer and the clock -------------------------------------------------------

    def has_received(self, seq: int) -> bool:
        """Return whether a batch of the peer has arrived."""
        return self._receiver.has(seq)

    def receive_batch(self, batch: Batch, now: float) -> None:
        """Process a batch of the peer."""
        self._liveness.heard(now)
        self._liveness.adapt(batch.peer_timeout)
        self._recovery.acknowledge(batch.ack, batch.early, now)
        if not batch.seq:
            return
        due = self._receiver.receive(batch.seq, batch.frames, again=batch.again, now=now)
        for encoded in due:
            self._dispatch.receive(encoded, now)

    def excuse_peer(self, now: float) -> None:
        """Restart the measurement of the peer's silence, after an outage of the layer.

        The peer may have missed this end's frames as well. So a worker keeps an idle link until its
        last frames have arrived. Otherwise, the edge would take an ended session for lost (L3.8).
        """
        self._liveness.heard(now)
        if self._table.idle_since is not None and not (self.is_edge or self.is_quiet):
            self._table.idle_since = now

    def handle_timeout(self, now: float) -> None:
        """Perform what is due. Call this at `deadline` or later."""
        if self._liveness.watch(now):
            self.excuse_peer(now)
        self._recovery.handle_timeout(now)
        if self._table.idle_since is not None:
            if now >= self._table.idle_since + self._patience:
                self.is_over = True
            elif self.is_quiet:
                return
        elif self._liveness.is_dead(now):
            self._lose_peer(now)
        # Also without sessions, while a close has not arrived: the peer still has that session.
        if not self.is_over and self._liveness.owes_heartbeat(now):
            self._receiver.ack_by(now)

    def _lose_peer(self, now: float) -> None:
        self._end(now, peer_is_dead=True)
        self._events.append(ev.PeerLost(self._liveness.silence(now)))

    def abandon(self, now: float) -> None:
        """End the link with all its sessions, because a batch of it cannot be sent."""
        self._end(now, peer_is_dead=False)

    def _end(self, now: float, *, peer_is_dead: bool) -> None:
        self.is_over = True
        for session in list(self.sessions.values()):
            self._table.remove(session, now)
            self._events.append(ev.Lost(session, peer_is_dead=peer_is_dead))

    # -- outputs ------------------------------------------------------------------------------

    def events(self) -> deque[ev.Event]:
        """Return the queue of events, oldest first. The caller removes them."""
        return self._events

    def wants_to_send(self, now: float) -> bool:
        """Return whether batch_to_send() would return something."""
        if self.is_over:
            return False
        if self._recovery.may_resend or (self._recovery.may_send and self._has_frames(now)):
            return True
        return self._receiver.ack_at is not None and now >= self._receiver.ack_at

    def _has_frames(self, now: float) -> bool:
        if self._queue:
            return True
        credit_at = self._table.credit_at
        return credit_at is not None and now >= credit_at

    @property
    def is_quiet(self) -> bool:
        """Whether all frames were sent and acknowledged."""
        return not self._queue and self._recovery.is_idle

    def batch_to_send(self, now: float) -> Outgoing | None:
        """Return the next batch to publish; None if nothing may or need be sent.

        The caller calls this again when it has published the batch. Frames that were enqueued in
        the meantime form the next one. So a single frame never waits, and many travel together.
        """
        if not self.wants_to_send(now):
            return None
        if self._recovery.may_resend:
            return self._resend(now)
        if self._recovery.may_send and (self._queue or self._table.indebted):
            return self._next_batch(now)
        return self._outgoing(None, 0, b"", now)

    def _resend(self, now: float) -> Outgoing:
        sent = self._recovery.resend(now)
        # To the peer's channel, because the layer may have lost the group (L3.1).
        group = sent.group or ""
        return self._outgoing(None, sent.seq, sent.frames, now, resent_from=group)

    def _next_batch(self, now: float) -> Outgoing:
        # Credit follows the consumers' answers: payloads that count as taken are never resent to
        # another consumer, so their answers must arrive first.
        for credit in self._table.credits():
            self._queue.put(credit)
        frames, group = self._queue.gather(self._config.batch_frames, self._config.batch_bytes)
        try:
            encoded = encode_frames(frames)
        except Exception:  # a value's own type may raise anything
            encoded = encode_frames(self._sound(frames, now))
        sent = self._recovery.send(encoded, now, group)
        return self._outgoing(group, sent.seq, sent.frames, now)

    def _sound(self, frames: list[Frame], now: float) -> list[Frame]:
        """Return the frames that can be encoded, and close the sessions of the others (L4.10)."""
        sound: list[Frame] = []
        spoiled: set[int] = set()
        for frame in frames:
            if frame.session in spoiled:
                continue  # It follows the frame that cannot be sent.
            fault = fault_of(frame)
            if fault is None:
                sound.append(frame)
                continue
            spoiled.add(frame.session)
            self._queue.drop(frame.session)
            session = self.sessions.get(frame.session)
            if session is not None and session.may(SessionInput.SEND_CLOSE):
                self._spoil(session, fault, now)
            else:
                # Its close followed this frame, and was discarded.
                sound.append(Close(frame.session, CloseCode.INTERNAL_ERROR.value))
                self._events.append(ev.Spoiled(session, fault))
        return sound

    def _outgoing(
        self,
        group: str | None,
        seq: int,
        frames: bytes,
        now: float,
        *,
        resent_from: str | None = None,
    ) -> Outgoing:
        self._liveness.sent(now)
        self._receiver.acknowledged()
        return Outgoing(group, self._batch(seq, frames, resent_from))

    def _batch(self, seq: int, frames: bytes, resent_from: str | None = None) -> Batch:
        return Batch(
            version=VERSION,
            link=self.id,
            to_edge=not self.is_edge,
            channel=self._channel,
            seq=seq,
            base=self._recovery.base,
            ack=self._receiver.delivered,
            early=self._receiver.early,
            again=resent_from is not None,
            peer_timeout=self._config.peer_timeout,
            group=resent_from,
            frames=frames,
        )

    def heartbeat(self) -> Batch:
        """Return a batch without frames.

        This does not change the link, so another thread may call it while the loop is blocked.
        """
        return self._batch(0, b"")

    @property
    def heartbeat_interval(self) -> float:
        """How long this end may be silent before it owes the peer a heartbeat, in seconds."""
        return self._liveness.interval

    @property
    def acknowledged(self) -> int:
        """The lowest unacknowledged sequence number; the next one if all are acknowledged."""
        return self._recovery.base

    @property
    def deadline(self) -> float:
        """When to call handle_timeout() and batch_to_send() again, at the latest."""
        idle = self._table.idle_since
        if idle is None:
            deadline = self._liveness.deadline
        else:
            deadline = idle + self._patience
            if not self.is_quiet:
                deadline = min(deadline, self._liveness.heartbeat_at)
        # Credit that may not be sent yet waits for acknowledgements, not for a time.
        credit_at = self._table.credit_at if self._recovery.may_send else None
        for other in (self._recovery.deadline, self._receiver.ack_at, credit_at):
            if other is not None and other < deadline:
                deadline = other
        return deadline

    @property
    def figures(self) -> LinkFigures:
        """The link's counts and its round trip."""
        return read_figures(self._recovery, self._receiver)

    @property
    def _patience(self) -> float:
        # The edge must forget a link without sessions first. Only the edge opens sessions, so it
        # never sends on a link that the worker has forgotten (L3.8).
        return self._config.peer_timeout if self.is_edge else 3 * self._liveness.longer

    @property
    def longest_silence(self) -> float:
        """The longer of the two ends' peer timeouts, in seconds."""
        return self._liveness.longer
