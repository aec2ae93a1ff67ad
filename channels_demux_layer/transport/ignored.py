"""Messages of the layer that make no sense: ignored, counted, warned of now and then (L0.3)."""

from __future__ import annotations

import logging
import reprlib
from collections import Counter
from typing import Any

from channels_demux_layer.logs import RepeatedLog, about
from channels_demux_layer.protocol.frames import VERSION

__all__ = ["REASONS", "IgnoredMessages"]

logger = logging.getLogger(__name__)

#: Why a message is ignored.
REASONS = (
    "unreadable",  # encrypted with another key, or no message at all
    "foreign",  # of a type that is not for who got it
    "malformed",  # of a type of ours, with other fields
    "version",  # of another version of the layer wire
    "unknown_link",  # a batch of a link that is over, or never was
    "misplaced",  # frames that do not fit the state of their link
)


#: So many other versions of the layer wire are warned of once each. Whoever sends more is no
#: older release but chooses them, and is warned of like other nonsense.
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
            *args: What stands in their places.
            peer: The channel of the node that it says it is from.
        """
        self[reason] += 1
        self._repeated.warning(reason, message, *args, extra=about(node=self.node, peer=peer))

    def unreadable(self, channel: str, error: Exception) -> None:
        """Note a message that the layer cannot decrypt or decode."""
        self.note("unreadable", "A message on channel %s cannot be read: %s.", channel, error)

    def foreign(self, kind: object) -> None:
        """Note a message of a type that is not for who got it."""
        # Shortened: whoever sent it may have sent much of it.
        self.note("foreign", "A message of type %s is not for us; ignored.", reprlib.repr(kind))

    def malformed(self, kind: Any, error: Exception) -> None:
        """Note a message that lacks fields, or has wrong ones."""
        self.note("malformed", "A malformed %s was ignored: %s.", kind, str(error))

    def unhandled(self, error: Exception) -> None:
        """Log a fault of ours in handling a message, with its traceback."""
        text = "A channel-layer message could not be handled."
        facts, level = about(node=self.node), logging.ERROR
        self._repeated.warning("unhandled", text, extra=facts, exc=error, level=level)

    def speaks(self, version: int, what: str) -> bool:
        """Tell whether this release understands a version of the layer wire; note it if not (L0.2).

        Args:
            version: The version that something came in.
            what: Of what kind that was, in the plural.
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
