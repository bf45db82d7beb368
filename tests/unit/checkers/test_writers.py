"""Tests for harness.checkers.writers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers.writers import Writers
from harness.history import Json, Outcome
from harness.verdict import Measurement
from tests.unit.checkers.tape import NODES, Tape, failover


def measure(tape: Tape) -> Measurement:
    return Writers(max=1).measure(tape.history())


def test_a_failover_has_one_writer() -> None:
    """Writes that move to another node on a higher timeline are no breach."""
    found = measure(failover())
    assert found.value == 1
    assert "pg-1 on timeline 1 (6), pg-2 on timeline 2" in found.note


def test_a_write_sent_to_the_old_primary_after_the_new_ones_first_is_a_breach() -> None:
    """The old primary accepts a write that was sent once the new one had acknowledged: fails."""
    found = measure(failover(old_until=8.0))
    assert found.value == 2
    assert "pg-1 acknowledged 5 writes on timeline 1" in found.note
    assert "after pg-2 had acknowledged timeline 2 at 5.010 s" in found.note
    assert [dict(op)["node"] for op in found.evidence if isinstance(op, dict)] == [
        "pg-2", "pg-1", "pg-1",
    ]  # fmt: skip


def test_a_write_under_way_at_the_new_ones_first_is_no_breach() -> None:
    """Intervals that overlap, or only touch, may have happened in either order."""
    tape = failover()
    tape.op("probe/pg-1/held.x", "write", 5.01, 9.0, argument=99, node="pg-1", tli=1)
    assert measure(tape).value == 1


def test_one_nanosecond_later_is_a_breach() -> None:
    """Strictly after is after."""
    tape = failover()
    tape.op("probe/pg-1/held.x", "write", 5.010000002, 9.0, argument=99, node="pg-1", tli=1)
    assert measure(tape).value == 2


def test_one_timeline_on_two_nodes_is_a_breach() -> None:
    """Two nodes promoted apart may pick the same number: then the same timeline is on both."""
    tape = failover()
    tape.probe("pg-3", 6.1, "ok", 2)
    found = measure(tape)
    assert found.value == 2
    assert "timeline 2 was acknowledged by pg-2 at 5.010 s and pg-3" in found.note


def test_three_nodes_count_three() -> None:
    """The value is the number of nodes in the worst breach."""
    tape = failover()
    tape.probe("pg-3", 6.1, "ok", 2)
    tape.probe("pg-1", 6.2, "ok", 2)
    assert measure(tape).value == 3


def test_a_workloads_write_counts_and_its_reads_do_not() -> None:
    """A transaction without an append proves nobody primary."""
    reads, writes = failover(), failover()
    reads.txn("a/1.0", 7, [["r", 1, [1]]], node="pg-1", tli=1)
    writes.txn("a/1.0", 7, [["append", 1, 1]], node="pg-1", tli=1)
    assert measure(reads).value == 1
    assert measure(writes).value == 2


def test_two_system_identifiers_are_a_breach() -> None:
    """Two clusters that were initialized apart are not one, whatever their timelines say."""
    tape = failover()
    for node, identifier in (("pg-1", "71"), ("pg-2", "72")):
        body = {"role": "primary", "database_system_identifier": identifier}
        tape.op(f"rest/{node}", "patroni", 6, 6.1, value=body, node=node)
    assert measure(tape).value == 2


def test_undecided_without_any_acknowledged_probe() -> None:
    """Probes that never got through prove nothing, even if the load wrote."""
    tape = Tape()
    tape.phases(steps=0, settled=2)
    for node in NODES:
        tape.probe(node, 1)
    tape.txn("a/1.0", 1, [["append", 1, 1]])
    assert measure(tape).value is None


def test_undecided_when_a_node_was_never_probed() -> None:
    """A check that is blind on one node proves nothing, and names it."""
    tape = failover(nodes=("pg-1", "pg-2"))
    facts: Json = {"nodes": {name: {} for name in NODES}}
    tape.events[0] = type(tape.events[0])("nemesis", "info", "run", 0, facts)
    found = measure(tape)
    assert found.value is None
    assert "pg-3" in found.note


def test_undecided_when_the_nodes_are_not_known() -> None:
    """Without the run's facts nobody can say that each node was probed."""
    tape = failover()
    del tape.events[0]
    assert measure(tape).value is None


def test_a_blind_spell_is_undecided_unless_the_node_had_no_power() -> None:
    """For 6 s nobody asked pg-1; it may have accepted writes, if it had power."""
    blind, dark = failover(), failover()
    for tape in (blind, dark):
        tape.events = [
            event
            for event in tape.events
            if not (str(event.process).startswith("probe/pg-1") and 1003e9 < event.time < 1009e9)
        ]
    dark.deed("kill", 2.0, ["pg-1"], how="power-off")
    dark.deed("start", 9.0, ["pg-1"])
    assert "pg-1 for 6" in measure(blind).note
    assert measure(blind).value is None
    assert measure(dark).value == 1


def test_a_breach_counts_even_when_blind_elsewhere() -> None:
    """What was seen was seen."""
    tape = failover(old_until=8.0, nodes=("pg-1", "pg-2"))
    facts: Json = {"nodes": {name: {} for name in NODES}}
    tape.events[0] = type(tape.events[0])("nemesis", "info", "run", 0, facts)
    assert measure(tape).value == 2


def test_read_only_overlap_is_told_but_not_judged() -> None:
    """An old primary that answers reads as a primary is a weaker finding of its own."""
    tape = failover()
    for at, recovering in ((5.2, False), (5.4, False), (5.6, True), (7.0, False)):
        tape.opened(f"probe/pg-1/fresh.{at}", at, "pg-1", "pg-1", in_recovery=recovering)
    found = measure(tape)
    assert found.value == 1
    assert "read-only overlap 0.4 s on pg-1" in found.note


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pg-1", "pg-2"]),
            st.integers(1, 3),
            st.integers(0, 6),
            st.integers(0, 3),
            st.sampled_from(["ok", "ok", "fail", "info"]),
        ),
        max_size=7,
    )
)
def test_agrees_with_brute_force(ops: list[tuple[str, int, int, int, Outcome]]) -> None:
    """On small histories the sweep finds a breach exactly when comparing all pairs does."""
    tape = Tape(["pg-1", "pg-2"])
    for node in ("pg-1", "pg-2"):
        tape.probe(node, 0, "fail")
    for node, tli, start, took, outcome in ops:
        tape.probe(node, start, outcome, tli, took=took)
    acked = [(n, t, s, s + d) for n, t, s, d, outcome in ops if outcome == "ok"]
    breach = any(
        (a[1] == b[1] and a[0] != b[0]) or (a[1] > b[1] and a[3] < b[2])
        for a in acked
        for b in acked
    )
    value = measure(tape).value
    if not acked:
        assert value is None
    else:
        assert (value is not None and value >= 2) == breach
