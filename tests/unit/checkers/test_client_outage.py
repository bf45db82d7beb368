"""Tests for harness.checkers.client_outage."""

import pytest

from harness.checkers.client_outage import ClientOutage
from harness.history import Json
from harness.verdict import Measurement
from tests.unit.checkers.tape import Tape, failover

WRITE: list[list[Json]] = [["append", 1, 1]]


def load(tape: Tape, *, back: float | None = 8.0, through: str = "primary-elb") -> Tape:
    """Add clients of an ELB that are served until second 1, and again from `back` on."""
    for client in (0, 1):
        tape.opened(f"a/{client}.0", -1, through, "pg-1", in_recovery=False)
        for at in range(10):
            tape.txn(f"a/{client}.0", -0.9 + at * 0.2 + client * 0.1, WRITE)
        tape.txn(f"a/{client}.0", 1.5, WRITE, "info", took=2)
        if back is None:
            for at in range(3, 12):
                tape.opened(
                    f"a/{client}.{at}", at, through, "pg-2", in_recovery=False, outcome="fail"
                )
            continue
        tape.opened(f"a/{client}.1", back - 1 + client, through, "pg-2", in_recovery=False)
        for at in range(20):
            tape.txn(f"a/{client}.1", back + at * 0.2 + client * 0.1, WRITE, node="pg-2", tli=2)
    return tape


def measure(tape: Tape, **own: Json) -> Measurement:
    return ClientOutage.model_validate({"max": "9s", **own}).measure(tape.history())


def test_the_longest_gap_over_all_clients_with_parts_that_sum_to_it() -> None:
    """From the last acknowledgement of any client to the next one of any."""
    found = measure(load(failover()))
    assert found.value == pytest.approx(7.0, abs=0.01)
    assert dict(found.parts) == pytest.approx(
        {"failover": 4.0, "route": 2.0, "reconnect": 1.0}, abs=0.02
    )
    assert sum(found.parts.values()) == pytest.approx(found.value)
    assert not found.at_least


def test_a_read_is_no_acknowledgement_behind_the_primary_elb() -> None:
    """An old primary that answers reads does not end the outage of those who write."""
    tape = load(failover())
    tape.txn("a/0.0", 4.0, [["r", 1, [1]]])
    assert measure(tape).value == pytest.approx(7.0, abs=0.01)


def test_behind_the_replica_elb_reads_count() -> None:
    """There any transaction is work done."""
    tape = load(failover(), through="replica-elb")
    tape.txn("a/0.0", 4.0, [["r", 1, [1]]])
    assert measure(tape, through="replica-elb").value == pytest.approx(3.99, abs=0.01)


def test_without_a_change_of_primary_there_are_no_parts() -> None:
    """A gap that no failover explains has no parts."""
    tape = load(failover(promoted=None))
    assert not measure(tape).parts


def test_clients_that_never_came_back_are_a_lower_bound() -> None:
    """The gap reaches the end of the watch: it lasted at least so long."""
    found = measure(load(failover(), back=None))
    assert found.value == pytest.approx(11.0, abs=0.01)
    assert found.at_least


def test_the_window_may_be_named_by_steps() -> None:
    """From one step to another, where the whole run is too much."""
    tape = load(failover())
    tape.deed("wait", 9.0, [], "later")
    assert measure(tape, since="later").value == pytest.approx(0.2, abs=0.15)
    assert measure(tape, since="crash", until="later").value == pytest.approx(7.0, abs=0.02)


@pytest.mark.parametrize(
    ("bounds", "at_least"),
    [({"max": "8s"}, False), ({"max": "6s"}, True), ({"max": "8s", "p50": "6s"}, True)],
)
def test_a_gap_at_the_end_of_the_window_is_known_if_all_of_it_is_within_each_bound(
    bounds: dict[str, Json], *, at_least: bool
) -> None:
    """It began at second 1 and ended at 8, three seconds after the window."""
    tape = load(failover())
    tape.deed("wait", 5.0, [], "later")
    found = measure(tape, since="crash", until="later", **bounds)
    assert found.value == pytest.approx(4.0, abs=0.02)
    assert found.at_least is at_least


def test_undecided_when_nobody_was_ever_served() -> None:
    """A load that never worked cannot lose its service."""
    tape = failover()
    tape.opened("a/0.0", 0, "primary-elb", "pg-1", in_recovery=False)
    tape.txn("a/0.0", 1, WRITE, "fail")
    assert measure(tape).value is None


def test_undecided_when_nobody_tried() -> None:
    """A load that stood still is no outage of the service."""
    tape = failover()
    tape.opened("a/0.0", -1, "primary-elb", "pg-1", in_recovery=False)
    tape.txn("a/0.0", 0.1, WRITE)
    tape.txn("a/0.0", 11.5, WRITE, node="pg-2", tli=2)
    assert "tried anything" in measure(tape).note
    assert measure(tape).value is None


def test_probes_are_no_clients() -> None:
    """A direct probe's write does not end the clients' outage."""
    tape = load(failover())
    tape.opened("probe/pg-2/held.z", 3, "primary-elb", "pg-2", in_recovery=False)
    tape.op("probe/pg-2/held.z", "write", 4, 4.01, argument=1, node="pg-2", tli=2)
    assert measure(tape).value == pytest.approx(7.0, abs=0.01)
