"""Which cells of a matrix are enough for each combination of some of its axes to occur.

Most defects need one or two values to meet, hardly ever four: D. R. Kuhn, D. R. Wallace and
A. M. Gallo, "Software Fault Interactions and Implications for Software Testing" (2004), found 97 %
within any three of four systems' parameters.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol, TypeAlias, TypeVar

from harness.history import Json

Combination: TypeAlias = tuple[tuple[str, str], ...]


class Varied(Protocol):
    """One combination of a matrix: its choices by the names of the axes."""

    @property
    def variables(self) -> Mapping[str, Json]: ...


V = TypeVar("V", bound=Varied)


def covering(cells: Sequence[V], strength: int) -> Sequence[V]:
    """Return cells, in their order, in which each combination of so many axes' values occurs.

    Greedy, and always the same: the next is the first of those with the most new combinations. Not
    always the fewest that there are. O(c**2 * k) for c cells with k combinations each.

    Args:
        cells: all of a matrix.
        strength: how many axes' values are combined; 1 is each value of each axis.
    """
    left = {number: frozenset(combined(cell, strength)) for number, cell in enumerate(cells)}
    chosen: set[int] = set()
    while any(left.values()):
        best = max(left, key=lambda number: len(left[number]))
        chosen.add(best)
        shown = left[best]
        left = {number: new - shown for number, new in left.items() if number not in chosen}
    return [cell for number, cell in enumerate(cells) if number in chosen]


def combined(cell: Varied, strength: int) -> Iterator[Combination]:
    """Yield each combination of so many axes' values in a cell."""
    values = sorted((axis, repr(value)) for axis, value in cell.variables.items())
    yield from combinations(values, strength)
