"""Tests for harness.checkers.archive."""

import math

import pytest
from pydantic import ValidationError

from harness.checkers.archive import Archive
from harness.history import Json
from harness.verdict import Measurement, judge
from tests.unit.checkers.tape import Tape, segment_key

OWN = "spilo/restored/"
INFO = "spilo/drill/archive/drill/archive.info"


def measure(tape: Tape, **more: Json) -> Measurement:
    asked: Json = {"of": "restored", "resumes_within": "10s", "source_untouched": True, **more}
    return Archive.model_validate(asked).measure(tape.history())


def restored(seen: float | None = 24, *, alive: bool = False, **restore: Json) -> Tape:
    """Return a run whose cluster was lost at 10 s (unless it lives) and restored at 20 s.

    The source archived the segments 1 to 5, the restored cluster its first one at `seen`.
    """
    tape = Tape()
    tape.phases(steps=0, settled=40)
    tape.probe("pg-1", 1, "ok", 1)
    tape.stored(1, INFO)
    for number in range(1, 6):
        tape.segment(number, number)
    if not alive:
        tape.deed("destroy", 10, ["pg-1", "pg-2", "pg-3"], "loss")
    tape.restore(20, **restore)
    if seen is not None:
        tape.segment(seen, 6, tli=2, prefix=OWN)
    return tape


def test_from_the_first_write_to_the_first_segment() -> None:
    """Writable at 20 s, archived at 24 s."""
    found = measure(restored())
    assert found.value == pytest.approx(4)
    assert "000000020000000000000006 was archived" in found.note


def test_what_is_no_new_segment_does_not_count() -> None:
    """Neither a history, a partial segment, the source's segments nor one from before."""
    tape = restored(None)
    own = segment_key(5, 1, OWN)
    tape.segment(19, 5, prefix=OWN)
    tape.stored(21, own, size=2)
    tape.stored(21, f"{OWN}archive/drill/17-1/00000002.history")
    tape.stored(22, segment_key(6, 1, OWN).replace("-0000", ".partial-0000", 1))
    tape.note("object", 23, {"key": own, "gone": True}, f"s3/{OWN}")
    tape.segment(27, 7, tli=2, prefix=OWN)
    assert measure(tape).value == pytest.approx(7)


def test_never_is_a_lower_bound() -> None:
    """The restored cluster archives nothing in the 20 s that were left."""
    found = measure(restored(None))
    assert found.value == pytest.approx(20)
    assert found.at_least
    assert judge("archive", "s", {"max": 10}, [found]).verdict == "fail"
    assert judge("archive", "s", {"max": 30}, [found]).verdict == "error"


@pytest.mark.parametrize("own", ["spilo/drill/", "spilo/drill", "spilo/drill/restored/"])
def test_the_sources_prefix_is_a_breach_at_once(own: str) -> None:
    """A restored cluster that archives to its source, or within it."""
    for untouched in (True, False):
        found = measure(restored(prefix=own), source_untouched=untouched)
        assert found.value == math.inf
        assert judge("archive", "s", {"max": 10}, [found]).verdict == "fail"


def test_a_prefix_that_only_begins_alike_is_another() -> None:
    """`drill-2` is not within `drill`."""
    tape = restored(None, prefix="spilo/drill-2/")
    tape.segment(24, 6, tli=2, prefix="spilo/drill-2/")
    assert measure(tape).value == pytest.approx(4)


@pytest.mark.parametrize(
    ("key", "more"),
    [
        (segment_key(6, 2), {}),
        ("spilo/drill/archive/drill/17-1/00000002.history", {}),
        (segment_key(6, 1), {}),
        (INFO, {"etag": "other"}),
        (segment_key(1), {"gone": True}),
    ],
)
def test_a_touched_source_is_a_breach(key: str, more: dict[str, Json]) -> None:
    """New, changed or gone: a source that is no more cannot have done it."""
    tape = restored()
    tape.stored(22, key, **more)
    found = measure(tape)
    assert (found.value, found.at_least) == (math.inf, True)
    assert key in found.note
    assert measure(tape, source_untouched=False).value == pytest.approx(4)


def test_the_last_deed_of_the_source_may_be_seen_late() -> None:
    """Stored before its end, listed after the restore began; a newer timeline is not its own."""
    for tli, value in ((1, 9.0), (2, math.inf)):
        tape = restored(None)
        tape.events = [event for event in tape.events if event.f not in ("destroy", "restore")]
        tape.deed("destroy", 14, ["pg-1", "pg-2", "pg-3", "etcd-1"], "loss")
        tape.restore(15)
        tape.segment(16, 6, tli=tli)
        tape.stored(16, INFO, etag="other")
        tape.segment(24, 6, tli=2, prefix=OWN)
        assert measure(tape).value == pytest.approx(value)


