"""Tests for harness.checkers.overlap."""

import pytest

from harness.checkers.overlap import Overlap
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, failover


def measure(tape: Tape, bound: str = "1s", since: str | None = None) -> Measurement:
    return Overlap.model_validate({"since": since, "max": bound}).measure(tape.history())


def thawed(old_until: float) -> Tape:
    """Return a failover at 5 s; at 8 s the old primary goes on, and writes until `old_until`."""
    tape = failover(every=0.1)
    tape.deed("thaw", 8.0, ["pg-1"], "thawed")
    at = 8.05
    while at < old_until:
        tape.probe("pg-1", at, "ok", 1)
        at += 0.1
    return tape


def test_none_where_the_old_primary_was_refused() -> None:
    """It was tried all the time after it went on."""
    found = measure(thawed(0), since="thawed")
    assert found.value == 0


def test_from_the_step_to_the_last_acknowledgement() -> None:
    """The old primary wrote for 0.4 s before it learned that it was deposed."""
    found = measure(thawed(8.4), since="thawed")
    assert found.value == pytest.approx(0.36)
    assert found.note.startswith("pg-1 acknowledged 4 writes on an older timeline")
    assert judge("overlap", "s", {"max": 1}, [found]).verdict == "pass"


def test_a_longer_one_is_a_breach() -> None:
    """It went on past the bound."""
    found = measure(thawed(9.6), since="thawed")
    assert judge("overlap", "s", {"max": 1}, [found]).verdict == "fail"


def test_without_a_step_from_the_newer_timeline() -> None:
    """The newer timeline's first acknowledgement came at 5.01 s."""
    assert measure(thawed(8.4)).value == pytest.approx(3.35)


def test_what_came_before_the_step_is_not_forgiven() -> None:
    """An old primary that never stood still is measured from the newer timeline on."""
    found = measure(failover(old_until=9, every=0.1), since="crash")
    assert found.value is not None
    assert found.value > 3


def test_a_write_under_way_at_that_moment_may_have_come_first() -> None:
    """It was sent before the newer timeline's first acknowledgement."""
    tape = failover(every=0.1)
    tape.probe("pg-1", 4.9, "ok", 1, took=2)
    assert measure(tape).value == 0


def test_undecided_without_a_second_primary() -> None:
    """Nobody took over, so nobody could write beside another."""
    assert measure(failover(promoted=None)).value is None


def test_undecided_when_the_old_primary_was_not_tried() -> None:
    """Nobody asked it once it went on."""
    tape = thawed(0)
    tape.events = [
        e for e in tape.events if not (str(e.process).startswith("probe/pg-1") and e.time > 1008e9)
    ]
    found = measure(tape, since="thawed")
    assert found.value is None
    assert "no write was tried on pg-1" in found.note


def test_undecided_without_the_step() -> None:
    """The run never came to it."""
    assert measure(failover(every=0.1), since="thawed").value is None
