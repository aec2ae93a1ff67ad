"""The sessions of a link: their states, their windows, and the table of them.

A session is one stream of one connection, as one end of a link sees it. These rules hold at both
ends:

* A session starts as granted: the edge has sent its grant, or the worker has received it.
* It opens with the worker's accept. Payloads travel only in an open session (L4.2).
* Each end sends exactly one close. The worker sends it when the consumer ends, rejects or raises.
  The edge sends it when the client leaves. The other end answers with its own. Payloads that a peer
  sent before its close still count, so no reply on its way is lost.
* After both closes, the session has ended (L4.3). Its number is never reused.

The table TRANSITIONS has these rules. An input without an entry is a fault of the end that caused
it.

Windows bound how much of a session is in flight (L5.1). Both ends count frames and bytes. A frame
leaves the sender's window when the receiver has taken it (L5.2), which is later than its arrival: a
consumer takes a frame when it asks for the next one, a client when its socket has accepted it. The
receiver returns the room as credit (L5.3). So a slow end delays only its own stream, and all queues
are bounded.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Any

from .frames import Carrier, Credit, Frame
from .liveness import LinkConfig, Liveness

__all__ = [
    "TRANSITIONS",
    "ReceiveWindow",
    "SendWindow",
    "Session",
    "SessionInput",
    "SessionState",
    "SessionTable",
]


class SendWindow:
    """The payloads that were pushed and that the receiver has not taken yet.

    Args:
        frames: The window is full with this many frames.
        size: The window is full with this many bytes. The last frame may exceed it, so that a
            payload larger than the window can pass.
    """

    __slots__ = ("_frames", "_size", "_untaken_size", "taken_frames", "untaken")

    def __init__(self, frames: int, size: int) -> None:
        self._frames = frames
        self._size = size
        self._untaken_size = 0
        #: The payloads, oldest first. If the worker dies, they are resent to the next one.
        self.untaken: deque[str | bytes] = deque()
        #: How many frames the receiver has taken so far.
        self.taken_frames = 0

    @property
    def has_room(self) -> bool:
        """Whether one more frame may be pushed."""
        return len(self.untaken) < self._frames and self._untaken_size < self._size

    def push(self, data: str | bytes) -> None:
        """Add a payload, even to a full window."""
        self.untaken.append(data)
        self._untaken_size += len(data)

    def taken(self, frames: int) -> bool:
        """Remove the oldest frames, which the receiver has taken.

        Args:
            frames: The number of frames.

        Returns:
            Whether a full window has room again.
        """
        had_room = self.has_room
        count = min(frames, len(self.untaken))
        self.taken_frames += count
        for _ in range(count):
            self._untaken_size -= len(self.untaken.popleft())
        return not had_room and self.has_room


class ReceiveWindow:
    """The frames that were taken, but not yet returned to the sender as credit.

    Args:
        frames: The sender's window in frames.
        size: The sender's window in bytes.
    """

    __slots__ = ("_frames", "_size", "_untold_size", "untold")

    def __init__(self, frames: int, size: int) -> None:
        self._frames = frames
        self._size = size
        self._untold_size = 0
        self.untold = 0

    def take(self, size: int) -> bool:
        """Count one taken frame.

        Args:
            size: The frame's length.

        Returns:
            Whether half of the window is used up, so that credit should be sent at once.
        """
        self.untold += 1
        self._untold_size += size
        return self.untold * 2 >= self._frames or self._untold_size * 2 >= self._size

    def tell(self) -> int:
        """Return the number of frames to send as credit, and reset it."""
        frames, self.untold, self._untold_size = self.untold, 0, 0
        return frames


class SessionState(Enum):
    """The state of a session.

    Attributes:
        sends: Whether this end may send payloads: after the accept and before its own close.
        receives: Whether payloads may arrive: after the accept and before the peer's close.
    """

    sends: bool
    receives: bool

    # The texts keep members with the same flags from becoming aliases.
    GRANTED = ("granted", False, False)
    OPEN = ("open", True, True)
    CLOSE_SENT = ("close sent", False, True)
    CLOSE_RECEIVED = ("close received", True, False)
    ENDED = ("ended", False, False)

    def __init__(self, _name: str, sends: bool, receives: bool) -> None:
        self.sends = sends
        self.receives = receives


class SessionInput(Enum):
    """An input that changes a session's state."""

    ACCEPT = auto()
    SEND_CLOSE = auto()
    RECEIVE_CLOSE = auto()


_S, _I = SessionState, SessionInput

