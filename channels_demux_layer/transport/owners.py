"""Who owns one end of a session, and is told what happens to it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import Carrier

__all__ = ["Hosted", "SessionOwner", "tell"]


class SessionOwner(Protocol):
    """What a node tells whoever owns one end of a session. None of these may block.

    One that raises ends its session with 1011.
    """

    def accepted(self) -> None:
        """The consumer has accepted (edge only)."""

    def received(self, data: str | bytes) -> None:
        """A payload has arrived."""

    def delivered(self) -> None:
        """The payloads that came with the last one have been received as well (edge only)."""

    def traced(self, carrier: Carrier) -> None:
        """The trace context of the payloads that follow (worker only); none where it is empty."""

    def writable(self) -> None:
        """The session's window has room again."""

    def closed(self, code: int, reason: str) -> None:
        """The peer has said its last word."""

    def moved(self) -> None:
        """The worker asks to be rid of the session (edge only)."""

    def spoiled(self, fault: str) -> None:
        """A frame could not be encoded or decoded; this end has closed with 1011."""

    def lost(self, *, peer_is_dead: bool) -> None:
        """The session is gone: the peer does not know it, or is dead."""


class Hosted(Protocol):
    """A session that a worker of this process hosts."""

    #: Set when the consumer has ended and nothing of the session is left.
    over: asyncio.Event

    def move(self) -> None:
        """Have the session go on with another worker, once the consumer is done with its own."""

    def disown(self) -> None:
        """Have the session go on with another worker, whatever the consumer is doing."""


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
