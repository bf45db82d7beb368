"""Tests for harness.checkers.backups."""

from harness.checkers.backups import Backups
from harness.verdict import judge
from tests.unit.checkers.tape import Tape

LABELS = ("20261123-100000F", "20261123-110000F", "20261123-120000F")


def manifest(label: str, scope: str = "drill") -> str:
    return f"spilo/{scope}/backup/{scope}/{label}/backup.manifest"


def made(*labels: str) -> Tape:
    tape = Tape()
    tape.phases(steps=0, settled=30)
    for number, label in enumerate(labels):
        tape.stored(number, manifest(label))
    return tape


def test_whole_full_backups_count() -> None:
    """An incremental, an unfinished one and another cluster's are none of them."""
    tape = made(*LABELS)
    tape.stored(4, manifest(f"{LABELS[0]}_20261123-101000I"))
    tape.stored(5, manifest("20261123-130000F") + ".copy")
    tape.stored(6, manifest("20261123-140000F", "restored"))
    assert Backups(max=3).measure(tape.history()).value == 3
    assert Backups(of="restored", max=3).measure(tape.history()).value == 1


def test_one_that_was_given_up_counts_no_more() -> None:
    """Retention that keeps too little is found by `min`, and the note names what is gone."""
    tape = made(*LABELS)
    for label in LABELS[:2]:
        tape.note("object", 7, {"key": manifest(label), "gone": True}, "s3")
    found = Backups(min=2, max=2).measure(tape.history())
    assert found.value == 1
    assert f"given up: {LABELS[0]}, {LABELS[1]}" in found.note
    assert judge("backups", "count", {"min": 2, "max": 2}, [found]).verdict == "fail"


def test_one_that_is_kept_too_long_counts() -> None:
    """Retention that never gives up anything is found by `max`."""
    found = Backups(min=2, max=2).measure(made(*LABELS).history())
    assert judge("backups", "count", {"min": 2, "max": 2}, [found]).verdict == "fail"


def test_nothing_seen_decides_nothing() -> None:
    """A blind probe is no proof of an empty bucket."""
    assert Backups(max=2).measure(made().history()).value is None