TRANSITIONS: dict[tuple[SessionState, SessionInput], SessionState] = {
    (_S.GRANTED, _I.ACCEPT): _S.OPEN,
    (_S.GRANTED, _I.SEND_CLOSE): _S.CLOSE_SENT,
    (_S.GRANTED, _I.RECEIVE_CLOSE): _S.CLOSE_RECEIVED,
    (_S.OPEN, _I.SEND_CLOSE): _S.CLOSE_SENT,
    (_S.OPEN, _I.RECEIVE_CLOSE): _S.CLOSE_RECEIVED,
    # The worker's accept and the edge's close were sent at the same time.
    (_S.CLOSE_SENT, _I.ACCEPT): _S.CLOSE_SENT,
    (_S.CLOSE_SENT, _I.RECEIVE_CLOSE): _S.ENDED,
    (_S.CLOSE_RECEIVED, _I.SEND_CLOSE): _S.ENDED,
}


class Session:
    """One end's record of a session.

    Attributes:
        id: The session's number within its link.
        group: The channel-layer group that this end's payloads are published to.
        owner: Any object that the caller wants to find in the session's events.
        state: The session's state.
        outgoing: The window of the payloads that this end sends. At the edge it outlives the
            session: payloads that were not taken are resent in the next one.
        incoming: The window of the payloads that this end receives.
        carrier: The trace context that the peer was sent last, if any.
    """

    __slots__ = ("carrier", "group", "id", "incoming", "outgoing", "owner", "state")

    def __init__(self, session_id: int, outgoing: SendWindow, incoming: ReceiveWindow) -> None:
        self.id = session_id
        self.group: str | None = None
        self.owner: Any = None
        self.state = SessionState.GRANTED
        self.outgoing = outgoing
        self.incoming = incoming
        self.carrier: Carrier | None = None

    def may(self, what: SessionInput) -> bool:
        """Return whether TRANSITIONS has this input for the current state."""
        return (self.state, what) in TRANSITIONS

    def apply(self, what: SessionInput) -> SessionState:
        """Apply an input, and return the new state.

        Args:
            what: The input. may() must be true for it.

        Raises:
            KeyError: TRANSITIONS lacks the input for the current state.
        """
        self.state = TRANSITIONS[self.state, what]
        return self.state


class SessionTable:
    """One end's table of the sessions of a link.

    Args:
        config: The link's parameters.
        liveness: Watches the peer while there are sessions.
        now: The current time in seconds.

    Attributes:
        sessions: The sessions by number.
        indebted: The sessions whose peer is owed credit.
        credit_at: When their credit must be sent, even alone; None if none is owed.
        idle_since: When the last session ended; None while there are sessions.
    """

    def __init__(self, config: LinkConfig, liveness: Liveness, now: float) -> None:
        self._config = config
        self._liveness = liveness
        self.sessions: dict[int, Session] = {}
        self.indebted: set[Session] = set()
        self.credit_at: float | None = None
        self.idle_since: float | None = now

    # -- sessions -----------------------------------------------------------------------------

    def new_window(self) -> SendWindow:
        """Return an empty window of the link's size."""
        return SendWindow(self._config.window_frames, self._config.window_bytes)

    def add(self, session_id: int, outgoing: SendWindow, now: float) -> Session:
        """Add a session, and return it as granted.

        Args:
            session_id: The session's number.
            outgoing: The window of the payloads that this end sends.
            now: The current time in seconds.
        """
        incoming = ReceiveWindow(self._config.window_frames, self._config.window_bytes)
        session = self.sessions[session_id] = Session(session_id, outgoing, incoming)
        if self.idle_since is not None:
            self.idle_since = None
            self._liveness.restart(now)
        return session

    def forget_if_ended(self, session: Session, now: float) -> None:
        """Remove a session if no input can change it any more."""
        if not any(session.may(what) for what in SessionInput):
            self.remove(session, now)

    def remove(self, session: Session, now: float) -> None:
        """Remove a session, and mark it as ended in any state."""
        del self.sessions[session.id]
        session.state = SessionState.ENDED
        self.indebted.discard(session)
        if not self.indebted:
            self.credit_at = None
        if not self.sessions:
            self.idle_since = now

    # -- credit -------------------------------------------------------------------------------

    def take(self, session: Session, size: int, now: float) -> bool:
        """Count a received payload as taken, unless its session has ended.

        Args:
            session: The payload's session.
            size: The payload's length.
            now: The current time in seconds.

        Returns:
            Whether `credit_at` is earlier than before.
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
        """Return the credit frames that are owed, and reset the debts."""
        indebted, self.indebted, self.credit_at = self.indebted, set(), None
        return [Credit(session.id, session.incoming.tell()) for session in indebted]
