"""Tests for harness.checkers.gap."""

import pytest

from harness.checkers.gap import Gap
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, failover


def measure(tape: Tape, **bounds: str) -> Measurement:
    own = {"from": "old-leader-demoted", "to": "new-leader-promoted", **(bounds or {"min": "0s"})}
    return Gap.model_validate(own).measure(tape.history())


def test_from_the_old_ones_last_to_the_new_ones_first() -> None:
    """Nobody acknowledged in between."""
    assert measure(failover()).value == pytest.approx(4.5)


def test_negative_when_the_old_one_accepts_a_later_write() -> None:
    """A write sent to the old one after the new one's first was accepted: they overlapped."""
    found = measure(failover(old_until=8.0))
    assert found.value == pytest.approx(-2.49)
    assert judge("gap", "s", {"min": 0}, [found]).verdict == "fail"


def test_a_write_under_way_at_the_new_ones_first_touches_it() -> None:
    """It may have been committed before: no overlap is certain."""
    tape = failover()
    tape.op("probe/pg-1/held.x", "write", 2.0, 9.0, argument=99, node="pg-1", tli=1)
    assert measure(tape).value == 0


def test_of_several_changes_the_smallest_gap_counts_for_min() -> None:
    """And the largest for `max` alone."""
    tape = failover()
    tape.events = [e for e in tape.events if not (e.node == "pg-2" and e.time > 1009e9)]
    tape.probe("pg-3", 10, "ok", 3)
    assert measure(tape).value == pytest.approx(1.5)
    assert measure(tape, max="9s").value == pytest.approx(4.5)


def test_undecided_without_a_change_of_primary() -> None:
    """Nobody followed."""
    assert measure(failover(promoted=None)).value is None


def test_undecided_when_the_old_one_was_not_tried_afterwards() -> None:
    """Then it may have gone on unseen."""
    tape = failover()
    tape.events = [
        e for e in tape.events if not (str(e.process).startswith("probe/pg-1") and e.time > 1004e9)
    ]
    assert measure(tape).value is None
