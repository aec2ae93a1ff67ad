"""What each frame of the peer does to its session, and what is reported of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from . import events as ev
from .backlog import Backlog
from .frames import (
    Accept,
    Binary,
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
from .session import Session, SessionInput, SessionState
from .table import SessionTable

__all__ = ["FrameDispatch"]


class FrameDispatch:
    """Takes the batches of the peer apart.

    Args:
        is_edge: Whether this is the edge's end of the link.
        table: The link's sessions.
        queue: Takes the frames that are answers.
        events: Takes what is to be reported.
        spoil: Ends a session because of a frame of its own.
    """

    def __init__(
        self,
        *,
        is_edge: bool,
        table: SessionTable,
        queue: Backlog,
        events: deque[ev.Event],
        spoil: Callable[[Session, str, float], None],
    ) -> None:
        self._is_edge = is_edge
        self._table = table
        self._sessions = table.sessions
        self._queue = queue
        self._events = events
        self._spoil = spoil

    def receive(self, encoded: bytes, now: float) -> None:
        """Take in the frames of one batch.

        Args:
            encoded: The frames, as they came.
            now: The present time in seconds.
        """
        frames: Sequence[Frame | Unreadable]
        try:
            frames = decode_frames(encoded)
        except msgspec.DecodeError:
            try:
                # One broken frame must not take along what shares the batch with it.
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
        self._events.append(ev.Refused(what))

    def _receive_grant(self, frame: Grant, now: float) -> None:
        if self._is_edge:
            self._refuse("a grant, which is for the edge to give")
            return
        session = self._table.add(frame.session, self._table.new_window(), now)
        self._events.append(ev.Granted(session, frame.ref))

    def _receive_frame(self, frame: Frame | Unreadable, session: Session, now: float) -> None:
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
        elif isinstance(frame, Context):
            self._receive_context(frame, session)
        elif isinstance(frame, Reset):
            self._table.remove(session, now)
            self._events.append(ev.Lost(session, peer_is_dead=False))
        elif isinstance(frame, Unreadable):
            self._spoil(session, frame.fault, now)
        else:
            self._refuse(f"a second grant of session {session.id}")

    def _receive_data(self, session: Session, data: str | bytes) -> None:
        if session.state.receives:
            self._events.append(ev.Received(session, data))
        else:
            self._refuse(f"a payload in a session that is {session.state.name}")

    def _receive_accept(self, session: Session) -> None:
        if not (self._is_edge and session.may(SessionInput.ACCEPT)):
            self._refuse(f"an accept in a session that is {session.state.name}")
            return
        if session.apply(SessionInput.ACCEPT) is SessionState.OPEN:
            self._events.append(ev.Accepted(session))

    def _receive_move(self, session: Session) -> None:
        if not self._is_edge:
            self._refuse("a move, which is for the worker to ask for")
        elif session.may(SessionInput.SEND_CLOSE):
            self._events.append(ev.Moved(session))

    def _receive_context(self, frame: Context, session: Session) -> None:
        if not self._is_edge and session.state.receives:
            self._events.append(ev.Traced(session, frame.carrier))
        else:
            self._refuse("a trace context, which is for the edge to give to a session that is open")

    def _receive_close(self, frame: Close, session: Session, now: float) -> None:
        if not session.may(SessionInput.RECEIVE_CLOSE):
            self._refuse(f"a close in a session that is {session.state.name}")
            return
        session.apply(SessionInput.RECEIVE_CLOSE)
        self._events.append(ev.Closed(session, frame.code, frame.reason))
        self._table.forget_if_ended(session, now)
