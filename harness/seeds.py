"""The seed of a run: every random choice comes from it, and it is printed first and last."""

from collections.abc import Sequence
from random import Random, SystemRandom
from typing import TypeVar

from harness.covering import Combination, Varied, combined

V = TypeVar("V", bound=Varied)

_SEEDS = 1_000_000  # few enough digits to be typed again


def choose(asked: int | None) -> int:
    """Return the seed that was asked for, or one that nobody could foresee."""
    return SystemRandom().randrange(_SEEDS) if asked is None else asked


def spread(cells: Sequence[V], most: int, random: Random) -> Sequence[V]:
    """Return at most so many cells, in their order, with as many values of each axis as can be.

    Greedy, in an order drawn by chance: the next is the one with the most new values.
    """
    left = random.sample(list(cells), len(cells))
    shown: set[Combination] = set()
    chosen: list[V] = []
    while left and len(chosen) < most:
        best = max(left, key=lambda cell: len(set(combined(cell, 1)) - shown))
        left.remove(best)
        chosen.append(best)
        shown |= set(combined(best, 1))
    return [cell for cell in cells if cell in chosen]
