"""`client_outage`: the longest time for which clients behind an ELB got nothing done."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

from harness.expectation import TimeExpectation
from harness.history import History, Op
from harness.registry import register
from harness.sightings import (
    PROBE,
    acks,
    as_witness,
    in_recovery,
    is_write,
    longest_unseen,
    seconds,
    window,
)
from harness.verdict import Measurement, UndecidedError

# Clients that are refused wait a quarter of a second before they try again.
_IDLE_S = 2.0


@register
class ClientOutage(TimeExpectation):
    """Measure the longest gap between acknowledgements to clients of one ELB, all taken together.

    From `since` (default: the first step) to `until` (default: settled); the gaps at both ends of
    that window count. Through the replica ELB any transaction counts, elsewhere only one that
    wrote. If the longest gap reaches the end of the window it is a lower bound, unless they were
    served again soon enough after it for the whole of it to be within each bound. Parts, when
    another node took over within the gap: `failover` until its first direct acknowledgement,
    `route` until the ELB let a session through to a primary, `reconnect` until the gap ended.

    A pass does not show that each client was served (one that was counts for all), nor how slow
    answers were. The value is too large by at most the time between two of the load's requests; a
    gap beyond the bound in which the load itself stood still decides nothing.

    O(n log n) in the operations. Source: docs/adr/0002.

    Attributes:
        through: whose clients.
        since, until: the `as:` of the steps that begin and end the window.
    """

    name: ClassVar[str] = "client_outage"

    through: Literal["primary-elb", "replica-elb"] = "primary-elb"
    since: str | None = None
    until: str | None = None

    def examine(self, history: History) -> Measurement:
        sessions = [
            op
            for op in history.ops
            if history.through.get(op.process) == self.through
            and not str(op.process).startswith(PROBE)
        ]
        done = sorted(op.end for op in sessions if op.end is not None and self._counts(op))
        if not done:
            raise UndecidedError(f"no client of {self.through} was ever acknowledged")
        start, end = window(history, self.since, self.until)
        inside = [time for time in done if start <= time <= end]
        if end <= start:
            raise UndecidedError("the window to look at is empty")
        begin, until = max(pairwise([start, *inside, end]), key=lambda gap: gap[1] - gap[0])
        most = max(self.bounds.values(), default=math.inf)
        if seconds(until - begin) > most:
            self._ensure_tried(sessions, begin, until)
        served_again = next((time for time in done if time > end), None)
        least = min(self.bounds.values(), default=math.inf)
        known = served_again is not None and seconds(served_again - begin) <= least
        ends_it = next((op for op in sessions if op.end == until and self._counts(op)), None)
        return Measurement(
            seconds(until - begin),
            f"no acknowledgement through {self.through} from {history.seconds(begin):.2f} s to "
            f"{history.seconds(until):.2f} s",
            parts=_parts(history, sessions, begin, until),
            evidence=[as_witness(history, ends_it)] if ends_it else (),
            at_least=until == end and end not in inside and not known,
        )

    def _ensure_tried(self, sessions: Sequence[Op], begin: int, until: int) -> None:
        """Raise when the gap is one of the load, not of the service."""
        spans = [(op.start, until if op.end is None else op.end) for op in sessions]
        idle_from, idle_to = longest_unseen(spans, begin, until)
        if seconds(idle_to - idle_from) > max(_IDLE_S, seconds(until - begin) / 10):
            raise UndecidedError(
                f"no client of {self.through} tried anything for "
                f"{seconds(idle_to - idle_from):.1f} s of a gap of {seconds(until - begin):.1f} s"
            )

    def _counts(self, op: Op) -> bool:
        if op.outcome != "ok" or op.f == "open":
            return False
        return self.through == "replica-elb" or is_write(op)


def _parts(history: History, sessions: Sequence[Op], begin: int, until: int) -> Mapping[str, float]:
    """Return the pieces of the gap; empty unless another node took over within it."""
    known = acks(history)
    before = [ack.node for ack in known if ack.end <= begin]
    taken_over = next(
        (
            ack.end
            for ack in known
            if before and ack.node != before[-1] and begin < ack.end <= until
            if str(ack.op.process).startswith(PROBE)
        ),
        None,
    )
    if taken_over is None:
        return {}
    routed = min(
        (
            op.end
            for op in sessions
            if op.f == "open" and op.outcome == "ok" and op.end is not None
            if taken_over <= op.end <= until and in_recovery(op) is False
        ),
        default=until,
    )
    return {
        "failover": seconds(taken_over - begin),
        "route": seconds(routed - taken_over),
        "reconnect": seconds(until - routed),
    }
