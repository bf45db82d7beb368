"""Tests for harness.checks.long_fork."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.answer import Answer
from harness.checks.long_fork import LongFork
from harness.errors import ScenarioError
from harness.history import Json, Outcome
from tests.unit.checks.bare import Bare, first


class Txns(Bare):
    """A history of single writes and of reads of a group."""

    def wrote(self, key: Json, value: Json = 1, outcome: Outcome = "ok") -> "Txns":
        self.op("txn", [["w", key, value]], outcome)
        return self

    def saw(self, outcome: Outcome = "ok", /, **values: Json) -> "Txns":
        """Add a read of keys named `k<number>`."""
        rows = [["r", int(name[1:]), value] for name, value in values.items()]
        asked: list[Json] = [["r", key, None] for _, key, _ in rows]
        self.op("txn", asked, outcome, value=[*rows])
        return self


def judge(history: Bare, group_size: int = 2) -> Answer:
    return history.judged(LongFork(group_size=group_size))


def test_reads_that_agree_are_fine():
    """Both saw 0 before 1."""
    found = judge(Txns().wrote(0).wrote(1).saw(k0=None, k1=None).saw(k0=1, k1=None).saw(k0=1, k1=1))
    assert (found.valid, found.anomalies) == (True, ())
    assert (found.detail["early_reads"], found.detail["late_reads"]) == (1, 1)


def test_two_reads_in_different_orders_are_a_fork():
    """The two reads are shown, whatever the order of the keys in them."""
    found = judge(Txns().wrote(0).wrote(1).saw(k0=1, k1=None).saw(k1=1, k0=None))
    assert (found.valid, found.anomalies) == (False, ["long-fork"])
    shown = first(found, "forks")
    assert shown["keys"] == [0, 1]
    assert isinstance(shown["reads"], list)
    assert [read["invoked"] for read in shown["reads"]] == [4, 6]


def test_reads_of_other_groups_are_not_compared():
    """Four keys, two groups: each has an order of its own."""
    history = Txns().wrote(0).wrote(1).wrote(2).wrote(3)
    assert judge(history.saw(k0=1, k1=None).saw(k2=None, k3=1)).valid is True


def test_only_ok_reads_count():
    """Reads in transactions that failed or have no outcome carry nothing."""
    history = Txns().wrote(0).wrote(1).saw(k0=1, k1=None)
    assert judge(history.saw("fail", k0=None, k1=1).saw("info", k0=None, k1=1)).valid is True


@pytest.mark.parametrize(
    "history",
    [Txns(), Txns().wrote(0).wrote(1), Txns().wrote(0, 1, "fail").saw("fail", k0=1, k1=None)],
)
def test_unknown_without_a_read(history: Bare):
    """Nobody looked."""
    assert judge(history).valid == "unknown"


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (Txns().wrote(0).wrote(0, 2).saw(k0=2, k1=None), "written more than once"),
        (Txns().wrote(0).saw(k0=1), "read is not of 2 keys (1 in line 3)"),
        (Txns().saw(k0=1, k1=None, k2=1).saw(k0=1, k1=None), "read is not of 2 keys"),
        (Txns().saw(k0=1, k1=None).saw(k0=2, k1=None), "several values (key 0 in line 3)"),
        (Txns().wrote(0).saw(k0=True, k1=None), "several values"),
    ],
)
def test_a_history_of_another_kind_is_unknown(history: Bare, reason: str):
    """What the method rests on does not hold, so nothing is said."""
    found = judge(history)
    assert found.valid == "unknown"
    assert reason in found.reason


def test_a_transaction_that_reads_and_writes_is_unknown():
    """It is neither a single write nor a read of a group."""
    history = Txns().saw(k0=1, k1=None)
    history.op("txn", [["r", 0, None], ["w", 1, 1]], value=[["r", 0, 1], ["w", 1, 1]])
    assert judge(history).valid == "unknown"


def test_a_fork_counts_whatever_else_is_wrong():
    """What was seen was seen."""
    history = Txns().wrote(0).wrote(0, 2).saw(k5=1).saw(k0=1, k1=None).saw(k0=None, k1=1)
    assert judge(history).valid is False


def test_a_write_tried_again_after_it_failed_is_one_write():
    """The first certainly did not take effect."""
    assert judge(Txns().wrote(0, 1, "fail").wrote(0).saw(k0=1, k1=None)).valid is True


@pytest.mark.parametrize("value", [7, [["append", 1, 2]], [["r", 1]], ["r"]])
def test_another_workload_is_the_users_mistake(value: Json):
    """It is no verdict."""
    with pytest.raises(ScenarioError, match="expected a list of"):
        judge(Bare().op("txn", value))


def test_a_write_of_null_is_the_users_mistake():
    """Nobody could tell it from none."""
    with pytest.raises(ScenarioError, match="value null"):
        judge(Txns().wrote(0, None))


def test_a_group_has_a_size():
    """The case itself is wrong."""
    with pytest.raises(ValidationError):
        LongFork(group_size=0)


# --- laws ----------------------------------------------------------------------------------------


def saw_first(history: Txns, order: list[int], done: int, rng: random.Random) -> None:
    """Add a read, of keys in any order, that shows the first `done` writes of this order."""
    shown = [(key, 1 if at < done else None) for at, key in enumerate(order)]
    history.saw(**{f"k{key}": value for key, value in rng.sample(shown, len(shown))})


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_one_order_never_alarms_and_a_planted_fork_is_caught(seed: int, size: int):
    """Each read shows a prefix of its group's writes; then one shows only the last of them."""
    rng = random.Random(seed)
    groups = [rng.sample(range(n * size, (n + 1) * size), size) for n in range(rng.randint(1, 3))]
    history = Txns()
    for key in range(size * len(groups)):
        history.wrote(key, 1, rng.choice(["ok", "info"]))
    for _ in range(rng.randint(0, 10)):
        saw_first(history, rng.choice(groups), rng.randint(0, size), rng)
    saw_first(history, groups[0], rng.randint(1, size - 1), rng)
    assert judge(history, size).valid is True
    saw_first(history, groups[0][::-1], 1, rng)
    assert judge(history, size).valid is False


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7)), min_size=1, max_size=6))
def test_agrees_with_brute_force(reads: list[tuple[int, int]]):
    """Comparing all pairs of reads finds a fork exactly when the chains do."""
    history = Txns()
    for group, mask in reads:
        history.saw(**{f"k{3 * group + n}": 1 if mask >> n & 1 else None for n in range(3)})
    forked = any(a[0] == b[0] and a[1] & ~b[1] and b[1] & ~a[1] for a, b in combinations(reads, 2))
    assert judge(history, 3).valid is (not forked)
