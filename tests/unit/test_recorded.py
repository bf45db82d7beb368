"""Tests for harness.recorded: a run's folder judged once more, from nothing but its files."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import launch, loader
from harness.errors import ScenarioError
from harness.plan import Plan, plan
from harness.recorded import judge_again
from harness.result import CellResult, ScenarioResult
from harness.runner import judge_cell
from harness.verdict import Verdict

HISTORIES = Path(__file__).resolve().parents[1] / "histories"
SCENARIO = """\
scenario: two-writers
title: One primary at a time
steps:
  - sleep: 1s
expect:
  writers: {max: MAX}
"""


@dataclass
class Run:
    """A run's folder, filled by hand with a recorded history."""

    folder: Path
    history: str = "writers.pass.jsonl"
    most: int = 1
    note: str = ""

    def plan(self) -> Plan:
        path = self.folder.parent / "two-writers.yaml"
        path.write_text(SCENARIO.replace("MAX", str(self.most)))
        return plan(loader.load(path), "docker", seed=4)

    def leave(self) -> Plan:
        """Write what a run has written when it dies: its scenario and its clients' logs."""
        self.folder.mkdir()
        planned = self.plan()
        launch.keep_scenario(planned, self.folder)
        (self.folder / "clients").mkdir()
        shutil.copy(HISTORIES / self.history, self.folder / "clients" / "region.jsonl")
        return planned

    def finish(self) -> ScenarioResult:
        """Write what a run has written when it ends, judged."""
        planned = self.leave()
        history = self.folder / "history.jsonl"
        shutil.copy(HISTORIES / self.history, history)
        (cell,) = planned.cells
        result = ScenarioResult(
            scenario="two-writers",
            title="One primary at a time",
            file="two-writers.yaml",
            backend="docker",
            seed=4,
            started="now",
            cells=[judge_cell(cell, [history], self.note, 1.0)],
        )
        launch.write(result, self.folder)
        return result


def judged(result: ScenarioResult) -> CellResult:
    (cell,) = result.cells
    return cell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def test_a_run_judged_again_is_judged_alike(run: Run) -> None:
    """Verdict, findings and note are those of the run."""
    before = run.finish()
    after = judge_again(run.folder)
    assert after.verdict is before.verdict
    assert judged(after).note == judged(before).note
    assert [f.verdict for f in judged(after).findings] == [Verdict.PASS]


def test_a_breach_in_the_history_is_found_again(run: Run) -> None:
    """The history decides, not what the run said of it."""
    run.finish()
    shutil.copy(HISTORIES / "writers.fail.jsonl", run.folder / "history.jsonl")
    after = judge_again(run.folder)
    assert after.verdict is Verdict.FAIL
    assert [f.verdict for f in judged(after).findings] == [Verdict.FAIL]


def test_why_a_run_ended_early_stays_an_error(run: Run) -> None:
    """No history tells it, so it is taken from what the run said."""
    run.note = "run 1: pg-1 is gone"
    before = run.finish()
    after = judge_again(run.folder)
    assert judged(after).note == judged(before).note
    assert judged(after).note.startswith("run 1: pg-1 is gone")
    assert after.verdict is Verdict.ERROR


def test_a_run_that_died_is_judged_from_its_logs(run: Run) -> None:
    """A breach that it recorded is one; all else is an error."""
    run.leave()
    after = judge_again(run.folder)
    assert after.verdict is Verdict.ERROR
    assert "died before its verdict" in judged(after).note
    assert (run.folder / "history.jsonl").exists()


def test_a_breach_before_a_runs_death_is_a_breach(run: Run) -> None:
    """Nobody has to run it again to know."""
    run.history = "writers.fail.jsonl"
    run.leave()
    assert judge_again(run.folder).verdict is Verdict.FAIL


def test_the_scenario_of_the_run_is_held_not_todays(run: Run) -> None:
    """Whoever edits the file later does not change what the run proved."""
    run.finish()
    (run.folder.parent / "two-writers.yaml").write_text("nonsense")
    assert [f.verdict for f in judged(judge_again(run.folder)).findings] == [Verdict.PASS]


def test_what_is_no_runs_folder_is_refused(run: Run, tmp_path: Path) -> None:
    """Each thing that is missing is named."""
    with pytest.raises(ScenarioError, match=r"found none; expected the folder of a run"):
        judge_again(tmp_path)
    run.leave()
    shutil.rmtree(run.folder / "clients")
    with pytest.raises(ScenarioError, match="no client wrote anything in it"):
        judge_again(run.folder)


def test_a_result_that_does_not_fit_is_refused(run: Run) -> None:
    """A cell or a backend that the scenario beside it has not."""
    run.finish()
    path = run.folder / "result.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "backend": "dockr"}))
    with pytest.raises(ScenarioError, match=r"unknown backend 'dockr'.*did you mean docker"):
        judge_again(run.folder)
    cells = [{**document["cells"][0], "id": "nodes=9"}]
    path.write_text(json.dumps({**document, "cells": cells}))
    with pytest.raises(ScenarioError, match="cell 'nodes=9'; expected one of the scenario"):
        judge_again(run.folder)
