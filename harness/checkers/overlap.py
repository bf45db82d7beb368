"""`overlap`: how long an old primary went on acknowledging writes beside a new one."""

from typing import ClassVar

from harness.expectation import TimeExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import (
    Ack,
    acks,
    as_witness,
    instant,
    longest_unseen,
    powerless,
    reigns,
    seconds,
    tried_spans,
)
from harness.timelines import Masters
from harness.verdict import Measurement, UndecidedError

# Held-open probes come ten times a second, so less than half a second without any is no blind
# spell.
_BLIND_S = 0.5


@register
class Overlap(TimeExpectation):
    """Measure how long writes were acknowledged on a timeline that another had already followed.

    From the newer timeline's first acknowledgement to the last one on an older timeline that was
    sent after it; with `since`, from that step, if none came before it. 0 when there was none.
    Where nothing fences a machine that stood still, this is the window in which it still writes
    before it learns that it was deposed.

    A pass does not show that what was acknowledged in it survived (`lost_writes`). The value is
    too small by at most the interval of the probes. Undecided when no timeline followed another,
    or an old primary was not tried until the bound had passed.

    O(n log n) in the acknowledged writes. Source: docs/adr/0002.

    Attributes:
        since: the `as:` of a step, such as the one that let the old primary go on.

    Example:
        overlap: {since: thawed, max: 1s}
    """

    name: ClassVar[str] = "overlap"

    since: str | None = None

    def examine(self, history: History) -> Measurement:
        known = [ack for ack in acks(history) if ack.tli is not None]
        order = reigns(known)
        if len(order) < 2:
            raise UndecidedError("no primary followed another, so none could overlap")
        since = order[1].first.end
        if self.since is not None:
            since = max(since, instant(history, self.since))
        masters = Masters[Ack]()
        for ack in known:
            assert ack.tli is not None
            masters.take(ack.node, ack.tli, ack.start, ack.end, ack)
        found = [*masters.late.values()]
        if not found:
            self._ensure_tried(history, {reign.node for reign in order[:-1]}, since)
            return Measurement(0.0, "no write on an older timeline was sent after a newer one's")
        first = min((late.first for late in found), key=lambda ack: ack.start)
        last = max((late.last for late in found), key=lambda ack: ack.end)
        begin = since if first.end > since else min(late.newer.end for late in found)
        note = (
            f"{last.node} acknowledged {sum(late.count for late in found)} writes on an older "
            f"timeline, the last at {history.seconds(last.end):.2f} s"
        )
        evidence = [as_witness(history, ack.op) for ack in (found[0].newer, first, last)]
        return Measurement(seconds(last.end - begin), note, evidence=evidence)

    def _ensure_tried(self, history: History, old: set[str], since: int) -> None:
        """Raise when writes of an old primary could have gone unseen."""
        limit_s = max(self.bounds.values(), default=0.0)
        until = since + round(max(limit_s, _BLIND_S) * 1e9)
        for node in sorted(old):
            spans = [*tried_spans(history, node), *powerless(history, node)]
            begin, end = longest_unseen(spans, since, until)
            if seconds(end - begin) > max(_BLIND_S, limit_s / 10):
                raise UndecidedError(
                    f"no write was tried on {node} for {seconds(end - begin):.1f} s from "
                    f"{history.seconds(begin):.1f} s on"
                )
