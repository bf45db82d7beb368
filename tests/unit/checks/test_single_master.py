"""Tests for harness.checks.single_master."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.answer import Answer
from harness.checks.single_master import SingleMaster
from harness.errors import ScenarioError
from harness.history import Json
from tests.unit.checks.bare import Bare, first, listed

FAILOVER: Json = {"2": [[1, 100]]}


def judge(history: Bare, timeline_history: Json = FAILOVER) -> Answer:
    return history.judged(SingleMaster.model_validate({"timeline_history": timeline_history}))


def failover(last: Json = 100) -> Bare:
    """Return two writes on timeline 1, the later one at `last`, and one on timeline 2."""
    history = Bare().op("write", 1, node="a", tli=1, lsn=50)
    history.op("write", 2, node="a", tli=1, lsn=last)
    return history.op("write", 3, node="b", tli=2, lsn=150)


def test_a_failover_has_one_master():
    """What was acknowledged up to the fork survived; nobody wrote too late."""
    found = judge(failover())
    assert (found.valid, found.anomalies) == (True, ())
    assert found.detail["timelines"] == {"1": ["a"], "2": ["b"]}
    assert (found.detail["lost"], found.detail["overlap"]) == ([], [])


def test_a_commit_past_the_fork_is_lost():
    """One byte decides: the fork is the end of the last record that was taken over."""
    found = judge(failover(101))
    assert (found.valid, found.anomalies) == (False, ["lost"])
    assert (found.detail["lost"], found.detail["overlap"]) == ([2], [])
    assert first(found, "first_lost")["lsn"] == 101


def test_a_write_sent_after_a_newer_timelines_acknowledgement_is_overlap():
    """Even below the fork, and even from the same node."""
    found = judge(failover().op("write", 4, node="a", tli=1, lsn=60))
    assert (found.valid, found.anomalies) == (False, ["older-timeline"])
    shown = first(found, "overlap")
    assert (shown["kind"], shown["writes"]) == ("older-timeline", 1)
    assert found.detail["lost"] == []


def test_a_write_under_way_at_the_newer_acknowledgement_is_none():
    """Acknowledgements that overlap may have come in either order."""
    history = Bare().op("write", 1, node="a", tli=1, lsn=50, at=(0, 9))
    history.op("write", 2, node="b", tli=2, lsn=150, at=(1, 2))
    assert judge(history).valid is True
    assert judge(history.op("write", 3, node="a", tli=1, lsn=60, at=(3, 4))).valid is False


def test_a_timeline_of_two_nodes_is_overlap():
    """Two nodes that were promoted apart may pick the same number."""
    found = judge(failover().op("write", 4, node="c", tli=2, lsn=160))
    assert (found.valid, found.anomalies) == (False, ["shared-timeline"])
    assert (first(found, "overlap")["tli"], found.detail["lost"]) == (2, [])


def test_overlap_and_loss_are_told_apart():
    """Both at once are both told."""
    found = judge(failover().op("write", 4, node="a", tli=1, lsn=160))
    assert found.anomalies == ["lost", "older-timeline"]
    assert found.detail["lost"] == [4]
    assert len(listed(found, "overlap")) == 1


# --- ancestries ----------------------------------------------------------------------------------


def test_a_branch_that_did_not_survive_lost_all():
    """Timelines 2 and 3 both left 1; the newest one is the survivor."""
    history = failover().op("write", 4, node="c", tli=3, lsn=150)
    found = judge(history, {"2": [[1, 100]], "3": [[1, 120]]})
    assert found.detail["lost"] == [3]
    assert judge(history, {"2": [[1, 100]], "3": [[1, 100], [2, 150]]}).valid is True


def test_what_counts_is_the_fork_on_the_way_to_the_survivor():
    """That a dead branch left timeline 1 earlier loses nothing."""
    history = Bare().op("write", 1, node="a", tli=1, lsn=110)
    history.op("write", 2, node="c", tli=3, lsn=150)
    assert judge(history, {"2": [[1, 100]], "3": [[1, 120]]}).valid is True


def test_a_survivor_need_not_have_written():
    """A history of a timeline says that somebody was promoted."""
    history = Bare().op("write", 1, node="a", tli=1, lsn=101)
    assert judge(history).detail["lost"] == [1]


def test_parents_tell_what_a_history_leaves_out():
    """Only the direct parent is named; its own parent stands in its own history."""
    history = failover(101).op("write", 4, node="c", tli=3, lsn=250)
    assert judge(history, {"2": [[1, 100]], "3": [[2, 200]]}).detail["lost"] == [2]


def test_positions_are_numbers_or_text():
    """`X/Y` is the same number."""
    history: Json = {"2": [[1, "0/64"]]}
    assert judge(failover("0/64"), history).valid is True
    assert judge(failover("0/65"), history).valid is False


# --- what is not known ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        Bare(),
        Bare().op("write", 1),
        Bare().op("write", 1, node="a"),
        Bare().op("write", 1, "info", node="a", tli=1),
        Bare().op("write", 1, "fail", node="a", tli=1),
    ],
)
def test_unknown_without_a_write_that_names_its_timeline(history: Bare):
    """Nobody was seen to be master."""
    assert judge(history).valid == "unknown"


@pytest.mark.parametrize(
    ("f", "argument", "value"),
    [
        ("read", None, [1, 2, 3]),
        ("txn", [["r", 1, None]], [["r", 1, [2]]]),
        ("cas", [1, 2], [1, 2, False]),
    ],
)
def test_what_writes_nothing_does_not_count(f: str, argument: Json, value: Json):
    """A read or a miss on the old timeline proves nobody master."""
    late = failover().op(f, argument, value=value, node="a", tli=1, lsn=160)
    assert judge(late).valid is True
    alone = Bare().op(f, argument, value=value, node="a", tli=1, lsn=50)
    assert judge(alone).detail["writes"] == 0


def test_a_write_of_an_unknown_node_may_still_be_lost():
    """Its timeline and position tell."""
    found = judge(failover().op("write", 4, tli=1, lsn=160))
    assert found.anomalies == ["lost"]


@pytest.mark.parametrize(
    ("f", "argument"),
    [("write", 1), ("cas", [1, 2]), ("txn", [["append", 1, 2]]), ("txn", [["w", 1, 2]]),
     ("add", 1), ("append", "x"), ("put", "x"), ("transfer", {}), ("acquire", None)],
)  # fmt: skip
def test_whatever_writes_counts(f: str, argument: Json):
    """Sent on the old timeline after the newer one's acknowledgement: a breach."""
    assert judge(failover().op(f, argument, node="a", tli=1, lsn=60)).valid is False


