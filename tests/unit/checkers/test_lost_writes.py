"""Tests for harness.checkers.lost_writes."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers.lost_writes import LostWrites
from harness.history import Json, Outcome
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape


def measure(tape: Tape) -> Measurement:
    return LostWrites(max=0).measure(tape.history())


def written(final: Json = ((1, (10, 11)), (2, (20,)))) -> Tape:
    """Return a run that appended 10, 11 to list 1 and 20 to list 2, and this final read."""
    tape = Tape()
    tape.phases(steps=0, settled=10)
    tape.txn("a/0.0", 1, [["append", 1, 10], ["r", 2, None]])
    tape.txn("a/1.0", 2, [["append", 1, 11], ["append", 2, 20]])
    if final is not None:
        assert isinstance(final, tuple)
        tape.final(11, "append", [["r", k, list(v)] for k, v in final])
    return tape


def test_nothing_lost() -> None:
    """All that was acknowledged is there."""
    found = measure(written())
    assert found.value == 0
    assert found.note == "none lost; 3 acknowledged, 0 of unknown outcome recovered"


def test_a_lost_element_is_named_with_its_acknowledgement() -> None:
    """One acknowledged element is missing: it counts, and evidence says who acknowledged it."""
    found = measure(written(((1, (10,)), (2, (20,)))))
    assert found.value == 1
    assert found.note.startswith("1 lost: append 1:11")
    (witness,) = found.evidence
    assert isinstance(witness, dict)
    assert (witness["node"], witness["tli"], witness["end_s"]) == ("pg-1", 1, 2.01)


def test_a_lost_list_is_lost_as_a_whole() -> None:
    """A list that is gone loses every element of it."""
    assert measure(written(((1, (10, 11)),))).value == 1


def test_a_refused_element_that_is_there_counts_as_unexpected() -> None:
    """Certainly not written, and there: the database or the harness is broken."""
    tape = written(((1, (10, 11, 12)), (2, (20,))))
    tape.txn("a/2.0", 3, [["append", 1, 12]], "fail")
    found = measure(tape)
    assert found.value == 1
    assert "1 unexpected: append 1:12" in found.note


def test_an_element_nobody_wrote_counts_as_unexpected() -> None:
    """What was never tried cannot be there."""
    assert measure(written(((1, (10, 11, 99)), (2, (20,))))).value == 1


def test_a_doubled_element_counts() -> None:
    """An element written once and there twice is corruption."""
    found = measure(written(((1, (10, 11, 11)), (2, (20,)))))
    assert found.value == 1
    assert "1 duplicated: append 1:11" in found.note


def test_an_element_of_unknown_outcome_may_be_there_or_not() -> None:
    """Unknown means unknown; if it is there it was recovered."""
    there = written(((1, (10, 11, 12)), (2, (20,))))
    away = written()
    for tape in (there, away):
        tape.txn("a/2.0", 3, [["append", 1, 12]], "info")
    assert measure(there).value == measure(away).value == 0
    assert "1 of unknown outcome recovered" in measure(there).note


def test_probe_rows_count_too() -> None:
    """The probes' table is judged like any other."""
    tape = written()
    kept, lost = tape.probe("pg-1", 3, "ok", 1), tape.probe("pg-1", 4, "ok", 1)
    tape.final(11.5, "probe", [kept])
    found = measure(tape)
    assert found.value == 1
    assert f"probe {lost}" in found.note


def test_undecided_without_a_final_read() -> None:
    """Nobody looked."""
    assert measure(written(None)).value is None


def test_undecided_when_the_final_read_failed() -> None:
    """Looking failed."""
    tape = written(None)
    tape.final(11, "append", None, "fail")
    assert measure(tape).value is None


def test_undecided_when_nothing_was_acknowledged() -> None:
    """Nothing could be lost."""
    tape = Tape()
    tape.phases(steps=0, settled=10)
    tape.txn("a/0.0", 1, [["append", 1, 10]], "info")
    tape.final(11, "append", [])
    assert measure(tape).value is None


