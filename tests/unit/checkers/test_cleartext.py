"""Tests for harness.checkers.cleartext."""

from harness.checkers.cleartext import Cleartext
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import NODES, Tape


def knocked(*welcomed: str, at: float = 10, tape: Tape | None = None) -> Tape:
    if tape is None:
        tape = Tape()
        tape.phases(steps=0, settled=30)
    refused = [name for name in NODES if name not in welcomed]
    tape.deed("knock", at, NODES, refused=refused, welcomed=list(welcomed))
    return tape


def measure(tape: Tape) -> Measurement:
    return Cleartext().measure(tape.history())


def test_refusals_pass() -> None:
    """Each counts as a knock, of every step that asked."""
    found = measure(knocked(tape=knocked(), at=20))
    assert (found.value, found.note) == (0, "6 of 6 knocks were refused")
    assert judge("cleartext", "count", Cleartext().bounds, [found]).verdict == "pass"


def test_each_welcome_counts() -> None:
    """The first is named; the bound is none unless it is given."""
    found = measure(knocked("pg-2", at=20, tape=knocked("pg-3", "pg-2")))
    assert found.value == 3
    assert found.note == (
        "pg-3 would have talked without TLS at 9.80 s; 3 of 6 knocks were refused"
    )
    assert len(found.evidence) == 1
    assert judge("cleartext", "count", Cleartext().bounds, [found]).verdict == "fail"


def test_undecided_when_nobody_was_asked() -> None:
    """Nor when the step broke off."""
    tape = Tape()
    tape.phases(steps=0, settled=30)
    assert measure(tape).value is None
    tape.op("nemesis", "knock", 5, 6, "info", argument={"as": None})
    assert measure(tape).value is None


def test_what_a_step_did_not_record_is_not_counted() -> None:
    """A damaged record shows nothing."""
    tape = Tape()
    tape.deed("knock", 10, NODES, refused="pg-1", welcomed=None)
    assert measure(tape).value is None
