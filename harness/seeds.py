"""The seed of a run: every random choice comes from it, and it is printed first and last."""

from collections.abc import Mapping, Sequence
from random import Random, SystemRandom
from typing import Protocol, TypeVar

from harness.history import Json

_SEEDS = 1_000_000  # few enough digits to be typed again


def choose(asked: int | None) -> int:
    """Return the seed that was asked for, or one that nobody could foresee."""
    return SystemRandom().randrange(_SEEDS) if asked is None else asked


class Varied(Protocol):
    """One combination of a matrix: its choices by the names of the axes."""

    @property
    def variables(self) -> Mapping[str, Json]: ...


V = TypeVar("V", bound=Varied)


def spread(cells: Sequence[V], most: int, random: Random) -> Sequence[V]:
    """Return at most so many cells, in their order, with as many values of each axis as can be.

    Greedy, in an order drawn by chance: the next is the one with the most new values.
    """
    left = random.sample(list(cells), len(cells))
    shown: set[tuple[str, str]] = set()
    chosen: list[V] = []
    while left and len(chosen) < most:
        best = max(left, key=lambda cell: len(_values(cell) - shown))
        left.remove(best)
        chosen.append(best)
        shown |= _values(best)
    return [cell for cell in cells if cell in chosen]


def _values(cell: Varied) -> set[tuple[str, str]]:
    return {(axis, repr(value)) for axis, value in cell.variables.items()}
