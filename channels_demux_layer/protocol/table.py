"""The sessions that ride on a link, and the credit that their senders are owed."""

from __future__ import annotations

from .config import LinkConfig
from .frames import Credit, Frame
from .liveness import Liveness
from .session import Session, SessionInput, SessionState
from .window import ReceiveWindow, SendWindow

__all__ = ["SessionTable"]


class SessionTable:
    """One end's record of the sessions of a link.

    Args:
        config: The link's numbers.
        liveness: Watches the peer, which is of interest only while there are sessions.
        now: The present time in seconds.

    Attributes:
        sessions: The sessions, by number.
        indebted: Those whose peer has not been told of all that was taken.
        credit_at: When their credit must go, even alone; None where none is owed.
        idle_since: Since when there has been no session; None where there are some.
    """

    def __init__(self, config: LinkConfig, liveness: Liveness, now: float) -> None:
        self._config = config
        self._liveness = liveness
        self.sessions: dict[int, Session] = {}
        self.indebted: set[Session] = set()
        self.credit_at: float | None = None
        self.idle_since: float | None = now

    # -- who is there -------------------------------------------------------------------------

    def new_window(self) -> SendWindow:
        """Return an empty window of this link's size."""
        return SendWindow(self._config.window_frames, self._config.window_bytes)

    def add(self, session_id: int, outgoing: SendWindow, now: float) -> Session:
        """Begin a session.

        Args:
            session_id: Its number.
            outgoing: The window of what this end sends.
            now: The present time in seconds.

        Returns:
            The session, granted.
        """
        incoming = ReceiveWindow(self._config.window_frames, self._config.window_bytes)
        session = self.sessions[session_id] = Session(session_id, outgoing, incoming)
        if self.idle_since is not None:
            self.idle_since = None
            self._liveness.restart(now)
        return session

    def forget_if_ended(self, session: Session, now: float) -> None:
        """Remove a session to which nothing can happen any more."""
        if not any(session.may(what) for what in SessionInput):
            self.remove(session, now)

    def remove(self, session: Session, now: float) -> None:
        """End a session, whatever state it is in."""
        del self.sessions[session.id]
        session.state = SessionState.ENDED
        self.indebted.discard(session)
        if not self.indebted:
            self.credit_at = None
        if not self.sessions:
            self.idle_since = now

    # -- what they owe ------------------------------------------------------------------------

    def take(self, session: Session, size: int, now: float) -> bool:
        """Note that a received payload has been taken; nothing where its session has ended.

        Args:
            session: The session it came in.
            size: Its length.
            now: The present time in seconds.

        Returns:
            Whether credit is to go earlier than it was.
        """
        if session.id not in self.sessions:
            return False
        self.indebted.add(session)
        if session.incoming.take(size):
            self.credit_at = now
        elif self.credit_at is None:
            self.credit_at = now + self._config.ack_delay
        else:
            return False
        return True

    def credits(self) -> list[Frame]:
        """Return the credit of all sessions, which is told herewith."""
        indebted, self.indebted, self.credit_at = self.indebted, set(), None
        return [Credit(session.id, session.incoming.tell()) for session in indebted]
