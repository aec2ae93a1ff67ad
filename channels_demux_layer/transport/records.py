"""What a node logs: messages that it ignores (L0.3), and, for debugging, what its links do.

Each line about a link begins with a mark:

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
import reprlib
from collections import Counter
from typing import Any

from channels_demux_layer.logs import RepeatedLog, about
from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import VERSION, Batch
from channels_demux_layer.protocol.session import Session

__all__ = ["LOGGER", "MARKS", "REASONS", "IgnoredMessages", "LinkLog"]

logger = logging.getLogger(__name__)

#: The name of the logger of links.
LOGGER = "channels_demux_layer.link"
link_logger = logging.getLogger(LOGGER)
#: The marks of its lines.
MARKS = "+><%=!x"

#: Why a message is ignored.
REASONS = (
    "unreadable",  # encrypted with another key, or no message at all
    "foreign",  # of a type that is not for its receiver
    "malformed",  # of a type of ours, with other fields
    "version",  # of another version of the layer wire
    "unknown_link",  # a batch of a link that is over, or never was
    "misplaced",  # frames that do not fit the state of their link
)
#: This many other versions of the layer wire cause one warning each. A sender of more versions is
#: no earlier release but chooses them, and is warned of like other malformed messages.
MOST_VERSIONS = 8


class IgnoredMessages(Counter[str]):
    """How many messages a node has ignored, by reason.

    Attributes:
        node: The channel of the node, once it has one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.node: str | None = None
        self._repeated = RepeatedLog(logger)
        self._versions: set[tuple[str, int]] = set()

    def note(self, reason: str, message: str, *args: object, peer: str | None = None) -> None:
        """Count a message, and warn of it unless there were many.

        Args:
            reason: Why it is ignored, one of REASONS.
            message: The text of the warning, with placeholders.
            *args: The values for the placeholders.
            peer: The channel of the node that it claims to come from.
        """
        self[reason] += 1
        self._repeated.warning(reason, message, *args, extra=about(node=self.node, peer=peer))

    def unreadable(self, channel: str, error: Exception) -> None:
        """Note a message that the layer cannot decrypt or decode."""
        self.note("unreadable", "A message on channel %s cannot be read: %s.", channel, error)

    def foreign(self, kind: object) -> None:
        """Note a message of a type that is not for its receiver."""
        # Shortened, since its sender may have made it long.
        self.note("foreign", "A message of type %s is not for us; ignored.", reprlib.repr(kind))

    def malformed(self, kind: Any, error: Exception) -> None:
        """Note a message whose fields are missing or wrong."""
        self.note("malformed", "A malformed %s was ignored: %s.", kind, str(error))

    def unhandled(self, error: Exception) -> None:
        """Log a fault of this package in handling a message, with its traceback."""
        text = "A channel-layer message could not be handled."
        facts, level = about(node=self.node), logging.ERROR
        self._repeated.warning("unhandled", text, extra=facts, exc=error, level=level)

    def speaks(self, version: int, what: str) -> bool:
        """Tell whether this release understands a version of the layer wire. Note it if not (L0.2).

        Args:
            version: The version of a message.
            what: The kind of message, in the plural.
        """
        if version != VERSION:
            self._note_version(version, what)
        return version == VERSION

    def _note_version(self, version: int, what: str) -> None:
        text = (
            "Cannot take %s of version %d of the layer wire: this process speaks version %d. Run "
            "the same release of channels_demux_layer in servers and workers."
        )
        if (what, version) in self._versions:
            self["version"] += 1
        elif len(self._versions) < MOST_VERSIONS:
            self["version"] += 1
            self._versions.add((what, version))
            logger.warning(text, what, version, VERSION, extra=about(node=self.node))
        else:
            self.note("version", text, what, version, VERSION)


class LinkLog:
    """The debug log of one link: a line for each batch, timer and fault.

    Callers check `is_on` first, once for each batch and never for each frame.

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
        """Whether the log is enabled."""
        return link_logger.isEnabledFor(logging.DEBUG)

    def say(self, mark: str, text: str, *args: object) -> None:
        """Write a line.

        Args:
            mark: Its mark, one of MARKS.
            text: The text, with placeholders.
            *args: The values for the placeholders.
        """
        link_logger.debug("%s link %s %s", mark, self._name, text % args, extra=self.facts)

    def batch(self, mark: str, batch: Batch, group: str | None = None) -> None:
        """Write a line for a batch.

        Args:
            mark: Whether it is published or has arrived.
            batch: The batch.
            group: The group that it is published to; None for the peer's channel.
        """
        again = " again" if batch.again else ""
        where = f" to group {group}" if group else ""
        text = "batch %d%s, %d bytes, ack %d, early %s%s"
        size, early = len(batch.frames), list(batch.early)
        self.say(mark, text, batch.seq, again, size, batch.ack, early, where)

    def event(self, event: ev.RareEvent) -> None:
        """Write a line for an event of the link other than a payload."""
        if isinstance(event, (ev.PeerLost, ev.Refused, ev.Spoiled)):
            self.say("!", "%s", event)
        else:
            session: Session = event.session
            self.say("=", "session %d: %s", session.id, type(event).__name__.lower())
