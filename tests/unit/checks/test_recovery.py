"""Tests for harness.checks.recovery."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.answer import Answer
from harness.checks.recovery import Recovery
from harness.errors import ScenarioError
from harness.history import Json, Outcome
from tests.unit.checks.bare import Bare, listed

KINDS = ("missing", "extra", "duplicated")


def judge(history: Bare) -> Answer:
    return history.judged(Recovery())


def kinds(answer: Answer) -> dict[str, list[Json]]:
    return {kind: [*listed(answer, kind)] for kind in KINDS if listed(answer, kind)}


def lsn(at: Json, *, inclusive: bool = True) -> Json:
    return {"kind": "lsn", "lsn": at, "inclusive": inclusive}


def written() -> Bare:
    """Return adds of 1, 2 and 3 at 100, 200 and 300; they end at 10, 30 and 50 ns."""
    return Bare().op("add", 1, lsn=100).op("add", 2, lsn=200).op("add", 3, lsn=300)


def restored(target: Json, shown: Json, history: Bare | None = None) -> Bare:
    """Return the history, a restore to the target, and what a read after it shows."""
    return (history or written()).op("restore", {"target": target}).read(shown)


@pytest.mark.parametrize(
    ("target", "state"),
    [
        (lsn(250), [1, 2]),
        (lsn(200), [1, 2]),
        (lsn(200, inclusive=False), [1]),
        (lsn("0/C8"), [1, 2]),
        (lsn(201, inclusive=False), [1, 2]),
        (lsn(50), []),
        (lsn(300), [1, 2, 3]),
        ({"kind": "lsn", "lsn": 200}, [1, 2]),
        ({"kind": "time", "time": 30}, [1, 2]),
        ({"kind": "time", "time": 31}, [1, 2]),
        ({"kind": "time", "time": 39}, [1, 2]),
    ],
)
def test_the_state_at_the_target_and_no_other(target: Json, state: list[int]):
    """Exactly what was committed up to it; each other prefix is wrong, and says how."""
    for count in range(4):
        shown = [1, 2, 3][:count]
        found = judge(restored(target, [*shown]))
        assert found.valid is (shown == state)
        expected = {
            "missing": [e for e in state if e not in shown],
            "extra": [e for e in shown if e not in state],
        }
        assert kinds(found) == {kind: of for kind, of in expected.items() if of}
        assert found.anomalies == sorted(kinds(found))


def test_what_was_under_way_at_an_instant_may_be_either():
    """2 was sent at 20 and acknowledged at 30."""
    for at in (20, 25, 29):
        for shown in ([1], [1, 2]):
            assert judge(restored({"kind": "time", "time": at}, [*shown])).valid is True
    exclusive: Json = {"kind": "time", "time": 30, "inclusive": False}
    assert judge(restored(exclusive, [1])).valid is True
    exclusive = {"kind": "time", "time": 20, "inclusive": False}
    assert judge(restored(exclusive, [1, 2])).valid is False


@pytest.mark.parametrize(
    ("bounds", "inclusive", "out", "there"),
    [
        ([190, 210], True, True, True),
        ([150, 199], True, False, True),
        ([150, 200], True, False, True),
        ([150, 200], False, True, True),
        ([200, 250], True, True, True),
        ([200, 250], False, True, False),
        ([201, 250], True, True, False),
        (None, True, True, True),
    ],
)
def test_bounds_decide_where_all_of_them_agree(
    bounds: Json, *, inclusive: bool, out: bool, there: bool
):
    """Whether a restore to 200 may lack, and may show, a commit somewhere within them."""
    history = Bare().op("add", 1, lsn=10).op("add", 2, lsn=bounds)
    target = lsn(200, inclusive=inclusive)
    assert judge(restored(target, [1], history)).valid is out
    history = Bare().op("add", 1, lsn=10).op("add", 2, lsn=bounds)
    assert judge(restored(target, [1, 2], history)).valid is there


def test_failed_and_unheard_elements_are_extra():
    """Whatever the target."""
    history = written().op("add", 4, "fail")
    assert kinds(judge(restored(lsn(300), [1, 2, 3, 4, 9], history))) == {"extra": [4, 9]}


def test_an_element_of_unknown_outcome_may_be_there():
    """Either way, but not twice."""
    for shown, valid in (([1, 2, 3], True), ([1, 2, 3, 4], True), ([1, 2, 3, 4, 4], False)):
        assert judge(restored(lsn(300), [*shown], written().op("add", 4, "info"))).valid is valid


def test_a_doubled_element_is_wrong():
    """It was written once."""
    assert kinds(judge(restored(lsn(200), [1, 2, 2]))) == {"duplicated": [2]}


def test_of_several_tries_the_surest_counts():
    """An element that was tried again after the target may still be there from before."""
    history = written().op("add", 1, lsn=400)
    assert judge(restored(lsn(200), [1, 2], history)).valid is True
    assert judge(restored(lsn(200), [1, 1, 2], written().op("add", 1, lsn=400))).valid is False


def test_writes_after_the_restore_are_no_part_of_it():
    """The restored cluster takes writes of its own before it is read."""
    for shown in ([1, 2], [1, 2, 4]):
        history = written().op("restore", {"target": lsn(200)}).op("add", 4, lsn=900)
        assert judge(history.read([*shown])).valid is True


def test_the_first_read_after_the_restore_counts():
    """Not one before it, one that was under way, one that failed, or a later one."""
    history = written().read([7]).op("restore", {"target": lsn(200)}, at=(10, 12))
    history.op("read", value=[8], at=(11, 13)).read([9], "fail").read([1, 2]).read([5])
    assert judge(history).valid is True


def test_each_restore_is_held_against_its_own_read():
    """Two restores of one history to two targets; a fault in one is a fault."""
    history = restored(lsn(200), [1, 2])
    assert judge(restored(lsn(300), [1, 2, 3], history)).valid is True
    history = restored(lsn(200), [1, 2])
    found = judge(restored(lsn(300), [1, 2], history))
    assert (kinds(found), found.reason) == ({"missing": [3]}, "1 missing")
    unread = restored(lsn(300), [1, 2]).op("restore", lsn(300))
    assert (judge(unread).valid, judge(unread).reason) == (False, "1 missing")
    assert judge(restored(lsn(200), [1, 2]).op("restore", lsn(300))).valid == "unknown"


def test_where_a_restore_may_say_its_target():
    """In its argument or in its result, by itself or beside other members."""
    own: Json = {"target": {"kind": "lsn", "value": "0/C8", "inclusive": True}}
    told: list[tuple[Json, Json]] = [
        (lsn(200), None),
        (None, lsn(200)),
        ({"target": lsn(200)}, None),
        ({"as": "x"}, own),
    ]
    for argument, value in told:
        history = written().op("restore", argument, value=value)
        assert judge(history.read([1, 2])).valid is True


def test_rows_and_tables():
    """Transactions write entries of lists; each table is compared with its own read."""
    history = Bare()
    history.op("txn", [["append", 1, 7], ["r", 2, None]], key="t", lsn=100)
    history.op("txn", [["append", 1, 8]], key="t", lsn=300)
    history.op("write", 7, key="probe", lsn=110)
    history.op("restore", lsn(200)).read([["r", 1, [7, 8]], ["r", 2, None]], key="t")
    assert judge(history).valid is False
    assert kinds(judge(history)) == {"extra": [[1, 8]]}
    assert judge(history.read([], key="probe")).detail["missing"] == [7]


def test_a_table_that_was_not_read_leaves_it_open():
    """What had to be there may be missing."""
    history = Bare().op("add", 1, key="a", lsn=10).op("add", 2, key="b", lsn=20)
    assert judge(history.op("restore", lsn(50)).read([1], key="a")).valid == "unknown"
    assert judge(history.read([2], key="b")).valid is True


def test_a_read_without_a_key_is_of_all_tables():
    """But some with and some without are the user's mistake."""
    history = Bare().op("add", 1, key="a", lsn=10).op("add", 2, key="b", lsn=20)
    assert judge(history.op("restore", lsn(50)).read([1, 2])).valid is True
    with pytest.raises(ScenarioError, match="some writes and reads carry one"):
        judge(history.read([1], key="a"))


