"""Scenarios made ready: the matrix, overrides, variables, secrets, skips and labels."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness import loader
from harness.drafting.jobs import derive_seed
from harness.drafting.written_step import label
from harness.errors import ScenarioError
from harness.history import Json
from harness.plan import Plan, Supported, plan
from harness.scenario import Backend, Scenario

NODE_KILL = Path(__file__).resolve().parents[2] / "scenarios" / "node-kill.yaml"

BASE = """\
scenario: case
title: A case
workload: {append: {clients: 2}}
steps:
  - kill: {role: leader}
    as: crash
  - wait: {until: new-leader, timeout: 90s}
expect:
  writers: {max: 1}
  failover: {since: crash, max: 40s}
"""

Read = Callable[[str], Scenario]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a reader of scenario texts."""

    def reader(text: str) -> Scenario:
        (tmp_path / "case.yaml").write_text(text)
        return loader.load(tmp_path / "case.yaml")

    return reader


def ready(scenario: Scenario, backend: Backend = "docker", **options: object) -> Plan:
    """Plan with a fixed seed."""
    return plan(scenario, backend, seed=7, **options)  # type: ignore[arg-type]


# --- the matrix --------------------------------------------------------------------------------


def test_node_kill_has_four_cells():
    """The example of the documentation, by its ids."""
    cells = ready(loader.load(NODE_KILL)).cells
    assert [cell.id for cell in cells] == [
        "nodes=2-sync=async",
        "nodes=2-sync=quorum",
        "nodes=3-sync=async",
        "nodes=3-sync=quorum",
    ]
    assert [(cell.cluster.nodes, cell.cluster.sync) for cell in cells] == [
        (2, "async"),
        (2, "quorum"),
        (3, "async"),
        (3, "quorum"),
    ]
    judged = [[expectation.name for expectation in cell.expectations] for cell in cells]
    assert ["lost_writes" in names for names in judged] == [False, True, False, True]


def test_a_backend_overrides_matrix_repeat_and_bounds():
    """AWS runs one cell three times, and is given more time; the other bounds stay."""
    made = ready(loader.load(NODE_KILL), "aws")
    assert [cell.id for cell in made.cells] == ["nodes=3-sync=quorum"]
    assert made.repeat == 3
    (failover,) = [e for e in made.cells[0].expectations if e.name == "failover"]
    assert failover.checker.bounds == {"p50": 33, "max": 75}


def test_without_a_matrix_there_is_one_cell(read: Read):
    """Its id is empty, and it is named by that."""
    made = ready(read(BASE))
    assert [cell.id for cell in made.cells] == [""]
    assert ready(read(BASE), cell="").cells == made.cells


def test_a_cover_leaves_cells_out_and_any_can_be_named(tmp_path: Path):
    """Each value of each axis occurs; the other cells are as sound, and are run by name alone."""
    text = NODE_KILL.read_text(encoding="utf-8").replace("backends:", "cover: 1\nbackends:", 1)
    path = tmp_path / "node-kill.yaml"
    path.write_text(text, encoding="utf-8")
    scenario = loader.load(path)
    assert [cell.id for cell in ready(scenario).cells] == [
        "nodes=2-sync=async",
        "nodes=3-sync=quorum",
    ]
    (other,) = ready(scenario, cell="nodes=2-sync=quorum").cells
    assert other.cluster.sync == "quorum"


def test_one_cell_can_be_chosen():
    """By the text in brackets."""
    made = ready(loader.load(NODE_KILL), cell="nodes=3-sync=async")
    assert [cell.id for cell in made.cells] == ["nodes=3-sync=async"]


def test_an_unknown_cell_is_a_mistake():
    """The nearest comes first in the list of those that there are."""
    with pytest.raises(
        ScenarioError, match=r"'nodes=3-sync=asyn'; expected one of nodes=3-sync=async,"
    ):
        ready(loader.load(NODE_KILL), cell="nodes=3-sync=asyn")


def test_a_cell_of_a_scenario_without_a_matrix_is_a_mistake(read: Read):
    """There is nothing to choose from."""
    with pytest.raises(ScenarioError, match="the scenario has no matrix"):
        ready(read(BASE), cell="nodes=3")


def test_paths_that_end_alike_are_shown_in_full(read: Read):
    """Else two axes of one name could not be told apart."""
    text = (
        BASE
        + "matrix: {expect.writers.max: [1], expect.failover.max: [40s, 50s], cluster.nodes: [3]}\n"
    )
    assert ready(read(text)).cells[1].id == "expect.writers.max=1-expect.failover.max=50s-nodes=3"


def test_an_axis_may_lead_anywhere(read: Read):
    """Into workload, steady, steps and expectations as into the cluster, present or not."""
    text = BASE + (
        "matrix: {workload.append.clients: [5], steady.replicas.lag.max: [2MiB], "
        "'steps[1].wait.timeout': [30s], cluster.patroni.primary_start_timeout: [0]}\n"
    )
    (cell,) = ready(read(text)).cells
    assert cell.workloads[0].parameters["clients"] == 5
    assert cell.steady.replicas.lag == {"max": 2 << 20}
    assert cell.steps[1].verb.timeout == 30  # type: ignore[attr-defined]
    assert cell.cluster.patroni.primary_start_timeout == 0


