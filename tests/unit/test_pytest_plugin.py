"""Scenario files as pytest tests, seen from inside a pytest session of their own."""

import json
import os
import re
import signal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness import budget, launch, pytest_plugin
from harness.errors import AbortedError
from harness.plan import Plan
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict

pytest_plugins = ["pytester"]

SCENARIO = """\
# A comment before the first key.
scenario: {name}
title: The primary's machine loses power
labels: [failover, az-loss]
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
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with one scenario and strict settings."""
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nstrict_markers = true\n")
    add(pytester, "scenarios/node-kill.yaml")
    return pytester


def add(pytester: pytest.Pytester, path: str, text: str = SCENARIO) -> None:
    file = pytester.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.format(name=file.stem))


# Hypothesis's plug-in would import all of Hypothesis once for each inner session.
PLUGINS = ["-p", "harness.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*PLUGINS, "--backend", "docker", "--seed", "7", *words)


def _finding(verdict: Verdict) -> Finding:
    notes = {
        Verdict.PASS: "max 30.00 s <= 40.00 s",
        Verdict.FAIL: "max 71.30 s > 40.00 s; pg-1 was slow",
        Verdict.ERROR: "nothing was acknowledged",
    }
    value = {Verdict.PASS: 30.0, Verdict.FAIL: 71.3}.get(verdict)
    parts = [{"detect": 24.1, "elect": 0.3, "promote": 1.0}]
    return Finding(
        "failover", verdict, "max 40.00 s", "s", (value,), notes[verdict], parts if value else ()
    )


@pytest.fixture
def runs(monkeypatch):
    """Let cells end with a verdict each, by id, instead of running them; return the plans."""
    called: list[Plan] = []

    def end_with(default: Verdict = Verdict.PASS, **by_nodes: Verdict) -> list[Plan]:
        def result(plan, **_) -> ScenarioResult:
            called.append(plan)
            (cell,) = plan.cells
            verdict = by_nodes.get(f"n{cell.cluster.nodes}", default)
            one = Finding("writers", Verdict.PASS, "max 1", "count", (1.0,), "max 1 <= 1")
            findings = (one, _finding(verdict))
            return ScenarioResult(
                scenario=plan.scenario.name,
                title=plan.scenario.title,
                file=plan.scenario.file,
                backend=plan.backend,
                seed=plan.seed,
                started="2026-11-23T09:00:00.000+00:00",
                cells=[CellResult(cell.id, verdict, 1, findings, seconds=95.0)],
                replay="./drill run x",
            )

        monkeypatch.setattr(launch, "run", result)
        return called

    return end_with


def test_each_cell_is_an_item(project) -> None:
    """Its id is the scenario's name with the cell in brackets."""
    shown = run(project, "--collect-only", "-q").stdout
    shown.fnmatch_lines(
        [
            "scenarios/node-kill.yaml::node-kill[[]nodes=2[]]",
            "scenarios/node-kill.yaml::node-kill[[]nodes=3[]]",
            "2 tests collected*",
        ]
    )


def test_a_pass_passes(project, runs) -> None:
    """And each cell is run alone, with the session's seed."""
    plans = runs()
    run(project).assert_outcomes(passed=2)
    assert [[cell.id for cell in plan.cells] for plan in plans] == [["nodes=2"], ["nodes=3"]]
    assert {plan.seed for plan in plans} == {7}


def test_a_broken_promise_is_a_failure(project, runs) -> None:
    """The block tells what broke, where it is written, and how it is seen again."""
    runs(n3=Verdict.FAIL)
    result = run(project)
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "failover: max 71.30 s > 40.00 s",
            "  backend docker · 1 run · seed 7",
            "  scenarios/node-kill.yaml:13   failover max 40.00 s",
            "    ✗ max 71.30 s > 40.00 s",
            "      pg-1 was slow",
            "    detect 24.1 + elect 0.3 + promote 1.0 s",
            "  ✓ writers 1",
            "  again: pytest 'scenarios/node-kill.yaml::node-kill[[]nodes=3[]]'"
            " --backend docker --seed 7",
            "  report: runs/node-kill-7/nodes=3/index.html",
            "FAILED scenarios/node-kill.yaml::node-kill[[]nodes=3[]] - failover: max 71*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "pytest_plugin.py" not in result.stdout.str()


def test_a_run_that_proved_nothing_is_an_error(project, runs) -> None:
    """Not a failure: the system broke no promise."""
    runs(n3=Verdict.ERROR)
    result = run(project)
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret != 0
    result.stdout.fnmatch_lines(
        [
            "error: proved nothing: failover: nothing was acknowledged",
            "    \N{EN DASH} nothing was acknowledged",
            "ERROR scenarios/node-kill.yaml::node-kill[[]nodes=3[]] - error: proved nothing*",
        ]
    )


def test_reports_lie_in_the_runs_folder(project, runs) -> None:
    """One folder a cell, below the scenario and its seed, or where the user wishes."""
    runs()
    run(project, "--drill-out", "here")
    folder = project.path / "here" / "node-kill-7" / "nodes=2"
    assert json.loads((folder / "result.json").read_text())["verdict"] == "pass"
    assert (folder / "index.html").exists()


def test_junit_has_verdicts_and_figures(project, runs) -> None:
    """Errors are errors, failures are failures, and figures are properties."""
    runs(n2=Verdict.ERROR, n3=Verdict.FAIL)
    run(project, "--junit-xml", "j.xml")
    suite = ET.parse(project.path / "j.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("errors"), suite.get("failures")) == ("1", "1")
    case = suite.findall("testcase")[1]
    found = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert (found["backend"], found["seed"], found["cell"]) == ("docker", "7", "nodes=3")
    assert (found["failover_max"], found["writers"]) == ("71.300", "1")
    assert str(found["report"]).endswith("index.html")


def test_labels_and_backends_are_marks(project, runs) -> None:
    """`-m` selects by them, under strict markers, and they cost no warning."""
    runs()
    add(project, "scenarios/deep/other.yaml", SCENARIO.replace("[failover, az-loss]", "[pitr]"))
    run(project, "-m", "az-loss and docker").assert_outcomes(passed=2, deselected=2)
    run(project, "-m", "pitr", "-W", "error").assert_outcomes(passed=2, deselected=2)
    run(project, "-m", "aws").assert_outcomes(deselected=4)


def test_keywords_select_cells(project, runs) -> None:
    """By the name of the scenario and by what the matrix chose."""
    runs()
    run(project, "-k", "kill and 3").assert_outcomes(passed=1, deselected=1)
    node = "scenarios/node-kill.yaml::node-kill[nodes=2]"
    run(project, node).assert_outcomes(passed=1)


@pytest.mark.parametrize("label", ["xfail", "skip", "usefixtures"])
def test_a_label_must_not_act(label, project, runs) -> None:
    """A label `xfail` would turn a broken promise into a success."""
    runs(Verdict.FAIL)
    add(project, "scenarios/node-kill.yaml", SCENARIO.replace("failover, az-loss", label))
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*label '{label}' is a mark that acts on pytest*"])


def test_mistakes_are_told_all_at_once(project, runs) -> None:
    """One collection error, a line each, with line and column, and no traceback."""
    plans = runs()
    bad = "scenario: bad\ntitel: x\nsteps:\n  - wait: {until: new-leader}\nexpect: {}\n"
    (project.path / "scenarios" / "bad.yaml").write_text(bad)
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*scenarios/bad.yaml:2:1: *", "*scenarios/bad.yaml:4:*timeout*"])
    assert "Traceback" not in result.stdout.str()
    assert not plans


def test_a_name_is_one_files_alone(project, runs) -> None:
    """Two files of one name would share a folder of results; the same file twice would not."""
    add(project, "scenarios/deep/node-kill.yaml")
    called = runs(Verdict.PASS)
    shown = run(project, "scenarios")
    shown.assert_outcomes(errors=1)
    shown.stdout.fnmatch_lines(["*:2:11: scenario: found 'node-kill', which scenarios/*"])
    assert not called
    item = "scenarios/node-kill.yaml::node-kill[nodes=2]"
    run(project, item, "scenarios/node-kill.yaml").assert_outcomes(passed=2)


def test_a_fact_that_is_missing_is_a_skip(project, runs) -> None:
    """The plug-in plans for what docker can do, as the command line does."""
    text = SCENARIO.replace("matrix:", "requires: {{netem: true}}\nmatrix:")
    add(project, "scenarios/node-kill.yaml", text)
    runs(Verdict.PASS)
    shown = run(project, "scenarios", "-rs")
    shown.assert_outcomes(skipped=2)
    shown.stdout.fnmatch_lines(["*needs netem: true; this machine has false*"])


def test_a_broken_file_is_a_mistake_not_a_crash(project, runs) -> None:
    """YAML that cannot be read is told by line and column, too."""
    runs()
    (project.path / "scenarios" / "bad.yaml").write_text('scenario: "bad\n')
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*scenarios/bad.yaml:*"])
    assert "yaml.scanner" not in result.stdout.str()


def test_other_yaml_is_left_alone(project, runs) -> None:
    """Files elsewhere, or with another first key, are nobody's scenarios."""
    runs()
    add(project, "elsewhere/other.yaml")
    (project.path / "scenarios" / "values.yaml").write_text("image: x\nscenario: y\n")
    (project.path / "scenarios" / "binary.yml").write_bytes(b"\xff\x00\xfe")
    (project.path / "scenarios" / "empty.yml").write_text("")
    run(project).assert_outcomes(passed=2)


def test_a_named_file_must_be_a_scenario(project, runs) -> None:
    """Whoever names a file wants it run: silence would read as success."""
    runs()
    (project.path / "values.yaml").write_text("image: x\n")
    result = run(project, "values.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*values.yaml:*scenario*"])


def test_a_named_scenario_may_lie_anywhere(project, runs) -> None:
    """The folder's name matters only to a search."""
    runs()
    add(project, "elsewhere/other.yaml")
    run(project, "elsewhere/other.yaml").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        ("scenario: x", True),
        ("\ufeff# c\n---\n\nscenario : x", True),
        ("%YAML 1.2\n---\n{scenario: x}", True),
        ('"scenario": x', True),
        ("# scenario: x\ntitle: y", False),
        ("scenarios: x", False),
        ("a: 1\nscenario: x", False),
        ("", False),
    ],
)
def test_the_first_key_makes_a_scenario(head, is_one, tmp_path) -> None:
    """Comments, markers and quotes may stand before or around it."""
    from harness.pytest_plugin import _is_scenario

    (tmp_path / "x.yaml").write_text(head)
    assert _is_scenario(tmp_path / "x.yaml") is is_one


