"""Tests for harness.checkers.acknowledged."""

from harness.checkers.acknowledged import Acknowledged
from harness.verdict import Measurement
from tests.unit.checkers.tape import Tape, failover


def measure(tape: Tape, since: str | None = "crash", until: str | None = "back") -> Measurement:
    asked = {"since": since, "until": until, "max": 0}
    return Acknowledged.model_validate(asked).measure(tape.history())


def outage(promoted: float | None = 20.0, back: float = 9.0) -> Tape:
    """Return a tape on which nobody writes from 1 s on; the step `back` is made at 9 s."""
    tape = failover(promoted=promoted)
    tape.deed("start", back, ["pg-1"], "back")
    return tape


def test_none_where_nobody_was_served() -> None:
    """Every node was tried, and each refused."""
    found = measure(outage())
    assert found.value == 0
    assert found.note == "0 writes from 1.00 s to 9.00 s"


def test_each_write_within_the_window_counts() -> None:
    """From 5 s on the new primary wrote twice a second."""
    found = measure(outage(promoted=5.0))
    assert found.value == 8
    assert "by pg-2" in found.note
    assert len(found.evidence) == 2


def test_a_write_across_the_edge_does_not_count() -> None:
    """Sent before the window, or answered after it."""
    tape = outage()
    tape.probe("pg-1", 0.9, "ok", 1, took=3)
    tape.probe("pg-2", 8.9, "ok", 2, took=1)
    assert measure(tape).value == 0


def test_the_whole_run_without_steps() -> None:
    """From the first step to the end."""
    found = measure(outage(promoted=5.0), since=None, until=None)
    assert found.value is not None
    assert found.value > 8


def test_undecided_when_a_node_was_not_tried() -> None:
    """It may have served others."""
    tape = outage()
    tape.events = [
        e
        for e in tape.events
        if not (str(e.process).startswith("probe/pg-3") and 1002e9 < e.time < 1005e9)
    ]
    assert "no write was tried on pg-3" in measure(tape).note
    assert measure(tape).value is None


def test_a_node_without_power_need_not_be_tried() -> None:
    """Nobody can have been served by it."""
    tape = outage()
    tape.deed("kill", 1.5, ["pg-3"], "second", how="power-off")
    tape.events = [
        e
        for e in tape.events
        if not (str(e.process).startswith("probe/pg-3") and 1002e9 < e.time < 1005e9)
    ]
    assert measure(tape).value == 0


def test_undecided_in_a_window_of_no_length() -> None:
    """A moment shows nothing."""
    assert measure(outage(back=2.0)).value is None


def test_undecided_without_known_nodes() -> None:
    """One that nobody knew of may have served."""
    tape = outage()
    tape.events = [event for event in tape.events if event.f != "run"]
    assert measure(tape).value is None


def test_a_run_that_broke_off_accuses_nobody_of_too_few() -> None:
    """Somebody might have been served later, unless a step closes the window."""
    tape = Tape(["pg-1"])
    tape.phases(steady=-3, steps=0)
    tape.deed("start", 9, ["pg-1"], "back")
    for second in range(10):
        tape.probe("pg-1", second, "fail", 0)
    found = measure(tape, since=None, until=None)
    assert (found.value, found.at_least) == (0, True)
    assert not measure(tape, since=None).at_least
