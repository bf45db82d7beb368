"""Tests for harness.checkers.failover."""

import pytest

from harness.checkers.failover import Failover
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, failover


def measure(tape: Tape, bound_s: float = 10.0) -> Measurement:
    return Failover(since="crash", max=f"{bound_s:g}s").measure(tape.history())


def test_from_the_effect_of_the_fault_to_the_other_nodes_first_acknowledgement() -> None:
    """The value starts at the instant that the verb recorded, and its parts sum to it."""
    found = measure(failover())
    assert found.value == pytest.approx(4.01)
    assert dict(found.parts) == pytest.approx({"detect": 2.0, "elect": 1.0, "promote": 1.01})
    assert sum(found.parts.values()) == pytest.approx(found.value)


def test_without_an_observed_gap_the_election_takes_nothing() -> None:
    """The key passed straight from one holder to the next: `elect` is 0."""
    tape = failover()
    tape.events = [e for e in tape.events if e.f != "dcs"]
    tape.leader(-5, "pg-1", 1)
    tape.leader(4, "pg-2", 2)
    assert dict(measure(tape).parts) == pytest.approx({"detect": 3, "elect": 0, "promote": 1.01})


def test_the_dcs_own_order_counts_not_the_order_of_seeing() -> None:
    """A watcher that tells an old change late does not move it."""
    tape = failover()
    tape.leader(4.8, None, 2)
    assert dict(measure(tape).parts) == pytest.approx({"detect": 2, "elect": 1, "promote": 1.01})


def test_changes_before_the_fault_are_no_part_of_it() -> None:
    """The key had been lost and won before; that is another story."""
    tape = failover()
    tape.events = [e for e in tape.events if e.f != "dcs"]
    for revision, (at, holder) in enumerate(
        [(-5, "pg-1"), (0.2, None), (0.4, "pg-1"), (3, None), (4, "pg-2")]
    ):
        tape.leader(at, holder, revision)
    assert measure(tape).parts["detect"] == pytest.approx(2)


def test_a_promotion_that_the_dcs_knows_nothing_of_has_no_parts() -> None:
    """Promoted by hand: the value stands, but no part of it can be told."""
    tape = failover()
    tape.events = [e for e in tape.events if e.f != "dcs"]
    found = measure(tape)
    assert found.value == pytest.approx(4.01)
    assert not found.parts


def test_the_old_node_writing_again_is_no_failover() -> None:
    """The node that was hit came back by itself; nobody took over."""
    found = measure(failover(promoted=None, old_until=99))
    assert found.at_least
    assert found.note == "no other node acknowledged a write within 10.5 s"


def test_a_write_sent_before_the_fault_does_not_count() -> None:
    """Only what was sent after the fault shows who took over."""
    tape = failover()
    tape.op("probe/pg-2/held.x", "write", 0.5, 2.0, argument=99, node="pg-2", tli=2)
    assert measure(tape).value == pytest.approx(4.01)


def test_a_failover_that_never_came_fails_once_watched_beyond_the_bound() -> None:
    """10.5 s were watched in vain: more than 8 s is a broken promise, 20 s is not known."""
    found = measure(failover(promoted=None))
    assert found.value == pytest.approx(10.5)
    assert found.at_least
    assert judge("failover", "s", {"max": 8}, [found]).verdict == "fail"
    assert judge("failover", "s", {"max": 20}, [found]).verdict == "error"


def test_undecided_when_the_fault_missed_the_primary() -> None:
    """A replica was hit: the primary's next write would else pass as a failover in 0.1 s."""
    tape = failover()
    tape.deed("kill", 1.5, ["pg-3"], "miss")
    found = Failover(since="miss", max="10s").measure(tape.history())
    assert found.value is None
    assert "hit pg-3, but pg-1 was primary" in found.note


def test_a_fault_on_other_machines_measures_from_the_primary_then() -> None:
    """The DCS was hit: whoever was primary is the old one."""
    tape = failover()
    tape.deed("kill", 0.5, ["etcd-1"], "dcs-loss")
    found = Failover(since="dcs-loss", max="10s").measure(tape.history())
    assert found.value == pytest.approx(4.51)


def test_undecided_without_the_step_or_without_a_primary() -> None:
    """No fault, or nobody to fail over from."""
    tape = failover()
    assert Failover(since="other", max="10s").measure(tape.history()).value is None
    assert measure(failover(old_until=-9)).value is None


def test_undecided_when_another_node_was_not_watched() -> None:
    """Nobody asked pg-3 after the fault, so it may have taken over unseen."""
    tape = failover(promoted=None)
    tape.events = [
        e for e in tape.events if not (str(e.process).startswith("probe/pg-3") and e.time > 1001e9)
    ]
    assert measure(tape).value is None
