"""What a terminal, or a log, shows of a run."""

from dataclasses import replace
from io import StringIO

import pytest

from harness.plan import Plan
from harness.report.terminal import Screen, Terminal, plain_cell
from harness.scenario import Scenario, Step
from harness.verdict import Verdict


@pytest.fixture
def plan() -> Plan:
    step = Step(verb="sleep", parameters="1s")
    scenario = Scenario(
        name="node-kill", title="Power is lost", steps=(step,), expect={"writers": {"max": 1}}
    )
    return Plan(scenario=scenario, backend="docker", cells=(), repeat=1, seed=7, timeout_s=600)


class _Screen(StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _run(screen: StringIO, plan: Plan, result, **more) -> str:
    terminal = Terminal(screen, **more)
    terminal.scenario_begins(plan)
    terminal.cell_begins("nodes=3", 1, 2)
    terminal.says("nodes=3", -3.2, "phase: steady")
    terminal.says("nodes=3", 0.1, "kill leader: done on pg-1\x1b[31m")
    terminal.says("nodes=3", 30.5, "s3cret")
    terminal.cell_ends(result.cells[0])
    terminal.scenario_ends(result)
    return screen.getvalue()


def test_a_log_has_a_line_an_event(plan, result) -> None:
    """Without a terminal: plain lines, in order, with the scenario's clock."""
    lines = _run(StringIO(), plan, result()).splitlines()
    assert lines[0] == "node-kill on docker: 0 cells, seed 7"
    assert lines[2] == "nodes=3 run 1 of 2"
    assert lines[3].split() == ["nodes=3", "phase:", "steady"]
    assert lines[4].split()[:4] == ["nodes=3", "T+0.1", "kill", "leader:"]
    assert "✓ pass nodes=3-sync=quorum" in lines[6]


def test_no_escape_sequence_reaches_a_log(plan, result) -> None:
    """Neither ours nor anybody else's."""
    assert "\x1b" not in _run(StringIO(), plan, result())


def test_others_escape_sequences_do_not_reach_a_terminal(plan, result, monkeypatch) -> None:
    """Our own colours do; what a node said is shown as text."""
    monkeypatch.setenv("TERM", "xterm")
    shown = _run(_Screen(), plan, result())
    assert "\x1b[31mred" not in shown
    assert "kill leader: done on pg-1\x1b" not in shown


def test_secrets_are_hidden(plan, result, cell) -> None:
    """In events and in results."""
    broken = result(cell(Verdict.ERROR, findings=(), note="no s3cret here"))
    shown = _run(StringIO(), plan, broken, secrets=["s3cret"])
    assert "s3cret" not in shown
    assert "no *** here" in shown


def test_a_cell_shows_value_bound_and_parts(cell, finding) -> None:
    """A pass is one line an expectation, and its pieces."""
    parts = [{"detect": 24.1, "elect": 0.3, "promote": 1.0}]
    lines = plain_cell(cell(findings=[finding(values=(25.4,), parts=parts)])).splitlines()
    assert lines[1].split("  ")[1:] == ["✓ failover", "  25.4 s", "max 40.00 s"] or (
        "✓ failover" in lines[1] and "25.4 s" in lines[1] and "max 40.00 s" in lines[1]
    )
    assert lines[2].strip() == "detect 24.1 + elect 0.3 + promote 1.0 s"


def test_a_failure_comes_first_and_says_why(cell, finding) -> None:
    """The gravest expectation leads; each clause of its note is a line."""
    bad = finding("writers", Verdict.FAIL, (2.0,), unit="count", note="max 2 > 1; pg-1 at 31 s")
    lines = plain_cell(cell(Verdict.FAIL, findings=[finding(), bad])).splitlines()
    assert lines[0] == "✗ fail nodes=3-sync=quorum"
    assert lines[1].startswith("  ✗ writers")
    assert [line.strip() for line in lines[2:4]] == ["max 2 > 1", "pg-1 at 31 s"]
    assert lines[4].startswith("  ✓ failover")


def test_repeats_have_a_sparkline(cell, finding) -> None:
    """Five runs or more show their distribution."""
    shown = plain_cell(cell(repeats=5, findings=[finding(values=(20.0, 20.0, 20.5, 21.0, 36.0))]))
    assert "█▃·············▃   20.0 s … 36.0 s" in shown


def test_the_live_line_moves_on_between_events(plan, monkeypatch) -> None:
    """On a terminal the clock of a running cell is its last event's plus the time since."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(_Screen())
    terminal.scenario_begins(plan)
    try:
        terminal.says("nodes=3", 2.0, "kill leader")
        seen = terminal._running["nodes=3"]
        terminal._running["nodes=3"] = replace(seen, said_ns=seen.said_ns - 5_000_000_000)
        clock = terminal._running["nodes=3"].clock_s
        assert clock is not None
        assert 7.0 <= clock < 8.0
    finally:
        terminal.close()
        terminal.close()


def test_scenarios_side_by_side_share_the_screen(plan, monkeypatch) -> None:
    """One table of live lines, each with its scenario; the last one that ends takes it away."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(_Screen(), shared=True)
    first, second = Terminal(screen), Terminal(screen)
    other = replace(plan, scenario=plan.scenario.model_copy(update={"name": "other"}))
    try:
        first.scenario_begins(plan)
        second.scenario_begins(other)
        first.says("nodes=3", 2.0, "kill leader")
        second.says("nodes=3", 2.0, "kill leader")
        names = [str(row[0]) for shown in (first, second) for row in shown.rows()]
        assert names == ["node-kill[nodes=3]", "other[nodes=3]"]
        second.close()
        assert screen.is_live
    finally:
        first.close()
        second.close()
    assert not screen.is_live


def test_brackets_are_no_markup(cell) -> None:
    """Brackets are part of names here, not styles."""
    shown = plain_cell(cell(Verdict.ERROR, findings=(), note="[bold]x[/] [link=file:///]"))
    assert "[bold]x[/] [link=file:///]" in shown
