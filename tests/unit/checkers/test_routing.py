"""Tests for harness.checkers.routing."""

import pytest
from pydantic import ValidationError

from harness.checkers.routing import Routing
from harness.verdict import Measurement
from tests.unit.checkers.tape import Tape, failover

PRIMARY, REPLICA = "primary-elb", "replica-elb"


def measure(tape: Tape, elb: str = PRIMARY, window: str = "3s") -> Measurement:
    return Routing.model_validate({elb: window}).measure(tape.history())


def seen(tape: Tape) -> Tape:
    """Add what each node tells a fresh probe once a second; pg-1 is silent from 1 to 8."""
    for at in range(-2, 12):
        for node in ("pg-1", "pg-2", "pg-3"):
            if node == "pg-1" and 1 <= at < 8:
                continue
            primary = node == "pg-1" if at < 1 else node == "pg-2" and at >= 5
            process = f"probe/{node}/fresh.{at}"
            tape.opened(process, at + 0.05, node, node, in_recovery=not primary)
    return tape


def through(tape: Tape, elb: str, *sessions: tuple[float, str, bool]) -> Tape:
    for number, (at, node, recovering) in enumerate(sessions):
        tape.opened(f"a/{number}.{at}", at, elb, node, in_recovery=recovering)
    return tape


# Later than the window after the change: as many sessions as nodes.
LATE = (8.4, 8.7, 9.0)
GOOD = ((-1.0, "pg-1", False), (6.0, "pg-2", False), *((at, "pg-2", False) for at in LATE))
READERS = ((-1.0, "pg-2", True), *((at, "pg-3", True) for at in LATE))


def test_all_sessions_on_the_right_role() -> None:
    """Before, soon after, and later than the window after the change."""
    assert measure(through(seen(failover()), PRIMARY, *GOOD)).value == 0


def test_a_wrong_session_within_the_window_is_allowed() -> None:
    """The ELB needs its health checks to notice."""
    tape = through(seen(failover()), PRIMARY, *GOOD, (7.5, "pg-3", True))
    assert measure(tape).value == 0


def test_a_wrong_session_later_than_the_window_counts() -> None:
    """3.99 s after pg-2's first write a new session still reached a replica."""
    found = measure(through(seen(failover()), PRIMARY, *GOOD, (9.0, "pg-3", True)))
    assert found.value == 1
    assert "primary-elb led to pg-3, which was in recovery, at 9.00 s, 4.0 s after" in found.note


def test_the_old_primary_back_as_a_replica_is_no_new_change() -> None:
    """It has been no primary since another one wrote, however lately it was started."""
    tape = through(seen(failover()), PRIMARY, *GOOD, (8.5, "pg-1", True))
    assert measure(tape).value == 1


def test_wrong_in_the_steady_state_counts_from_steady() -> None:
    """No role had changed: within the window after steady is allowed, later is not."""
    tape = through(seen(failover()), PRIMARY, *GOOD, (-1.0, "pg-2", True), (0.5, "pg-2", True))
    assert measure(tape).value == 1


def test_a_change_that_may_have_just_happened_makes_nobody_late() -> None:
    """The node stepped down between two looks at it; the next session cannot be late."""
    tape = seen(failover(old_until=99, promoted=None))
    tape.events = [e for e in tape.events if not (e.f == "write" and e.time > 1001e9)]
    tape.events = [e for e in tape.events if not str(e.process).startswith("probe/pg-1/fresh")]
    after = ((at, "pg-2", False) for at in (5.5, 5.8, 6.0))
    through(tape, PRIMARY, (-1.0, "pg-1", False), (1.2, "pg-1", True), *after)
    assert measure(tape).value == 0


def test_a_primary_behind_the_replica_elb_counts() -> None:
    """pg-2 was seen to be primary from 5.01 s on; a reader was still sent there at 9 s."""
    assert measure(through(seen(failover()), REPLICA, *READERS), REPLICA).value == 0
    tape = through(seen(failover()), REPLICA, *READERS, (6.0, "pg-2", False), (9.5, "pg-2", False))
    assert measure(tape, REPLICA).value == 1


def test_old_sessions_are_told_apart() -> None:
    """A session opened before is still answered by what is now the primary."""
    tape = through(seen(failover()), REPLICA, *READERS)
    tape.txn("a/0.-1.0", 10, [["r", 1, [1]]], node="pg-2", tli=2)
    found = measure(tape, REPLICA)
    assert found.value == 0
    assert "1 old sessions still answered from the wrong role" in found.note


def test_undecided_without_sessions_that_could_have_been_late() -> None:
    """No session at all, or none later than the window after the change, or fewer than nodes.

    Two of three turns may have gone to the right ones.
    """
    assert measure(seen(failover())).value is None
    assert measure(through(seen(failover()), PRIMARY, *GOOD[:2])).value is None
    in_peace = ((at, "pg-1", False) for at in (0.3, 0.4, 0.5))
    assert measure(through(seen(failover()), PRIMARY, *GOOD[:2], *in_peace)).value is None
    few = measure(through(seen(failover()), PRIMARY, *GOOD[:-1]))
    assert few.value is None
    assert few.note == (
        "2 sessions were opened through primary-elb later than 3 s after a role change; "
        "expected 3, as many as nodes"
    )


def test_a_node_that_nobody_saw_counts_as_one_that_an_elb_may_take() -> None:
    """Blind probes must not make the check easier: two of three were seen, and two sessions."""
    late = ((8.4, "pg-2", False), (9.0, "pg-2", False))
    found = measure(through(failover(), PRIMARY, (-1.0, "pg-1", False), *late))
    assert found.value is None
    assert "expected 3, as many as nodes" in found.note


def test_a_breach_behind_one_elb_counts_though_the_other_was_not_tested() -> None:
    """What was seen was seen."""
    tape = through(seen(failover()), PRIMARY, *GOOD, (9.0, "pg-3", True))
    found = Routing.model_validate({PRIMARY: "3s", REPLICA: "3s"}).measure(tape.history())
    assert (found.value, found.at_least) == (1, True)


def test_an_elb_must_be_named() -> None:
    """Without one nothing would be asked."""
    with pytest.raises(ValidationError, match="no ELB is named"):
        Routing.model_validate({})
    assert Routing.model_validate({PRIMARY: "3s"}).bounds == {"max": 0}