def test_one_timeline_needs_no_history():
    """Nothing was left, so nothing was lost."""
    assert judge(Bare().op("write", 1, node="a", tli=1), {}).valid is True


def test_unknown_without_the_history_of_the_survivor():
    """Where it left the others nobody knows, though an older one's fork is known."""
    assert judge(failover(), {}).valid == "unknown"
    newer = failover(101).op("write", 4, node="c", tli=3, lsn=250)
    assert judge(newer).valid == "unknown"
    assert judge(newer.op("write", 5, node="a", tli=2, lsn=240)).valid is False


def test_unknown_of_timelines_older_than_all_that_is_known():
    """A history that begins at 2 says nothing of 1."""
    assert judge(failover(101), {"3": [[2, 200]]}).valid == "unknown"


@pytest.mark.parametrize("lsn", [[90, 110], [90, 101], [100, 101], None])
def test_a_fork_within_the_bounds_is_decided_by_the_final_table(lsn: Json):
    """There, it was kept; not there, it was lost; nobody looked, nobody knows."""
    assert judge(failover(lsn)).valid == "unknown"
    assert judge(failover(lsn)).detail["undecided"] == [2]
    assert judge(failover(lsn).read([1, 2, 3])).valid is True
    assert judge(failover(lsn).read([1, 3])).detail["lost"] == [2]


