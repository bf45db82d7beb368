"""Tests for harness.checkers.rpo."""

import pytest

from harness.checkers.rpo import Rpo
from harness.history import Json
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape


def measure(tape: Tape, bound: str = "5s") -> Measurement:
    asked = Rpo.model_validate({"of": "restored", "since": "loss", "max": bound})
    return asked.measure(tape.history())


def lost(held: Json = (1, 2, 3), *, probes: bool = False) -> Tape:
    """Return a run that appended 1, 2, 3 at 1, 2, 3 s and lost all at 10 s; this came back."""
    tape = Tape()
    tape.phases(steps=0, settled=30)
    for at in (1, 2, 3):
        tape.txn("a/0.0", at, [["append", 1, at]])
    if probes:
        tape.probe("pg-1", 4, "ok", 1)
    tape.deed("destroy", 10, ["pg-1", "pg-2", "pg-3"], "loss")
    tape.restore(20)
    if isinstance(held, tuple):
        tape.read(25, "append", [["r", 1, list(held)]])
    return tape


def test_nothing_missing_is_no_age() -> None:
    """All that was acknowledged came back."""
    found = measure(lost())
    assert (found.value, found.at_least) == (0, False)
    assert found.note == "0 of 3 acknowledged writes are missing"


def test_from_the_oldest_missing_write() -> None:
    """2 and 3 are missing; 2 was acknowledged 7.99 s before the loss."""
    found = measure(lost((1,)))
    assert found.value == pytest.approx(7.99)
    assert "append 1:2" in found.note
    assert judge("rpo", "s", {"max": 5}, [found]).verdict == "fail"


def test_a_hole_counts_from_its_own_age() -> None:
    """1 is missing though later ones are there: the age is that of 1."""
    assert measure(lost((2, 3))).value == pytest.approx(8.99)


def test_what_was_acknowledged_after_the_loss_does_not_count() -> None:
    """A write on a cluster that was thought lost was not promised."""
    tape = lost()
    tape.txn("a/0.0", 11, [["append", 1, 4]])
    assert measure(tape).value == 0


def test_what_may_not_have_been_written_does_not_count() -> None:
    """Unknown and refused writes were not acknowledged."""
    tape = lost()
    tape.txn("a/1.0", 4, [["append", 1, 5]], "info")
    tape.txn("a/2.0", 4, [["append", 1, 6]], "fail")
    assert measure(tape).value == 0


def test_undecided_when_a_written_table_was_not_read() -> None:
    """The probes' rows were acknowledged, and nobody looked for them."""
    found = measure(lost(probes=True))
    assert found.value is None
    assert "probe was not read" in found.note


def test_a_loss_is_a_lower_bound_while_a_table_was_not_read() -> None:
    """The unread table may lack older ones."""
    found = measure(lost((1, 2), probes=True))
    assert found.value == pytest.approx(6.99)
    assert found.at_least


def test_undecided_without_reads_restore_or_writes() -> None:
    """Each of them is needed."""
    assert measure(lost(None)).value is None
    for f in ("restore", "txn", "destroy"):
        tape = lost()
        tape.events = [event for event in tape.events if event.f != f]
        assert measure(tape).value is None


def test_undecided_when_the_read_failed() -> None:
    """Looking failed."""
    tape = lost(None)
    tape.read(25, "append", None, "fail")
    assert measure(tape).value is None


def test_a_later_good_read_counts() -> None:
    """A read that failed was made again."""
    tape = lost(None)
    tape.read(25, "append", None, "fail")
    tape.read(26, "append", [["r", 1, [1, 2, 3]]])
    assert measure(tape).value == 0


def test_only_the_step_is_a_reference() -> None:
    """`of` is a cluster."""
    asked = Rpo.model_validate({"of": "restored", "since": "loss", "max": "5s"})
    assert asked.refs == ["loss"]
