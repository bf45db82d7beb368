"""`routing`: an ELB sends new sessions to nodes of its role."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness.expectation import Expectation
from harness.history import History, Op
from harness.registry import register
from harness.scenario import Duration
from harness.sightings import (
    PROBE,
    Reign,
    Roles,
    acks,
    as_witness,
    in_recovery,
    nodes,
    reigns,
    roles,
    seconds,
)
from harness.verdict import Measurement, Statistic, UndecidedError


@register
class Routing(Expectation):
    """Count the new sessions on the wrong role, later than the ELB's window after a role change.

    Wrong is a node in recovery behind the primary ELB, and a primary behind the replica ELB. How
    late a session is counts from the last of: the cluster became steady; another node became
    primary; the node itself changed its role (the earliest moment at which that is certain; if
    it may have changed only just now, the session is not late). Sessions opened before and still
    answered from the wrong role are told, not judged.

    A pass does not show that the right node was reachable (`client_outage`), nor anything of an
    ELB that is not named here. Undecided unless each named ELB let as many sessions through as
    there are nodes, later than its window after the last change of primary: earlier ones cannot
    be wrong, and one that takes turns had to show each node that it takes.

    O(n log n) in the operations. Source: docs/adr/0006.

    Attributes:
        primary-elb, replica-elb: the window of that ELB; one that is left out is not judged.
    """

    name: ClassVar[str] = "routing"
    unit: ClassVar[Literal["s", "count"]] = "count"

    primary_elb: Duration | None = Field(None, alias="primary-elb")
    replica_elb: Duration | None = Field(None, alias="replica-elb")

    @model_validator(mode="after")
    def _names_an_elb(self) -> Self:
        if not self.windows:
            raise ValueError("no ELB is named; expected primary-elb or replica-elb and its window")
        return self

    @property
    def windows(self) -> Mapping[str, float]:
        """Return seconds by the ELB's name."""
        named = {"primary-elb": self.primary_elb, "replica-elb": self.replica_elb}
        return {elb: window for elb, window in named.items() if window is not None}

    @property
    def bounds(self) -> Mapping[Statistic, float]:
        return {"max": 0}

    @property
    def time_bounds(self) -> Sequence[float]:
        return [window for window in self.windows.values() if window > 0]

    def examine(self, history: History) -> Measurement:
        cluster = _Cluster.seen_in(history)
        late: list[_Session] = []
        open_, told = [], []
        for elb, window in self.windows.items():
            sessions = [*_sessions(history, cluster, elb)]
            beyond = [one for one in sessions if one.wrong and one.late_s > window]
            late += beyond
            if not beyond and (doubt := _untested(sessions, elb, window, cluster)):
                open_.append(doubt)
            told.append(f"{len(sessions)} sessions through {elb}")
            if old := _old_sessions(history, cluster, elb, window):
                told.append(f"{old} old sessions still answered from the wrong role")
        if open_ and not late:
            raise UndecidedError("; ".join(open_))
        evidence = [as_witness(history, one.op) for one in _worst(late)]
        words = [one.describe(history) for one in _worst(late)[:1]]
        note = "; ".join([*words, *told, *open_])
        return Measurement(len(late), note, evidence=evidence, at_least=bool(open_))


@dataclass(frozen=True, slots=True)
class _Cluster:
    """How roles changed over the run.

    Attributes:
        nodes: that an ELB may take: all of the cluster's, also those that nobody saw.
    """

    nodes: frozenset[str]
    steady: int
    changes: Sequence[Reign]  # each time another node became primary
    roles: Mapping[str, Roles]

    @classmethod
    def seen_in(cls, history: History) -> Self:
        acknowledged = acks(history)
        steady = history.phase("steady")
        if steady is None:
            raise UndecidedError("the cluster was never steady")
        seen = roles(history, acknowledged)
        every = frozenset((*nodes(history), *seen))
        return cls(every, steady, reigns(acknowledged)[1:], seen)

    def last_change(self, time: int) -> int:
        """Return the last time before this at which the cluster became steady or changed."""
        changes = [reign.first.end for reign in self.changes if reign.first.end <= time]
        return max([self.steady, *changes])

    def late_s(self, node: str, time: int, *, primary: bool) -> float:
        """Return how late a session opened now is, if the node answers it in this role."""
        seen = self.roles[node].at(time) if node in self.roles else None
        if seen is None:
            return seconds(time - self.last_change(time))
        # The last time that it was seen in the other role, which would have been right.
        right = seen.otherwise if seen.primary == primary else seen.last
        if right is None:
            return seconds(time - self.last_change(time))
        certain = [seen.since] if seen.primary == primary else []
        if not primary:
            # Another one's first write: from then on this one was no primary, even if it was down.
            certain += [
                reign.first.end for reign in self.changes if right < reign.first.end <= time
            ][:1]
        if not certain:
            return 0.0
        return seconds(time - max(min(certain), self.last_change(time)))


@dataclass(frozen=True, slots=True)
class _Session:
    """A new session through an ELB: whether it landed on the wrong role, and how late it was."""

    op: Op
    elb: str
    wrong: bool
    late_s: float
    since_change_s: float

    def describe(self, history: History) -> str:
        role = "in recovery" if self.elb == "primary-elb" else "primary"
        return (
            f"{self.elb} led to {self.op.node}, which was {role}, at "
            f"{history.seconds(self.op.start):.2f} s, {self.late_s:.1f} s after the last change"
        )


def _sessions(history: History, cluster: _Cluster, elb: str) -> Iterator[_Session]:
    for op in history.select("open", "ok"):
        recovering = in_recovery(op)
        if recovering is None or history.through.get(op.process) != elb:
            continue
        if str(op.process).startswith(PROBE) or op.start < cluster.steady:
            continue
        since_change = seconds(op.start - cluster.last_change(op.start))
        wrong = recovering == (elb == "primary-elb")
        late = cluster.late_s(op.node or "", op.start, primary=not recovering) if wrong else 0.0
        yield _Session(op, elb, wrong, late, since_change)


def _untested(
    sessions: Sequence[_Session], elb: str, window: float, cluster: _Cluster
) -> str | None:
    """Return why this ELB could not have been caught, or None."""
    if not sessions:
        return f"no session was opened through {elb}"
    first = cluster.changes[0].first.end if cluster.changes else cluster.steady
    judged = sum(one.since_change_s > window and one.op.start > first for one in sessions)
    if judged < len(cluster.nodes):
        return (
            f"{judged} sessions were opened through {elb} later than {window:g} s after a role "
            f"change; expected {len(cluster.nodes)}, as many as nodes"
        )
    return None


def _old_sessions(history: History, cluster: _Cluster, elb: str, window: float) -> int:
    """Return how many sessions were answered, beyond the window, by a node of the wrong role."""
    found: set[str | int] = set()
    primary = elb == "replica-elb"
    for op in history.select("txn", "ok"):
        if history.through.get(op.process) != elb or op.node is None or op.process in found:
            continue
        seen = cluster.roles[op.node].at(op.start) if op.node in cluster.roles else None
        wrong = seen is not None and seen.primary == primary
        if wrong and cluster.late_s(op.node, op.start, primary=primary) > window:
            found.add(op.process)
    return len(found)


def _worst(late: Sequence[_Session]) -> Sequence[_Session]:
    return sorted(late, key=lambda one: one.late_s, reverse=True)[:10]
