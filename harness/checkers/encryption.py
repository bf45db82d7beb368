"""`encryption`: S3 encrypts every object with a key of KMS."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from harness.expectation import CountExpectation
from harness.history import History, Json
from harness.registry import register
from harness.sightings import SSE_KMS, object_sightings
from harness.verdict import Measurement, UndecidedError

_NAMED = 3  # objects that the note names


@register
class Encryption(CountExpectation):
    """Count the objects that S3 does not hold encrypted with a key of KMS (SSE-KMS).

    By what S3 itself says of each object that was seen in the run, below any prefix; one that was
    ever seen otherwise counts, also if it is gone or has been replaced. Unless it is given, `max`
    is 0.

    A pass does not show who may use the key, nor that the connection to S3 is encrypted; and an
    object that came and went between two listings was not seen.

    O(n) in the observations. Source: Amazon S3, HeadObject: `x-amz-server-side-encryption` and
    `x-amz-server-side-encryption-aws-kms-key-id`.

    Attributes:
        min_objects: with fewer objects seen nothing is decided.

    Example:
        encryption: {min_objects: 10}
    """

    name: ClassVar[str] = "encryption"

    max: int | None = Field(0, ge=0, strict=True)
    min_objects: int = Field(10, ge=1, strict=True)

    def examine(self, history: History) -> Measurement:
        seen: set[str] = set()
        open_: dict[str, Mapping[str, Json]] = {}
        for sighting in object_sightings(history):
            if sighting.is_gone:
                continue
            seen.add(sighting.key)
            if not _is_encrypted(sighting.value):
                open_.setdefault(sighting.key, sighting.value)
        if len(seen) < self.min_objects and not open_:
            raise UndecidedError(f"{len(seen)} objects were seen; expected {self.min_objects}")
        if not open_:
            return Measurement(0, f"all {len(seen)} objects seen are encrypted by KMS")
        named = ", ".join(_told(value) for value in [*open_.values()][:_NAMED])
        more = ", ..." if len(open_) > _NAMED else ""
        note = f"{len(open_)} of {len(seen)} objects are not encrypted by KMS: {named}{more}"
        return Measurement(len(open_), note, evidence=[*open_.values()][:_NAMED])


def _is_encrypted(value: Mapping[str, Json]) -> bool:
    return value.get("sse") == SSE_KMS and bool(value.get("kms_key"))


def _told(value: Mapping[str, Json]) -> str:
    how = value.get("sse") or "no encryption"
    return f"{value.get('key')} ({f'{how}, no key' if how == SSE_KMS else how})"
