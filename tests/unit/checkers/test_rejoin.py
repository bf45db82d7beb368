"""Tests for harness.checkers.rejoin."""

from collections.abc import Mapping

import pytest

from harness.checkers.rejoin import Rejoin
from harness.history import Json, Outcome
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, failover


def state(tape: Tape, node: str, at: float, body: Json = None, outcome: Outcome = "ok") -> None:
    tape.op(f"rest/{node}", "patroni", at, at + 0.1, outcome, value=body, node=node)


def streaming(
    tape: Tape, at: float, tli: int, node: str = "pg-1", but: Mapping[str, Json] | None = None
) -> None:
    body: dict[str, Json] = {
        "role": "replica", "state": "running", "replication_state": "streaming", "timeline": tli,
    }  # fmt: skip
    state(tape, node, at, {**body, **(but or {})})


def restarted(*, start: float | None = 6.0) -> Tape:
    tape = failover()
    if start is not None:
        tape.deed("start", start, ["pg-1"])
    for at in range(1, 12):
        tli = 2 if at > 4 else 1
        state(tape, "pg-2", at, {"role": "primary", "state": "running", "timeline": tli})
        if at < 8:
            state(tape, "pg-1", at, outcome="fail")
    return tape


def measure(tape: Tape, bound: str = "5s") -> Measurement:
    return Rejoin.model_validate({"of": "crash", "max": bound}).measure(tape.history())


def test_from_the_restart_until_it_streams() -> None:
    """The clock starts when the machine was started again, not at the fault."""
    tape = restarted()
    streaming(tape, 9, 2)
    assert measure(tape).value == pytest.approx(3.1)


def test_from_the_fault_when_it_was_never_started() -> None:
    """A node that came back by itself is measured from the fault."""
    tape = restarted(start=None)
    streaming(tape, 9, 2)
    assert measure(tape).value == pytest.approx(8.1)


def test_an_undo_starts_a_machine_too() -> None:
    """A fault that ended by itself is recorded as healed."""
    tape = restarted(start=None)
    tape.note("heal", 7, {"nodes": ["pg-1"]}, "nemesis/heal-1")
    streaming(tape, 9, 2)
    assert measure(tape).value == pytest.approx(2.1)


@pytest.mark.parametrize(
    "body",
    [
        {"timeline": 1},
        {"replication_state": "in archive recovery"},
        {"state": "starting"},
        {"role": "primary"},
    ],
)
def test_what_is_not_streaming_on_the_leaders_timeline_is_not_back(body: dict[str, Json]) -> None:
    """Old timeline, archive recovery, not yet running, or primary itself: not rejoined."""
    tape = restarted()
    streaming(tape, 9, 2, but=body)
    streaming(tape, 10, 2 if body != {"role": "primary"} else 1)
    value = measure(tape).value
    assert value is not None
    assert value >= 4


def test_never_is_a_lower_bound() -> None:
    """It was asked for 4.5 s after the restart and never streamed."""
    tape = restarted()
    streaming(tape, 10.5, 1)
    found = measure(tape)
    assert found.value == pytest.approx(4.5)
    assert found.at_least
    assert judge("rejoin", "s", {"max": 3}, [found]).verdict == "fail"
    assert judge("rejoin", "s", {"max": 5}, [found]).verdict == "error"


def test_the_slowest_of_several_counts() -> None:
    """Two nodes were hit; both must be back."""
    tape = restarted(start=None)
    tape.deed("kill", 3, ["pg-1", "pg-3"], "both")
    streaming(tape, 9, 2)
    streaming(tape, 10, 2, "pg-3")
    found = Rejoin.model_validate({"of": "both", "max": "9s"}).measure(tape.history())
    assert found.value == pytest.approx(7.1)


def test_undecided_when_it_was_not_asked() -> None:
    """Nobody sampled the node after its start, or the step named no node."""
    assert measure(restarted(start=11.5)).value is None
    tape = restarted()
    tape.deed("kill", 8, ["etcd-1"], "dcs")
    assert Rejoin.model_validate({"of": "dcs", "max": "9s"}).measure(tape.history()).value is None
