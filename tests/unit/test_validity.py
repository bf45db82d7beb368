"""Tests for harness.validity: what makes a whole run void."""

from harness import validity
from harness.checkers.failover import Failover
from harness.checkers.overlap import Overlap
from harness.checkers.routing import Routing
from harness.checkers.writers import Writers
from tests.unit.checkers.tape import Tape, failover

BOUND = Failover(since="crash", max="10s")  # a tenth of it is 1 s


def loaded() -> Tape:
    """Return a failover whose workload `a` wrote before and after."""
    tape = failover()
    tape.txn("a/0.0", -1, [["append", 1, 1]])
    tape.txn("a/0.0", 9, [["append", 1, 2]])
    tape.note("dcs-term", -5, {"term": 2, "leader": "etcd-1"}, "dcs/etcd-1")
    return tape


def reasons(tape: Tape) -> str:
    return "; ".join(validity.reasons(tape.history(), [BOUND, Writers(max=1)]))


def test_a_sound_run_has_no_reason() -> None:
    """Load that wrote, probes that got through, nothing stalled."""
    assert not reasons(loaded())


def test_a_second_needs_a_quiet_machine() -> None:
    """A neighbour's start makes clients late by more than a tenth of it; five seconds bear that."""
    assert validity.needs_quiet([BOUND, Overlap(max="1s")])
    assert not validity.needs_quiet([BOUND, Failover(since="crash", max="5s")])
    assert not validity.needs_quiet([Writers(max=1)])


def test_an_empty_history_proves_nothing() -> None:
    """Nobody watched."""
    assert reasons(Tape()) != ""


def test_a_workload_that_never_wrote() -> None:
    """Reads that came back do not make up for writes that were refused."""
    tape = failover()
    tape.txn("a/0.0", -1, [["append", 1, 1]], "fail")
    tape.txn("a/0.0", 0, [["r", 1, []]])
    assert reasons(tape) == "workload a: no write of 2 tried was acknowledged"


def test_a_workload_that_wrote_only_after_the_fault() -> None:
    """Then nothing could be lost by it."""
    tape = failover()
    tape.txn("a/0.0", 9, [["append", 1, 1]])
    assert "no write was acknowledged before the first step" in reasons(tape)


def test_a_workload_that_only_reads_counts_its_reads() -> None:
    """Nobody asked it to write."""
    tape = failover()
    tape.txn("a/0.0", -1, [["r", 1, []]])
    assert not reasons(tape)


def test_another_workloads_work_does_not_count() -> None:
    """`ab` is not `a`."""
    tape = failover()
    tape.txn("ab/0.0", -1, [["append", 1, 1]])
    assert "workload a" in reasons(tape)


def test_probes_that_never_got_through() -> None:
    """Blind everywhere."""
    tape = loaded()
    tape.events = [e for e in tape.events if e.type != "ok" or e.f != "write"]
    assert "probes' 84 writes was acknowledged" in reasons(tape)


def test_a_stall_of_our_own_beyond_a_tenth_of_the_bound() -> None:
    """0.9 s is tolerated under a bound of 10 s, 1.1 s is not, before the steps both are."""
    for at, delay, void in ((5, 0.9, False), (5, 1.1, True), (-2, 9.0, False), (13, 9.0, False)):
        tape = loaded()
        tape.note("delay", at, delay, "client/a")
        assert bool(reasons(tape)) is void, (at, delay)
        assert not void or "client/a was scheduled 1.10 s late" in reasons(tape)


def test_windows_are_bounds_too_and_counts_are_none() -> None:
    """A stall spoils a routing window; without any bound in time it spoils nothing."""
    tape = loaded()
    tape.note("delay", 5, 0.5, "harness")
    routing = Routing.model_validate({"primary-elb": "3s"})
    assert validity.reasons(tape.history(), [routing])
    assert not validity.reasons(tape.history(), [Writers(max=1)])


def test_an_unplanned_election_in_the_dcs() -> None:
    """The silence before it is what it cost; it was no step of ours."""
    tape = loaded()
    tape.note("dcs", 6, {"key": "sync", "value": "", "revision": 90}, "dcs/etcd-2")
    tape.note("dcs-term", 8, {"term": 3, "leader": "etcd-2"}, "dcs/etcd-2")
    tape.note("dcs-term", 8.5, {"term": 3, "leader": "etcd-2"}, "dcs/etcd-3")
    assert "elected another leader by itself at 8.0 s, which cost up to 2.0 s" in reasons(tape)


def test_a_short_election_is_tolerated() -> None:
    """Half a second without the DCS is less than a tenth of 10 s."""
    tape = loaded()
    tape.note("dcs", 7.5, {"key": "sync", "value": "", "revision": 90}, "dcs/etcd-2")
    tape.note("dcs-term", 8, {"term": 3, "leader": "etcd-2"}, "dcs/etcd-2")
    assert not reasons(tape)


def test_an_election_that_a_step_caused_is_no_reason() -> None:
    """The scenario killed a member of the DCS."""
    tape = loaded()
    tape.deed("kill", 7, ["etcd-1"])
    tape.note("dcs-term", 11, {"term": 3, "leader": "etcd-2"}, "dcs/etcd-2")
    assert not reasons(tape)


def test_outcomes_of_what_was_never_asked() -> None:
    """A log was lost or mixed up: its acknowledgements may be missing elsewhere too."""
    tape = loaded()
    tape.events = [e for e in tape.events if not (e.process == "a/0.0" and e.type == "invoke")]
    assert "outcomes without an invocation" in reasons(tape)


# --- a machine without a free core --------------------------------------------------------------


def crowded(*values: float, first: float = 1.0) -> Tape:
    """Return a failover whose machine had no free core for so long in each of its seconds."""
    tape = loaded()
    for second, value in enumerate(values):
        tape.note("crowded", first + second, value, "harness")
    return tape


def test_a_machine_with_cores_to_spare_makes_nobody_late() -> None:
    """Nor does one that was never looked at: where each node has a machine of its own."""
    for tape in (crowded(0.0, 0.0, 0.0), loaded()):
        assert validity.late_s(tape.history(), 3.0) == 0
        assert not validity.is_crowded(tape.history())


def test_nodes_are_late_by_the_worst_part_of_the_run() -> None:
    """A span may have been any part of it; what lies before the steps is none."""
    history = crowded(0.1, 0.9, 0.8, 0.1, 0.7).history()
    found = {span: round(validity.late_s(history, span), 1) for span in (0.5, 2.0, 3.0, 60.0)}
    assert found == {0.5: 0.5, 2.0: 1.7, 3.0: 1.8, 60.0: 2.6}
    assert validity.late_s(crowded(0.9, 0.9, first=-9).history(), 2.0) == 0


def test_nobody_is_late_for_longer_than_the_span() -> None:
    """A second that was looked at a little late is longer than one."""
    assert validity.late_s(crowded(1.3).history(), 1.0) == 1.0


def test_a_tenth_of_the_run_without_a_free_core_is_a_crowd() -> None:
    """As much as a disturbance of our own may take of a bound; this run lasts for 12 s."""
    assert not validity.is_crowded(crowded(0.5, 0, 0.6, 0).history())
    assert validity.is_crowded(crowded(0.5, 0, 0.6, 0.2).history())
