"""One stream of one connection as the two ends of a link see it.

The rules, the same at both ends:

* A session begins granted: the edge has sent its grant, or the worker has received it.
* It opens when the worker's accept passes. Payloads travel in an open session only (L4.2).
* Each end says close exactly once. A consumer that ends, rejects or raises makes the worker say
  it; a client that leaves makes the edge say it; the other end answers with its own. What a
  peer sends before its close still counts, so replies on their way are not lost.
* When both have been said, the session has ended (L4.3), and its number is never used again.

An absent key of TRANSITIONS is a fault of whoever caused the input.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from .frames import Carrier
from .window import ReceiveWindow, SendWindow

__all__ = ["TRANSITIONS", "Session", "SessionInput", "SessionState"]


class SessionState(Enum):
    """Where a session stands.

    Attributes:
        sends: Whether a payload may still go: not before the accept, not after our own close.
        receives: Whether a payload may still arrive: not before the accept, not after the peer's
            close.
    """

    sends: bool
    receives: bool

    # The names keep apart those that let the same pass.
    GRANTED = ("granted", False, False)
    OPEN = ("open", True, True)
    CLOSE_SENT = ("close sent", False, True)
    CLOSE_RECEIVED = ("close received", True, False)
    ENDED = ("ended", False, False)

    def __init__(self, _name: str, sends: bool, receives: bool) -> None:
        self.sends = sends
        self.receives = receives


class SessionInput(Enum):
    """What moves a session."""

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
    # The accept and the edge's close crossed on the way.
    (_S.CLOSE_SENT, _I.ACCEPT): _S.CLOSE_SENT,
    (_S.CLOSE_SENT, _I.RECEIVE_CLOSE): _S.ENDED,
    (_S.CLOSE_RECEIVED, _I.SEND_CLOSE): _S.ENDED,
}


class Session:
    """One end's record of a session.

    Attributes:
        id: The session's number within its link.
        group: The channel-layer group that this end's payloads are published to.
        owner: Whatever the shell wants to find again in an event.
        state: Where the session stands.
        outgoing: The window of what this end sends. It is handed in, because at the edge it
            outlives the session: what was not taken goes to the next one.
        incoming: The window of what this end receives.
        carrier: The trace context that the peer has been told last, if any.
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
        """Tell whether this input has a place in the present state."""
        return (self.state, what) in TRANSITIONS

    def apply(self, what: SessionInput) -> SessionState:
        """Move to the next state.

        Args:
            what: An input for which may() is true.

        Returns:
            The new state.

        Raises:
            KeyError: The input has no place in the present state.
        """
        self.state = TRANSITIONS[self.state, what]
        return self.state
