"""`rejoin`: how long until a node streams again."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.expectation import TimeExpectation
from harness.history import History, Json, Op, effect_at
from harness.registry import register
from harness.sightings import acks, as_witness, instant, nodes, seconds, touched
from harness.verdict import Measurement, UndecidedError


@register
class Rejoin(TimeExpectation):
    """Measure from a node's restart until it streams on the leader's timeline.

    From the last `start` of the machine after the step `of` (or the undoing of that step; or
    `since`; or, if it was never started, `of` itself) to the first sample of GET /patroni in
    which the node is a running replica that streams on the newest timeline known by then. Of
    several nodes the slowest counts. Never is a lower bound.

    A pass rests on what Patroni says, and does not show that the node holds every commit
    (`lost_writes` reads the survivor) nor how it got there (rewind, clone or replay).

    Attributes:
        of: the `as:` of the fault that took the node away.
        since: the `as:` of a step to measure from, instead of the restart.

    O(n) in the samples. Source: Patroni 4, `api.py`, `get_postgresql_status`: `role`, `state`,
    `timeline`, `replication_state`.
    """

    name: ClassVar[str] = "rejoin"

    of: str
    since: str | None = None

    def examine(self, history: History) -> Measurement:
        fault = instant(history, self.of)
        moment = history.moment(self.of)
        named = touched(moment) if moment else ()
        known = nodes(history)
        machines = [name for name in named if name in known or not known]
        if not machines:
            raise UndecidedError(f"{self.of!r} named no node of the cluster")
        since = None if self.since is None else instant(history, self.since)
        newest = _timelines(history)
        found = [
            _rejoined(
                history, node, _begin(history, node, fault) if since is None else since, newest
            )
            for node in machines
        ]
        return max(found, key=lambda m: (m.at_least, m.value))


def _begin(history: History, node: str, fault: int) -> int:
    """Return when the node was started again after the fault; the fault itself if never."""
    starts = [
        effect_at(deed)
        for deed in history.deeds
        if deed.f in ("start", "heal") and node in touched(deed) and effect_at(deed) >= fault
    ]
    return max(starts, default=fault)


def _timelines(history: History) -> Sequence[tuple[int, int]]:
    """Return (when, timeline) of each primary's word and of each acknowledged write, by time."""
    told = [(ack.end, ack.tli) for ack in acks(history) if ack.tli is not None]
    for op in history.select("patroni", "ok"):
        body = _body(op)
        tli = body.get("timeline")
        if body.get("role") in ("primary", "master") and isinstance(tli, int) and op.end:
            told.append((op.end, tli))
    return sorted(told)


def _rejoined(
    history: History, node: str, begin: int, told: Sequence[tuple[int, int]]
) -> Measurement:
    samples = [
        op
        for op in history.select("patroni", process="rest/")
        if op.process == f"rest/{node}" and op.start > begin
    ]
    if not samples:
        raise UndecidedError(f"{node} was not asked for its state after it was started")
    newest, ahead = 0, iter(told)
    following = next(ahead, None)
    for op in sorted(samples, key=lambda op: op.end or op.start):
        while following is not None and following[0] <= (op.end or op.start):
            newest, following = max(newest, following[1]), next(ahead, None)
        if op.outcome == "ok" and op.end is not None and _streams(_body(op), newest):
            return Measurement(
                seconds(op.end - begin),
                f"{node} streamed on timeline {newest} at {history.seconds(op.end):.1f} s",
                evidence=[as_witness(history, op)],
            )
    waited = seconds(samples[-1].start - begin)
    note = f"{node} did not stream on timeline {newest} within {waited:.1f} s"
    last = [op for op in samples if op.outcome == "ok"][-1:]
    return Measurement(
        waited, note, evidence=[as_witness(history, op) for op in last], at_least=True
    )


def _streams(body: Mapping[str, Json], newest: int) -> bool:
    tli = body.get("timeline")
    streaming = body.get("replication_state") == "streaming" or body.get("state") == "streaming"
    return (
        body.get("role") in ("replica", "sync_standby", "quorum_standby")
        and body.get("state") in ("running", "streaming")
        and streaming
        and isinstance(tli, int)
        and tli >= newest > 0
    )


def _body(op: Op) -> Mapping[str, Json]:
    return op.value if isinstance(op.value, Mapping) else {}