@pytest.mark.parametrize(("lsn", "valid"), [([90, 100], True), ([101, 110], False)])
def test_bounds_that_exclude_the_fork_decide(lsn: Json, *, valid: bool):
    """No look at the table is needed."""
    assert judge(failover(lsn)).valid is valid


def test_which_reads_are_of_the_final_table():
    """Not one of an older timeline, one that failed or was sent too early, or one of another key.

    The last one counts.
    """
    undecided = Bare().op("write", 2, node="a", tli=1, lsn=[90, 110], key="t", at=(0, 5))
    undecided.op("write", 3, node="b", tli=2, lsn=150, key="t", at=(1, 3))
    undecided.op("read", value=[2, 3], key="t", at=(4, 7))
    for history in (
        undecided,
        undecided.read([2, 3], key="t", tli=1),
        undecided.read([2, 3], "fail", key="t"),
        undecided.read([2, 3], key="other"),
    ):
        assert judge(history).valid == "unknown"
    assert judge(undecided.read([2, 3], key="t", tli=2)).valid is True
    assert judge(undecided.read([3], key="t")).valid is False


def test_a_register_shows_only_its_last_value():
    """The value is there, or it was overwritten: then nothing tells."""
    assert judge(failover([90, 110]).read(2)).valid is True
    assert judge(failover([90, 110]).read(3)).valid == "unknown"
    lists = Bare().op("write", [1], node="a", tli=1, lsn=[90, 110])
    assert judge(lists.read([1])).valid is True
    assert judge(lists.read([2])).valid == "unknown"


def test_a_transactions_entries_are_looked_up_by_key():
    """All of them have to be there."""
    history = Bare().op(
        "txn", [["append", 1, 7], ["append", 2, 8]], node="a", tli=1, lsn=[90, 110], key="t"
    )
    found = judge(history.read([["r", 1, [7]], ["r", 2, [9]]], key="t"))
    assert found.detail["lost"] == [[1, 7], [2, 8]]
    assert judge(history.read([["r", 1, [7]], ["r", 2, [8]]], key="t")).valid is True


# --- the user's mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize("lsn", ["x", -1, True, [1], [2, 1], ["0/1", None], {}, 1.5])
def test_a_malformed_position_is_the_users_mistake(lsn: Json):
    """It is no verdict; the line is named."""
    with pytest.raises(ScenarioError, match="lsn: found") as error:
        judge(failover(lsn))
    assert error.value.mistakes[0].line == 4


def test_a_malformed_timeline_or_node_is_the_users_mistake():
    """Likewise."""
    wrong: list[dict[str, object]] = [{"tli": True}, {"tli": 0}, {"tli": "1"}, {"node": 7}]
    for members in wrong:
        history = Bare().op("write", 1, node="a", tli=1)
        history._operations[0] = history._operations[0]._replace(**members)  # type: ignore[arg-type]
        with pytest.raises(ScenarioError, match=r"expected a (timeline|name)"):
            judge(history)


@pytest.mark.parametrize(
    "history", [{"2": [[2, 1]]}, {"1": [[3, 1]]}, {"x": []}, {"2": [[1]]}, {"2": [[1, "x"]]}]
)
def test_a_history_that_cannot_be(history: Json):
    """The case itself is wrong."""
    with pytest.raises(ValidationError):
        judge(Bare(), history)


# --- a cluster with failovers --------------------------------------------------------------------


@dataclass
class Branch:
    """One timeline of a simulated cluster: where it began, and its commits, by their ends."""

    parent: int
    fork: int
    position: int
    ancestors: list[list[Json]]
    commits: dict[int, int] = field(default_factory=dict)


