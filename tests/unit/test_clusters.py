"""Tests for harness.drafting.clusters: marks, restored clusters, and what is no more."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import loader
from harness.errors import ScenarioError
from harness.plan import Cell, plan

MARK = "mark: before"
RESTORE = "restore: {to: {mark: before, by: time}, as_cluster: restored, nodes: 2}"
LATEST = "restore: {to: {by: latest}}"
DESTROY = "destroy: {service: cluster}"
SQL = "sql: {role: leader, run: SELECT 1}"


def text(*steps: str, more: str = "") -> str:
    lines = "".join(f"  - {step}\n" for step in steps)
    return f"scenario: case\ntitle: A case\n{more}steps:\n{lines}expect:\n  writers: {{max: 1}}\n"


def on(cluster: str, step: str) -> str:
    return f"{step}\n    cluster: {cluster}"


def cells(folder: Path, *steps: str, more: str = "") -> Sequence[Cell]:
    path = folder / "case.yaml"
    path.write_text(text(*steps, more=more))
    return plan(loader.load(path), "docker", seed=7).cells


def mistakes(folder: Path, *steps: str, more: str = "") -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        cells(folder, *steps, more=more)
    return [str(mistake).removeprefix(f"{folder}/case.yaml:") for mistake in caught.value.mistakes]


# --- what is right -----------------------------------------------------------------------------


def test_a_step_knows_its_cluster(tmp_path: Path) -> None:
    """The scenario's own, or one that was restored before."""
    (cell,) = cells(tmp_path, MARK, RESTORE, on("restored", SQL), SQL)
    assert [step.cluster for step in cell.steps] == [None, None, "restored", None]


def test_a_cell_knows_the_clusters_that_are_made_beside_its_own(tmp_path: Path) -> None:
    """A run needs room for all of them; what comes back in its place is none of them."""
    copy = "restore: {to: {by: latest}, as_cluster: copy}"
    (cell,) = cells(tmp_path, MARK, RESTORE, copy, DESTROY, LATEST)
    assert [cluster.nodes for cluster in cell.restored] == [2, 3]
    (cell,) = cells(tmp_path, SQL)
    assert cell.restored == []


@pytest.mark.parametrize(
    "steps",
    [
        [MARK, RESTORE, on("restored", "sql: {node: restored-pg-2, run: SELECT 1}")],
        [MARK, DESTROY, RESTORE],
        [MARK, DESTROY, RESTORE, on("restored", SQL)],
        [MARK, DESTROY, "sleep: 1s", "wait: {until: backup-done, timeout: 1s}", RESTORE],
        [DESTROY, "s3: {how: slow}", LATEST, SQL, MARK],
        [DESTROY, LATEST, DESTROY, LATEST],
        [MARK, RESTORE, on("restored", DESTROY)],
        [MARK, RESTORE, DESTROY, on("restored", SQL)],
        [MARK, "mark: other", RESTORE, "restore: {to: {mark: other, by: xid}, as_cluster: copy}"],
        [MARK, RESTORE, on("restored", LATEST.replace("}}", "}, as_cluster: copy}"))],
        ["destroy: {service: cluster, pick: 2}", SQL],
        ["destroy: {node: pg-1}", SQL],
        ["restore: {to: {by: name, value: there}, as_cluster: copy}"],
    ],
    ids=str,
)
def test_what_is_right_is_planned(tmp_path: Path, steps: list[str]) -> None:
    """Else the table below would show nothing."""
    (cell,) = cells(tmp_path, *steps)
    assert len(cell.steps) == len(steps)


def test_one_name_may_be_marked_twice_where_only_one_of_them_is_made(tmp_path: Path) -> None:
    """In each cell it is one."""
    more = "matrix: {held: [a, b]}\n"
    first = f"{MARK}\n    when: {{held: a}}"
    second = "mark: {point: before, held: false}\n    when: {held: b}"
    a, b = cells(tmp_path, first, second, RESTORE, more=more)
    assert [len(cell.steps) for cell in (a, b)] == [2, 2]


def test_a_target_may_be_the_matrixs(tmp_path: Path) -> None:
    """One scenario, every way to name the moment."""
    more = "matrix: {by: [time, lsn, xid, name, latest]}\n"
    made = cells(tmp_path, MARK, RESTORE.replace("by: time", 'by: "${by}"'), more=more)
    assert [cell.steps[1].verb.to.by for cell in made] == ["time", "lsn", "xid", "name", "latest"]  # type: ignore[attr-defined]


# --- what is wrong -----------------------------------------------------------------------------