def test_undecided_when_read_too_early() -> None:
    """A read before the last acknowledgement, or before the cluster settled, is not final."""
    late_ack, unsettled = written(), written()
    late_ack.txn("a/0.0", 12, [["append", 1, 13]])
    unsettled.phases(settled=10)
    unsettled.events = [e for e in unsettled.events if e.value != "settled"]
    early = Tape()
    early.phases(steps=0, settled=10)
    early.txn("a/0.0", 1, [["append", 1, 10]])
    early.final(9, "append", [["r", 1, [10]]])
    assert measure(early).value is None
    assert measure(late_ack).value is None
    assert measure(unsettled).value is None


def test_a_loss_in_one_table_counts_though_another_was_not_read() -> None:
    """What was seen lost is lost, and there may be more."""
    tape = written(((1, (10,)), (2, (20,))))
    tape.probe("pg-1", 3, "ok", 1)
    found = measure(tape)
    assert (found.value, found.at_least) == (1, True)
    assert judge("lost_writes", "count", {"max": 0}, [found]).verdict == "fail"
    assert judge("lost_writes", "count", {"max": 1}, [found]).verdict == "error"


def test_transactions_without_a_key_belong_to_the_only_table_read() -> None:
    """With one workload its table need not be named."""
    tape = Tape()
    tape.phases(steps=0, settled=10)
    tape.txn("a/0.0", 1, [["append", 1, 10]], key=None)
    tape.final(11, "append", [["r", 1, []]])
    assert measure(tape).value == 1


# --- the fork of a timeline ----------------------------------------------------------------------


def forked(timelines: Json = None, last: Json = None) -> Tape:
    """Return a failover at 0/64: 10 and 11 were acknowledged before it, 12 after; no final read.

    Args:
        timelines: the histories that the survivor has.
        last: where 11 was committed.
    """
    tape = Tape()
    tape.phases(steps=0, settled=10)
    tape.txn("a/0.0", 1, [["append", 1, 10]], lsn=["0/50", "0/60"])
    tape.txn("a/0.0", 2, [["append", 1, 11]], lsn=["0/70", "0/80"] if last is None else last)
    tape.txn("a/1.0", 5, [["append", 1, 12]], lsn=["0/90", "0/A0"], node="pg-2", tli=2)
    if timelines is not None:
        tape.op("final", "timelines", 11, 11.1, value=timelines)
    return tape


def test_a_commit_past_its_timelines_fork_is_lost_though_nobody_read_the_table() -> None:
    """It is not on the survivor's timeline; there may be more."""
    found = measure(forked({"2": [[1, "0/64"]]}))
    assert (found.value, found.at_least) == (1, True)
    assert found.note.startswith("1 lost: append 1:11")
    assert [op["lost"] for op in found.evidence if isinstance(op, dict)] == ["append 1:11"]


def test_a_final_read_decides_over_the_fork() -> None:
    """Element by element it shows what is there."""
    tape = forked({"2": [[1, "0/64"]]})
    tape.final(12, "append", [["r", 1, [10, 11, 12]]])
    assert measure(tape).value == 0


def test_undecided_where_the_fork_does_not_tell() -> None:
    """Within the bounds, without any, without histories, or with another timeline's only."""
    fork: Json = {"2": [[1, "0/64"]]}
    for tape in (
        forked(fork, ["0/60", "0/70"]),
        forked(fork, []),
        forked(),
        forked({}),
        forked({"2": [[1, "x"]]}),
        forked({"1": []}),
    ):
        assert measure(tape).value is None


ELEMENTS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["ok", "ok", "fail", "info"])), max_size=6
)


@settings(max_examples=300, deadline=None)
@given(ELEMENTS, st.lists(st.integers(1, 5), max_size=6))
def test_agrees_with_brute_force(tried: list[tuple[int, Outcome]], final: list[int]) -> None:
    """Element by element, the definition gives the same count."""
    tape = Tape()
    tape.phases(steps=0, settled=10)
    for at, (element, outcome) in enumerate(tried):
        tape.txn(f"a/{at}.0", at, [["append", 1, element]], outcome)
    tape.final(11, "append", [["r", 1, list(final)]])
    there, wrong = Counter(final), 0
    for element in range(1, 6):
        outcomes = [outcome for e, outcome in tried if e == element]
        may = sum(outcome != "fail" for outcome in outcomes)
        lost = "ok" in outcomes and not there[element]
        wrong += lost or there[element] > may
    found = measure(tape)
    if any(outcome == "ok" for _, outcome in tried):
        assert found.value == wrong
    else:
        assert found.value is None
