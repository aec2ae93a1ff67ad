"""What a link reports to its shell, in the order in which it happened."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .session import Session

__all__ = [
    "Accepted",
    "Closed",
    "Event",
    "Granted",
    "Lost",
    "Moved",
    "PeerLost",
    "Received",
    "Refused",
    "SessionEvent",
    "Writable",
]


class Granted(NamedTuple):
    """Worker: the edge gave us the session that we claimed under this ref."""

    session: Session
    ref: str


class Accepted(NamedTuple):
    """Edge: the consumer has accepted."""

    session: Session


class Received(NamedTuple):
    """A payload arrived."""

    session: Session
    data: str | bytes


class Writable(NamedTuple):
    """A session's window was full and has room again."""

    session: Session


class Closed(NamedTuple):
    """The peer has sent its last frame of the session."""

    session: Session
    code: int
    reason: str


class Moved(NamedTuple):
    """Edge: the worker asks to be rid of the session, which is to go on with another worker."""

    session: Session


class Lost(NamedTuple):
    """The session is gone: the peer does not know it, or is dead."""

    session: Session
    peer_is_dead: bool


class PeerLost(NamedTuple):
    """The peer has been silent for too long; the link is over. Follows a Lost for each session."""

    silence: float


class Refused(NamedTuple):
    """The peer sent something that makes no sense; it was ignored."""

    reason: str


#: What concerns the owner of a session.
SessionEvent: TypeAlias = Accepted | Received | Writable | Closed | Moved | Lost
Event: TypeAlias = SessionEvent | Granted | PeerLost | Refused
