"""How an edge finds a worker for a stream: open, claim, grant (layer wire, version 1).

The edge sends an open to the stream's channel, which any worker of the stream receives; some
layers deliver it to several. A worker with room claims it; the edge grants the first claim, on
the link to that worker, and the other claims lapse.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .naming import is_layer_name

__all__ = ["CLAIM", "OPEN", "Claim", "Open", "check_names", "parse_claim", "parse_open"]

#: The channel-layer message types of an open and of a claim.
OPEN = "demux.open"
CLAIM = "demux.claim"


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Edge to the stream's channel (L2.1): who hosts this stream of this connection?"""

    version: int
    #: New for each attempt, so that a late claim of an earlier one is nobody's.
    ref: str
    connection: str
    stream: str
    #: The channel of the edge's node, which claims go to.
    channel: str
    #: The groups that replies and payloads are published to.
    edge_group: str
    stream_group: str
    #: How often this stream of this connection has been opened before, plus one.
    attempt: int
    #: Seconds of the wall clock after which the edge has stopped waiting for this attempt.
    expires_at: float
    #: What scope.pack_scope() made.
    scope: bytes

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this open."""
        return {"type": OPEN, **msgspec.structs.asdict(self)}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Worker to the edge's node: these opens can be mine (L2.3)."""

    version: int
    refs: list[str]
    #: The channel that the opens came by.
    stream_channel: str
    #: The channel of the worker's node: the other end of the link.
    channel: str
    #: How many sessions the worker's process hosts.
    load: int

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this claim."""
        return {"type": CLAIM, **msgspec.structs.asdict(self)}


def parse_open(message: dict[str, Any]) -> Open:
    """Read an open out of a channel-layer message.

    Args:
        message: A message of type ``demux.open``.

    Returns:
        The open; its scope is not unpacked yet.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    opening = msgspec.convert(message, Open)
    check_names(opening.channel, opening.edge_group, opening.stream_group)
    return opening


def parse_claim(message: dict[str, Any]) -> Claim:
    """Read a claim out of a channel-layer message.

    Args:
        message: A message of type ``demux.claim``.

    Returns:
        The claim.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    claim = msgspec.convert(message, Claim)
    check_names(claim.channel, claim.stream_channel)
    return claim


def check_names(*names: str) -> None:
    """Refuse a message with a name that no channel or group can have (L0.3).

    A layer raises where something is sent there, which would look as if it failed.

    Args:
        *names: The names.

    Raises:
        msgspec.ValidationError: One of them is none.
    """
    if not all(map(is_layer_name, names)):
        raise msgspec.ValidationError("It names a channel that there cannot be")
