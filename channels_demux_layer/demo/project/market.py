"""A market whose prices depend only on the clock, so that all processes compute the same ones.

A stream of prices that moves to another worker continues without a jump.
"""

import math
import random

OPENING_PRICES = {"Apples": 132.0, "Bread": 64.0, "Cocoa": 284.0, "Dates": 96.0}
"""The goods and their base prices."""
SWINGS = ((90.0, 0.07), (17.0, 0.03), (3.0, 0.009))
"""Three swings of a price: the period in seconds, and the amplitude as a fraction of the price."""


def prices_at(now: float) -> dict[str, float]:
    """Return the price of each of the goods, rounded to two decimals.

    Args:
        now: The time, in seconds.
    """
    return {name: _price(name, opening, now) for name, opening in OPENING_PRICES.items()}


def _price(name: str, opening: float, now: float) -> float:
    swing = sum(
        part * _wander(f"{name} {length}", now / length + index / 3)
        for index, (length, part) in enumerate(SWINGS)
    )
    return round(opening * (1 + swing), 2)


def _wander(seed: str, position: float) -> float:
    """Return the height, -1 to 1, of a smooth curve with a random value at each whole position."""
    before = math.floor(position)
    left, right = (random.Random(f"{seed} {at}").uniform(-1, 1) for at in (before, before + 1))
    way = (1 - math.cos(math.pi * (position - before))) / 2
    return left + (right - left) * way
