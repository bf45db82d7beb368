"""`archive`: WAL goes to S3 again, and a restored cluster leaves its source's objects alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from harness.expectation import TimeExpectation
from harness.history import History, Op, effect_at
from harness.registry import register
from harness.scenario import Duration
from harness.sightings import (
    NS,
    Sighting,
    acks,
    archived,
    instant,
    is_in_place,
    is_of,
    nodes,
    object_sightings,
    restoring,
    said,
    seconds,
    touched,
    writable_at,
)
from harness.verdict import Measurement, Statistic, UndecidedError

_NAMED = 3  # objects that the note names
# How late the last thing that a source did may be seen: S3 is listed once a second, and each new
# object is then asked how it is encrypted.
_LATE_NS = 3 * NS


@register
class Archive(TimeExpectation):
    """Measure how long until the next WAL segment is seen in the archive.

    Of a restored cluster (`of`): from its first acknowledged write to the first segment below its
    own prefix. Else from the step `since` to the first segment that is new. Never is a lower
    bound. A new cluster whose prefix is its source's, or lies within it, is a breach at once; one
    that was restored in place has its old prefix by right.

    With `source_untouched` it is a breach too when anything below the source's prefix changes,
    vanishes or comes after the restore. A source that lives on archives there by right: then new
    objects count only if they belong to a newer timeline than the source ever wrote on.

    A pass does not show that all WAL is archived (`wal_gaps`), nor what the objects hold. The value
    is too large by at most the time between two listings; and a segment is archived when it is
    full or `archive_timeout` is over, so that an idle cluster takes its time. What is seen within
    3 s of the source's end may be its own last deed, and does not count, unless it is of a newer
    timeline.

    O(n) in the observations. Source: docs/adr/0002.

    Attributes:
        of: the restored cluster, as its step's `as_cluster` names it.
        since: the `as:` of the step to measure from, for the scenario's own cluster.
        resumes_within: another word for `max`.
        source_untouched: whether objects of the source may not be touched; takes `of`.

    Example:
        archive: {of: restored, resumes_within: 60s, source_untouched: true}
    """

    name: ClassVar[str] = "archive"
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "cluster"

    of: str | None = None
    since: str | None = None
    resumes_within: Duration | None = None
    source_untouched: bool = False

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if (self.of is None) == (self.since is None):
            raise ValueError("expected either `of`, a restored cluster, or `since`, a step")
        if self.source_untouched and self.of is None:
            raise ValueError("source_untouched takes `of`; expected a restored cluster")
        if self.max is not None and self.resumes_within is not None:
            raise ValueError("max and resumes_within are the same bound; expected one of them")
        return self

    @property
    def bounds(self) -> Mapping[Statistic, float]:
        within = self.resumes_within
        return super().bounds if within is None else {**super().bounds, "max": within}

    def examine(self, history: History) -> Measurement:
        restore = None if self.of is None else restoring(history, self.of)
        if not history.notes("object"):
            raise UndecidedError("nobody looked at what S3 holds")
        if restore is None:
            return _resumed(history, "", instant(history, str(self.since)))
        prefix, source = _prefix(restore, "prefix"), _prefix(restore, "source_prefix")
        in_place = is_in_place(history, restore)
        if in_place and self.source_untouched:
            raise UndecidedError(f"{self.of!r} was restored in place: it has no other source")
        if prefix.startswith(source) and not in_place:
            return _breach(f"{self.of!r} archives to {prefix}, in its source's {source}", ())
        if self.source_untouched and (hits := [*_touches(history, restore, source)]):
            told = ", ".join(f"{_what(hit)} {hit.key}" for hit in hits[:_NAMED])
            more = ", ..." if len(hits) > _NAMED else ""
            return _breach(f"{len(hits)} objects of the source touched: {told}{more}", hits)
        return _resumed(history, prefix, writable_at(restore))


def _prefix(restore: Op, which: str) -> str:
    found = said(restore).get(which)
    if not isinstance(found, str) or not found.strip("/"):
        raise UndecidedError(f"the restore recorded {which} {found!r}")
    return f"{found.rstrip('/')}/"


def _breach(note: str, hits: Sequence[Sighting]) -> Measurement:
    return Measurement(math.inf, note, evidence=[h.value for h in hits[:_NAMED]], at_least=True)


def _resumed(history: History, prefix: str, begin: int) -> Measurement:
    """Return when the first segment that was not there before came into sight."""
    known: set[str] = set()
    for sighting in object_sightings(history, prefix):
        file = archived(sighting.key)
        if file is None or file.number is None or sighting.is_gone:
            continue
        if sighting.time >= begin and sighting.key not in known:
            return Measurement(
                seconds(sighting.time - begin),
                f"{file.name} was archived by {history.seconds(sighting.time):.1f} s",
                evidence=[sighting.value],
            )
        known.add(sighting.key)
    waited = seconds(max(history.finish, begin) - begin)
    where = f" below {prefix}" if prefix else ""
    note = f"no new segment{where} within {waited:.1f} s"
    return Measurement(waited, note, at_least=True)


# --- the source ----------------------------------------------------------------------------------


def _touches(history: History, restore: Op, source: str) -> Iterator[Sighting]:
    """Yield what was done to the source's objects that it cannot have done itself."""
    seen = object_sightings(history, source)
    if not seen:
        raise UndecidedError(f"nobody looked at what S3 holds below {source}")
    newest, ended = _newest_timeline(history, restore, seen), _ended(history, restore)
    known: set[str] = set()
    for sighting in seen:
        is_new = sighting.key not in known
        known.add(sighting.key)
        if sighting.time <= effect_at(restore):
            continue
        file = archived(sighting.key)
        if file is not None and file.tli > newest:
            yield sighting
        elif ended is None:
            # It lives, and archives and backs up; what it has stored it has no reason to touch.
            if not is_new:
                yield sighting
        elif sighting.time > ended + _LATE_NS:
            yield sighting


def _newest_timeline(history: History, restore: Op, seen: Sequence[Sighting]) -> int:
    """Return the newest timeline that the source wrote on, or had archived by the restore."""
    own = [ack.tli for ack in acks(history) if ack.tli is not None and not is_of(restore, ack.op)]
    before = [archived(one.key) for one in seen if one.time <= effect_at(restore)]
    return max([*own, *(file.tli for file in before if file is not None)], default=0)


def _ended(history: History, restore: Op) -> int | None:
    """Return when the last node of the source was destroyed (ns); None while one of them lives."""
    deeds = [
        deed
        for deed in history.deeds
        if deed.f == "destroy" and deed.outcome == "ok" and deed.start < restore.start
    ]
    gone = {name for deed in deeds for name in touched(deed)}
    if not gone or not set(nodes(history)) <= gone:
        return None
    return max(deed.start if deed.end is None else deed.end for deed in deeds)


def _what(sighting: Sighting) -> str:
    return "gone" if sighting.is_gone else "new or changed"
