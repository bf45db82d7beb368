"""The command line's contract: exit codes, first and last lines, `--json`, and its sentences."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from harness import apart, budget, cli, launch, seeds
from harness.budget import Cost, Room
from harness.clock import WallClock
from harness.errors import DriverError
from harness.plan import Plan
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = """\
scenario: {name}
title: The primary's machine loses power
matrix: {{cluster.nodes: [2, 3]}}
workload: {{append: {{through: primary-elb}}}}
steps:
  - kill: {{role: leader, how: power-off}}
    as: crash
  - wait: {{until: new-leader, timeout: 90s}}
expect:
  writers: {{max: 1}}
  failover: {{since: crash, max: 40s}}
"""


@pytest.fixture
def scenario(tmp_path, monkeypatch) -> str:
    """A scenario file in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node-kill.yaml").write_text(SCENARIO.format(name="node-kill"))
    return "node-kill.yaml"


def _result(plan: Plan, verdict: Verdict, note: str = "") -> ScenarioResult:
    finding = Finding("writers", verdict, "max 1", "count", (1.0,), "max 1 <= 1")
    cells = [
        CellResult(c.id, verdict, 1, () if note else (finding,), note=note) for c in plan.cells
    ]
    return ScenarioResult(
        scenario=plan.scenario.name,
        title=plan.scenario.title,
        file=plan.scenario.file,
        backend=plan.backend,
        seed=plan.seed,
        started="2026-11-23T09:00:00.000+00:00",
        cells=cells,
        replay=f"./drill run {plan.scenario.file} --seed {plan.seed}",
    )


