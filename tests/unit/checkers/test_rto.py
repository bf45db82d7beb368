"""Tests for harness.checkers.rto."""

import pytest

from harness.checkers.rto import Rto
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape


def measure(tape: Tape) -> Measurement:
    asked = Rto.model_validate({"of": "restored", "since": "loss", "max": "15s"})
    return asked.measure(tape.history())


def lost(writable: float | None = 20) -> Tape:
    tape = Tape()
    tape.phases(steps=0, settled=30)
    tape.deed("destroy", 10, ["pg-1", "pg-2", "pg-3"], "loss")
    if writable is not None:
        tape.restore(writable)
    return tape


def test_from_the_loss_to_the_first_write() -> None:
    """Lost at 10 s, writable at 20 s."""
    found = measure(lost())
    assert found.value == pytest.approx(10)
    assert not found.at_least


def test_never_is_a_lower_bound() -> None:
    """It was waited for until the end of the run, 20 s after the loss."""
    found = measure(lost(None))
    assert found.value == pytest.approx(20)
    assert found.at_least
    assert judge("rto", "s", {"max": 15}, [found]).verdict == "fail"
    assert judge("rto", "s", {"max": 25}, [found]).verdict == "error"


def test_a_failed_restore_restored_nothing() -> None:
    """The verb gave up."""
    tape = lost(None)
    tape.op("nemesis", "restore", 11, 29, "fail", argument={"cluster": "restored"})
    assert measure(tape).at_least


def test_another_cluster_does_not_count() -> None:
    """A cluster of another name was restored."""
    tape = lost(None)
    tape.restore(12, cluster="elsewhere")
    assert measure(tape).at_least


def test_undecided_without_the_loss() -> None:
    """The run never came so far, or the cluster was restored before."""
    tape = Tape()
    tape.restore(20)
    assert measure(tape).value is None
    assert measure(lost(9)).value is None
