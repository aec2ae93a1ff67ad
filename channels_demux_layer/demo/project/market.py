"""A market that every process computes alike from the clock.

So a stream of prices that moves to another worker goes on where it was.
"""

import math
import random

OPENING_PRICES = {"Apples": 132.0, "Bread": 64.0, "Cocoa": 284.0, "Dates": 96.0}
"""The goods, and the prices that theirs wander about."""
SWINGS = ((90.0, 0.07), (17.0, 0.03), (3.0, 0.009))
"""How prices wander, from slow to fast: seconds from turn to turn, and the part of the price."""


def prices_at(now: float) -> dict[str, float]:
    """Look up all prices.

    Args:
        now: The time, in seconds.

    Returns:
        The price of each of the goods, in whole cents.
    """
    return {name: _price(name, opening, now) for name, opening in OPENING_PRICES.items()}


def _price(name: str, opening: float, now: float) -> float:
    swing = sum(
        part * _wander(f"{name} {length}", now / length + index / 3)
        for index, (length, part) in enumerate(SWINGS)
    )
    return round(opening * (1 + swing), 2)


def _wander(seed: str, position: float) -> float:
    """Give a smooth curve's height, -1 to 1: it passes a random one at each whole position."""
    before = math.floor(position)
    left, right = (random.Random(f"{seed} {at}").uniform(-1, 1) for at in (before, before + 1))
    way = (1 - math.cos(math.pi * (position - before))) / 2
    return left + (right - left) * way