def test_a_whole_variable_keeps_its_type(read: Read):
    """`${x}` alone is the value; inside a text it is its words."""
    text = BASE.replace("clients: 2", 'clients: "${n}", rate: "${n}/s"') + "matrix: {n: [3]}\n"
    (cell,) = ready(read(text)).cells
    assert cell.id == "n=3"
    assert cell.workloads[0].parameters == {"clients": 3, "rate": "3/s"}


def test_lists_can_be_values(read: Read):
    """Their ids join the parts."""
    text = BASE + "matrix: {cluster.azs: [[a], [a, b, c]]}\n"
    assert [cell.id for cell in ready(read(text)).cells] == ["azs=a", "azs=a+b+c"]


def test_when_leaves_steps_out(read: Read):
    """By a value, or by any of several; what is not in the matrix can be asked about, too."""
    text = BASE.replace(
        "expect:\n",
        "  - sleep: 1s\n    when: {cluster.nodes: 2}\n"
        "  - sleep: 2s\n    when: {cluster.nodes: [2, 3], cluster.dcs: etcd}\nexpect:\n",
    )
    cells = ready(read(text + "matrix: {cluster.nodes: [2, 3]}\n")).cells
    assert [len(cell.steps) for cell in cells] == [4, 3]


def test_when_and_unless_leave_expectations_out(read: Read):
    """`when` must hold, `unless` must not."""
    text = BASE.replace("max: 40s}", "max: 40s, when: {x: yes}}").replace(
        "{max: 1}", "{max: 1, unless: {x: yes}}"
    )
    yes, no = ready(read(text + "matrix: {x: [yes, no]}\n")).cells
    assert [e.name for e in yes.expectations] == ["failover"]
    assert [e.name for e in no.expectations] == ["writers"]


def test_one_name_may_be_given_twice_where_only_one_of_them_runs(read: Read):
    """Each cell has its own fault, and the expectations speak of either."""
    text = BASE.replace(
        "    as: crash\n",
        "    as: crash\n    when: {x: kill}\n"
        "  - freeze: {role: leader}\n    as: crash\n    when: {x: freeze}\n",
    )
    kill, freeze = ready(read(text + "matrix: {x: [kill, freeze]}\n")).cells
    assert [cell.steps[0].label for cell in (kill, freeze)] == ["kill leader", "freeze leader"]
    assert [cell.steps[0].path for cell in (kill, freeze)] == ["steps[0]", "steps[1]"]


# --- overrides and options ---------------------------------------------------------------------


def test_the_rate_of_a_backend_goes_to_the_workload(read: Read):
    """In the form in which it is written, as the client reads it again."""
    text = BASE + "backends: {docker: {rate: 5/s, timeout: 20m}, sim: {}}\n"
    made = ready(read(text))
    assert made.cells[0].workloads[0].parameters == {"clients": 2, "rate": "5/s"}
    assert made.timeout_s == 1200
    assert ready(read(text), "sim").cells[0].workloads[0].parameters == {"clients": 2}


def test_a_backend_that_is_not_listed_is_a_skip(read: Read):
    """It says why; without `backends`, every backend is listed."""
    listed = read(BASE + "backends: {docker: {}}\n")
    assert [c.skip for c in ready(listed, "aws").cells] == ["aws is not listed under `backends`"]
    assert ready(listed, "docker").cells[0].skip is None
    assert ready(read(BASE), "aws").cells[0].skip is None


def test_repeats_can_be_asked_for(read: Read):
    """Before the file's own number; none at all would prove nothing."""
    assert ready(read(BASE), repeat=5).repeat == 5
    with pytest.raises(ScenarioError, match="--repeat: found 0; expected at least 1"):
        ready(read(BASE), repeat=0)


def test_a_verb_that_a_listed_driver_lacks_is_a_mistake(read: Read):
    """The file says that it runs there, and it cannot; unlisted it is a skip."""
    without = Supported(verbs=["wait"])
    with pytest.raises(
        ScenarioError, match=r"case\.yaml:5:5: steps\[0\]\.kill: the docker driver has no"
    ):
        ready(read(BASE + "backends: {docker: {}}\n"), supported=without)
    assert ready(read(BASE), supported=without).cells[0].skip == "the docker driver has no `kill`"


