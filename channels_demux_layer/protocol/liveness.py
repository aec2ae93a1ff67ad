"""The parameters of a link, and whether its peer is alive (L3.7).

Only links with sessions are watched. A link without sessions is silent, and is forgotten after a
while.

The two ends may have different peer timeouts, for example while a change of the setting is rolled
out. Each end judges its peer by its own timeout, and sends heartbeats for the shorter of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEARTBEATS", "LinkConfig", "Liveness"]

#: The number of heartbeats in one peer timeout.
HEARTBEATS = 4


@dataclass(frozen=True)
class LinkConfig:
    """The parameters of a link. Times are in seconds, sizes in bytes."""

    #: The maximum size of a batch (L3.9). It keeps layer messages under 1 MB, the limit of several
    #: layers.
    batch_bytes: int = 786_432
    #: The maximum number of frames of a batch. They are all handled in one turn of the event loop.
    #: Batches that exceed the processor's cache cost half as much again per frame.
    batch_frames: int = 1_000
    #: The window of one session and direction (L5.1).
    window_frames: int = 64
    window_bytes: int = 1_048_576

    #: The maximum number of unacknowledged batches (L3.5). The smallest capacity in use is that of
    #: channels_redis: 100 messages for all channels of a process. Several peers share it.
    max_in_flight: int = 16
    #: The maximum number of early batches that a receiver holds (L3.3). A sender is never further
    #: than this ahead of its oldest unacknowledged batch.
    max_early: int = 64

    #: Without a batch to carry it, an acknowledgement is sent alone after this time or this many
    #: batches, whichever comes first (L3.4) (as in RFC 9000, section 13.2.1).
    ack_delay: float = 0.05
    ack_every: int = 8

    #: Bounds of the retransmission timeout (L3.6), which follows RFC 6298. The minimum suits a
    #: layer with a round trip of 1 to 5 ms when idle and 100 ms under load.
    initial_timeout: float = 1.0
    min_timeout: float = 0.2
    max_timeout: float = 5.0

    #: A peer that is silent for this long is dead, if the link has sessions (L3.7).
    peer_timeout: float = 10.0

    @property
    def heartbeat_interval(self) -> float:
        """The time between heartbeats. Three in a row may be lost until a peer counts as dead."""
        return self.peer_timeout / HEARTBEATS


#: A peer's timeout is clamped to these bounds, in seconds. A forged one must neither cause a flood
#: of heartbeats nor keep a link forever.
SHORTEST, LONGEST = 1.0, 3_600.0


class Liveness:
    """Remembers when each end of a link was last heard.

    Args:
        config: The link's parameters.
        now: The current time in seconds.

    Attributes:
        interval: How long this end may be silent, in seconds.
        longer: The longer of the two ends' peer timeouts, in seconds. It is this end's until the
            peer has told its own.
    """

    def __init__(self, config: LinkConfig, now: float) -> None:
        self._config = config
        self._told = 0.0
        self.interval = config.heartbeat_interval
        self.longer = config.peer_timeout
        self._heard_at = now
        self._sent_at = now
        self._watched_at = now

    def heard(self, now: float) -> None:
        """Note that a message arrived from the peer."""
        self._heard_at = now

    def adapt(self, peer_timeout: float) -> None:
        """Adapt to the peer's own peer timeout, after which it takes this end for dead.

        Args:
            peer_timeout: The timeout in seconds. 0 from peers that do not send it; it then counts
                as equal to this end's.
        """
        if peer_timeout == self._told:
            return
        self._told = peer_timeout
        own = self._config.peer_timeout
        # NaN and negative numbers are invalid, and treated as 0.
        theirs = peer_timeout if peer_timeout > 0 else own
        self.interval = min(own, max(theirs, min(own, SHORTEST))) / HEARTBEATS
        self.longer = max(own, min(theirs, LONGEST))

    def sent(self, now: float) -> None:
        """Note that a message was sent to the peer."""
        self._sent_at = now

    def restart(self, now: float) -> None:
        """Start to watch. Silence while there were no sessions does not count."""
        self._heard_at = self._sent_at = self._watched_at = now

    def watch(self, now: float) -> bool:
        """Note that this end is running. Call this at each deadline.

        If the call is overdue, this end was away itself: its event loop was blocked, its process
        was stopped, or a publish hung. Messages of the peer may still wait to be read, so its
        silence counts from now.

        Returns:
            Whether this end was away.
        """
        was_away = now >= self._watched_at + 2 * self._config.heartbeat_interval
        if was_away:
            self._heard_at = now
        self._watched_at = now
        return was_away

    def silence(self, now: float) -> float:
        """Return for how many seconds the peer has not been heard."""
        return now - self._heard_at

    def is_dead(self, now: float) -> bool:
        """Return whether the peer has been silent for too long."""
        return now >= self._heard_at + self._config.peer_timeout

    def owes_heartbeat(self, now: float) -> bool:
        """Return whether this end has been silent for its heartbeat interval."""
        return now >= self.heartbeat_at

    @property
    def heartbeat_at(self) -> float:
        """When a heartbeat is due, unless another message is sent before."""
        return self._sent_at + self.interval

    @property
    def deadline(self) -> float:
        """When to call watch(), is_dead() and owes_heartbeat() again, at the latest."""
        return min(
            self._heard_at + self._config.peer_timeout,
            self._sent_at + self.interval,
            self._watched_at + self._config.heartbeat_interval,
        )
