"""The debug log of links: one line for each batch, timer and fault, behind a mark of one character.

==== =============================================================================
+    the link begins
>    a batch is published
<    a batch has arrived
%    the timer rings
=    a session is granted or accepted, moves, closes, is lost, has room again, or is traced
!    a fault: of the peer, or of ours
x    the link is over
==== =============================================================================
"""

from __future__ import annotations

import logging

from channels_demux_layer.logs import about
from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import Batch
from channels_demux_layer.protocol.session import Session

__all__ = ["LOGGER", "MARKS", "LinkLog"]

#: The name of its logger.
LOGGER = "channels_demux_layer.link"
#: What a line begins with.
MARKS = "+><%=!x"

logger = logging.getLogger(LOGGER)


class LinkLog:
    """Writes down what one link does, for who looks into a fault.

    Who calls it asks first whether it is on, once for each batch and never for each frame.

    Args:
        link: The link's id.
        node: The channel of this process's node.
        peer: The channel of the peer's node.

    Attributes:
        facts: The ``extra`` of all records about this link.
    """

    __slots__ = ("_name", "facts")

    def __init__(self, link: str, node: str, peer: str) -> None:
        self._name = link[:8]
        self.facts = about(link=link, node=node, peer=peer)

    @property
    def is_on(self) -> bool:
        """Whether anybody reads it."""
        return logger.isEnabledFor(logging.DEBUG)

    def say(self, mark: str, text: str, *args: object) -> None:
        """Write a line.

        Args:
            mark: What it begins with, one of MARKS.
            text: The text, with placeholders.
            *args: What stands in their places.
        """
        logger.debug("%s link %s %s", mark, self._name, text % args, extra=self.facts)

    def batch(self, mark: str, batch: Batch, group: str | None = None) -> None:
        """Write a line for a batch.

        Args:
            mark: Whether it is sent or has arrived.
            batch: The batch.
            group: The group that it is published to; None for the peer's channel.
        """
        again = " again" if batch.again else ""
        where = f" to group {group}" if group else ""
        text = "batch %d%s, %d bytes, ack %d, early %s%s"
        size, early = len(batch.frames), list(batch.early)
        self.say(mark, text, batch.seq, again, size, batch.ack, early, where)

    def event(self, event: ev.RareEvent) -> None:
        """Write a line for what the link reports, payloads aside."""
        if isinstance(event, (ev.PeerLost, ev.Refused, ev.Spoiled)):
            self.say("!", "%s", event)
        else:
            session: Session = event.session
            self.say("=", "session %d: %s", session.id, type(event).__name__.lower())
