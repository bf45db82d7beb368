"""Tests for harness.checkers.demotion."""

import pytest

from harness.checkers.demotion import Demotion
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, failover


def measure(tape: Tape, bound: str = "5s") -> Measurement:
    return Demotion.model_validate({"since": "crash", "max": bound}).measure(tape.history())


def test_zero_when_nothing_was_acknowledged_after_the_fault() -> None:
    """The old primary was tried all the time and accepted nothing."""
    found = measure(failover())
    assert found.value == 0
    assert found.note == "pg-1 acknowledged no write after the fault"


def test_until_the_last_acknowledgement_on_the_old_primary() -> None:
    """It went on for a while after it was cut off."""
    found = measure(failover(old_until=4.0))
    assert found.value == pytest.approx(2.51)
    assert not found.at_least


def test_writes_of_a_later_reign_do_not_count() -> None:
    """It became primary again on a newer timeline: that is another story."""
    tape = failover()
    tape.probe("pg-1", 11, "ok", 3)
    assert measure(tape).value == 0


def test_still_acknowledging_at_the_end_is_a_lower_bound() -> None:
    """It was never seen to stop: 10.5 s at least."""
    found = measure(failover(old_until=99, promoted=None), "20s")
    assert found.value == pytest.approx(10.51)
    assert found.at_least
    assert judge("demotion", "s", {"max": 20}, [found]).verdict == "error"
    assert judge("demotion", "s", {"max": 5}, [found]).verdict == "fail"


def test_undecided_when_not_watched_until_the_bound() -> None:
    """The watch ended at 12 s; a bound of 20 s was not yet over."""
    assert measure(failover(), "20s").value is None


def test_undecided_when_the_old_primary_was_not_tried() -> None:
    """Nobody asked it after the fault."""
    tape = failover()
    tape.events = [
        e for e in tape.events if not (str(e.process).startswith("probe/pg-1") and e.time > 1001e9)
    ]
    assert measure(tape).value is None


def test_undecided_in_a_blind_spell() -> None:
    """For three seconds nobody asked it; in them it may have accepted writes."""
    tape = failover()
    tape.events = [
        e
        for e in tape.events
        if not (str(e.process).startswith("probe/pg-1") and 1002e9 < e.time < 1005e9)
    ]
    assert "for 3.0 s" in measure(tape).note
    assert measure(tape).value is None


def test_a_breach_counts_even_when_blind() -> None:
    """An acknowledgement past the bound is a breach, however little was watched."""
    tape = failover()
    tape.events = [
        e for e in tape.events if not (str(e.process).startswith("probe/pg-1") and e.time > 1001e9)
    ]
    tape.probe("pg-1", 9, "ok", 1)
    assert judge("demotion", "s", {"max": 5}, [measure(tape)]).verdict == "fail"