@pytest.mark.parametrize(
    "history",
    [
        Bare(),
        written(),
        written().read([1, 2, 3]),
        written().op("restore", lsn(200)),
        written().op("restore", lsn(200)).read([1], "fail"),
        written().op("restore", lsn(200), "fail").read([1]),
        written().op("restore", lsn(200), "info").read([1]),
        written().op("restore", {"kind": "latest"}).read([1, 2, 3]),
        written().op("restore", {"kind": "xid", "value": "7"}).read([1, 2, 3]),
        written().op("restore", {"kind": "time", "value": "2025-01-01T00:00:00Z"}).read([1]),
        Bare().op("restore", lsn(200)).read([]),
        Bare().op("add", 1).op("add", 2, "info").op("restore", lsn(200)).read([1]),
        Bare().op("add", 1, "fail").op("restore", lsn(200)).read([]),
    ],
)
def test_unknown_when_nothing_decides(history: Bare):
    """No restore, no read after it, no target that the history can place, no certain write."""
    found = judge(history)
    assert found.valid == "unknown"
    assert found.reason


@pytest.mark.parametrize(
    "target", [None, 7, {}, {"target": 7}, {"kind": 7}, lsn("x"), lsn(None), lsn(-1)]
)
def test_a_malformed_target_is_the_users_mistake(target: Json):
    """It is no verdict; the line is named."""
    with pytest.raises(ScenarioError, match="target") as error:
        judge(restored(target, [1]))
    assert error.value.mistakes[0].line == 8


