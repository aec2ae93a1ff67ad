"""Whether the peer is alive, and whether it must be told that we are (L3.7).

Only links that carry sessions are watched: a link without any is silent, and is forgotten
after a while.
"""

from __future__ import annotations

from .config import LinkConfig

__all__ = ["Liveness"]


class Liveness:
    """When the peer was last heard, and when we last said something.

    Args:
        config: The link's numbers.
        now: The present time in seconds.
    """

    def __init__(self, config: LinkConfig, now: float) -> None:
        self._config = config
        self._heard_at = now
        self._sent_at = now
        self._watched_at = now

    def heard(self, now: float) -> None:
        """Note that something arrived from the peer."""
        self._heard_at = now

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
        return now >= self._sent_at + self._config.heartbeat_interval

    @property
    def deadline(self) -> float:
        """The next time to watch, or at which one of the two answers may change."""
        return min(
            self._heard_at + self._config.peer_timeout,
            min(self._sent_at, self._watched_at) + self._config.heartbeat_interval,
        )
