"""What S3 holds, once a second: each object when it comes, changes, or goes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from harness.errors import HarnessError
from harness.history import Json
from harness.protocols import Stage, StoredObject
from harness.registry import register
from harness.scenario import Duration, Model

# A full backup may be a thousand objects at once: what these many told is kept when S3 then fails.
HEADS_AT_ONCE = 100


@register
class Objects(Model):
    """Lists the bucket and asks each object that is new or other than before how it is encrypted.

    While S3 does not answer nothing is recorded: an object that was seen has not gone because
    nobody could look. What came and went between two looks is not seen.

    Attributes:
        every: how often.
        prefix: of the keys that are looked at; empty for the whole bucket.
    """

    name: ClassVar[str] = "objects"

    every: Duration = 1.0
    prefix: str = ""

    def run(self, stage: Stage) -> None:
        seen = _Seen(stage, self.prefix)
        while not stage.stopped:
            seen.look()
            stage.clock.sleep(self.every)
        seen.look()  # what the run left in S3 is known to its end


@dataclass
class _Seen:
    stage: Stage
    prefix: str
    known: dict[str, StoredObject] = field(default_factory=dict)

    def look(self) -> None:
        """Record what is other than at the last look; what S3 did not tell waits for the next."""
        try:
            listed = {each.key: each for each in self.stage.listing(self.prefix)}
            self._tell_gone(listed)
            self._tell_new([key for key, each in listed.items() if not self._is_known(each)])
        except HarnessError:
            return

    def _is_known(self, listed: StoredObject) -> bool:
        known = self.known.get(listed.key)
        return known is not None and (known.etag, known.size) == (listed.etag, listed.size)

    def _tell_gone(self, listed: Mapping[str, StoredObject]) -> None:
        for key in [key for key in self.known if key not in listed]:
            del self.known[key]
            self._note({"key": key, "gone": True})

    def _tell_new(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), HEADS_AT_ONCE):
            for key, found in self.stage.heads(keys[first : first + HEADS_AT_ONCE]).items():
                if self.known.get(key) != found:
                    self.known[key] = found
                    self._note(asdict(found))

    def _note(self, value: Mapping[str, Json]) -> None:
        self.stage.note(self.stage.job.name, "object", value)
