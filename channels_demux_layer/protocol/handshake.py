"""How an edge finds a worker for a stream: open, claim, grant (layer wire, version 1).

The edge sends an open to the stream's channel. Any worker of the stream may receive it; some layers
deliver it to several. A worker with room claims it. The edge grants one claim, on the link to that
worker. The other claims lapse.

If a worker dies, its sessions reopen on other workers. `Pacer` spreads these opens over time
(L2.9), so that they do not delay other payloads at all edges at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .naming import is_layer_name

__all__ = [
    "BURST",
    "CLAIM",
    "JITTER",
    "LONGEST_WAIT",
    "OPEN",
    "RATE",
    "Claim",
    "Open",
    "Pacer",
    "check_names",
    "parse_claim",
    "parse_open",
]

#: The channel-layer message types of an open and of a claim.
OPEN = "demux.open"
CLAIM = "demux.claim"


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Edge to the stream's channel: asks for a worker for a stream of a connection (L2.1)."""

    version: int
    #: Unique for each attempt, so that a late claim of an earlier one is ignored.
    ref: str
    connection: str
    stream: str
    #: The channel of the edge's node, for claims.
    channel: str
    #: The groups for replies and for payloads.
    edge_group: str
    stream_group: str
    #: The number of the attempt to open this stream of this connection, from 1.
    attempt: int
    #: When the edge stops waiting for a claim, in seconds of the wall clock.
    expires_at: float
    #: The scope, as packed by scope.pack_scope().
    scope: bytes

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this open."""
        return {"type": OPEN, **msgspec.structs.asdict(self)}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Worker to the edge's node: claims opens (L2.3)."""

    version: int
    refs: list[str]
    #: The channel that the opens were sent to.
    stream_channel: str
    #: The channel of the worker's node, the other end of the link.
    channel: str
    #: The number of sessions that the worker's process hosts.
    load: int

    def to_message(self) -> dict[str, Any]:
        """Return the channel-layer message of this claim."""
        return {"type": CLAIM, **msgspec.structs.asdict(self)}


def parse_open(message: dict[str, Any]) -> Open:
    """Return the open in a channel-layer message.

    Args:
        message: A message of type ``demux.open``.

    Returns:
        The open. Its scope is not unpacked yet.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    opening = msgspec.convert(message, Open)
    check_names(opening.channel, opening.edge_group, opening.stream_group)
    return opening


def parse_claim(message: dict[str, Any]) -> Claim:
    """Return the claim in a channel-layer message.

    Args:
        message: A message of type ``demux.claim``.

    Raises:
        msgspec.ValidationError: A field is missing or of the wrong type.
    """
    claim = msgspec.convert(message, Claim)
    check_names(claim.channel, claim.stream_channel)
    return claim


def check_names(*names: str) -> None:
    """Check the names of channels and groups in a message of a peer (L0.3).

    A layer would raise for an invalid name, which would look like an outage.

    Args:
        *names: The names.

    Raises:
        msgspec.ValidationError: A name is not a valid channel or group name.
    """
    if not all(map(is_layer_name, names)):
        raise msgspec.ValidationError("It names a channel that is not valid")


#: This many sessions reopen at once.
BURST = 50
#: The others follow at this rate per second, which is a fraction of what an edge can open.
RATE = 200.0
#: The longest delay of a session in seconds, for any number of sessions.
LONGEST_WAIT = 5.0
#: The maximum random deviation from a session's turn, in seconds.
JITTER = 0.25


class Pacer:
    """Spreads the opens of the sessions that one process reopens."""

    def __init__(self) -> None:
        # When the last requested open is due, at RATE.
        self._done_at = 0.0

    def wait(self, now: float, uniform: Callable[[float, float], float]) -> float:
        """Return how long the next session should wait, in seconds.

        Args:
            now: The current time in seconds.
            uniform: Returns a random number between its two arguments.
        """
        self._done_at = max(self._done_at, now) + 1 / RATE
        turn = self._done_at - now - BURST / RATE
        if turn > LONGEST_WAIT:
            # There are too many for RATE: spread these over the whole time.
            self._done_at = now + LONGEST_WAIT + BURST / RATE
            return uniform(0.0, LONGEST_WAIT)
        # Jitter, because several edges that lose the same worker must not open in step.
        return max(0.0, turn + uniform(-JITTER, JITTER)) if turn > 0 else 0.0