BAD = {
    "a mark that nobody makes": (
        [RESTORE],
        "steps[0].restore.to.mark: unknown mark 'before'; expected one that an earlier step makes",
    ),
    "a mark by another name": (
        ["mark: befroe", RESTORE],
        "restore.to.mark: unknown mark 'before'; expected befroe; did you mean befroe?",
    ),
    "a mark that is made later": (
        [RESTORE, MARK],
        "to.mark: found 'before', the name of a later mark; expected an earlier one",
    ),
    "two marks of one name": (
        [MARK, MARK],
        "steps[1].mark: found 'before' again; expected a name that no other mark has",
    ),
    "two marks of one name, at length": (
        [MARK, "mark: {point: before, held: false}"],
        "steps[1].mark.point: found 'before' again",
    ),
    "a mark that is no name": (
        ["mark: Before It"],
        "steps[0].mark: found 'Before It'; expected lower-case words joined by '-', at most 63",
    ),
    "two clusters of one name": (
        [MARK, RESTORE, RESTORE],
        "restore.as_cluster: found 'restored' again; expected a name that no other cluster has",
    ),
    "the scenario's name for a cluster": (
        ["restore: {to: {by: latest}, as_cluster: case}"],
        "as_cluster: found 'case', which the scenario's own cluster has; expected another name",
    ),
    "a cluster whose machines are the own's": (
        ["restore: {to: {by: latest}, as_cluster: pg}"],
        "as_cluster: found 'pg', which the scenario's own cluster has",
    ),
    "a cluster of the name that means in place": (
        ["restore: {to: {by: latest}, as_cluster: own}"],
        "as_cluster: found 'own', which",
    ),
    "a name that no host may have": (
        [f"restore: {{to: {{by: latest}}, as_cluster: {'x' * 41}}}"],
        "as_cluster: found 41 characters; expected at most 40",
    ),
    "a cluster that nobody restores": (
        [on("restored", SQL)],
        "steps[0].cluster: unknown cluster 'restored'; expected one that a step restores",
    ),
    "a cluster that is restored later": (
        [MARK, on("restored", SQL), RESTORE],
        "cluster: found 'restored', the name of a later cluster; expected an earlier one",
    ),
    "a cluster by another name": (
        [MARK, RESTORE, on("restord", SQL)],
        "cluster: unknown cluster 'restord'; expected restored; did you mean restored?",
    ),
    "a node of the old cluster in the new one": (
        [MARK, RESTORE, on("restored", "sql: {node: pg-1, run: SELECT 1}")],
        "sql.node: unknown node 'pg-1'; expected one of restored-pg-1, restored-pg-2",
    ),
    "a node that the smaller cluster lacks": (
        [MARK, RESTORE, on("restored", "kill: {role: replica, pick: 2}")],
        "kill.pick: found 2; expected at most 1, as many as can be replica",
    ),
    "a node of the new cluster in the old one": (
        [MARK, RESTORE, "sql: {node: restored-pg-1, run: SELECT 1}"],
        "sql.node: unknown node 'restored-pg-1'; expected one of pg-1, pg-2, pg-3",
    ),
    "s3 of one cluster": (
        [MARK, RESTORE, on("restored", "s3: {how: deny}")],
        "cluster: found 'restored' for s3; expected no cluster, for all share S3",
    ),
    "something done to what is destroyed": (
        [MARK, DESTROY, SQL, RESTORE],
        "steps[2].sql: found sql of a cluster that steps[1] destroyed; expected `cluster:` with",
    ),
    "a wait for what is destroyed": (
        [MARK, DESTROY, "wait: {until: healthy, timeout: 1s}", RESTORE],
        "steps[2].wait: found wait of a cluster that steps[1] destroyed",
    ),
    "something done to the new cluster when it is destroyed": (
        [MARK, RESTORE, on("restored", DESTROY), on("restored", SQL)],
        "steps[3].sql: found sql of a cluster that steps[2] destroyed",
    ),
    "nothing is left": (
        [DESTROY],
        "steps[0].destroy: no cluster is left after it; expected a later step that restores one",
    ),
    "neither of two is left": (
        [MARK, RESTORE, DESTROY, on("restored", DESTROY)],
        "steps[3].destroy: no cluster is left after it",
    ),
    "in place of what was never destroyed": (
        [LATEST],
        "steps[0].restore: a restore in place of a cluster that no earlier step destroys",
    ),
    "in place of a part": (
        ["destroy: {node: pg-1}", LATEST],
        "steps[1].restore: a restore in place of a cluster that no earlier step destroys",
    ),
    "in place, to a mark": (
        [MARK, DESTROY, "restore: {to: {mark: before, by: time}}"],
        "restore: to a moment by time in place; expected by: latest, or as_cluster",
    ),
    "s3 destroyed, too": (
        [
            "destroy: {service: cluster, keep: [dcs]}",
            RESTORE.replace("mark: before, by: time", "by: latest"),
        ],
        "destroy: keep dcs without s3; expected s3 in it, or nothing could come back",
    ),
    "a moment and a mark": (
        [MARK, RESTORE.replace("by: time", "by: time, value: now")],
        "restore.to.value: value beside a mark; expected one of the two",
    ),
    "no moment": (
        ["restore: {to: {by: time}, as_cluster: copy}"],
        "restore.to.by: by time without a moment; expected mark or value",
    ),
    "a target of another kind": (
        [MARK, RESTORE.replace("by: time", "by: tmie")],
        "to.by: found 'tmie'; expected one of time, lsn, xid, name, latest; did you mean time?",
    ),
    "a kind of backup that there is not": (
        ["backup: {kind: diff}"],
        "backup.kind: found 'diff'; expected one of full, incr",
    ),
    "clients of a cluster that has none": (
        [MARK, RESTORE, on("restored", "wait: {until: served, timeout: 1s}")],
        "wait.until: found 'served' of 'restored', which no workload uses; expected no cluster",
    ),
    "clients where there are none": (
        ["wait: {until: served, timeout: 1s}"],
        "wait.until: found 'served' in a scenario without a workload; expected one, or healthy",
    ),
    "a condition that there is not": (
        ["wait: {until: backup-dne, timeout: 1s}"],
        "did you mean backup-done?",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_refused_once(tmp_path: Path, case: tuple[list[str], str]) -> None:
    """In its place, with what was found and what was expected; no echo of it elsewhere."""
    steps, phrase = case
    found = mistakes(tmp_path, *steps)
    assert len(found) == 1, found
    assert phrase in found[0], found
    assert re.match(r"\d+:\d+: ", found[0]), found
    assert not re.search(r"\bNone\b|pydantic|Value error|Traceback", found[0])


def test_too_few_nodes_for_the_replication(tmp_path: Path) -> None:
    """The restored cluster replicates as its source does."""
    more = "cluster: {sync: quorum}\n"
    found = mistakes(tmp_path, MARK, RESTORE.replace("nodes: 2", "nodes: 1"), more=more)
    text = "steps[1].restore.nodes: found 1 node with sync quorum; expected at least 2"
    assert [mistake.partition(": ")[2] for mistake in found] == [text]


@pytest.mark.parametrize(
    ("step", "word"),
    [
        ("restore: {to: {mark: before, by: time}, as_cluster: restored, node: 2}", "node"),
        ("restore: {to: {mark: before, by: time}, as_cluster: restored}\n    att: 1s", "att"),
    ],
)
def test_what_a_broken_step_was_to_make_is_there(tmp_path: Path, step: str, word: str) -> None:
    """One slip of the pen is one mistake."""
    (found,) = mistakes(tmp_path, MARK, DESTROY, step, on("restored", SQL))
    assert f"unknown key '{word}'" in found


def test_a_broken_mark_is_there(tmp_path: Path) -> None:
    """Who restores it is right."""
    (found,) = mistakes(tmp_path, "mark: {point: before, hold: true}", RESTORE)
    assert "unknown key 'hold'" in found


@pytest.mark.parametrize(
    ("steps", "phrase"),
    [
        (
            [f"{MARK}\n    when: {{x: a}}", RESTORE],
            "to.mark: found 'before', which `when` leaves out of a cell",
        ),
        (
            [MARK, f"{RESTORE}\n    when: {{x: a}}", on("restored", SQL)],
            "cluster: found 'restored', which `when` leaves out of a cell",
        ),
    ],
)
def test_what_a_condition_leaves_out_is_not_there(
    tmp_path: Path, steps: list[str], phrase: str
) -> None:
    """In one of the two cells."""
    (found,) = mistakes(tmp_path, *steps, more="matrix: {x: [a, b]}\n")
    assert phrase in found


# --- what expectations may say of them ---------------------------------------------------------

EXPECTED = {
    "digest: {of: restord, equals: before}": "digest.of: unknown cluster 'restord'; expected "
    "restored; did you mean restored?",
    "digest: {of: restored, equals: befor}": "digest.equals: unknown mark 'befor'",
    "pitr: {of: own}": "pitr.of: unknown cluster 'own'",
    "rto: {of: copy, since: gone, max: 9s}": "rto.of: unknown cluster 'copy'",
    "archive: {of: copy, max: 9s}": "archive.of: unknown cluster 'copy'",
}


@pytest.mark.parametrize(("line", "phrase"), EXPECTED.items())
def test_an_expectation_of_what_nobody_makes_is_refused(
    tmp_path: Path, line: str, phrase: str
) -> None:
    """Undecided at the end of a run would be too late to learn of a typing error."""
    path = tmp_path / "case.yaml"
    steps = f"{DESTROY}\n    as: gone"
    path.write_text(text(MARK, steps, RESTORE) + f"  {line}\n")
    with pytest.raises(ScenarioError) as caught:
        plan(loader.load(path), "docker", seed=7)
    (mistake,) = caught.value.mistakes
    assert phrase in str(mistake)


def test_a_cluster_that_comes_back_in_its_place_is_own(tmp_path: Path) -> None:
    """The word for it, where no cluster got a name."""
    path = tmp_path / "case.yaml"
    path.write_text(
        text(f"{DESTROY}\n    as: gone", LATEST) + "  rto: {of: own, since: gone, max: 9s}\n"
    )
    assert plan(loader.load(path), "docker", seed=7).cells


def test_an_expectation_keeps_its_own_name(tmp_path: Path) -> None:
    """Whatever it refers to: two of one cluster would else be judged as one."""
    path = tmp_path / "case.yaml"
    lines = "  digest: {of: restored, equals: before}\n  archive: {of: restored, max: 9s}\n"
    path.write_text(text(MARK, RESTORE) + lines)
    (cell,) = plan(loader.load(path), "docker", seed=7).cells
    assert [one.name for one in cell.expectations] == ["writers", "digest", "archive"]
