"""Tests for harness.checkers.digest."""

import pytest

from harness.checkers.digest import Digest
from harness.history import Json
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape

MARKED: Json = {"append": "aaaaaaaaaa", "probe": "bbbbbbbbbb", "lookup": "cccccccccc"}


def measure(tape: Tape) -> Measurement:
    return Digest(of="restored", equals="before").measure(tape.history())


def compared(found: Json = MARKED, marked: Json = MARKED, **mark: Json) -> Tape:
    tape = Tape()
    tape.phases(steps=0, settled=20)
    tape.mark(5, digest=marked, **mark)
    tape.restore(12, digest=found)
    return tape


def test_the_same_tables() -> None:
    """All digests are those of the mark."""
    found = measure(compared())
    assert (found.value, found.at_least) == (0, False)
    assert found.note == "3 tables as at 'before': append, probe, lookup"


@pytest.mark.parametrize(
    ("digest", "word"),
    [
        (
            {"append": "aaaaaaaaaa", "probe": "x", "lookup": "cccccccccc"},
            "probe is x, was bbbbbbbb",
        ),
        ({"append": "aaaaaaaaaa", "probe": "bbbbbbbbbb"}, "lookup is missing"),
        (
            {"append": "aaaaaaaaaa", "probe": "bbbbbbbbbb", "lookup": "cccccccccc", "new": "d"},
            "new was not there",
        ),
    ],
)
def test_a_table_that_is_not_the_same_counts(digest: Json, word: str) -> None:
    """Changed, gone, or not there at the mark: the note names it."""
    found = measure(compared(digest))
    assert found.value == 1
    assert word in found.note
    assert judge("digest", "count", {"max": 0}, [found]).verdict == "fail"


def test_an_empty_cluster_lacks_every_table() -> None:
    """A restore that brought back nothing is no match of nothing."""
    assert measure(compared({})).value == 3


@pytest.mark.parametrize(
    ("marked", "held", "word"),
    [(None, False, "did not hold the load"), ({}, True, "held no table")],
)
def test_undecided_when_the_mark_has_no_digest(marked: Json, held: Json, word: str) -> None:
    """There is nothing to compare with."""
    found = measure(compared({}, marked, held=held))
    assert found.value is None
    assert word in found.note


def test_undecided_when_the_restored_tables_were_not_read() -> None:
    """Nobody looked."""
    assert measure(compared(None)).value is None


def test_undecided_without_the_mark_or_the_restore() -> None:
    """Either was never made."""
    for f in ("mark", "restore"):
        tape = compared()
        tape.events = [event for event in tape.events if event.f != f]
        assert measure(tape).value is None


def test_a_step_that_failed_was_not_made() -> None:
    """A failed restore compares nothing, whatever it recorded."""
    tape = Tape()
    tape.mark(5)
    told: Json = {"cluster": "restored", "digest": {"append": "a"}}
    tape.op("nemesis", "restore", 10, 12, "fail", argument=told)
    assert measure(tape).value is None


def test_its_names_are_no_steps() -> None:
    """`of` is a cluster and `equals` a mark, so neither is looked up among the steps."""
    asked = Digest(of="restored", equals="before")
    assert asked.refs == []
    assert asked.bounds == {"max": 0}
