"""`rpo`: how old the oldest acknowledged write is that a restore did not bring back."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from harness.expectation import TimeExpectation
from harness.history import History, Op
from harness.registry import register
from harness.sightings import (
    Restored,
    as_witness,
    elements,
    instant,
    is_of,
    is_write,
    restored,
    restoring,
    seconds,
)
from harness.verdict import Measurement, UndecidedError

_NAMED = 5  # lost elements that the note names; the evidence holds as many writes


@register
class Rpo(TimeExpectation):
    """Measure the age of the oldest acknowledged write that a restored cluster lacks.

    From its acknowledgement to `since`, the moment of the loss. 0 when every write that was
    acknowledged by then is there; what was acknowledged later does not count.

    A pass does not show that nothing else is in the restored cluster (`pitr`), nor that it would
    be as small with less load: WAL is archived by the segment.

    O(n) in the elements. Source: docs/adr/0002.

    Attributes:
        of: the restored cluster, as its step's `as_cluster` names it.
        since: the `as:` of the step that lost the data, or of a mark.

    Example:
        rpo: {of: restored, since: loss, max: 60s}
    """

    name: ClassVar[str] = "rpo"
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "cluster"

    of: str
    since: str

    def examine(self, history: History) -> Measurement:
        at = instant(history, self.since)
        restore, held = restoring(history, self.of), restored(history, self.of)
        acked = [
            (op.end, op)
            for f in ("txn", "write")
            for op in history.select(f, "ok")
            if op.end is not None and op.end <= at and is_write(op) and not is_of(restore, op)
        ]
        if not acked:
            raise UndecidedError(f"no write was acknowledged before {self.since!r}")
        lost = sorted((lost for lost in acked if _lacks(held, lost[1])), key=lambda lost: lost[0])
        unread = _unread(held, [op for _, op in acked])
        if unread and not lost:
            raise UndecidedError("; ".join(unread))
        oldest = lost[0][0] if lost else at
        note = f"{len(lost)} of {len(acked)} acknowledged writes are missing"
        names = [str(e) for _, op in lost[:_NAMED] for e in elements(op) if e not in held.present]
        if names:
            note += f", the oldest since {history.seconds(oldest):.2f} s: {', '.join(names)}"
        return Measurement(
            seconds(at - oldest),
            "; ".join([note, *unread]),
            evidence=[as_witness(history, op) for _, op in lost[:_NAMED]],
            at_least=bool(unread),
        )


def _lacks(held: Restored, op: Op) -> bool:
    return any(e.table in held.tables and e not in held.present for e in elements(op))


def _unread(held: Restored, acked: Sequence[Op]) -> Sequence[str]:
    """Return why the tables that were written to, but not read, decide nothing."""
    written = {element.table for op in acked for element in elements(op)}
    return [held.doubts.get(t, f"{t} was not read") for t in sorted(written - held.tables)]
