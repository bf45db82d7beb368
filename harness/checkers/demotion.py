"""`demotion`: how long the old primary went on acknowledging writes."""

from typing import ClassVar

from harness.expectation import TimeExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import (
    Struck,
    acks,
    as_witness,
    attempts,
    longest_unseen,
    powerless,
    seconds,
    struck,
    tried_spans,
)
from harness.verdict import Measurement, UndecidedError

# Fresh probes come once a second, so less than two seconds between tries are no blind spell.
_BLIND_S = 2.0


@register
class Demotion(TimeExpectation):
    """Measure from a fault's effect to the last write that the old primary acknowledged.

    0 when it acknowledged none after the fault. Writes on a newer timeline belong to its next
    reign and do not count. If it was still acknowledging when the watch ended, that is a lower
    bound.

    A pass does not show that the node refused reads, nor that it acknowledged nothing between
    two probes. The node must have been tried until the bound had passed, with no blind spell
    longer than 2 s or a tenth of the bound; else this is undecided.

    O(n log n) in the probes' writes. Source: docs/adr/0002.

    Attributes:
        since: the `as:` of the fault.

    Example:
        demotion: {since: cut, max: 30s}
    """

    name: ClassVar[str] = "demotion"

    since: str

    def examine(self, history: History) -> Measurement:
        hit = struck(history, self.since)
        own = [
            ack
            for ack in acks(history)
            if ack.node == hit.node and ack.end > hit.at
            if ack.tli is None or hit.tli is None or ack.tli <= hit.tli
        ]
        value = max(0.0, seconds(own[-1].end - hit.at)) if own else 0.0
        evidence = [as_witness(history, ack.op) for ack in own[-1:]]
        limit = max(self.bounds.values(), default=0.0)
        tries = attempts(history, hit.node)
        still = bool(own) and not any(op.start > own[-1].start for op in tries)
        # What was acknowledged was acknowledged, however little was watched.
        if not still and not (self.bounds and value > limit):
            _ensure_watched(history, hit, limit)
        if own:
            until = f"until {history.seconds(own[-1].end):.2f} s{' at least' if still else ''}"
            note = f"{hit.node} acknowledged {len(own)} writes after the fault, {until}"
        else:
            note = f"{hit.node} acknowledged no write after the fault"
        return Measurement(value, note, evidence=evidence, at_least=still)


def _ensure_watched(history: History, hit: Struck, limit_s: float) -> None:
    """Raise when writes of the old primary could have gone unseen before the bound passed."""
    off = [*powerless(history, hit.node)]
    spans = [*tried_spans(history, hit.node), *off]
    if not any(start > hit.at for start, _ in tried_spans(history, hit.node)):
        raise UndecidedError(f"no write was tried on {hit.node} after the fault")
    until = hit.at + round(limit_s * 1e9)
    begin, end = longest_unseen(spans, hit.at, until)
    if seconds(end - begin) > max(_BLIND_S, limit_s / 10):
        raise UndecidedError(
            f"no write was tried on {hit.node} for {seconds(end - begin):.1f} s from "
            f"{history.seconds(begin):.1f} s on"
        )
