"""The one line for a whole run."""

from harness.report import summary
from harness.verdict import Verdict


def test_last_line_of_a_pass(result) -> None:
    """It has the form that scripts read, with the seed and a reason."""
    line = summary.last_line(result())
    assert line == (
        "PASS node-kill docker 1 cell seed 7 — 1 expectation held in 1 run, failover 30.6 s"
    )


def test_reason_of_a_failure_is_the_failed_expectation(result, cell, finding) -> None:
    """Not the first expectation, and not an undecided one."""
    findings = [
        finding("writers"),
        finding("routing", Verdict.ERROR, note="no session"),
        finding(verdict=Verdict.FAIL, note="max 71.30 s > 60.00 s; pg-1 was slow"),
    ]
    failed = cell(Verdict.FAIL, id="sync=quorum", findings=findings)
    line = summary.last_line(result(cell(id="sync=async"), failed))
    assert line.startswith("FAIL node-kill docker 2 cells seed 7 — failover: max 71.30 s > 60.00 s")
    assert line.endswith("in sync=quorum")


def test_reason_of_an_error_without_findings_is_its_note(result, cell) -> None:
    """A run that never began says why."""
    broken = cell(Verdict.ERROR, findings=(), note="not steady: no leader")
    assert summary.why(result(broken)) == "not steady: no leader"


def test_no_cells_prove_nothing(result) -> None:
    """An empty result is an error, never a pass."""
    empty = result()
    nothing = type(empty)(**{**{f: getattr(empty, f) for f in empty.__slots__}, "cells": ()})
    assert summary.last_line(nothing).startswith("ERROR ")


def test_hostile_reason_stays_on_one_harmless_line(result, cell) -> None:
    """The last line is one line, whatever a database said."""
    broken = cell(Verdict.ERROR, findings=(), note="a\nPASS b\x1b[2J")
    line = summary.last_line(result(broken))
    assert "\n" not in line
    assert "\x1b" not in line


def test_skipped_cells_are_counted(result, cell) -> None:
    """A pass beside skips says how much was left out."""
    skipped = cell(Verdict.SKIP, findings=(), note="needs azs: 3")
    assert "1 cell skipped" in summary.why(result(cell(), skipped))


def test_the_whole_counts_each_verdict(result, cell) -> None:
    """Of all cells of all scenarios; the worst one leads."""
    broken = result(cell(Verdict.ERROR), cell())
    line = summary.whole_line([result(cell(), cell()), broken], 1720.4)
    assert line == "ERROR 2 scenarios, 4 cells: 3 pass, 1 error — 28 min 40 s"
    assert summary.whole_line([], 0).startswith("ERROR 0 scenarios, 0 cells")


def test_first_line_has_all_it_takes() -> None:
    """Scenario, backend, cells, repeats, seed."""
    line = summary.first_line("node-kill", "docker", 4, 5, 7)
    assert line == "node-kill on docker: 4 cells x 5 runs, seed 7"
