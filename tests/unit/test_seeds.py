"""Tests for harness.seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import seeds
from harness.history import Json


@dataclass(frozen=True)
class Cell:
    variables: Mapping[str, Json]


def matrix(**axes: list[Json]) -> list[Cell]:
    return [Cell(dict(zip(axes, choice, strict=True))) for choice in product(*axes.values())]


def test_a_seed_that_was_asked_for_is_taken() -> None:
    """Also 0, which is one."""
    assert seeds.choose(0) == 0
    assert 0 <= seeds.choose(None) < 1_000_000


@given(st.integers(0, 1000))
def test_two_cells_show_every_value_of_axes_of_two(seed: int) -> None:
    """The second cell differs from the first in all that it can."""
    cells = matrix(nodes=[2, 3], sync=["async", "quorum"])
    first, second = seeds.spread(cells, 2, Random(seed))
    assert all(first.variables[axis] != second.variables[axis] for axis in ("nodes", "sync"))


@given(st.integers(0, 1000), st.integers(0, 12))
def test_a_sample_keeps_the_order_and_is_no_larger_than_asked(seed: int, most: int) -> None:
    """Of a few cells all are taken."""
    cells = matrix(by=["time", "lsn", "xid", "name", "latest"], across=["a", "b"])
    found = seeds.spread(cells, most, Random(seed))
    assert len(found) == min(most, 10)
    assert [cells.index(cell) for cell in found] == sorted(cells.index(cell) for cell in found)


@pytest.mark.parametrize("most", [1, 2])
def test_a_scenario_without_a_matrix_has_its_one_cell(most: int) -> None:
    """Its only cell has no choices at all."""
    assert seeds.spread([Cell({})], most, Random(1)) == [Cell({})]
