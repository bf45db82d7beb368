"""What a check says of a bare history: yes, no, or that it cannot know."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from harness.history import Json

Valid: TypeAlias = bool | Literal["unknown"]

UNKNOWN: Final = "unknown"


def worst(answers: Iterable[Valid]) -> Valid:
    """Return false over unknown over true; of nothing at all, unknown (history-format)."""
    found = set(answers)
    if False in found:
        return False
    return True if found == {True} else UNKNOWN


@dataclass(frozen=True, slots=True)
class Answer:
    """What one check decided about one history.

    Attributes:
        valid: true when the property holds, false when it is broken, "unknown" when the history
            could not have shown a breach, or the search for one ran out of time.
        reason: one sentence for people: why it is false or unknown; empty when it is true.
        models: of `elle`: what is to be said of each consistency model.
        anomalies: their names, sorted.
        detail: what shows it: counts, elements, cycles operation by operation.
    """

    valid: Valid
    reason: str = ""
    models: Mapping[str, Valid] = field(default_factory=dict)
    anomalies: Sequence[str] = ()
    detail: Mapping[str, Json] = field(default_factory=dict)
