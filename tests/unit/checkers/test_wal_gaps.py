"""Tests for harness.checkers.wal_gaps."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checkers.wal_gaps import WalGaps
from harness.sightings import segment_name, segment_number
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, segment_key

SOURCE = "spilo/drill/archive/drill/17-1"


def measure(tape: Tape, at_least: int = 2) -> Measurement:
    return WalGaps(min_segments=at_least).measure(tape.history())


def kept(numbers: Iterable[int] = range(1, 6), tape: Tape | None = None, tli: int = 1) -> Tape:
    tape = tape or Tape()
    for number in numbers:
        tape.segment(number, number, tli=tli)
    return tape


def forked(first: int = 6, *, with_history: bool = True) -> Tape:
    """Return an archive with the segments 1 to 5 on timeline 1, and three on timeline 2."""
    tape = kept(range(first, first + 3), kept(), tli=2)
    if with_history:
        tape.stored(6, f"{SOURCE}/00000002.history")
    return tape


def promised(number: int, segments: Iterable[int] = range(1, 6)) -> Tape:
    tape = kept(segments)
    told = {"until": "archived", "archived": segment_name(1, number)}
    tape.did("wait", 9, [], told)
    return tape


def test_no_hole() -> None:
    """Every segment from the first to the last."""
    found = measure(kept())
    assert found.value == 0
    assert found.note == "none missing; 5 segments on 1 timelines in 1 archives seen"


def test_a_missing_segment_is_named() -> None:
    """3 was never archived."""
    found = measure(kept((1, 2, 4, 5)))
    assert found.value == 1
    assert f"{SOURCE} 000000010000000000000003" in found.note
    assert judge("wal_gaps", "count", {"max": 0}, [found]).verdict == "fail"


def test_segments_go_on_in_the_next_log() -> None:
    """After FF comes 0 of the next log file."""
    assert measure(kept((254, 255, 256, 257))).value == 0
    assert measure(kept((254, 255, 257))).value == 1


def test_a_segment_that_is_gone_was_archived() -> None:
    """Retention leaves no hole."""
    tape = kept()
    for number in (1, 2, 3):
        tape.note("object", 9, {"key": segment_key(number), "gone": True}, "s3/spilo/drill/")
    assert measure(tape).value == 0


@pytest.mark.parametrize("first", [4, 5, 6])
def test_a_new_timeline_begins_at_its_fork(first: int) -> None:
    """Within what the older one archived, or right after it: no hole."""
    assert measure(forked(first)).value == 0


def test_a_hole_between_timelines_counts() -> None:
    """6 is on neither timeline, so nothing after 5 can be restored."""
    found = measure(forked(7))
    assert found.value == 1
    assert "000000020000000000000006" in found.note


def test_a_missing_history_counts() -> None:
    """Without it nobody knows where timeline 2 forked."""
    found = measure(forked(with_history=False))
    assert found.value == 1
    assert f"{SOURCE} 00000002.history" in found.note


def test_the_oldest_timeline_has_no_parent_here() -> None:
    """A restored cluster begins on timeline 2, and has no segment of an older one."""
    assert measure(kept(tli=2)).value == 0


def test_each_archive_is_judged_alone() -> None:
    """What one cluster archived fills no hole of another."""
    tape = kept((1, 2, 4))
    tape.segment(3, 3, prefix="spilo/restored/")
    assert measure(tape).value == 1


def test_what_is_no_segment_does_not_count() -> None:
    """Partial segments, backups and the like fill no hole."""
    tape = kept((1, 3))
    whole = segment_key(2)
    tape.stored(5, whole.replace("-0000", ".partial-0000", 1))
    tape.stored(5, whole.replace("/archive/", "/backup/"))
    tape.stored(5, f"{SOURCE}/archive.info")
    assert measure(tape).value == 1


@pytest.mark.parametrize("end", ["", ".gz", ".lz4", ".bz2"])
def test_any_compression_will_do(end: str) -> None:
    """The segment is known by its name."""
    tape = kept((1, 3))
    tape.stored(5, segment_key(2).removesuffix(".zst") + end)
    assert measure(tape).value == 0


def test_what_a_wait_was_told_of_must_have_been_seen() -> None:
    """The archiver said that 7 is stored; S3 has never shown it."""
    assert measure(promised(7)).value == 1
    assert "000000010000000000000007" in measure(promised(7)).note
    assert measure(promised(5)).value == 0


def test_a_hole_that_was_told_of_counts_once() -> None:
    """3 is a hole, and was said to be stored."""
    assert measure(promised(3, (1, 2, 4, 5))).value == 1


def test_an_archiver_that_stores_nothing_is_found() -> None:
    """It answers success; S3 holds no segment at all."""
    tape = promised(4, ())
    assert measure(tape).value is None, "nobody listed S3"
    tape.stored(5, f"{SOURCE}/archive.info")
    found = measure(tape)
    assert found.value == 1
    assert "any archive 000000010000000000000004" in found.note


def test_a_wait_that_names_no_segment_decides_nothing() -> None:
    """What was recorded cannot be looked for."""
    tape = kept()
    tape.did("wait", 9, [], {"until": "archived", "archived": "soon"})
    assert measure(tape).value is None


def test_a_wait_need_not_name_a_segment() -> None:
    """It only waited."""
    tape = kept()
    tape.did("wait", 9, [], {"until": "archived"})
    assert measure(tape).value == 0


def test_undecided_with_too_few_segments() -> None:
    """One segment cannot have a hole, and none neither."""
    assert measure(Tape()).value is None
    assert measure(kept((1,))).value is None
    assert measure(kept(), at_least=6).value is None


@given(st.sets(st.integers(0, 600), min_size=2, max_size=40))
def test_holes_are_what_lies_between_and_is_not_there(numbers: set[int]) -> None:
    """Number by number."""
    between = range(min(numbers), max(numbers) + 1)
    assert measure(kept(numbers)).value == sum(n not in numbers for n in between)


@given(st.integers(1, 1 << 20), st.integers(0, 1 << 30))
def test_a_segments_name_is_its_number(tli: int, number: int) -> None:
    """There and back."""
    assert segment_number(segment_name(tli, number)) == number
