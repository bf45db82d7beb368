"""Tests for harness.checkers.leader_changes."""

from harness.checkers.leader_changes import LeaderChanges
from harness.verdict import Measurement, Verdict, judge
from tests.unit.checkers.tape import Tape


def held(*changes: tuple[float, str | None]) -> Tape:
    tape = Tape()
    tape.phases(steady=-3, steps=0, settled=10)
    for at, holder in changes:
        tape.leader(at, holder)
    return tape


def measure(tape: Tape) -> Measurement:
    return LeaderChanges(max=1).measure(tape.history())


def test_only_another_name_is_a_change() -> None:
    """Lost and taken again by the same node is none; passed through nobody is one."""
    assert measure(held((-5, "pg-1"), (1, None), (2, "pg-1"))).value == 0
    found = measure(held((-5, "pg-1"), (1, None), (2, "pg-2"), (3, "pg-1")))
    assert found.value == 2
    assert found.note == "led by pg-1, then pg-2 at 2.00 s, then pg-1 at 3.00 s"


def test_only_the_steps_count() -> None:
    """Changes before the first step and after the cluster settled belong to nobody's promise."""
    assert measure(held((-5, "pg-2"), (-4, "pg-1"), (5, "pg-2"), (11, "pg-3"))).value == 1


def test_several_watchers_tell_one_change() -> None:
    """The same revision is the same change."""
    tape = held((-5, "pg-1"))
    for at in (4, 4.1, 9):
        tape.leader(at, "pg-2", 7)
    assert measure(tape).value == 1


def test_undecided_when_the_dcs_was_not_seen() -> None:
    """No watcher told of the key, or only after the first step."""
    assert measure(held()).value is None
    assert measure(held((3, "pg-2"))).value is None


def test_a_run_that_broke_off_accuses_nobody_of_too_few() -> None:
    """The steps that were left might have moved it; too many are too many."""
    tape = Tape()
    tape.phases(steady=-3, steps=0)
    tape.leader(-5, "pg-1")
    tape.leader(2, "pg-2")
    history = tape.history()
    few = judge("leader_changes", "count", {"min": 2}, [LeaderChanges(min=2).measure(history)])
    assert few.verdict is Verdict.ERROR
    many = judge("leader_changes", "count", {"max": 0}, [LeaderChanges(max=0).measure(history)])
    assert many.verdict is Verdict.FAIL
