"""The numbers that a link runs by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEARTBEATS", "LinkConfig"]

#: How many heartbeats go in the time after which a silent end is dead.
HEARTBEATS = 4


@dataclass(frozen=True)
class LinkConfig:
    """Sizes, windows and times of a link; times in seconds, sizes in bytes."""

    #: A batch takes no further frame once it holds this much (L3.9): it keeps a layer message under
    #: 1 MB (the bound of several layers).
    batch_bytes: int = 786_432
    #: Nor once it has so many: its frames are all handled in one turn of the event loop, and what
    #: a processor's cache no longer holds costs half as much again.
    batch_frames: int = 1_000
    #: Frames and bytes of one session and direction that may be under way at once.
    window_frames: int = 64
    window_bytes: int = 1_048_576

    #: Batches that may await their acknowledgement at once (L3.5). A quarter of the smallest
    #: capacity in use (channels_redis: 100 messages for all channels of a process), since several
    #: peers share it.
    max_in_flight: int = 16
    #: Batches held that came before their turn (L3.3). A sender stays within it too: it does not
    #: run further than this ahead of a batch that is lost again and again.
    max_early: int = 64

    #: An acknowledgement that finds no batch to ride on goes alone after this time or this many
    #: batches, whichever is first (L3.4) (as in RFC 9000, section 13.2.1).
    ack_delay: float = 0.05
    ack_every: int = 8

    #: Bounds of the retransmission timeout (L3.6): RFC 6298, with a floor that suits a layer whose
    #: round trip is 1 to 5 ms idle and 100 ms under load.
    initial_timeout: float = 1.0
    min_timeout: float = 0.2
    max_timeout: float = 5.0

    #: A peer silent for this long is dead, if sessions depend on it (L3.7).
    peer_timeout: float = 10.0

    @property
    def heartbeat_interval(self) -> float:
        """Four heartbeats fit in a peer timeout, so that three may be lost."""
        return self.peer_timeout / HEARTBEATS
