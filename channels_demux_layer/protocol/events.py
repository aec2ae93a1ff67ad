"""What a link reports, in the order in which it happened, and how frames of the peer become events.

A peer can send anything. A frame that makes no sense becomes a `Refused` event and is ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from .backlog import Backlog
from .frames import (
    Accept,
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
    Unreadable,
    decode_frames,
    read_frames,
)
from .session import Session, SessionInput, SessionState, SessionTable

__all__ = [
    "Accepted",
    "Closed",
    "Event",
    "FrameDispatch",
    "Granted",
    "Lost",
    "Moved",
    "PeerLost",
    "RareEvent",
    "Received",
    "Refused",
    "SessionEvent",
    "Spoiled",
    "Traced",
    "Writable",
]


class Granted(msgspec.Struct, frozen=True, gc=False):
    """Worker: the edge granted the session that this worker claimed under this ref."""

    session: Session
    ref: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Edge: the consumer accepted the session."""

    session: Session


class Received(msgspec.Struct, frozen=True, gc=False):
    """A payload arrived."""

    session: Session
    data: str | bytes


class Writable(msgspec.Struct, frozen=True, gc=False):
    """The full window of a session has room again."""

    session: Session


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The peer has sent its last frame of the session."""

    session: Session
    code: int
    reason: str


class Moved(msgspec.Struct, frozen=True, gc=False):
    """Edge: the worker asks the edge to continue the session on another worker."""

    session: Session


class Traced(msgspec.Struct, frozen=True, gc=False):
    """Worker: the trace context of the next payloads; an empty one ends the trace."""

    session: Session
    carrier: Carrier


class Lost(msgspec.Struct, frozen=True, gc=False):
    """The session is lost: the peer does not know it, or is dead."""

    session: Session
    peer_is_dead: bool


class Spoiled(msgspec.Struct, frozen=True, gc=False):
    """A frame of the session could not be encoded or decoded, so this end closed it with 1011.

    The session is None if it had ended before the frame could be sent.
    """

    session: Session | None
    fault: str


class PeerLost(msgspec.Struct, frozen=True, gc=False):
    """The peer was silent for too long, and the link is over. A Lost for each session precedes."""

    silence: float


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The peer sent something invalid, which was ignored."""

    reason: str


#: The events for the owner of a session, apart from payloads.
SessionEvent: TypeAlias = Accepted | Writable | Closed | Moved | Traced | Lost
#: All events but payloads.
RareEvent: TypeAlias = SessionEvent | Granted | PeerLost | Refused | Spoiled
Event: TypeAlias = Received | RareEvent


class FrameDispatch:
    """Decodes the peer's batches, and applies each frame to its session.

    Args:
        is_edge: Whether this is the edge's end of the link.
        table: The link's sessions.
        queue: The queue for frames that answer the peer.
        events: The queue for events.
        spoil: Ends a session because of an invalid frame.
    """

    def __init__(
        self,
        *,
        is_edge: bool,
        table: SessionTable,
        queue: Backlog,
        events: deque[Event],
        spoil: Callable[[Session, str, float], None],
    ) -> None:
        self._is_edge = is_edge
        self._table = table
        self._sessions = table.sessions
        self._queue = queue
        self._events = events
        self._spoil = spoil

    def receive(self, encoded: bytes, now: float) -> None:
        """Process the frames of one batch.

        Args:
            encoded: The encoded frames.
            now: The current time in seconds.
        """
        frames: Sequence[Frame | Unreadable]
        try:
            frames = decode_frames(encoded)
        except msgspec.DecodeError:
            try:
                # An invalid frame must not discard the other frames of its batch.
                frames = read_frames(encoded)
            except msgspec.DecodeError as error:
                self._refuse(f"frames that cannot be decoded: {error}")
                return
        unknown: set[int] = set()
        for frame in frames:
            session = self._sessions.get(frame.session)
            if session is not None:
                if isinstance(frame, Text):
                    self._receive_data(session, frame.text)
                else:
                    self._receive_frame(frame, session, now)
            elif isinstance(frame, Grant):
                self._receive_grant(frame, now)
            elif not isinstance(frame, (Credit, Reset)):
                if isinstance(frame, Unreadable):
                    self._refuse(frame.fault)
                unknown.add(frame.session)
        for session_id in unknown:  # (L4.5)
            self._queue.put(Reset(session_id))

    def _refuse(self, what: str) -> None:  # (L4.6)
        self._events.append(Refused(what))

    def _receive_grant(self, frame: Grant, now: float) -> None:
        if self._is_edge:
            self._refuse("a grant, which only the edge may send")
            return
        session = self._table.add(frame.session, self._table.new_window(), now)
        self._events.append(Granted(session, frame.ref))

    def _receive_frame(self, frame: Frame | Unreadable, session: Session, now: float) -> None:
        if isinstance(frame, Binary):
            self._receive_data(session, frame.data)
        elif isinstance(frame, Credit):
            if session.outgoing.taken(frame.frames):
                self._events.append(Writable(session))
        elif isinstance(frame, Accept):
            self._receive_accept(session)
        elif isinstance(frame, Close):
            self._receive_close(frame, session, now)
        elif isinstance(frame, Move):
            self._receive_move(session)
        elif isinstance(frame, Context):
            self._receive_context(frame, session)
        elif isinstance(frame, Reset):
            self._table.remove(session, now)
            self._events.append(Lost(session, peer_is_dead=False))
        elif isinstance(frame, Unreadable):
            self._spoil(session, frame.fault, now)
        else:
            self._refuse(f"a second grant of session {session.id}")

    def _receive_data(self, session: Session, data: str | bytes) -> None:
        if session.state.receives:
            self._events.append(Received(session, data))
        else:
            self._refuse(f"a payload in a session that is {session.state.name}")

    def _receive_accept(self, session: Session) -> None:
        if not (self._is_edge and session.may(SessionInput.ACCEPT)):
            self._refuse(f"an accept in a session that is {session.state.name}")
            return
        if session.apply(SessionInput.ACCEPT) is SessionState.OPEN:
            self._events.append(Accepted(session))

    def _receive_move(self, session: Session) -> None:
        if not self._is_edge:
            self._refuse("a move, which only the worker may send")
        elif session.may(SessionInput.SEND_CLOSE):
            self._events.append(Moved(session))

    def _receive_context(self, frame: Context, session: Session) -> None:
        if not self._is_edge and session.state.receives:
            self._events.append(Traced(session, frame.carrier))
        else:
            self._refuse("a trace context, which only the edge may send, in an open session")

    def _receive_close(self, frame: Close, session: Session, now: float) -> None:
        if not session.may(SessionInput.RECEIVE_CLOSE):
            self._refuse(f"a close in a session that is {session.state.name}")
            return
        session.apply(SessionInput.RECEIVE_CLOSE)
        self._events.append(Closed(session, frame.code, frame.reason))
        self._table.forget_if_ended(session, now)
