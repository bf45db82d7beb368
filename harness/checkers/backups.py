"""`backups`: how many full base backups S3 holds at the end."""

import re
from typing import ClassVar

from harness.expectation import CountExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import object_sightings
from harness.verdict import Measurement, UndecidedError

# pgBackRest gives the manifest this name when a backup is whole; `F` ends a full one's label.
_WHOLE = re.compile(r"^spilo/(?P<scope>[^/]+)/backup/[^/]+/(?P<label>[0-9-]+F)/backup\.manifest$")


@register
class Backups(CountExpectation):
    """Count the finished full backups of one cluster that S3 still lists at the end.

    A pass does not show that any of them can be restored (`digest` after a `restore` does), nor
    that the WAL which they need is there (`wal_gaps`).

    O(n) in the observations. Source: pgBackRest 2.55, `backup.manifest` is renamed from its copy
    as the last act of a backup; command/expire removes it first.

    Attributes:
        of: the scope; the scenario's own cluster unless given.

    Example:
        backups: {min: 2, max: 2}
    """

    name: ClassVar[str] = "backups"

    of: str = "drill"

    @property
    def refs(self) -> tuple[str, ...]:
        return ()  # `of` is a cluster, not a step

    def examine(self, history: History) -> Measurement:
        sightings = object_sightings(history)
        if not sightings:
            raise UndecidedError("S3 was not looked at, or held nothing")
        there: dict[str, bool] = {}
        for sighting in sightings:
            found = _WHOLE.match(sighting.key)
            if found and found["scope"] == self.of:
                there[found["label"]] = not sighting.is_gone
        kept = sorted(label for label, is_there in there.items() if is_there)
        gone = sorted(there.keys() - set(kept))
        told = f"kept: {', '.join(kept) or 'none'}; given up: {', '.join(gone) or 'none'}"
        return Measurement(len(kept), told)
