"""`acknowledged`: whether anybody was served within a window."""

from typing import ClassVar

from harness.expectation import CountExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import (
    acks,
    as_witness,
    longest_unseen,
    nodes,
    powerless,
    seconds,
    tried_spans,
    window,
)
from harness.verdict import Measurement, UndecidedError

# Fresh probes come once a second; two seconds without any are a blind spell.
_BLIND_S = 2.0


@register
class Acknowledged(CountExpectation):
    """Count the writes that were both sent and acknowledged within a window.

    With `max: 0` nobody may write there: a primary whose commits must wait. With `min: 1` somebody
    must. The window goes from the step `since` to the step `until`; by default from the first step
    to the end. Without `until` it is a lower bound in a run that broke off.

    A pass does not show that other writes failed: one that was sent before the window, or is
    answered after it, does not count. Undecided when a node that had power was not tried for 2 s
    of it, or when it is shorter than that.

    O(n log n) in the acknowledged writes. Source: docs/adr/0002.

    Attributes:
        since, until: the `as:` of the steps that begin and end the window.

    Example:
        acknowledged: {since: alone, until: back, max: 0}
    """

    name: ClassVar[str] = "acknowledged"

    since: str | None = None
    until: str | None = None

    def examine(self, history: History) -> Measurement:
        start, end = window(history, self.since, self.until)
        if seconds(end - start) < _BLIND_S:
            raise UndecidedError(f"the window is {seconds(end - start):.1f} s; expected 2 s")
        inside = [ack for ack in acks(history) if start <= ack.start and ack.end <= end]
        if not inside:
            _ensure_tried(history, start, end)
        by = ", ".join(sorted({ack.node for ack in inside}))
        note = (
            f"{len(inside)} writes{f' by {by}' if by else ''} from {history.seconds(start):.2f} s "
            f"to {history.seconds(end):.2f} s"
        )
        evidence = [as_witness(history, ack.op) for ack in (*inside[:1], *inside[1:][-1:])]
        at_least = self.until is None and history.broke_off
        return Measurement(len(inside), note, evidence=evidence, at_least=at_least)


def _ensure_tried(history: History, start: int, end: int) -> None:
    """Raise when a node could have acknowledged writes that nobody sent it."""
    known = nodes(history)
    if not known:
        raise UndecidedError("the run's facts name no nodes, so one may have gone unprobed")
    for node in known:
        spans = [*tried_spans(history, node), *powerless(history, node)]
        begin, until = longest_unseen(spans, start, end)
        if seconds(until - begin) > _BLIND_S:
            raise UndecidedError(
                f"no write was tried on {node} for {seconds(until - begin):.1f} s from "
                f"{history.seconds(begin):.1f} s on"
            )
