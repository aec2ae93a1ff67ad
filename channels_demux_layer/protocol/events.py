"""What a link reports to its shell, in the order in which it happened."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .frames import Carrier
from .session import Session

__all__ = [
    "Accepted",
    "Closed",
    "Event",
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
    """Worker: the edge gave us the session that we claimed under this ref."""

    session: Session
    ref: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Edge: the consumer has accepted."""

    session: Session


class Received(msgspec.Struct, frozen=True, gc=False):
    """A payload arrived."""

    session: Session
    data: str | bytes


class Writable(msgspec.Struct, frozen=True, gc=False):
    """A session's window was full and has room again."""

    session: Session


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The peer has sent its last frame of the session."""

    session: Session
    code: int
    reason: str


class Moved(msgspec.Struct, frozen=True, gc=False):
    """Edge: the worker asks to be rid of the session, which is to go on with another worker."""

    session: Session


class Traced(msgspec.Struct, frozen=True, gc=False):
    """Worker: the trace context of the payloads that follow; none where it is empty."""

    session: Session
    carrier: Carrier


class Lost(msgspec.Struct, frozen=True, gc=False):
    """The session is gone: the peer does not know it, or is dead."""

    session: Session
    peer_is_dead: bool


class Spoiled(msgspec.Struct, frozen=True, gc=False):
    """A frame of the session could not be encoded or decoded; this end has closed with 1011.

    The session is None where it had ended already, and only the frames of its end were left.
    """

    session: Session | None
    fault: str


class PeerLost(msgspec.Struct, frozen=True, gc=False):
    """The peer has been silent for too long; the link is over. Follows a Lost for each session."""

    silence: float


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The peer sent something that makes no sense; it was ignored."""

    reason: str


#: What concerns the owner of a session, beside the payloads.
SessionEvent: TypeAlias = Accepted | Writable | Closed | Moved | Traced | Lost
#: All that does not come for each payload.
RareEvent: TypeAlias = SessionEvent | Granted | PeerLost | Refused | Spoiled
Event: TypeAlias = Received | RareEvent
