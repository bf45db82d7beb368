"""`digest`: a restored cluster holds the same tables, byte for byte, as when it was marked."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from harness.expectation import CountExpectation
from harness.history import History, Json
from harness.registry import register
from harness.sightings import as_witness, marking, restoring, said
from harness.verdict import Measurement, UndecidedError


@register
class Digest(CountExpectation):
    """Count the tables of a restored cluster that are not as they were at a mark.

    A table counts when its digest differs, when it is missing, and when it was not there at the
    mark. The mark must have held the load, or its digests would be of no one moment. Unless it is
    given, `max` is 0.

    A pass does not show that the restored cluster can be used (`rto`, `archive`), and says
    nothing of what is no table: roles, settings, sequences.

    O(n) in the tables. Source: docs/adr/0002.

    Attributes:
        of: the restored cluster, as its step's `as_cluster` names it.
        equals: the mark, as its step names it.

    Example:
        digest: {of: restored, equals: before}
    """

    name: ClassVar[str] = "digest"
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "cluster"

    of: str
    equals: str
    max: int | None = Field(0, ge=0, strict=True)

    @property
    def marks(self) -> Sequence[str]:
        return [self.equals]

    def examine(self, history: History) -> Measurement:
        restore, mark = restoring(history, self.of), marking(history, self.equals)
        wanted, found = _digests(said(mark)), _digests(said(restore))
        if not wanted:
            held = said(mark).get("held") is True
            why = "held no table" if held else "did not hold the load"
            raise UndecidedError(f"mark {self.equals!r} has no digest: it {why}")
        if found is None:
            raise UndecidedError(f"the tables of {self.of!r} were not read")
        wrong = [
            _told(table, wanted.get(table), found.get(table))
            for table in sorted({*wanted, *found})
            if wanted.get(table) != found.get(table)
        ]
        note = f"{len(wrong)} of {len(wanted)} tables differ: {'; '.join(wrong)}"
        return Measurement(
            len(wrong),
            note if wrong else f"{len(wanted)} tables as at {self.equals!r}: {', '.join(wanted)}",
            evidence=[as_witness(history, mark), as_witness(history, restore)],
        )


def _digests(deed: Mapping[str, Json]) -> Mapping[str, str] | None:
    found = deed.get("digest")
    if not isinstance(found, Mapping):
        return None
    return {str(table): str(digest) for table, digest in found.items()}


def _told(table: str, wanted: str | None, found: str | None) -> str:
    if found is None:
        return f"{table} is missing"
    if wanted is None:
        return f"{table} was not there"
    return f"{table} is {found[:8]}, was {wanted[:8]}"