@pytest.mark.parametrize(
    ("needs", "facts", "skip"),
    [
        ("requires: {azs: 3}", {"azs": 3}, None),
        ("requires: {azs: 3}", {"azs": 1}, "needs azs: 3; this machine has 1"),
        ("requires: {netem: true}", {}, "needs netem: true; this machine has nothing"),
        (
            "cluster: {watchdog: required}",
            {"watchdog": False},
            "needs watchdog: true; this machine has false",
        ),
        ("cluster: {watchdog: required}", {"watchdog": True}, None),
        ("cluster: {postgres: 15}", {"postgres": (15, 17)}, None),
        (
            "cluster: {postgres: 16}",
            {"postgres": (15, 17)},
            "needs postgres: 16; this machine has 15 or 17",
        ),
    ],
)
def test_a_fact_that_is_missing_is_a_skip(
    read: Read, needs: str, facts: Mapping[str, Json], skip: str | None
):
    """With the reason."""
    made = ready(read(BASE + needs + "\n"), supported=Supported(facts=facts))
    assert made.cells[0].skip == skip


# --- what a cell is made of --------------------------------------------------------------------


def test_a_job_for_each_workload(read: Read):
    """Named by its key, sent where it says, each with chance of its own."""
    text = BASE.replace("clients: 2", "through: {node: pg-2}") + "matrix: {cluster.nodes: [2, 3]}\n"
    two, three = (cell.workloads[0] for cell in ready(read(text)).cells)
    assert (two.name, two.kind, two.plugin, two.through) == (
        "append",
        "workloads",
        "append",
        "pg-2",
    )
    assert two.parameters == {"through": {"node": "pg-2"}}
    assert two.seed != three.seed
    assert two.seed == ready(read(text)).cells[0].workloads[0].seed


def test_seeds_are_the_same_on_every_machine():
    """A replay elsewhere must make the same choices."""
    assert derive_seed(7, "cell", "append") == 207822971163246
    assert derive_seed(7, "cell", "append") != derive_seed(8, "cell", "append")


def test_an_expectation_knows_its_line(read: Read):
    """The report points into the file."""
    assert [(e.name, e.line) for e in ready(read(BASE)).cells[0].expectations] == [
        ("writers", 9),
        ("failover", 10),
    ]


def test_a_report_is_measured_and_not_judged(read: Read):
    """It needs no bound."""
    text = BASE.replace("max: 40s}", "report: true}")
    assert [e.report_only for e in ready(read(text)).cells[0].expectations] == [False, True]


@pytest.mark.parametrize(
    ("verb", "parameters", "words"),
    [
        ("kill", {"role": "leader", "how": "power-off"}, "kill leader (power-off)"),
        ("wait", {"until": "new-leader", "timeout": "90s"}, "wait new-leader (90s)"),
        (
            "wait",
            {"until": {"old-leader": "read-only"}, "timeout": "9s"},
            "wait old-leader read-only (9s)",
        ),
        ("start", {"ref": "crash"}, "start crash"),
        ("sleep", "60s", "sleep 60s"),
        ("check", None, "check"),
        ("kill", {"az": {"of": "leader"}}, "kill az of leader"),
        (
            "partition",
            {"from": {"role": "leader"}, "to": {"service": "dcs"}, "for": "2m"},
            "partition from leader to dcs (for 2m)",
        ),
    ],
)
def test_labels_are_for_people(verb: str, parameters: Mapping[str, str], words: str):
    """A step in the few words that tell it from others."""
    assert label(verb, parameters) == words


# --- secrets -----------------------------------------------------------------------------------

SECRET = "s3cr3t'\\" + "x" * 90
SQL = BASE.replace(
    "  - kill:", "  - sql: {role: primary, run: \"SELECT '${env:HARNESS_TEST}'\"}\n  - kill:"
)


def test_a_secret_reaches_the_verb_and_no_label(read: Read, monkeypatch: pytest.MonkeyPatch):
    """The plan also names it, for whoever writes a report."""
    monkeypatch.setenv("HARNESS_TEST", SECRET)
    made = ready(read(SQL))
    step = made.cells[0].steps[0]
    assert SECRET in step.verb.run  # type: ignore[attr-defined]
    assert step.label == "sql primary SELECT '${env:HARNESS_TEST}'"
    assert made.secrets == {SECRET}
    assert SECRET not in repr(made.scenario)


def test_a_secret_is_not_in_a_mistake(read: Read, monkeypatch: pytest.MonkeyPatch):
    """Not even its first letters, nor escaped."""
    monkeypatch.setenv("HARNESS_TEST", SECRET)
    with pytest.raises(ScenarioError) as caught:
        read(BASE.replace("90s", '"${env:HARNESS_TEST}"'))
    assert "timeout: found '${env:HARNESS_TEST}'; expected a duration like 90s" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_that_is_empty_is_not_set(read: Read, monkeypatch: pytest.MonkeyPatch):
    """An empty password is a forgotten one."""
    monkeypatch.setenv("HARNESS_TEST", "")
    with pytest.raises(ScenarioError, match="the environment has no HARNESS_TEST"):
        read(SQL)


def test_the_environment_is_asked_again_when_the_plan_is_made(
    read: Read, monkeypatch: pytest.MonkeyPatch
):
    """What was set for the check may be gone for the run."""
    monkeypatch.setenv("HARNESS_TEST", SECRET)
    scenario = read(SQL)
    with pytest.raises(ScenarioError, match="the environment has no HARNESS_TEST"):
        ready(scenario, environment={})
