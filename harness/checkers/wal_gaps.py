"""`wal_gaps`: the WAL archive has no hole, so every moment in it can be restored."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field

from harness.expectation import CountExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import archived, object_sightings, said, segment_name, segment_number
from harness.verdict import Measurement, UndecidedError

_NAMED = 5  # missing files that the note and the evidence name


@dataclass(slots=True)
class _Archive:
    """What was ever seen of the archive of one cluster.

    Attributes:
        segments: their numbers by timeline.
        histories: the timelines whose history was seen.
    """

    segments: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    histories: set[int] = field(default_factory=set)


@register
class WalGaps(CountExpectation):
    """Count the files that the WAL archive lacks.

    Segments: on each timeline every one from the first to the last seen, and those between the
    end of the older timelines and the beginning of a newer one; further, each segment that a
    `wait: {until: archived}` was told of. Histories: the file of each timeline but the oldest. A
    file that is gone by retention was archived, so it does not count. Unless it is given, `max`
    is 0.

    A pass does not show that the last commits were archived (`rpo` does), nor that a segment's
    content is whole (a restore does). What comes before the first segment seen is not judged.

    O(n log n) in the objects. Source: PostgreSQL documentation, "Continuous Archiving and
    Point-in-Time Recovery" and "Timelines"; 16 MiB segments.

    Attributes:
        min_segments: with fewer segments seen nothing is decided.

    Example:
        wal_gaps: {min_segments: 10}
    """

    name: ClassVar[str] = "wal_gaps"

    max: int | None = Field(0, ge=0, strict=True)
    min_segments: int = Field(2, ge=1, strict=True)

    def examine(self, history: History) -> Measurement:
        archives = _archives(history)
        if not history.notes("object"):
            raise UndecidedError("nobody looked at what S3 holds")
        missing = [*_missing(archives), *_promised(history, archives)]
        missing = list(dict.fromkeys(missing))
        segments = sum(len(s) for a in archives.values() for s in a.segments.values())
        if segments < self.min_segments and not missing:
            raise UndecidedError(f"{segments} segments were seen; expected {self.min_segments}")
        timelines = sum(len(archive.segments) for archive in archives.values())
        counts = f"{segments} segments on {timelines} timelines in {len(archives)} archives seen"
        if not missing:
            return Measurement(0, f"none missing; {counts}")
        more = ", ..." if len(missing) > _NAMED else ""
        named = ", ".join(missing[:_NAMED])
        note = f"{len(missing)} missing: {named}{more}; {counts}"
        return Measurement(len(missing), note, evidence=missing[:_NAMED])


def _archives(history: History) -> Mapping[str, _Archive]:
    """Return what each cluster ever archived, by the archive's folder."""
    found: dict[str, _Archive] = defaultdict(_Archive)
    for sighting in object_sightings(history):
        file = archived(sighting.key)
        if file is None:
            continue
        if file.number is None:
            found[file.archive].histories.add(file.tli)
        else:
            found[file.archive].segments[file.tli].add(file.number)
    return found


def _missing(archives: Mapping[str, _Archive]) -> Iterator[str]:
    for folder, archive in sorted(archives.items()):
        older: int | None = None  # the last segment of all older timelines
        for tli, seen in sorted(archive.segments.items()):
            # A timeline begins within the segment of its fork, or at the next one's start.
            gap = range(0) if older is None else range(older + 1, min(seen))
            for number in [*gap, *_holes(seen)]:
                yield f"{folder} {segment_name(tli, number)}"
            if older is not None and tli not in archive.histories:
                yield f"{folder} {tli:08X}.history"
            older = max(seen) if older is None else max(older, *seen)


def _holes(numbers: Iterable[int]) -> Sequence[int]:
    """Return what is missing between the smallest and the largest of the numbers."""
    known = set(numbers)
    return sorted({*range(min(known), max(known))} - known)


def _promised(history: History, archives: Mapping[str, _Archive]) -> Iterator[str]:
    """Yield the segments that are said to be archived, and that nobody saw in any archive."""
    for deed in history.deeds:
        name = said(deed).get("archived")
        if deed.f != "wait" or said(deed).get("until") != "archived" or name is None:
            continue
        if not isinstance(name, str) or not re.fullmatch(r"[0-9A-F]{24}", name):
            raise UndecidedError(f"a wait was told that {name!r} is archived, which is no segment")
        tli, number = int(name[:8], 16), segment_number(name)
        holders = [a for a, archive in archives.items() if number in archive.segments.get(tli, ())]
        if not holders:
            # Named as a hole would be, so that one segment never counts twice.
            folders = [a for a, archive in archives.items() if tli in archive.segments]
            yield f"{folders[0] if len(folders) == 1 else 'any archive'} {name}"
