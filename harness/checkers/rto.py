"""`rto`: how long until a restored cluster accepts writes."""

from typing import ClassVar, Literal

from harness.expectation import TimeExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import as_witness, instant, restoring, seconds, writable_at
from harness.verdict import Measurement, UndecidedError


@register
class Rto(TimeExpectation):
    """Measure from a loss until the restored cluster acknowledges its first write.

    A cluster that was never restored, or whose restore failed, gives a lower bound: the time
    until the run ended.

    A pass does not show what the cluster holds (`pitr`, `digest`, `rpo`), nor that it has all its
    replicas by then. It covers what the scenario itself waited between the loss and the restore.

    O(n) in the steps. Source: docs/adr/0002.

    Attributes:
        of: the restored cluster, as its step's `as_cluster` names it.
        since: the `as:` of the step that lost the data, or that the time is taken from.

    Example:
        rto: {of: restored, since: loss, max: 60s}
    """

    name: ClassVar[str] = "rto"
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "cluster"

    of: str
    since: str

    def examine(self, history: History) -> Measurement:
        at = instant(history, self.since)
        try:
            restore = restoring(history, self.of)
        except UndecidedError:
            end = max((event.time for event in history.events), default=at)
            waited = seconds(max(end, at) - at)
            note = f"{self.of!r} accepted no write within {waited:.1f} s of {self.since!r}"
            return Measurement(waited, note, at_least=True)
        writable = writable_at(restore)
        if writable < at:
            raise UndecidedError(f"{self.of!r} accepted writes before {self.since!r}")
        return Measurement(
            seconds(writable - at),
            f"{self.of!r} accepted a write at {history.seconds(writable):.1f} s",
            evidence=[as_witness(history, restore)],
        )