def test_a_cluster_restored_in_place_keeps_its_prefix() -> None:
    """It is its own source, so nothing can be said of another one."""
    tape = restored(
        None, nodes=["pg-1", "pg-2", "pg-3"], cluster="own", prefix="spilo/drill/", tli=2
    )
    tape.segment(25, 6, tli=2)
    assert measure(tape, of="own", source_untouched=False).value == pytest.approx(5)
    assert measure(tape, of="own").value is None


def test_what_came_before_the_restore_is_the_sources_own() -> None:
    """The last segment of the source was seen in time."""
    tape = restored()
    tape.segment(11, 6)
    assert measure(tape).value == pytest.approx(4)


def test_a_source_that_lives_archives_by_right() -> None:
    """Segments on its own timeline, and backups."""
    tape = restored(alive=True)
    tape.segment(22, 6)
    tape.stored(23, "spilo/drill/backup/drill/20240101-000000F/manifest")
    assert measure(tape).value == pytest.approx(4)


@pytest.mark.parametrize(
    ("key", "more"),
    [
        (segment_key(6, 2), {}),
        ("spilo/drill/archive/drill/17-1/00000002.history", {}),
        (INFO, {"etag": "other"}),
        (segment_key(1), {"gone": True}),
    ],
)
def test_a_source_that_lives_can_be_touched(key: str, more: dict[str, Json]) -> None:
    """A timeline that it never was on, and what it has no reason to change or to remove."""
    tape = restored(alive=True)
    tape.stored(22, key, **more)
    assert measure(tape).value == math.inf


def test_a_source_that_lives_may_come_to_a_new_timeline() -> None:
    """It failed over after the restore, and archives on timeline 2 by right."""
    tape = restored(alive=True)
    tape.segment(22, 6, tli=2)
    tape.probe("pg-2", 25, "ok", 2)
    assert measure(tape).value == pytest.approx(4)


def test_a_source_is_known_by_its_archive_too() -> None:
    """Nobody wrote on timeline 3, but it was archived before the restore."""
    tape = restored(alive=True)
    tape.stored(8, "spilo/drill/archive/drill/17-1/00000003.history")
    tape.segment(22, 6, tli=3)
    assert measure(tape).value == pytest.approx(4)
    tape.segment(23, 6, tli=4)
    assert measure(tape).value == math.inf


def test_a_source_of_which_a_part_is_left_lives() -> None:
    """One of three nodes was destroyed."""
    tape = restored(alive=True)
    tape.deed("destroy", 10, ["pg-1"])
    tape.segment(22, 6)
    assert measure(tape).value == pytest.approx(4)


def test_the_own_cluster_from_a_step_on() -> None:
    """Archiving stalled; the first segment that is new came 3 s after the step."""
    tape = Tape()
    tape.phases(steps=0, settled=40)
    tape.segment(1, 1)
    tape.deed("s3", 10, [], "well")
    tape.segment(13, 2)
    asked = Archive.model_validate({"since": "well", "max": "10s"})
    assert asked.measure(tape.history()).value == pytest.approx(3)
    assert asked.refs == ["well"]


def test_undecided_without_a_restore_or_a_listing() -> None:
    """Nothing was restored, or nobody looked; at the source too, if it is asked about."""
    for f in ("restore", "object"):
        tape = restored()
        tape.events = [event for event in tape.events if event.f != f]
        assert measure(tape).value is None
    tape = restored()
    tape.events = [event for event in tape.events if event.process != "s3/spilo/drill/"]
    assert measure(tape).value is None
    assert measure(tape, source_untouched=False).value == pytest.approx(4)
    assert measure(restored(prefix=None)).value is None
    assert measure(restored(source_prefix="")).value is None


@pytest.mark.parametrize(
    "asked",
    [
        {"max": "9s"},
        {"of": "restored", "since": "loss", "max": "9s"},
        {"since": "loss", "source_untouched": True, "max": "9s"},
        {"of": "restored", "max": "9s", "resumes_within": "9s"},
        {"of": "restored", "resumes_within": "9s", "min": "10s"},
    ],
)
def test_what_cannot_be_asked(asked: dict[str, Json]) -> None:
    """Both or neither of two, the source of nothing, two bounds, and bounds that exclude."""
    with pytest.raises(ValidationError):
        Archive.model_validate(asked)


def test_its_bound_has_two_names() -> None:
    """`resumes_within` is `max`; the cluster is no step."""
    for word in ("max", "resumes_within"):
        asked = Archive.model_validate({"of": "restored", word: "9s"})
        assert asked.bounds == {"max": 9}
        assert asked.time_bounds == [9]
        assert asked.refs == []