SKIPPED = SCENARIO.replace("matrix:", "backends: {{aws: {{repeat: 1}}}}\nmatrix:")


def test_a_session_of_skips_proves_nothing(project, runs) -> None:
    """Exit 3, and it says so; the reason of each skip is shown with -rs."""
    plans = runs()
    add(project, "scenarios/node-kill.yaml", SKIPPED)
    result = run(project, "-rs")
    result.assert_outcomes(skipped=2)
    assert result.ret == 3
    result.stdout.fnmatch_lines(
        ["*all 2 scenarios were skipped: this proved nothing*", "SKIPPED*`backends`"]
    )
    assert not plans


def test_one_run_among_skips_is_a_pass(project, runs) -> None:
    """Something was proved."""
    runs()
    add(project, "scenarios/other.yaml", SKIPPED)
    result = run(project)
    result.assert_outcomes(passed=2, skipped=2)
    assert result.ret == 0


def test_without_a_backend_everything_is_skipped(project, runs, monkeypatch) -> None:
    """The reason is that of the engine; the engine is asked once."""
    runs()
    asked = []

    def available() -> tuple[str, ...]:
        asked.append("docker")
        return ()

    monkeypatch.setattr("harness.drivers.available", available)
    add(project, "scenarios/other.yaml")
    result = project.runpytest_inprocess(*PLUGINS, "-rs")
    result.assert_outcomes(skipped=4)
    assert result.ret == 3
    result.stdout.fnmatch_lines(["SKIPPED*no backend available*"])
    assert len(asked) == 1


