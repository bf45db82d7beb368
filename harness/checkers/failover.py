"""`failover`: how long until another node accepts writes."""

from collections.abc import Mapping
from typing import ClassVar

from harness.expectation import TimeExpectation
from harness.history import History
from harness.registry import register
from harness.sightings import (
    PROBE,
    Struck,
    acks,
    as_witness,
    attempts,
    leader_key,
    nodes,
    seconds,
    struck,
)
from harness.verdict import Measurement, UndecidedError


@register
class Failover(TimeExpectation):
    """Measure from a fault's effect to the first write that another node acknowledged.

    Seen by the direct probes, past any ELB. Parts, from the DCS's own record of the leader key:
    `detect` until the old holder lost it, `elect` until another held it, `promote` until the
    acknowledgement. Without a change of the key there are no parts.

    A pass does not show that clients could reach the new primary (`client_outage`), nor that the
    old one stopped (`writers`, `demotion`). The value is too large by at most the interval of
    the probes. A failover that never came measures at least the time that was watched.

    O(n log n) in the probes' writes. Source: docs/adr/0002.

    Attributes:
        since: the `as:` of the fault.
    """

    name: ClassVar[str] = "failover"

    since: str

    def examine(self, history: History) -> Measurement:
        hit = struck(history, self.since)
        for ack in acks(history, process=PROBE):
            if ack.start > hit.at and ack.node not in hit.hit:
                return Measurement(
                    seconds(ack.end - hit.at),
                    f"{ack.node} acknowledged a write at {history.seconds(ack.end):.2f} s",
                    parts=_parts(history, hit, ack.end),
                    evidence=[as_witness(history, ack.op)],
                )
        return _never(history, hit)


def _parts(history: History, hit: Struck, until: int) -> Mapping[str, float]:
    """Return the pieces of the failover; empty when the key told nothing of it."""
    changes = [c for c in leader_key(history) if hit.at < c.time <= until]
    lost = next((c.time for c in changes if c.holder != hit.node), None)
    if lost is None:
        return {}
    won = next((c.time for c in changes if c.holder not in (None, hit.node)), until)
    won = max(lost, won)
    return {
        "detect": seconds(lost - hit.at),
        "elect": seconds(won - lost),
        "promote": seconds(until - won),
    }


def _never(history: History, hit: Struck) -> Measurement:
    """Return how long it was watched in vain, as a lower bound."""
    others = [node for node in nodes(history) if node not in hit.hit]
    if not others:
        raise UndecidedError("no other node could have taken over")
    watched = history.finish
    for node in others:
        tries = [op.start for op in attempts(history, node) if op.start > hit.at]
        if not tries:
            raise UndecidedError(f"no write was tried on {node} after the fault")
        watched = min(watched, tries[-1])
    if watched <= hit.at:
        raise UndecidedError("the run ended with the fault")
    waited = seconds(watched - hit.at)
    note = f"no other node acknowledged a write within {waited:.1f} s"
    return Measurement(waited, note, at_least=True)
