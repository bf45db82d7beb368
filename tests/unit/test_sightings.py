"""Tests for harness.sightings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sightings import (
    Roles,
    acks,
    attempts,
    leader_key,
    longest_unseen,
    powerless,
    reigns,
    struck,
)
from harness.verdict import UndecidedError
from tests.unit.checkers.tape import Tape, failover, ns

SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=5)


@given(SPANS, st.integers(0, 10), st.integers(0, 12))
def test_longest_unseen_agrees_with_brute_force(
    spans: list[tuple[int, int]], start: int, length: int
) -> None:
    """Second by second, the longest run that no span covers is found."""
    end = start + length
    covered = [
        any(begin <= second and second + 1 <= begin + took for begin, took in spans)
        for second in range(start, end)
    ]
    runs = "".join("x" if seen else "." for seen in covered)
    # A span without length still ends a run: something was seen at that instant.
    cuts = sorted({begin for begin, _ in spans if start < begin < end})
    pieces = [
        runs[a - start : b - start] for a, b in zip([start, *cuts], [*cuts, end], strict=True)
    ]
    longest = max((len(run) for piece in pieces for run in piece.split("x")), default=0)
    begin, until = longest_unseen([(b, b + took) for b, took in spans], start, end)
    assert until - begin == longest
    assert start <= begin <= until <= end


def test_the_leader_key_is_told_in_the_order_of_revisions() -> None:
    """The earliest word of each change counts, and no change comes after a later one."""
    tape = Tape()
    tape.leader(5, "pg-2", 3)
    tape.leader(9, None, 2)  # told late: it must have been before revision 3
    tape.leader(1, "pg-1", 1)
    tape.leader(7, "pg-2", 3)
    tape.leader(8, "pg-2", 4)  # written again by the same holder
    changes = [(change.time, change.holder) for change in leader_key(tape.history())]
    assert changes == [(ns(1), "pg-1"), (ns(5), None), (ns(5), "pg-2")]


def test_a_refused_session_is_a_try_to_write() -> None:
    """The write behind it was never sent; a session that was opened is not yet a try."""
    tape = Tape()
    tape.opened("probe/pg-1/held.0", 1, "pg-1", "pg-1", in_recovery=True, outcome="fail")
    tape.opened("probe/pg-1/held.0", 2, "pg-1", "pg-1", in_recovery=True)
    tape.probe("pg-1", 3)
    tape.probe("pg-2", 4)
    assert [op.start for op in attempts(tape.history(), "pg-1")] == [ns(1), ns(3)]


def test_a_node_is_powerless_from_its_kill_to_its_start() -> None:
    """Only a power-off takes its power; the end of the run ends it too."""
    tape = Tape()
    tape.phases(steps=0, settled=20)
    tape.deed("kill", 1, ["pg-1"], how="process")
    tape.deed("kill", 3, ["pg-1", "pg-2"], how="power-off", until=4)
    tape.deed("start", 9, ["pg-1"])
    told = tape.history()
    assert [*powerless(told, "pg-1")] == [(ns(4), ns(9))]
    assert [*powerless(told, "pg-2")] == [(ns(4), ns(20))]
    assert [*powerless(told, "pg-3")] == []


def test_reigns_are_changes_to_another_node_on_a_newer_timeline() -> None:
    """Not the old primary's late writes, nor a new timeline of the same node."""
    tape = failover(old_until=8.0)
    tape.probe("pg-2", 11.7, "ok", 3)
    found = [(reign.node, reign.tli) for reign in reigns(acks(tape.history()))]
    assert found == [("pg-1", 1), ("pg-2", 2)]


def test_roles_remember_since_when_and_what_was_before() -> None:
    """An observation counts from its end."""
    roles = Roles([(30, False), (10, True), (20, True), (40, False)])
    assert roles.at(9) is None
    assert (seen := roles.at(25)) is not None
    assert (seen.primary, seen.last, seen.since, seen.otherwise) == (True, 20, 10, None)
    assert (seen := roles.at(40)) is not None
    assert (seen.primary, seen.last, seen.since, seen.otherwise) == (False, 40, 30, 20)


def test_the_struck_primary_is_the_last_to_acknowledge_before() -> None:
    """With the timeline that it then was on."""
    found = struck(failover().history(), "crash")
    assert (found.node, found.tli, found.at, found.hit) == ("pg-1", 1, ns(1), frozenset({"pg-1"}))
    with pytest.raises(UndecidedError, match="no step named 'other'"):
        struck(failover().history(), "other")
