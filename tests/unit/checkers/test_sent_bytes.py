"""Tests for harness.checkers.sent_bytes."""

import pytest

from harness.checkers.sent_bytes import SentBytes
from harness.history import Json
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape

MIB = 1 << 20


def measure(tape: Tape) -> Measurement:
    return SentBytes(of="joined", max=16 * MIB).measure(tape.history())


def joined(sent: Json = 3 * MIB) -> Tape:
    tape = Tape()
    tape.phases(steps=0, settled=30)
    tape.deed("start", 10, ["pg-3"], "joined", leader_sent_bytes=sent)
    return tape


def test_what_the_step_recorded() -> None:
    """The number is the step's own."""
    found = measure(joined())
    assert found.value == 3 * MIB
    assert found.note == "the leader sent 3.0 MiB during 'joined'"


def test_a_leader_that_sent_its_data_is_found() -> None:
    """A base backup from the leader goes far beyond the bound."""
    found = measure(joined(200 * MIB))
    assert judge("sent_bytes", "count", {"max": 16 * MIB}, [found]).verdict == "fail"


@pytest.mark.parametrize("sent", [None, "3", -1, True])
def test_undecided_without_a_count(sent: Json) -> None:
    """A step that did not count, or counted backwards, shows nothing."""
    assert measure(joined(sent)).value is None


def test_undecided_without_the_step() -> None:
    """The run never came so far."""
    assert measure(Tape()).value is None


def test_its_step_is_a_reference() -> None:
    """`of` is a step's name here."""
    assert SentBytes(of="joined", max=1).refs == ["joined"]
