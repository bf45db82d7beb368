"""Tests for harness.checks.elements."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.answer import Answer
from harness.checks.elements import Elements
from harness.errors import ScenarioError
from harness.history import Json, Outcome
from tests.unit.checks.bare import Bare, listed

KINDS = ("lost", "unexpected", "recovered", "duplicated")


def judge(history: Bare) -> Answer:
    return history.judged(Elements())


def kinds(answer: Answer) -> dict[str, list[Json]]:
    return {kind: [*listed(answer, kind)] for kind in KINDS if listed(answer, kind)}


def test_what_was_added_is_there():
    """Acknowledged and there, refused and not there: nothing is wrong."""
    found = judge(Bare().op("add", 1).op("add", 2).op("add", 3, "fail").read([2, 1]))
    assert (found.valid, kinds(found), found.anomalies) == (True, {}, ())
    assert found.detail["acknowledged"] == 2


@pytest.mark.parametrize(
    ("shown", "kind", "element"),
    [([1], "lost", 2), ([1, 2, 3], "unexpected", 3), ([1, 2, 9], "unexpected", 9),
     ([1, 2, 2], "duplicated", 2)],
)  # fmt: skip
def test_each_fault_is_named(shown: Json, kind: str, element: int):
    """An acknowledged element is missing, a refused or unheard one is there, or one is doubled."""
    found = judge(Bare().op("add", 1).op("add", 2).op("add", 3, "fail").read(shown))
    assert found.valid is False
    assert found.anomalies == [kind]
    assert kinds(found) == {kind: [element]}


def test_an_element_of_unknown_outcome_may_be_there():
    """It is recovered, and may as well be away."""
    there = judge(Bare().op("add", 1, "info").read([1]))
    away = judge(Bare().op("add", 1, "info").read([]))
    assert (there.valid, kinds(there)) == (True, {"recovered": [1]})
    assert (away.valid, kinds(away)) == (True, {})


def test_an_add_under_way_during_the_read_may_be_there():
    """It was acknowledged after the read began, so either way is right, and it is not recovered."""
    for shown in ([], [1]):
        history = Bare().op("add", 1, at=(0, 2)).op("read", value=shown, at=(1, 3))
        assert (judge(history).valid, kinds(judge(history))) == (True, {})


def test_one_event_decides_whether_a_missing_add_is_lost():
    """Acknowledged right before the read is sent: it has to be there."""
    lost = Bare().op("add", 1, at=(0, 1)).op("read", value=[], at=(2, 3))
    assert judge(lost).valid is False


def test_an_element_from_the_future_is_unexpected():
    """What was sent after the read ended cannot be in it."""
    assert judge(Bare().read([1]).op("add", 1)).valid is False


def test_the_last_read_to_complete_counts():
    """An earlier one, one that failed, and one without outcome decide nothing."""
    history = Bare().op("add", 1).read([]).read([1]).read([], "fail").read([], "info")
    assert judge(history).valid is True
    assert judge(Bare().op("add", 1).read([1]).read([])).valid is False


def test_a_null_read_is_the_empty_set():
    """Null is the initial value."""
    assert judge(Bare().op("add", 1).read(None)).valid is False


def test_an_element_added_twice_may_be_there_twice():
    """Once for each add that may have taken effect, and no more."""
    history = Bare().op("add", 1).op("add", 1, "info").op("add", 1, "fail")
    assert judge(history.read([1, 1])).valid is True
    assert judge(history.read([1, 1, 1])).valid is False


def test_a_refused_try_does_not_undo_an_acknowledged_one():
    """Of several tries the surest counts."""
    assert judge(Bare().op("add", 1).op("add", 1, "fail").read([])).valid is False
    assert judge(Bare().op("add", 1, "fail").op("add", 1).read([1])).valid is True


@pytest.mark.parametrize(
    "history",
    [Bare(), Bare().op("add", 1), Bare().op("add", 1, "fail").read([1], "fail"),
     Bare().op("add", 1).read([], "info"), Bare().op("write", 1)],
)  # fmt: skip
def test_unknown_without_a_good_read(history: Bare):
    """Nobody looked."""
    assert judge(history).valid == "unknown"


def test_elements_are_told_apart_as_json_does():
    """True is not 1, a list is not its text, and each comes back as it was written."""
    values: list[Json] = [True, 1, "1", 1.5, None, [1, "a"], '[1, "a"]', {"k": [1]}]
    history = Bare()
    for value in values:
        history.op("add", value)
    assert judge(history.read([*values])).valid is True
    found = judge(history.read([]))
    assert sorted(map(repr, listed(found, "lost"))) == sorted(map(repr, values))
    assert kinds(judge(Bare().op("add", 1).read([True]))) == {"lost": [1], "unexpected": [True]}


def test_sets_of_several_keys_are_judged_apart():
    """The same element in another set is another element."""
    history = Bare().op("add", 1, key="a").op("add", 1, key="b").op("add", 2, key="b")
    history.read([1], key="a").read([2], key="b")
    assert kinds(judge(history)) == {"lost": [["b", 1]]}


def test_a_set_that_was_not_read_leaves_it_open():
    """One set is fine, of the other nobody knows; but a fault in one is a fault."""
    fine = Bare().op("add", 1, key="a").op("add", 2, key="b").read([1], key="a")
    broken = Bare().op("add", 1, key="a").op("add", 2, key="b").read([], key="a")
    assert judge(fine).valid == "unknown"
    assert judge(broken).valid is False


def test_a_read_without_a_key_is_of_all_sets():
    """And adds without one belong to the only set that was read."""
    assert judge(Bare().op("add", 1, key="a").op("add", 2, key="b").read([1, 2])).valid is True
    assert judge(Bare().op("add", 1).read([1], key="a")).valid is True
    mixed = Bare().op("add", 1, key="a").op("add", 2).read([1], key="a").read([2])
    with pytest.raises(ScenarioError, match="some adds and reads carry one"):
        judge(mixed)


def test_a_read_that_is_no_list_is_the_users_mistake():
    """It is no verdict; the line is named, and whoever knows the file adds it."""
    with pytest.raises(ScenarioError, match="expected the list of all elements") as error:
        judge(Bare().op("add", 1).read(7))
    assert (error.value.mistakes[0].file, error.value.mistakes[0].line) == ("", 4)


# --- laws ----------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Bare, set[int], list[int]]:
    """Return a history of a set that works, its acknowledged elements, and what it shows last.

    Each add takes effect within its span, or (of unknown outcome) at any time or never.
    """
    rng = random.Random(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 12))
    ends = 2 * count + 4
    read = tuple(sorted(rng.sample(range(ends), 2)))
    at = rng.randint(*read)
    history, sure, there = Bare(), set[int](), list[int]()
    for element in range(count):
        span = sorted(rng.sample(range(ends), 2))
        outcome: Outcome = rng.choice(["ok", "ok", "ok", "fail", "info"])
        took = rng.randint(*span) if outcome == "ok" else rng.randint(span[0], 2 * ends)
        if outcome != "fail" and took < at:
            there.append(element)
        if outcome == "ok" and span[1] < read[0]:
            sure.add(element)
        history.op("add", element, outcome, at=(4 * span[0] + element % 2, 4 * span[1] + 2))
    rng.shuffle(there)
    history.op("read", value=[*there], at=(4 * read[0] - 1, 4 * read[1] + 3))
    return history, sure, there


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_a_set_that_works_never_alarms(world: tuple[Bare, set[int], list[int]]):
    """Whatever is concurrent, refused or left open."""
    history, _, _ = world
    assert judge(history).valid is True


@settings(max_examples=300, deadline=None)
@given(worlds(), st.data())
def test_a_planted_fault_is_caught(world: tuple[Bare, set[int], list[int]], data: st.DataObject):
    """Take one acknowledged element away, double one, or add one that nobody wrote."""
    history, sure, there = world
    broken = [[*there, 999], *([[*there, there[0]]] if there else [])]
    broken += [[e for e in there if e != gone] for gone in sorted(sure)]
    history.read([*data.draw(st.sampled_from(broken))])
    assert judge(history).valid is False


TRIES = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["ok", "fail", "info"])), max_size=6)


@settings(max_examples=300, deadline=None)
@given(TRIES, st.lists(st.integers(1, 5), max_size=5))
def test_agrees_with_brute_force(tries: list[tuple[int, Outcome]], shown: list[int]):
    """Element by element, the definition gives the same."""
    history = Bare()
    for element, outcome in tries:
        history.op("add", element, outcome)
    found = kinds(judge(history.read([*shown])))
    there, expected = Counter(shown), dict[str, list[Json]]()
    for element in range(1, 6):
        outcomes = [outcome for e, outcome in tries if e == element]
        may = len(outcomes) - outcomes.count("fail")
        for kind, holds in {
            "lost": "ok" in outcomes and not there[element],
            "unexpected": there[element] > 0 and not may,
            "duplicated": there[element] > may > 0,
            "recovered": there[element] > 0 and "info" in outcomes and "ok" not in outcomes,
        }.items():
            if holds:
                expected.setdefault(kind, []).append(element)
    assert found == expected