def test_plain_tests_are_none_of_our_business(pytester) -> None:
    """A session without scenarios ends as it always did, and a skip stays a skip."""
    pytester.makepyfile("import pytest\ndef test_x(): pytest.skip('no')")
    result = run(pytester)
    result.assert_outcomes(skipped=1)
    assert result.ret == 0
    assert "proved nothing" not in result.stdout.str()


def test_the_seed_is_printed_first(project, runs) -> None:
    """Also when nobody asked for one."""
    plans = runs()
    result = project.runpytest_inprocess(*PLUGINS, "--backend", "docker")
    result.stdout.fnmatch_lines([f"drill: seed {plans[0].seed}"])


def test_repeat_is_handed_on(project, runs) -> None:
    """All repeats of a cell are one item: percentiles need them together."""
    plans = runs()
    run(project, "--repeat", "5").assert_outcomes(passed=2)
    assert {plan.repeat for plan in plans} == {5}


def test_wrong_repeat_is_a_mistake(project, runs) -> None:
    """As on the command line of drill."""
    runs()
    run(project, "--repeat", "0").assert_outcomes(errors=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_heals_first(number, project, monkeypatch) -> None:
    """The run returns by itself; then the session ends, with 3, and later items are not begun."""
    begun, ended = [], []

    def result(plan, *, clock, **_) -> ScenarioResult:
        begun.append(plan)
        os.kill(os.getpid(), number)
        with pytest.raises(AbortedError):
            clock.sleep(5)
        ended.append("healed")
        (cell,) = plan.cells
        return ScenarioResult(
            scenario=plan.scenario.name,
            title="",
            file="",
            backend=plan.backend,
            seed=plan.seed,
            started="",
            cells=[CellResult(cell.id, Verdict.ERROR, 0, (), note="aborted")],
        )

    monkeypatch.setattr(launch, "run", result)
    ended_with = run(project)
    assert (len(begun), ended) == (1, ["healed"])
    assert ended_with.ret == 3
    ended_with.stdout.fnmatch_lines(["*aborted: scenarios/node-kill.yaml*its faults are undone*"])


def test_a_bug_shows_everything(project, monkeypatch) -> None:
    """An error that nobody foresaw keeps its traceback."""

    def broken(*_, **__) -> None:
        raise AssertionError("two masters")

    monkeypatch.setattr(launch, "run", broken)
    result = run(project)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*a bug in the harness, please report*", "*two masters*"])


def test_secrets_stay_hidden(project, runs, monkeypatch) -> None:
    """In the block, in captured output, in the reports."""
    monkeypatch.setenv("DRILL_TEST_SECRET", "pg-1 was slow")
    step = "  - sql: {{role: leader, run: \"SELECT '${{env:DRILL_TEST_SECRET}}'\"}}\n"
    add(project, "scenarios/node-kill.yaml", SCENARIO.replace("steps:\n", f"steps:\n{step}"))
    runs(Verdict.FAIL)
    result = run(project, "--junit-xml", "j.xml")
    result.assert_outcomes(failed=2)
    written = "".join(p.read_text() for p in project.path.glob("runs/**/*.*") if p.is_file())
    everything = result.stdout.str() + written + (project.path / "j.xml").read_text()
    assert "pg-1 was slow" not in everything
    assert "***" in everything


def test_another_plugin_may_own_our_short_options(project, runs) -> None:
    """Then the long ones remain: one plugin's options must not end every session."""
    plans = runs()
    project.makepyfile(
        taker="def pytest_addoption(parser):\n    parser.addoption('--seed', dest='theirs')\n"
    )
    project.syspathinsert()
    result = project.runpytest_inprocess(
        "-p", "taker", *PLUGINS, "--backend", "docker",
        "--seed", "theirs", "--drill-seed", "9",
    )  # fmt: skip
    result.assert_outcomes(passed=2)
    assert {plan.seed for plan in plans} == {9}


def test_conftest_and_entry_point_are_one_plugin(project, runs) -> None:
    """Loaded by -p and named again by a root conftest.py, it is registered once."""
    runs()
    project.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    run(project).assert_outcomes(passed=2)


@pytest.fixture
def room_for_seven(monkeypatch) -> None:
    monkeypatch.setattr(budget, "workers", lambda: 7)
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)


