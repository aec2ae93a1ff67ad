"""The link itself: its concerns put together.

`Recovery` keeps what was sent, `Receiver` orders what arrives, `Liveness` watches the peer,
each `Session` has its state and its windows. The link gathers frames into batches, takes
batches apart, and has one deadline.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from . import events as ev
from .backlog import Backlog
from .config import LinkConfig
from .figures import LinkFigures, read_figures
from .frames import (
    VERSION,
    Accept,
    Batch,
    Binary,
    Close,
    Credit,
    Frame,
    Grant,
    Move,
    Reset,
    Text,
    decode_frames,
    encode_frames,
)
from .liveness import Liveness
from .receiver import Receiver
from .recovery import Recovery
from .session import Session, SessionInput, SessionState
from .window import ReceiveWindow, SendWindow

__all__ = ["Link", "Outgoing"]


class Outgoing(NamedTuple):
    """A batch to publish: to the group, or straight to the peer's channel where that is None."""

    group: str | None
    batch: Batch


class Link:
    """One end of the conversation between an edge's node and a worker's.

    Args:
        link_id: The id that both ends know the link by; new for each link.
        is_edge: Whether this is the edge's end, which opens sessions.
        channel: This node's channel, which the peer answers to.
        config: The link's numbers.
        now: The present time in seconds.
    """

    def __init__(
        self, link_id: str, *, is_edge: bool, channel: str, config: LinkConfig, now: float
    ) -> None:
        self.id = link_id
        self.is_edge = is_edge
        self.is_over = False
        self.sessions: dict[int, Session] = {}
        self._channel = channel
        self._config = config
        self._recovery = Recovery(config)
        self._receiver = Receiver(config)
        self._liveness = Liveness(config, now)
        self._queue = Backlog()
        self._indebted: set[Session] = set()
        # When the indebted sessions' credit must go, even alone; None where none is owed.
        self._credit_at: float | None = None
        self._events: deque[ev.Event] = deque()
        self._next_session = 1
        self._idle_since: float | None = now

    # -- inputs: sessions ---------------------------------------------------------------------

    def open_session(self, ref: str, outgoing: SendWindow, now: float) -> Session:
        """Edge: grant a new session to the worker that claimed it.

        Args:
            ref: The ref of the open that the worker claimed.
            outgoing: The window of the payloads towards the consumer.
            now: The present time in seconds.

        Returns:
            The session, granted.
        """
        session = self._add_session(self._next_session, outgoing, now)
        self._next_session += 1
        self._queue.put(Grant(session.id, ref))
        return session

    def new_window(self) -> SendWindow:
        """Return an empty window of this link's size."""
        return SendWindow(self._config.window_frames, self._config.window_bytes)

    def accept(self, session: Session) -> None:
        """Worker: tell the edge that the consumer has accepted, unless it is past that."""
        if session.state is SessionState.GRANTED:
            session.apply(SessionInput.ACCEPT)
            self._queue.put(Accept(session.id), group=session.group)

    def send(self, session: Session, data: str | bytes) -> None:
        """Send one payload; the caller has pushed it to the session's window.

        Nothing is sent before the accept, and nothing after this end's last word.
        """
        if session.sends:
            frame = Text(session.id, data) if isinstance(data, str) else Binary(session.id, data)
            self._queue.put(frame, session.group)

    def move_session(self, session: Session) -> None:
        """Worker: ask the edge to close a session and to open another elsewhere."""
        if session.may(SessionInput.SEND_CLOSE):
            self._queue.put(Move(session.id), group=session.group)

    def close_session(self, session: Session, code: int, reason: str, now: float) -> None:
        """Say this end's last word on a session, unless it has been said."""
        if not session.may(SessionInput.SEND_CLOSE):
            return
        session.apply(SessionInput.SEND_CLOSE)
        if session in self._indebted:
            # Before the last word, after which nobody counts any more: what was taken is not to
            # be sent to another consumer.
            self._indebted.discard(session)
            self._queue.put(Credit(session.id, session.incoming.tell()), group=session.group)
        self._queue.put(Close(session.id, code, reason), group=session.group)
        self._forget_if_ended(session, now)

    def reset_session(self, session: Session, now: float) -> None:
        """Disown a session, unless it has ended: the peer will find it lost."""
        if session.id in self.sessions:
            self._queue.put(Reset(session.id))
            self._remove_session(session, now)

    def take(self, session: Session, size: int, now: float) -> None:
        """Note that a received payload has been taken.

        Args:
            session: The session it came in.
            size: Its length.
            now: The present time in seconds.
        """
        if session.id not in self.sessions:
            return
        self._indebted.add(session)
        if session.incoming.take(size):
            self._credit_at = now
        elif self._credit_at is None:
            self._credit_at = now + self._config.ack_delay

    # -- inputs: the peer and the clock -------------------------------------------------------

    def has_received(self, seq: int) -> bool:
        """Tell whether a batch of the peer has arrived before."""
        return self._receiver.has(seq)

    def receive_batch(self, batch: Batch, now: float) -> None:
        """Take in a batch of the peer."""
        self._liveness.heard(now)
        self._recovery.acknowledge(batch.ack, batch.early, now)
        if not batch.seq:
            return
        due = self._receiver.receive(batch.seq, batch.frames, again=batch.again, now=now)
        for encoded in due:
            self._receive_frames(encoded, now)

    def _receive_frames(self, encoded: bytes, now: float) -> None:
        try:
            frames = decode_frames(encoded)
        except msgspec.DecodeError as error:
            self._events.append(ev.Refused(f"frames that cannot be decoded: {error}"))
            return
        unknown: set[int] = set()
        for frame in frames:
            session = self.sessions.get(frame.session)
            if session is not None:
                if isinstance(frame, Text):
                    self._receive_data(session, frame.text)
                else:
                    self._receive_frame(frame, session, now)
            elif isinstance(frame, Grant):
                self._receive_grant(frame, now)
            elif not isinstance(frame, (Credit, Reset)):
                unknown.add(frame.session)
        for session_id in unknown:
            self._queue.put(Reset(session_id))

    def _receive_grant(self, frame: Grant, now: float) -> None:
        if self.is_edge:
            self._events.append(ev.Refused("a grant, which is for the edge to give"))
            return
        session = self._add_session(frame.session, self.new_window(), now)
        self._events.append(ev.Granted(session, frame.ref))

    def _receive_frame(self, frame: Frame, session: Session, now: float) -> None:
        if isinstance(frame, Binary):
            self._receive_data(session, frame.data)
        elif isinstance(frame, Credit):
            if session.outgoing.taken(frame.frames):
                self._events.append(ev.Writable(session))
        elif isinstance(frame, Accept):
            self._receive_accept(session)
        elif isinstance(frame, Close):
            self._receive_close(frame, session, now)
        elif isinstance(frame, Move):
            self._receive_move(session)
        elif isinstance(frame, Reset):
            self._remove_session(session, now)
            self._events.append(ev.Lost(session, peer_is_dead=False))
        else:
            self._events.append(ev.Refused(f"a second grant of session {session.id}"))

    def _receive_data(self, session: Session, data: str | bytes) -> None:
        if session.receives:
            self._events.append(ev.Received(session, data))
        else:
            self._events.append(ev.Refused(f"a payload in a session that is {session.state.name}"))

    def _receive_accept(self, session: Session) -> None:
        if not (self.is_edge and session.may(SessionInput.ACCEPT)):
            self._events.append(ev.Refused(f"an accept in a session that is {session.state.name}"))
            return
        if session.apply(SessionInput.ACCEPT) is SessionState.OPEN:
            self._events.append(ev.Accepted(session))

    def _receive_move(self, session: Session) -> None:
        if not self.is_edge:
            self._events.append(ev.Refused("a move, which is for the worker to ask for"))
        elif session.may(SessionInput.SEND_CLOSE):
            self._events.append(ev.Moved(session))

    def _receive_close(self, frame: Close, session: Session, now: float) -> None:
        if not session.may(SessionInput.RECEIVE_CLOSE):
            self._events.append(ev.Refused(f"a close in a session that is {session.state.name}"))
            return
        session.apply(SessionInput.RECEIVE_CLOSE)
        self._events.append(ev.Closed(session, frame.code, frame.reason))
        self._forget_if_ended(session, now)

    def excuse_peer(self, now: float) -> None:
        """Let the peer's silence count from now: it could not have been heard."""
        self._liveness.heard(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due; call it at `deadline` or after."""
        self._liveness.watch(now)
        self._recovery.handle_timeout(now)
        if self._idle_since is not None:
            if now >= self._idle_since + self._patience:
                self.is_over = True
        elif self._liveness.is_dead(now):
            self._lose_peer(now)
        elif self._liveness.owes_heartbeat(now):
            self._receiver.ack_by(now)

    def _lose_peer(self, now: float) -> None:
        self._end(now, peer_is_dead=True)
        self._events.append(ev.PeerLost(self._liveness.silence(now)))

    def abandon(self, now: float) -> None:
        """Give the link up, and all sessions with it: something in it cannot be sent."""
        self._end(now, peer_is_dead=False)

    def _end(self, now: float, *, peer_is_dead: bool) -> None:
        self.is_over = True
        for session in list(self.sessions.values()):
            self._remove_session(session, now)
            self._events.append(ev.Lost(session, peer_is_dead=peer_is_dead))

    # -- outputs ------------------------------------------------------------------------------

    def events(self) -> deque[ev.Event]:
        """Return what has happened, oldest first; the caller empties it from the left."""
        return self._events

    def wants_to_send(self, now: float) -> bool:
        """Tell whether batch_to_send() would return something."""
        if self.is_over:
            return False
        if self._recovery.may_resend or (self._recovery.may_send and self._has_frames(now)):
            return True
        return self._receiver.ack_at is not None and now >= self._receiver.ack_at

    def _has_frames(self, now: float) -> bool:
        return bool(self._queue) or (self._credit_at is not None and now >= self._credit_at)

    @property
    def is_quiet(self) -> bool:
        """Whether everything has been sent, and has arrived."""
        return not self._queue and self._recovery.is_idle

    def batch_to_send(self, now: float) -> Outgoing | None:
        """Return the next batch, as of now; None where nothing may or need be sent.

        Whoever publishes calls this again when the publish is done: what has gathered in the
        meantime goes out as one batch, so a lone frame waits for nothing and a crowd travels
        together.
        """
        if not self.wants_to_send(now):
            return None
        if self._recovery.may_resend:
            return self._resend(now)
        if self._recovery.may_send and (self._queue or self._indebted):
            return self._next_batch(now)
        return self._outgoing(None, 0, b"", now)

    def _resend(self, now: float) -> Outgoing:
        sent = self._recovery.resend(now)
        # Straight to the peer: the group may be what has been lost.
        return self._outgoing(None, sent.seq, sent.frames, now, again=True)

    def _next_batch(self, now: float) -> Outgoing:
        # Behind the consumers' answers: what is told as taken is given to no other consumer.
        for credit in self._credits():
            self._queue.put(credit)
        frames, group = self._queue.gather(self._config.batch_frames, self._config.batch_bytes)
        sent = self._recovery.send(encode_frames(frames), now)
        return self._outgoing(group, sent.seq, sent.frames, now)

    def _credits(self) -> list[Frame]:
        indebted, self._indebted, self._credit_at = self._indebted, set(), None
        return [Credit(session.id, session.incoming.tell()) for session in indebted]

    def _outgoing(
        self, group: str | None, seq: int, frames: bytes, now: float, *, again: bool = False
    ) -> Outgoing:
        self._liveness.sent(now)
        self._receiver.acknowledged()
        batch = Batch(
            version=VERSION,
            link=self.id,
            to_edge=not self.is_edge,
            channel=self._channel,
            seq=seq,
            base=self._recovery.base,
            ack=self._receiver.delivered,
            early=self._receiver.early,
            again=again,
            frames=frames,
        )
        return Outgoing(group, batch)

    @property
    def deadline(self) -> float:
        """When handle_timeout() or batch_to_send() has something to do at the latest."""
        idle = self._idle_since
        deadline = self._liveness.deadline if idle is None else idle + self._patience
        # Credit that may not go yet waits for acknowledgements, not for the clock.
        credit_at = self._credit_at if self._recovery.may_send else None
        for other in (self._recovery.deadline, self._receiver.ack_at, credit_at):
            if other is not None and other < deadline:
                deadline = other
        return deadline

    @property
    def figures(self) -> LinkFigures:
        """What has become of its batches."""
        return read_figures(self._recovery, self._receiver)

    # -- sessions -----------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        # The edge forgets a link without sessions first: only it opens sessions, so it never
        # sends on a link that the worker has forgotten.
        return self._config.peer_timeout * (1 if self.is_edge else 3)

    def _add_session(self, session_id: int, outgoing: SendWindow, now: float) -> Session:
        incoming = ReceiveWindow(self._config.window_frames, self._config.window_bytes)
        session = self.sessions[session_id] = Session(session_id, outgoing, incoming)
        if self._idle_since is not None:
            self._idle_since = None
            self._liveness.restart(now)
        return session

    def _forget_if_ended(self, session: Session, now: float) -> None:
        if not any(session.may(what) for what in SessionInput):
            self._remove_session(session, now)

    def _remove_session(self, session: Session, now: float) -> None:
        del self.sessions[session.id]
        session.state = SessionState.ENDED
        self._indebted.discard(session)
        if not self._indebted:
            self._credit_at = None
        if not self.sessions:
            self._idle_since = now
