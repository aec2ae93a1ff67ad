"""When sessions that end together are opened anew: not all of them at once (L2.9).

The opens of a dead worker's sessions would otherwise stand in the way of everybody else's payloads,
at all edges in the same moment. A few sessions are opened at once, and no session waits for long.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BURST", "JITTER", "LONGEST_WAIT", "RATE", "Pacer"]

#: So many sessions are opened anew at once.
BURST = 50
#: The others follow at this rate, in sessions a second: a part of what an edge can open.
RATE = 200.0
#: The longest turn that a session waits for, in seconds, however many there are.
LONGEST_WAIT = 5.0
#: By how much a session is early or late for its turn at most, in seconds.
JITTER = 0.25


class Pacer:
    """Spreads the opens of sessions that are opened anew by one process."""

    def __init__(self) -> None:
        # When all opens that were asked for have been sent, at RATE.
        self._done_at = 0.0

    def wait(self, now: float, uniform: Callable[[float, float], float]) -> float:
        """Return for how long the next session is to wait, in seconds.

        Args:
            now: The present time in seconds.
            uniform: Draws a random number between two others.
        """
        self._done_at = max(self._done_at, now) + 1 / RATE
        turn = self._done_at - now - BURST / RATE
        if turn > LONGEST_WAIT:
            # More than RATE allows: these are spread over the whole time.
            self._done_at = now + LONGEST_WAIT + BURST / RATE
            return uniform(0.0, LONGEST_WAIT)
        # Several edges that lose the same worker must not open in step.
        return max(0.0, turn + uniform(-JITTER, JITTER)) if turn > 0 else 0.0