def auto(pytester: pytest.Pytester, *words: str) -> int | None:
    """Return what the plug-in answers to `pytest -n auto`."""
    config = pytester.parseconfig(*PLUGINS, *words)
    return pytest_plugin.pytest_xdist_auto_num_workers(config)


@pytest.mark.usefixtures("room_for_seven")
@pytest.mark.parametrize(
    "words", [[], ["scenarios"], ["scenarios/node-kill.yaml::node-kill[nodes=2]"], ["tests"]]
)
def test_auto_is_as_many_as_there_is_room_for(project, words: list[str]) -> None:
    """In a project that has scenarios, whichever of its tests are asked for."""
    (project.path / "tests").mkdir()
    assert auto(project, *words) == 7


@pytest.mark.usefixtures("room_for_seven")
def test_auto_with_scenarios_of_another_place(pytester, project, tmp_path_factory) -> None:
    """What counts is what runs, not where pytest was started."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    add(pytester, str(elsewhere / "more" / "slow" / "x.yaml"))
    (project.path / "scenarios" / "node-kill.yaml").unlink()
    assert auto(project, str(elsewhere / "more")) is None
    assert auto(project, str(elsewhere / "more" / "slow" / "x.yaml")) == 7
    (elsewhere / "more").rename(elsewhere / "scenarios")
    assert auto(project, str(elsewhere)) == 7
    assert auto(project, str(elsewhere / "scenarios" / "slow")) == 7


@pytest.mark.usefixtures("room_for_seven")
def test_auto_of_others_is_left_to_xdist(pytester, monkeypatch) -> None:
    """Without scenarios, on another backend, and where the user has said a number."""
    add(pytester, "scenarios/values.yaml", "of: another program\n")
    assert auto(pytester) is None
    add(pytester, "scenarios/node-kill.yaml")
    assert auto(pytester) == 7
    assert auto(pytester, "--backend", "sim") is None
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "3")
    assert auto(pytester) is None


def test_only_public_names_are_used() -> None:
    """An import of pytest's private modules breaks every session with its next release."""
    text = Path(launch.__file__).with_name("pytest_plugin.py").read_text()
    imported = re.findall(r"^\s*(?:from|import) (\S+)", text, re.MULTILINE)
    assert "pytest" in imported
    assert not [name for name in imported if name.startswith("_pytest")]
