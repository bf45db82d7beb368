"""Tests for harness.apart: what is found in another process is what would be found here."""

import multiprocessing
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import launch
from harness.apart import apart
from harness.errors import Mistake, ScenarioError
from harness.plan import Cell
from harness.runner import judge_cell

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = [ROOT / "tests" / "histories" / "writers.fail.jsonl"]


@pytest.fixture(scope="module")
def cells() -> Sequence[Cell]:
    planned = launch.plans([ROOT / "scenarios"], backend="docker", seed=1)
    return [cell for one in planned for cell in one.cells]


def test_every_cell_can_be_sent(cells: Sequence[Cell]) -> None:
    """With all of its plug-ins, which are found by file."""
    assert pickle.loads(pickle.dumps(cells)) == cells


def test_the_same_is_found_there_and_when_nobody_is_left(cells: Sequence[Cell]) -> None:
    """A process that was killed loses no verdict."""
    cell = next(cell for cell in cells if cell.id == "nodes=3-sync=quorum")
    expected = judge_cell(cell, HISTORIES, "ended early", 1.0)
    assert expected.findings
    with apart() as there:
        assert there(judge_cell, cell, HISTORIES, "ended early", 1.0) == expected
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()
        assert there(judge_cell, cell, HISTORIES, "ended early", 1.0) == expected


def test_a_history_that_cannot_be_read_is_told_as_it_would_be_here(
    cells: Sequence[Cell], tmp_path: Path
) -> None:
    """All mistakes, with their places."""
    broken = tmp_path / "history.jsonl"
    broken.write_text("no JSON\n")
    with apart() as there, pytest.raises(ScenarioError) as caught:
        there(judge_cell, cells[0], [broken], "", 1.0)
    assert [type(one) for one in caught.value.mistakes] == [Mistake]
    assert f"{broken}:1:" in str(caught.value)
