"""Tests for harness.covering: the law, and the matrices of the catalogue."""

from dataclasses import dataclass
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.covering import covering
from harness.history import Json


@dataclass(frozen=True)
class Cell:
    """A cell of a matrix whose axes are a, b, c ..."""

    choices: tuple[int, ...]

    @property
    def variables(self) -> dict[str, Json]:
        return dict(zip("abcdef", self.choices, strict=False))


def matrix(*sizes: int) -> list[Cell]:
    return [Cell(choices) for choices in product(*map(range, sizes))]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 4), st.data())
def test_each_combination_occurs(sizes: list[int], strength: int, data: st.DataObject) -> None:
    """In cells of the matrix, in their order, none of which could be left out unseen."""
    strength = min(strength, len(sizes))
    cells = matrix(*sizes)
    found = covering(cells, strength)
    assert list(found) == [cell for cell in cells if cell in found]
    for axes in combinations(range(len(sizes)), strength):
        occur = {tuple(cell.choices[axis] for axis in axes) for cell in found}
        assert occur == set(product(*(range(sizes[axis]) for axis in axes)))
    shuffled = data.draw(st.permutations(cells))
    assert len(covering(shuffled, strength)) <= len(cells)


@pytest.mark.parametrize(
    ("sizes", "strength", "count"),
    [((2, 2, 2, 2), 3, 8), ((5, 2), 1, 5), ((3, 2), 1, 3), ((2, 2), 2, 4)],
)
def test_as_few_as_there_could_be(sizes: tuple[int, ...], strength: int, count: int) -> None:
    """Of the shapes that the catalogue has."""
    assert len(covering(matrix(*sizes), strength)) == count


def test_all_axes_are_the_whole_matrix() -> None:
    """Each cell is a combination of its own."""
    assert list(covering(matrix(2, 3), 2)) == matrix(2, 3)
