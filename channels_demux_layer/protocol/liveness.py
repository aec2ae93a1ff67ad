"""Whether the peer is alive, and whether it must be told that we are (L3.7).

Only links that carry sessions are watched: a link without any is silent, and is forgotten
after a while.

The two ends may have different peer timeouts, as during a rollout that changes the setting. Each
judges its peer by its own, and sends heartbeats often enough for the shorter of the two.
"""

from __future__ import annotations

from .config import HEARTBEATS, LinkConfig

__all__ = ["Liveness"]

#: A peer's timeout counts as no shorter and no longer than this, in seconds: a forged one must
#: neither have us send heartbeats without end nor have us keep a link for ever.
SHORTEST, LONGEST = 1.0, 3_600.0


class Liveness:
    """When the peer was last heard, and when we last said something.

    Args:
        config: The link's numbers.
        now: The present time in seconds.

    Attributes:
        interval: How long this end may be silent, in seconds.
        longer: The longer of the two ends' peer timeouts, in seconds, as far as is known.
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
        """Note that something arrived from the peer."""
        self._heard_at = now

    def adapt(self, peer_timeout: float) -> None:
        """Note the peer timeout of the peer: after so long a silence it takes us for dead.

        Args:
            peer_timeout: The timeout in seconds. 0 where the peer does not tell it, as earlier
                releases do not: it counts as ours.
        """
        if peer_timeout == self._told:
            return
        self._told = peer_timeout
        own = self._config.peer_timeout
        # What is no number, or none that makes sense, passes for ours.
        theirs = peer_timeout if peer_timeout > 0 else own
        self.interval = min(own, max(theirs, min(own, SHORTEST))) / HEARTBEATS
        self.longer = max(own, min(theirs, LONGEST))

    def sent(self, now: float) -> None:
        """Note that something was sent to the peer."""
        self._sent_at = now

    def restart(self, now: float) -> None:
        """Begin to watch: the silence of a time without sessions does not count."""
        self._heard_at = self._sent_at = self._watched_at = now

    def watch(self, now: float) -> None:
        """Note that we are here to hear the peer; to be called at each deadline.

        Who was away himself (a blocked event loop, a stopped process, a publish that hung) knows
        nothing about the peer: what it has said meanwhile may wait to be read. So its silence
        counts from now.
        """
        if now >= self._watched_at + 2 * self._config.heartbeat_interval:
            self._heard_at = now
        self._watched_at = now

    def silence(self, now: float) -> float:
        """Return for how many seconds the peer has not been heard."""
        return now - self._heard_at

    def is_dead(self, now: float) -> bool:
        """Tell whether the peer has been silent for too long."""
        return now >= self._heard_at + self._config.peer_timeout

    def owes_heartbeat(self, now: float) -> bool:
        """Tell whether we have been silent for so long that the peer may begin to wonder."""
        return now >= self.heartbeat_at

    @property
    def heartbeat_at(self) -> float:
        """When a heartbeat is owed if nothing is sent until then."""
        return self._sent_at + self.interval

    @property
    def deadline(self) -> float:
        """The next time to watch, or at which one of the two answers may change."""
        return min(
            self._heard_at + self._config.peer_timeout,
            self._sent_at + self.interval,
            self._watched_at + self._config.heartbeat_interval,
        )
