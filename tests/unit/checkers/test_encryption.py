"""Tests for harness.checkers.encryption."""

import pytest

from harness.checkers.encryption import Encryption
from harness.history import Json
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, segment_key


def measure(tape: Tape, at_least: int = 10) -> Measurement:
    return Encryption(min_objects=at_least).measure(tape.history())


def stored(count: int = 12) -> Tape:
    tape = Tape()
    tape.phases(steps=0, settled=30)
    for number in range(count):
        tape.segment(number, number)
    return tape


def test_all_encrypted() -> None:
    """Each object names a key of KMS."""
    found = measure(stored())
    assert found.value == 0
    assert found.note == "all 12 objects seen are encrypted by KMS"


@pytest.mark.parametrize(
    ("sse", "key", "word"),
    [
        (None, None, "no encryption"),
        ("AES256", None, "AES256"),
        ("aws:kms", None, "aws:kms, no key"),
        ("aws:kms", "", "aws:kms, no key"),
    ],
)
def test_an_object_without_a_key_of_kms_counts(sse: Json, key: Json, word: str) -> None:
    """Not at all, by S3's own key, or by one that is not named."""
    tape = stored()
    tape.stored(13, "spilo/drill/backup/drill/backup.info", sse=sse, kms_key=key)
    found = measure(tape)
    assert found.value == 1
    assert f"spilo/drill/backup/drill/backup.info ({word})" in found.note
    assert judge("encryption", "count", {"max": 0}, [found]).verdict == "fail"


def test_an_object_counts_once_and_though_it_is_gone() -> None:
    """It was there in the open for a while."""
    tape = stored()
    for at in (13, 14):
        tape.stored(at, segment_key(50), sse=None, kms_key=None)
    tape.note("object", 15, {"key": segment_key(50), "gone": True}, "s3/spilo/drill/")
    found = measure(tape)
    assert found.value == 1
    assert found.note.startswith("1 of 13 objects")


def test_the_note_names_three() -> None:
    """More would not help."""
    tape = Tape()
    for number in range(5):
        tape.stored(number, segment_key(number), sse=None)
    found = measure(tape)
    assert found.value == 5
    assert found.note.endswith("(no encryption), ...")
    assert len(found.evidence) == 3


def test_undecided_with_too_few_objects() -> None:
    """An empty bucket is not encrypted, and one that nobody listed neither."""
    assert measure(stored(0)).value is None
    assert measure(stored(9)).value is None
    assert measure(stored(9), at_least=9).value == 0


def test_objects_that_are_only_gone_were_not_seen() -> None:
    """That an object is gone says nothing of how it was stored."""
    tape = stored(9)
    tape.note("object", 15, {"key": segment_key(50), "gone": True}, "s3/spilo/drill/")
    assert measure(tape).value is None


def test_a_breach_counts_with_any_number_of_objects() -> None:
    """One in the open is enough."""
    tape = Tape()
    tape.stored(1, segment_key(1), sse=None)
    assert measure(tape).value == 1
