"""`gap`: from the old primary's last write to the new one's first."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from harness.expectation import TimeExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import Ack, Reign, acks, as_witness, attempts, reigns, seconds
from harness.verdict import Measurement, UndecidedError


@register
class Gap(TimeExpectation):
    """Measure how long nobody acknowledged writes when they passed from one node to another.

    From the last acknowledgement on the old primary to the first on the new one; negative when
    the old one accepted a write that was *sent* after the new one's first acknowledgement. A
    write under way at that moment may have come first, so it counts as touching it (0). With
    several changes of primary the smallest gap counts, for `max` alone the largest.

    A pass does not show more than the probes' interval can: both ends are sampled. Undecided when
    no primary followed another, or the old one was not tried after the new one's first write.

    O(n log n) in the acknowledged writes. Source: docs/adr/0002.

    Attributes:
        from: where the gap begins: at the old primary's last acknowledgement.
        to: where it ends: at the new primary's first.
        since: the `as:` of a step; changes of primary before it do not count.

    Example:
        gap: {since: cut, min: 0s}
    """

    name: ClassVar[str] = "gap"

    from_: Literal["old-leader-demoted"] = Field("old-leader-demoted", alias="from")
    to: Literal["new-leader-promoted"] = "new-leader-promoted"
    since: str | None = None

    def examine(self, history: History) -> Measurement:
        start = 0
        if self.since is not None:
            at = history.instant(self.since)
            if at is None:
                raise UndecidedError(f"no step named {self.since!r} was made")
            start = at
        found = [*_gaps(history, start)]
        if not found:
            raise UndecidedError("no primary followed another, so there was no gap")
        pick = max if set(self.bounds) == {"max"} else min
        value, last, first = pick(found, key=lambda gap: gap[0])
        if value >= 0:
            _ensure_tried(history, last.node, first)
        note = (
            f"{last.node} acknowledged until {history.seconds(last.end):.2f} s, {first.node} from "
            f"{history.seconds(first.end):.2f} s on"
        )
        evidence = [as_witness(history, last.op), as_witness(history, first.op)]
        return Measurement(value, note, evidence=evidence)


def _gaps(history: History, start: int) -> Iterator[tuple[float, Ack, Ack]]:
    """Yield (seconds, last of the old, first of the new) for each change of primary."""
    known = [ack for ack in acks(history) if ack.tli is not None]
    order: list[Reign] = [*reigns(known)]
    for reign in order[1:]:
        first = reign.first
        if first.end < start:
            continue
        older = [a for a in known if (a.tli or 0) < reign.tli and a.node != reign.node]
        last = max(older, key=lambda ack: _latest_certain(ack, first.end))
        yield seconds(first.end - _latest_certain(last, first.end)), last, first


def _latest_certain(ack: Ack, first: int) -> int:
    """Return the latest instant at or after which this write was certainly still to be made.

    Acknowledged before the other's first: that instant. Under way at it: that very moment.
    """
    return ack.end if ack.end <= first else max(ack.start, first)


def _ensure_tried(history: History, node: str, first: Ack) -> None:
    if not any(op.start > first.end for op in attempts(history, node)):
        raise UndecidedError(f"no write was tried on {node} after {first.node}'s first")
