"""A portion of the payloads that have arrived at a worker, while its consumers go through them.

Consumers take turns in the event loop, one payload at a time, so the answers to what one client
has sent together would leave in batch after batch, and reach its socket one by one. A portion's
answers wait for each other: a few turns of the loop, never for a timer, and only as long as
consumers get on (L3.10). A payload that comes alone is no portion; its answer waits for nothing.
"""

from __future__ import annotations

__all__ = ["PORTION_SIZE", "Portion"]

#: The most payloads of a portion: those behind them wait until it is over, so that the first
#: answers do not wait for the last.
PORTION_SIZE = 200

#: The most turns that answers wait: enough for four payloads of one consumer of Channels, which
#: takes one in two turns.
MAX_TURNS = 8
#: The turns in a row in which nobody takes anything, after which they wait no longer: whoever is
#: left waits for something else than the event loop.
CALM_TURNS = 2
#: The time in seconds after which they do not wait for another turn, where turns are long.
MAX_TIME = 0.02


class Portion:
    """Payloads that consumers were given together.

    Args:
        payloads: How many there are.
        taken: How many payloads consumers have taken so far, of whichever portion.
        now: The present time in seconds.
    """

    __slots__ = ("_calm", "_ends_at", "_goal", "_taken", "_turns")

    def __init__(self, payloads: int, taken: int, now: float) -> None:
        self._goal = taken + payloads
        self._taken = taken
        self._turns = 0
        self._calm = 0
        self._ends_at = now + MAX_TIME

    def is_over(self, taken: int, now: float) -> bool:
        """Note that a turn of the event loop has passed.

        Args:
            taken: How many payloads consumers have taken so far.
            now: The present time in seconds.

        Returns:
            Whether its answers have waited long enough.
        """
        self._turns += 1
        self._calm = self._calm + 1 if taken == self._taken else 0
        self._taken = taken
        return (
            taken >= self._goal
            or self._turns == MAX_TURNS
            or self._calm == CALM_TURNS
            or now >= self._ends_at
        )