@pytest.fixture
def runs(monkeypatch):
    """Let plans end with a given verdict instead of running them; return how each was called."""
    called = []

    def end_with(verdict: Verdict, note: str = "") -> list[dict[str, object]]:
        def run(plan, *, out, clock, listener, slots, keep, where) -> ScenarioResult:
            called.append(
                {
                    "plan": plan,
                    "out": out,
                    "jobs": slots._initial_value,
                    "keep": keep,
                    "clock": clock,
                    "where": where,
                }
            )
            listener.scenario_begins(plan)
            result = _result(plan, verdict, note)
            for one in result.cells:
                listener.cell_ends(one)
            listener.scenario_ends(result)
            return result

        monkeypatch.setattr(launch, "run", run)
        return called

    return end_with


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.ERROR, 3), (Verdict.SKIP, 3)],
)
def test_exit_code_and_last_line_tell_the_verdict(verdict, code, scenario, runs, capsys) -> None:
    """The first and the last line carry the seed; skips alone prove nothing."""
    runs(verdict, "why" if verdict is not Verdict.PASS else "")
    assert cli.main(["run", scenario, "--backend", "docker", "--seed", "7"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "node-kill on docker: 2 cells, seed 7"
    assert lines[-1].startswith(f"{verdict.upper()} node-kill docker 2 cells seed 7 — ")


def test_a_failing_run_ends_with_its_replay(scenario, runs, capsys) -> None:
    """The command that repeats it stands just before the verdict."""
    runs(Verdict.FAIL)
    cli.main(["run", scenario, "--backend", "docker", "--seed", "7"])
    assert capsys.readouterr().out.splitlines()[-2] == "again: ./drill run node-kill.yaml --seed 7"


def test_a_session_of_skips_says_that_it_proved_nothing(scenario, runs, capsys) -> None:
    """Green would claim what nobody has seen."""
    runs(Verdict.SKIP, "needs azs: 3")
    cli.main(["run", scenario, "--backend", "docker"])
    assert "proved nothing" in capsys.readouterr().out


def test_a_run_leaves_its_folder(scenario, runs, tmp_path) -> None:
    """By default below `runs`, named by scenario and seed."""
    runs(Verdict.PASS)
    cli.main(["run", scenario, "--backend", "docker", "--seed", "7"])
    folder = tmp_path / "runs" / "node-kill-7"
    reports = ["index.html", "junit.xml", "node-kill.yaml", "result.json"]
    assert sorted(p.name for p in folder.iterdir()) == reports


def test_options_reach_the_runner(scenario, runs, tmp_path) -> None:
    """Cell, repeat, jobs, keep and the folder are handed on."""
    called = runs(Verdict.PASS)
    words = ["--cell", "nodes=3", "--repeat", "4", "--jobs", "2", "--keep", "--out", "here"]
    assert cli.main(["run", scenario, "--backend", "docker", *words]) == 0
    (call,) = called
    assert [cell.id for cell in call["plan"].cells] == ["nodes=3"]
    assert (call["plan"].repeat, call["jobs"], call["keep"]) == (4, 2, True)
    assert call["where"] is not apart.here  # beside other cells no verdict takes the clock's time
    assert call["out"] == Path("here")
    assert (tmp_path / "here" / "result.json").exists()


def test_several_scenarios_share_a_seed_and_keep_apart(scenario, runs, tmp_path, capsys) -> None:
    """Each has a folder of its own, and its own last line; the worst verdict decides."""
    (tmp_path / "other.yaml").write_text(SCENARIO.format(name="other"))
    called = runs(Verdict.PASS)
    cli.main(["run", scenario, "other.yaml", "--backend", "docker", "--out", "all", "--json"])
    assert [call["out"] for call in called] == [Path("all/node-kill"), Path("all/other")]
    assert len({call["plan"].seed for call in called}) == 1
    output = capsys.readouterr()
    assert [one["scenario"] for one in json.loads(output.out)] == ["node-kill", "other"]
    *_, last, whole = output.err.splitlines()
    assert last.startswith("PASS other docker")
    assert whole.startswith("PASS 2 scenarios, 4 cells: 4 pass — 0 min ")


def test_cells_of_several_files_share_the_jobs(scenario, tmp_path, monkeypatch, capsys) -> None:
    """No file waits for the end of the one before; each line says whose it is."""
    (tmp_path / "other.yaml").write_text(SCENARIO.format(name="other"))
    meet = threading.Barrier(2, timeout=10)

    def run(plan, *, listener, slots, **_) -> ScenarioResult:
        listener.scenario_begins(plan)
        with slots:
            meet.wait()
            listener.says("nodes=3", 1.0, "kill")
        return _result(plan, Verdict.PASS)

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "other.yaml", "--backend", "docker", "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line.endswith("kill")} == {
        "node-kill[nodes=3]",
        "other[nodes=3]",
    }


def test_a_bug_in_one_scenario_ends_the_others(scenario, tmp_path, monkeypatch, capsys) -> None:
    """They heal, and come to their end, before the bug is told."""
    (tmp_path / "other.yaml").write_text(SCENARIO.format(name="other"))
    ended = []

    def run(plan, *, clock, slots, **_) -> ScenarioResult:
        with slots:
            if plan.scenario.name == "other":
                raise ZeroDivisionError
            with suppress(DriverError):
                clock.sleep(10)
        ended.append(plan.scenario.name)
        return _result(plan, Verdict.ERROR, "aborted")

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "other.yaml", "--backend", "docker", "--jobs", "2"]) == 4
    assert ended == ["node-kill"]
    assert "a bug in the harness" in capsys.readouterr().err