def test_a_malformed_position_is_the_users_mistake():
    """Likewise."""
    with pytest.raises(ScenarioError, match="lsn: found 'x'"):
        judge(restored(lsn(200), [1], Bare().op("add", 1, lsn="x")))


# --- laws ----------------------------------------------------------------------------------------


class World:
    """Commits at known instants and positions, and a restore that holds a prefix of them."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        self.history = Bare()
        commits: list[tuple[int, int]] = []
        self.sure: list[tuple[int, int, int, Json]] = []
        for element in range(rng.randint(2, 10)):
            start = rng.randint(0, 40)
            at, end = start + rng.randint(0, 8), start + 8 + rng.randint(0, 8)
            outcome: Outcome = rng.choice(["ok", "ok", "ok", "info", "fail"])
            # A position that rises with time, and no two commits at the same.
            position = 1000 * at + element
            low, high = position - rng.randint(0, 4000), position + rng.randint(0, 4000)
            told: Json = rng.choice([position, [max(0, low), high], None])
            if outcome == "ok" or (outcome == "info" and rng.random() < 0.5):
                commits.append((position, element))
            if outcome == "ok":
                self.sure.append((element, 2 * start, 2 * end + 1, told))
            self.history.op("add", element, outcome, at=(2 * start, 2 * end + 1), lsn=told)
        self.commits = sorted(commits)

    def restore(self) -> tuple[Json, list[int]]:
        """Return a target, and what PostgreSQL holds once it is restored to that."""
        rng = self.rng
        inclusive = rng.random() < 0.5
        at = rng.choice([p for p, _ in self.commits] or [0]) + rng.choice([0, 0, -1, 1, 5000])
        if rng.random() < 0.5:
            # The clock ticks 20 ns in the time in which positions rise by 1000.
            target: Json = {"kind": "time", "time": at // 50, "inclusive": inclusive}
            held = [e for p, e in self.commits if (p // 50 <= at // 50 if inclusive
                                                   else p // 50 < at // 50)]  # fmt: skip
        else:
            target = lsn(max(0, at), inclusive=inclusive)
            held = [e for p, e in self.commits if p < at or (p == at and inclusive)]
        return target, held


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_a_restore_that_works_never_alarms(seed: int):
    """It holds the prefix of the commit order, whatever clients know of it."""
    world = World(seed)
    target, held = world.restore()
    history = world.history.op("restore", target, at=(900, 901))
    assert judge(history.read([*held])).valid in (True, "unknown")


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_a_planted_fault_is_caught(seed: int):
    """Of a commit whose position is known, one too many or one too few."""
    world = World(seed)
    target, held = world.restore()
    assert isinstance(target, dict)
    known = {e for e, _, _, told in world.sure if type(told) is int}
    if target["kind"] == "time":
        at = target["time"]
        known = {e for e, start, end, _ in world.sure if 10 * end < at or 10 * start > at}
    if not known:
        return
    wrong = world.rng.choice(sorted(known))
    shown = [e for e in held if e != wrong] if wrong in held else [*held, wrong]
    found = judge(world.history.op("restore", target, at=(900, 901)).read([*shown]))
    assert kinds(found) == {"missing" if wrong in held else "extra": [wrong]}