class Cluster:
    """Writes, promotions and old primaries that go on, at random; what is true of it is known."""

    def __init__(self, seed: int, *, exact: bool) -> None:
        self.rng = random.Random(seed)
        self.exact = exact
        self.branches = {1: Branch(0, 100, 100, [])}
        self.alive = {1}
        self.history = Bare()
        self.acked: list[tuple[int, str, int, int, int]] = []
        self._element = 0
        self._now = 0
        for _ in range(self.rng.randint(3, 14)):
            self.rng.choice([self._write, self._write, self._write, self._promote])()
        self._write()

    def _write(self) -> None:
        rng, tli = self.rng, self.rng.choice(sorted(self.alive))
        branch = self.branches[tli]
        begin = branch.position + rng.randint(0, 20)
        end = begin + 10
        low, high = branch.position - rng.randint(0, 5), end + rng.randint(0, 10)
        branch.position = high
        self._element += 1
        branch.commits[end] = self._element
        start = self._now
        self._now += rng.randint(-3, 6) if self._now > 3 else 5
        finish = max(start, self._now) + rng.randint(1, 8)
        node = "n9" if rng.random() < 0.03 else f"n{tli}"
        ok = rng.random() < 0.85
        lsn: Json = end if self.exact or rng.random() < 0.3 else [low, high]
        self.history.op(
            "write", self._element, "ok" if ok else "info",
            at=(2 * start, 2 * finish + 1), node=node, tli=tli, lsn=lsn,
        )  # fmt: skip
        if ok:
            self.acked.append((tli, node, 2 * start, 2 * finish + 1, self._element))

    def _promote(self) -> None:
        rng = self.rng
        parent = rng.choice([max(self.branches), rng.choice(sorted(self.branches))])
        of = self.branches[parent]
        ends = [of.fork, of.position, *of.commits]
        fork = rng.choice([end for end in ends if end >= of.fork])
        tli = max(self.branches) + 1
        self.branches[tli] = Branch(parent, fork, fork, [*of.ancestors, [parent, fork]])
        if rng.random() < 0.8:
            self.alive.clear()
        self.alive.add(tli)

    @property
    def timeline_history(self) -> Json:
        return {str(tli): [*of.ancestors] for tli, of in self.branches.items() if tli > 1}

    @property
    def survivors(self) -> set[int]:
        """Return what a node on the newest timeline holds."""
        tli, until = max(self.branches), 1 << 62
        held: set[int] = set()
        while tli:
            branch = self.branches[tli]
            held |= {element for end, element in branch.commits.items() if end <= until}
            tli, until = branch.parent, min(until, branch.fork)
        return held

    @property
    def lost(self) -> list[int]:
        held = self.survivors
        return sorted(element for *_, element in self.acked if element not in held)

    @property
    def overlaps(self) -> bool:
        return any(
            (a[0] == b[0] and a[1] != b[1]) or (a[0] > b[0] and a[3] < b[2])
            for a in self.acked
            for b in self.acked
        )


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32))
def test_agrees_with_a_cluster_whose_truth_is_known(seed: int):
    """With exact positions the lost writes and the overlaps are those that happened."""
    cluster = Cluster(seed, exact=True)
    found = judge(cluster.history, cluster.timeline_history)
    if not cluster.acked:
        assert found.valid == "unknown"
        return
    assert sorted(map(str, listed(found, "lost"))) == sorted(map(str, cluster.lost))
    assert bool(found.detail["overlap"]) is cluster.overlaps
    assert found.valid is not (bool(cluster.lost) or cluster.overlaps)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32))
def test_bounds_never_lie_and_the_final_table_settles_them(seed: int):
    """With bounds it may not know; then a read of the survivor says the same as the truth."""
    cluster = Cluster(seed, exact=False)
    if not cluster.acked:
        return
    found = judge(cluster.history, cluster.timeline_history)
    broken = bool(cluster.lost) or cluster.overlaps
    assert found.valid in ("unknown", not broken)
    assert {*listed(found, "lost")} <= {*cluster.lost}
    assert {*cluster.lost} <= {*listed(found, "lost"), *listed(found, "undecided")}
    read = [*sorted(cluster.survivors)]
    settled = judge(cluster.history.op("read", value=[*read], at=(9998, 9999)),
                    cluster.timeline_history)  # fmt: skip
    assert settled.valid is not broken
    assert sorted(map(str, listed(settled, "lost"))) == sorted(map(str, cluster.lost))