def test_json_alone_is_on_stdout(scenario, runs, capsys) -> None:
    """Progress and the last line go to stderr; `--json` may also stand first."""
    runs(Verdict.PASS)
    assert cli.main(["--json", "run", scenario, "--backend", "docker", "--seed", "7"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["verdict"] == "pass"
    assert output.err.splitlines()[-1].startswith("PASS ")


def test_secrets_are_hidden_on_every_way_out(scenario, tmp_path, runs, monkeypatch, capsys) -> None:
    """Terminal, reports and JSON show `***`."""
    monkeypatch.setenv("DRILL_TEST_SECRET", "s3cret")
    text = SCENARIO.format(name="node-kill")
    step = "  - sql: {role: leader, run: \"SELECT '${env:DRILL_TEST_SECRET}'\"}\n"
    (tmp_path / scenario).write_text(text.replace("steps:\n", f"steps:\n{step}"))
    runs(Verdict.ERROR, "SELECT 's3cret' failed")
    assert cli.main(["run", scenario, "--backend", "docker", "--json"]) == 3
    cli.main(["plan", scenario])
    output = capsys.readouterr()
    written = "".join(p.read_text() for p in (tmp_path / "runs").rglob("*.*") if p.is_file())
    assert "s3cret" not in output.out + output.err + written
    assert "***" in output.out


def test_plan_starts_nothing_and_shows_the_steps(scenario, runs, capsys) -> None:
    """Cells, steps, names and bounds; no engine is asked for."""
    called = runs(Verdict.PASS)
    assert cli.main(["plan", scenario]) == 0
    shown = capsys.readouterr().out
    assert not called
    assert "nodes=2: 2 nodes in a, b, c; etcd; async" in shown
    assert "T+0  kill leader (power-off) as crash" in shown
    assert "expect  failover max 40.0 s" in shown
    assert cli.main(["plan", scenario, "--json"]) == 0
    assert [c["id"] for c in json.loads(capsys.readouterr().out)["cells"]] == ["nodes=2", "nodes=3"]


def test_every_mistake_has_a_line(scenario, tmp_path, capsys) -> None:
    """Of all files, each with its place; nothing starts."""
    (tmp_path / "bad.yaml").write_text("scenario: bad\ntitel: x\nsteps: []\n")
    assert cli.main(["run", scenario, "bad.yaml", "--backend", "docker"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("bad.yaml:") for line in lines)
    assert any("did you mean title" in line for line in lines)
    assert not (tmp_path / "runs").exists()


def test_validate_says_so_in_json(scenario, tmp_path, capsys) -> None:
    """Editors and CI read places, not sentences."""
    assert cli.main(["validate", scenario, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    (tmp_path / "bad.yaml").write_text("scenario: bad\n")
    assert cli.main(["validate", "bad.yaml", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["valid"] is False
    assert {"file", "line", "column", "text"} == set(document["mistakes"][0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rnu"], "found the command 'rnu'"),
        (["rnu"], "did you mean 'run'?"),
        (["run", "--sed", "3", "x.yaml"], "did you mean '--seed'?"),
        (["run"], "missing argument 'PATH...'"),
        (["run", "x.yaml", "--backend", "dcker"], "'dcker' is not one of 'sim', 'docker', 'aws'"),
        (["run", "x.yaml", "--repeat", "0"], "--repeat"),
        (["run", "x.yaml", "--seed", "a"], "--seed"),
        (["image", "biuld"], "biuld"),
        (["run", "gone.yaml", "--backend", "docker"], "gone.yaml: no such file"),
        (["report", "gone"], "gone/result.json: No such file"),
        ([], ""),
    ],
)
def test_a_wrong_command_line_is_the_users_mistake(words, sentence, capsys) -> None:
    """Exit 2, one sentence, no traceback."""
    assert cli.main(words) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) <= 1


def test_unknown_cell_is_the_users_mistake(scenario, capsys) -> None:
    """It names those that exist."""
    assert cli.main(["run", scenario, "--backend", "docker", "--cell", "nodes=4"]) == 2
    assert "nodes=2" in capsys.readouterr().err


def test_no_backend_is_an_error(scenario, monkeypatch, capsys) -> None:
    """Nothing was proved: exit 3 and a sentence."""
    monkeypatch.setattr("harness.drivers.available", tuple)
    assert cli.main(["run", scenario]) == 3
    assert "no backend available" in capsys.readouterr().err


def test_the_worlds_refusal_is_an_error(scenario, monkeypatch, capsys) -> None:
    """A DriverError that reaches the top is exit 3 and its own sentence."""

    def run(*_, **__) -> None:
        raise DriverError("the engine\x1b[2J is full")

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "--backend", "docker", "--json"]) == 3
    output = capsys.readouterr()
    assert json.loads(output.out) == {"exit": 3, "error": "the engine\x1b[2J is full"}
    assert "drill: the engine\\x1b[2J is full\n" in output.err


def test_a_bug_is_told_in_a_line_and_kept_in_a_file(scenario, monkeypatch, capsys) -> None:
    """The traceback lies in the run's folder; DRILL_TRACEBACK=1 shows it."""

    def run(*_, **__) -> None:
        raise AssertionError("two masters")

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "--backend", "docker", "--out", "here"]) == 4
    shown = capsys.readouterr().err
    assert "a bug in the harness, please report: AssertionError: two masters" in shown
    assert "Traceback" not in shown
    assert "Traceback" in Path("here/bug.txt").read_text()
    monkeypatch.setenv("DRILL_TRACEBACK", "1")
    assert cli.main(["run", scenario, "--backend", "docker"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_before_any_run_is_kept_too(monkeypatch, capsys, tmp_path) -> None:
    """Without a folder of a run, the traceback goes where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(launch, "draw", lambda *_: 1 / 0)
    monkeypatch.setattr("harness.report.result_json.load", lambda _: None)
    assert cli.main(["report", "x"]) == 4
    (saved,) = tmp_path.glob("drill-bug-*.txt")
    assert str(saved) in capsys.readouterr().err
    assert "ZeroDivisionError" in saved.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_aborts_and_heals(number, scenario, monkeypatch, capfd) -> None:
    """The clock is aborted, the runner returns by itself, and the exit code is 3."""
    before = signal.getsignal(number)

    def run(plan, *, clock, **_) -> ScenarioResult:
        os.kill(os.getpid(), number)
        with pytest.raises(DriverError, match="aborted"):
            clock.sleep(5)
        return _result(plan, Verdict.ERROR, "aborted")

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "--backend", "docker"]) == 3
    output = capfd.readouterr()
    assert "healing; press again to stop at once (then: ./drill heal && ./drill reap)" in output.err
    assert output.out.splitlines()[-1].startswith("ERROR node-kill docker 2 cells seed ")
    assert output.out.splitlines()[-1].endswith(" — aborted")
    assert signal.getsignal(number) is before


def test_the_second_signal_stops_at_once(scenario, monkeypatch, capfd) -> None:
    """Whoever cannot wait for the healing is told what is left to do."""

    def run(*_, clock, **__) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(DriverError, match="aborted"):
            clock.sleep(5)
        os.kill(os.getpid(), signal.SIGINT)
        WallClock().sleep(5)

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "--backend", "docker"]) == 3
    assert "./drill heal && ./drill reap" in capfd.readouterr().err


def test_an_aborted_scenario_is_the_last(scenario, tmp_path, monkeypatch) -> None:
    """The others are not started any more."""
    (tmp_path / "other.yaml").write_text(SCENARIO.format(name="other"))
    started = []

    def run(plan, **_) -> ScenarioResult:
        started.append(plan.scenario.name)
        os.kill(os.getpid(), signal.SIGTERM)
        return _result(plan, Verdict.ERROR, "aborted")

    monkeypatch.setattr(launch, "run", run)
    assert cli.main(["run", scenario, "other.yaml", "--backend", "docker"]) == 3
    assert started == ["node-kill"]


def test_report_draws_again(scenario, runs, tmp_path, capsys) -> None:
    """Page and JUnit are made anew from the data alone."""
    runs(Verdict.PASS)
    cli.main(["run", scenario, "--backend", "docker", "--out", "here"])
    page = (tmp_path / "here" / "index.html").read_text()
    (tmp_path / "here" / "index.html").unlink()
    capsys.readouterr()
    assert cli.main(["report", "here"]) == 0
    assert capsys.readouterr().out.split() == ["here/junit.xml", "here/index.html"]
    assert (tmp_path / "here" / "index.html").read_text() == page


def test_schema_is_json(capsys) -> None:
    """For editors: it knows the verbs."""
    assert cli.main(["schema"]) == 0
    assert "kill" in json.dumps(json.loads(capsys.readouterr().out))


def test_commands_are_known_by_name() -> None:
    """Documents are held against this list."""
    known = {"run", "plan", "validate", "schema", "report", "heal", "reap", "test", "image"}
    assert known <= set(cli.command_names())


def test_help_is_fast_and_loads_no_engine() -> None:
    """Neither a Docker client nor a model is imported to say what there is."""
    code = (
        "import sys; from harness.cli import main; main(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('docker', 'pydantic', 'jinja2', 'psycopg2')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "validate" in done.stdout


def test_a_closed_pipe_is_no_bug() -> None:
    """`./drill schema | head -1` ends in silence."""
    command = f"{sys.executable} -m harness schema | head -1"
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_seeds_differ_and_are_short() -> None:
    """A seed is typed again by people."""
    assert seeds.choose(0) == 0
    drawn = {seeds.choose(None) for _ in range(20)}
    assert len(drawn) > 1
    assert all(0 <= seed < 1_000_000 for seed in drawn)


def test_worst_verdict_decides() -> None:
    """Fail over error over pass; nothing at all is an error."""
    assert cli.exit_code([Verdict.PASS, Verdict.SKIP]) == 0
    assert cli.exit_code([Verdict.PASS, Verdict.ERROR]) == 3
    assert cli.exit_code([Verdict.ERROR, Verdict.FAIL]) == 1
    assert cli.exit_code([]) == 3


@pytest.fixture
def session(monkeypatch):
    """Let pytest's own session end with a given code; return what it was asked."""
    asked = []

    def end_with(code: int, report: str = "<testsuites/>"):
        def run_pytest(_root: Path, words: list[str]) -> int:
            asked.append(list(words))
            for word in words:
                if word.startswith("--junitxml="):
                    Path(word.removeprefix("--junitxml=")).write_text(report, encoding="utf-8")
            return code

        monkeypatch.setattr(cli, "_pytest", run_pytest)
        return asked

    return end_with


@pytest.mark.parametrize(("code", "mapped"), [(0, 0), (1, 1), (2, 3), (3, 3), (4, 2), (5, 3)])
def test_pytests_codes_become_ours(code, mapped, session) -> None:
    """No tests, or a session that was stopped, prove nothing."""
    session(code)
    assert cli.main(["test"]) == mapped


def test_test_hands_arguments_on(session) -> None:
    """What is not ours is pytest's; a named file replaces the whole of the tests."""
    asked = session(0)
    cli.main(["test", "-k", "unit", "-x"])
    assert asked[-1][:3] == ["-k", "unit", "-x"]
    assert str(ROOT / "tests") in asked[-1]
    cli.main(["test", f"{__file__}::test_x", "--json"])
    assert str(ROOT / "tests") not in asked[-1]
    assert "--json" in asked[-1]


def test_mutants_are_counted_last(session, capsys) -> None:
    """A test of a planted defect passes when the defect is caught; a skip catches nothing.

    One of a control passes when nothing is found.
    """
    control = '<properties><property name="control" value="clean"/></properties>'
    report = (
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"/>'
        '<testcase name="c"><failure message="not caught"/></testcase>'
        '<testcase name="d"><skipped message="no engine"/></testcase>'
        f'<testcase name="e">{control}</testcase>'
        f'<testcase name="f">{control}<error message="broke"/></testcase></testsuite></testsuites>'
    )
    asked = session(1, report)
    assert cli.main(["test", "--mutants"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "mutants: 2/4 caught, controls: 1/2 clean"
    assert str(ROOT / "tests") not in asked[-1]


def test_mutants_that_never_ran_are_none(session, capsys) -> None:
    """Without a report there is nothing to count."""
    session(3)
    assert cli.main(["test", "--mutants"]) == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "mutants: 0/0 caught, controls: 0/0 clean"


def test_as_many_at_a_time_as_there_is_room_for_unless_told(session, monkeypatch) -> None:
    """Two cores take four clusters, or two beside busy tests; whoever says -n decides."""
    monkeypatch.setattr(budget, "machine", lambda: Room(Cost(2000, 8000), 8000))
    asked = session(0)
    cli.main(["test"])
    assert asked[-1][-4:] == ["-n", "2", "--dist", "worksteal"]
    cli.main(["test", "--mutants"])
    assert asked[-1][asked[-1].index("-n") + 1] == "4"
    cli.main(["test", "-n0"])
    assert "worksteal" not in asked[-1]


def test_plan_result_shapes_are_real(scenario) -> None:
    """What these tests hand to the command line is what the runner hands to it."""
    (plan,) = launch.plans([Path(scenario)], backend="docker", seed=7)
    assert replace(_result(plan, Verdict.PASS), seed=8).verdict is Verdict.PASS


# --- judging histories -------------------------------------------------------------------------


def _history(path: Path, *read: int) -> str:
    """Write a history in which 1 was acknowledged, and the last read shows these."""
    events = [
        {"process": 0, "type": "invoke", "f": "add", "value": 1},
        {"process": 0, "type": "ok", "f": "add", "value": 1},
        {"process": 1, "type": "invoke", "f": "read", "value": None},
        {"process": 1, "type": "ok", "f": "read", "value": [*read]},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return str(path)


@pytest.mark.parametrize(
    ("read", "code", "word"), [([1], 0, "PASS"), ([], 1, "FAIL"), ([1, 2], 1, "FAIL")]
)
def test_a_history_is_judged(tmp_path, capsys, read, code, word) -> None:
    """The exit code and the last line say it."""
    path = _history(tmp_path / "history.jsonl", *read)
    assert cli.main(["check", path, "--checker", "set"]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{word} {path} set \N{EM DASH} ")


def test_a_history_that_shows_nothing_is_an_error(tmp_path, capsys) -> None:
    """Nobody read the set, so nothing can be said; JSON says it, too."""
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"process": 0, "type": "invoke", "f": "add", "value": 1}) + "\n")
    assert cli.main(["check", str(path), "--checker", "set", "--json"]) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["valid"] == "unknown"


def test_cases_are_answered_in_their_order(tmp_path, capsys) -> None:
    """0 when each was judged, whatever the answers; 2 when one could not be read."""
    good, bad = _history(tmp_path / "good", 1), _history(tmp_path / "bad")
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(f'{{"file": "{p}", "check": "set"}}\n' for p in (good, bad)))
    assert cli.main(["check", "--cases", str(cases)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["file"], one["valid"]) for one in answers] == [(good, True), (bad, False)]
    Path(bad).write_text("nonsense\n")
    assert cli.main(["check", "--cases", str(cases)]) == 2
    told = capsys.readouterr()
    assert [json.loads(line)["valid"] for line in told.out.splitlines()] == [True, "unknown"]
    assert f"{bad}:1:1: 'nonsense'" in told.err


def test_what_drill_check_cannot_take_is_said(tmp_path, capsys) -> None:
    """Exit 2, with what was found and what was expected."""
    path = _history(tmp_path / "history.jsonl", 1)
    for words, said in (
        ([], "nothing to judge"),
        ([path], "a file, and no --checker; expected --checker with one of bank, elle"),
        ([path, "--checker", "sett"], "unknown check 'sett'; expected one of"),
        ([path, "--checker", "bank"], "accounts: missing"),
        ([path, "--checker", "elle", "--model", "list"], "found 'list'"),
        ([f"{path}x", "--checker", "set"], "no such file; expected a history"),
    ):
        assert cli.main(["check", *words]) == 2
        assert said in capsys.readouterr().err
