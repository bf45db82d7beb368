"""`anomalies`: transactions were as isolated as their clients were promised."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from harness.expectation import CountExpectation
from harness.history import History, Json, Op
from harness.isolation import list_append
from harness.isolation.models import Consistency, ruled_out
from harness.isolation.ruling import Ruling, rule
from harness.operations import Operation
from harness.registry import register
from harness.sightings import in_recovery, is_write
from harness.verdict import Measurement, UndecidedError

_FINAL = "final"
_EVIDENCE = 3  # cycles, or examples of what needs no cycle


@register
class Anomalies(CountExpectation):
    """Count the kinds of anomaly in a workload's transactions that a consistency model forbids.

    Judged are the transactions of all workloads on its table that reached a primary, and the
    final read of the survivor, which comes after all of them: so an acknowledged append that is
    lost is an anomaly of real time. With `replicas`, those that replicas answered are judged
    beside them, by that weaker model. No stronger one can be promised there: what a replica shows
    is older, and commits become visible in another order than on the primary.

    A pass does not show that the level is kept in general: only that nothing that these clients
    read contradicts it. It does not show the absence of phantoms, which list-append cannot tell.

    Attributes:
        of: the workload, by its name in the scenario.
        model: what holds on the primary. PostgreSQL's REPEATABLE READ is `snapshot-isolation`.
        replicas: what holds when the reads of replicas are added.
        max: kinds of anomaly, `0` unless it is given.

    Example:
        anomalies: {of: append, model: strict-serializable, replicas: read-committed}

    O(n log n) in the operations and what they read. Source: Kingsbury & Alvaro, "Elle" (PVLDB 14,
    2020); docs/adr/0019. On replicas: jepsen.io, "Amazon RDS for PostgreSQL 17.4" (2025-04-29).
    """

    name: ClassVar[str] = "anomalies"
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "workload"

    of: str
    model: Consistency
    replicas: Literal["read-uncommitted", "read-committed"] | None = None
    max: int | None = Field(0, ge=0, strict=True)

    def examine(self, history: History) -> Measurement:
        tables = {_table(op) for op in history.select("txn", process=f"{self.of}/")}
        if not tables:
            raise UndecidedError(f"workload {self.of!r} recorded no transaction")
        replica = _replica_sessions(history)
        every = [op for op in history.select("txn") if _table(op) in tables]
        finals = [op for op in history.select("read", "ok") if op.process == _FINAL]
        finals = [op for op in finals if _table(op) in tables]
        on_primary = _on_primary(every, replica)
        parts = [(self.model, "on the primary", rule_of([*on_primary, *finals]))]
        if self.replicas is not None:
            if not any(op.outcome == "ok" for op in every if op.process in replica):
                raise UndecidedError("no replica answered a transaction")
            parts.append((self.replicas, "with replicas", rule_of([*every, *finals])))
        return _measured(parts)


def _table(op: Op) -> str:
    return str(op.key)


def _replica_sessions(history: History) -> frozenset[str | int]:
    """Return the processes whose session was opened on a server in recovery."""
    return frozenset(op.process for op in history.select("open", "ok") if in_recovery(op))


def _on_primary(ops: Sequence[Op], replica: frozenset[str | int]) -> Sequence[Op]:
    """Return those that reached a primary, or may have: of a session on a replica, too.

    A replica that is promoted keeps its sessions. So what such a session wrote was on a primary, as
    was all that it asked after its first acknowledged write; a write without an answer may have
    been. What it read before was on a replica.
    """
    promoted: dict[str | int, int] = {}
    for op in ops:
        if op.process in replica and op.outcome == "ok" and is_write(op) and op.end is not None:
            promoted[op.process] = min(op.end, promoted.get(op.process, op.end))

    def reached(op: Op) -> bool:
        since = promoted.get(op.process)
        return is_write(op) or (since is not None and op.start >= since)

    return [op for op in ops if op.process not in replica or reached(op)]


def rule_of(ops: Sequence[Op]) -> Ruling:
    """Return what these transactions show, in the order of their invocations."""
    return rule(list_append.infer(_operations(ops)))


def _operations(ops: Sequence[Op]) -> Iterator[Operation]:
    for op in ops:
        # What ends in the nanosecond in which another begins is not before it.
        known = op.outcome != "info" and op.end is not None
        yield Operation(
            process=op.process,
            f="txn",
            outcome=op.outcome,
            key=None,
            argument=op.argument,
            value=op.value,
            invoked=op.start,
            completed=op.end + 1 if known and op.end is not None else None,
            start=op.start,
            end=op.end,
            node=op.node,
            tli=op.tli,
            xid=op.xid,
            lsn=op.lsn,
            error=op.error,
        )


def _measured(parts: Sequence[tuple[Consistency, str, Ruling]]) -> Measurement:
    """Return the kinds of anomaly that break the model of each part.

    Raises:
        UndecidedError: nothing is broken, and some part could not have shown it.
    """
    found: list[str] = []
    evidence: list[Json] = []
    for model, where, ruling in parts:
        if ruling.models[model] is False:
            breaking = [name for name in ruling.anomalies if model in ruled_out([name])]
            assert breaking, f"{model} is broken, and nothing says by what"  # 0 would be a pass
            found += [f"{name} {where}" for name in breaking]
            evidence += ruling.shown(breaking)[:_EVIDENCE]
    doubts = [f"{where}: {r.unsure}" for model, where, r in parts if r.models[model] == "unknown"]
    if doubts and not found:
        raise UndecidedError("; ".join(doubts))
    told = [f"{model} {where}, {ruling.size} transactions" for model, where, ruling in parts]
    note = "; ".join([*(f"found {one}" for one in found), *told, *doubts])
    return Measurement(len(found), note, evidence=evidence, at_least=bool(doubts))
