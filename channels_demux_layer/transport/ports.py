"""One end of a session: what its owner calls, and what its owner is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import Carrier
from channels_demux_layer.protocol.session import SendWindow, Session

if TYPE_CHECKING:
    from .wire import LinkWire

__all__ = ["Hosted", "SessionOwner", "SessionPort", "tell"]


class SessionPort:
    """One end of a session, through which its owner acts.

    Args:
        wire: The wire that the session's link runs on.
        session: The session.
    """

    __slots__ = ("_session", "_wire")

    def __init__(self, wire: LinkWire, session: Session) -> None:
        self._wire = wire
        self._session = session

    @property
    def window(self) -> SendWindow:
        """The window of what this end sends."""
        return self._session.outgoing

    @property
    def peer(self) -> str:
        """The channel of the peer's node."""
        return self._wire.peer

    @property
    def heard_at(self) -> float:
        """When the peer was last heard, on the loop's clock."""
        return self._wire.heard_at

    @property
    def answered_at(self) -> float:
        """When the peer last sent frames or acknowledged some, on the loop's clock."""
        return self._wire.answered_at

    def attach(self, owner: SessionOwner, group: str) -> None:
        """Set the owner of this end, and the group that its payloads are published to."""
        self._session.owner = owner
        self._session.group = group

    def accept(self) -> None:
        """Worker: accept the session, so that payloads may follow."""
        self._wire.link.accept(self._session)
        self._wire.flush()

    def send(self, data: str | bytes) -> None:
        """Send a payload that has been pushed to the window."""
        self._wire.link.send(self._session, data)
        self._wire.flush()

    def trace(self, carrier: Carrier | None) -> None:
        """Edge: set the trace context that goes with the next payloads."""
        self._wire.link.trace(self._session, carrier)

    def take(self, size: int) -> None:
        """Note that the consumer or client has taken a received payload of this size."""
        self._wire.taken += 1
        if self._wire.link.take(self._session, size, self._wire.now()):
            self._wire.flush()

    def move(self) -> None:
        """Worker: ask the edge to move the session to another worker."""
        self._wire.link.move_session(self._session)
        self._wire.flush()

    def close(self, code: int, reason: str) -> None:
        """Close this end, unless it is closed already."""
        self._wire.link.close_session(self._session, code, reason, self._wire.now())
        self._wire.flush()

    def reset(self) -> None:
        """Drop the session. The peer is told that it is lost."""
        self._wire.link.reset_session(self._session, self._wire.now())
        self._wire.flush()


class SessionOwner(Protocol):
    """The owner of one end of a session. A node calls these methods, and none may block.

    If a method raises, the session ends with 1011.
    """

    def accepted(self) -> None:
        """The consumer has accepted (edge only)."""

    def received(self, data: str | bytes) -> None:
        """A payload has arrived."""

    def delivered(self) -> None:
        """All payloads of a batch have been received (edge only)."""

    def traced(self, carrier: Carrier) -> None:
        """The trace context of the next payloads (worker only). Empty if they have none."""

    def writable(self) -> None:
        """The session's window has room again."""

    def closed(self, code: int, reason: str) -> None:
        """The peer has closed its end."""

    def moved(self) -> None:
        """The worker asks the edge to move the session (edge only)."""

    def spoiled(self, fault: str) -> None:
        """A frame could not be encoded or decoded; this end has closed with 1011."""

    def lost(self, *, peer_is_dead: bool) -> None:
        """The session is gone: the peer does not know it, or is dead."""


class Hosted(Protocol):
    """A session that a worker of this process hosts."""

    #: Set when the consumer has ended and nothing of the session is left.
    over: asyncio.Event

    def move(self) -> None:
        """Move the session to another worker, once the consumer has handled its payloads."""

    def disown(self) -> None:
        """Move the session to another worker at once, whatever the consumer is doing."""


def tell(owner: SessionOwner, event: ev.SessionEvent) -> None:
    """Tell the owner of a session of an event."""
    if isinstance(event, ev.Writable):
        owner.writable()
    elif isinstance(event, ev.Accepted):
        owner.accepted()
    elif isinstance(event, ev.Closed):
        owner.closed(event.code, event.reason)
    elif isinstance(event, ev.Moved):
        owner.moved()
    elif isinstance(event, ev.Traced):
        owner.traced(event.carrier)
    else:
        owner.lost(peer_is_dead=event.peer_is_dead)
