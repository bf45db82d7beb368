"""`pitr`: a restore holds exactly what was committed up to its target."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from harness.answer import UNKNOWN, Answer, Valid, worst
from harness.check import Check
from harness.evidence import wrong
from harness.history import Json, Outcome
from harness.membership import Due, Ledger, Token, in_order, shown, token, written
from harness.operations import Operation
from harness.registry import register
from harness.timelines import Bounds, bounds, position


class _Write(NamedTuple):
    """One try to write an element."""

    table: Token
    element: Token
    outcome: Outcome
    invoked: int
    start: int | None
    end: int | None
    at: Bounds | None


class _Target(Protocol):
    """Where a restore was to stop."""

    def due(self, write: _Write) -> Due:
        """Return how an acknowledged write stands to it."""


@dataclass(frozen=True, slots=True)
class _Lsn:
    """A position: of commits that begin before it (inclusive: or at it) all are in."""

    at: int
    inclusive: bool

    def due(self, write: _Write) -> Due:
        if write.at is None:
            return Due.EITHER
        low, high = write.at
        if high < self.at or (high == self.at and self.inclusive):
            return Due.IN
        return Due.OUT if low > self.at or (low == self.at and not self.inclusive) else Due.EITHER


@dataclass(frozen=True, slots=True)
class _Time:
    """An instant (ns): a commit happened some time from its invocation to its acknowledgement."""

    at: int
    inclusive: bool

    def due(self, write: _Write) -> Due:
        start, end = write.start, write.end
        if end is not None and (end < self.at or (end == self.at and self.inclusive)):
            return Due.IN
        if start is not None and (start > self.at or (start == self.at and not self.inclusive)):
            return Due.OUT
        return Due.EITHER


@dataclass
class _Restore:
    """One restore, and the first good read of each table that was sent after it."""

    op: Operation
    reads: dict[Token, Operation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one restore shows."""

    valid: Valid
    reason: str
    missing: Sequence[Token] = ()
    extra: Sequence[Token] = ()
    duplicated: Sequence[Token] = ()
    sides: Mapping[Due, int] = field(default_factory=dict)


@register
class Recovery(Check):
    """Hold the first read after a restore to a target against what was committed up to it.

    Missing: an acknowledged write that certainly committed before the target, and is not there.
    Extra: one that certainly committed after it, certainly failed, or was never tried, and is
    there; duplicated: there more often than tried. Each breaks it. Writes of unknown outcome may
    be there or not, and so may what was sent after the (first) restore began.

    To an LSN: PostgreSQL compares where records begin, and stops before (inclusive: after) the
    first one that begins at or past the target. The target is taken to be where a record begins;
    then a commit is in if its position is below the target, out if above, and at the target it is
    in if inclusive. Of bounds all positions must agree, or it may be either; so may a write
    without an `lsn`. To a time, in ns on the history's clock: in if it was acknowledged by then,
    out if it was sent later. Targets are inclusive unless they say otherwise.

    A pass shows nothing of the order of elements, of what else was restored, nor that the writes
    near the target stand right if their bounds include it. Writes that a failover lost before the
    target count as missing. Without an `ok` restore, a later `ok` read of all that had to be
    there, or a write that is certainly on either side of the target, it is unknown.

    O(n) in the elements; keeps one short record a write.
    Source: PostgreSQL 17, xlogrecovery.c, `recoveryStopsBefore` and `recoveryStopsAfter`.

    Example:
        {"file": "history.jsonl", "check": "pitr"}
    """

    name: ClassVar[str] = "pitr"

    def judge(self, operations: Iterable[Operation]) -> Answer:
        writes, restores = _collect(operations)
        began = min((of.op.invoked for of in restores), default=0)
        found = [_judge(writes, of, began) for of in restores]
        sides = Counter[Due]()
        for one in found:
            sides.update(one.sides)
        detail: dict[str, Json] = {
            "missing": [*_named(one.missing for one in found)],
            "extra": [*_named(one.extra for one in found)],
            "duplicated": [*_named(one.duplicated for one in found)],
            "restores": len(restores),
            **{side.name.lower(): sides[side] for side in Due},
        }
        valid = worst(one.valid for one in found)
        reason = "; ".join(one.reason for one in found if one.valid == valid and one.reason)
        anomalies = sorted(k for k in ("missing", "extra", "duplicated") if detail[k])
        if not restores:
            reason = "nothing was restored"
        return Answer(valid, reason, anomalies=anomalies, detail=detail)


def _named(found: Iterable[Sequence[Token]]) -> Iterator[Json]:
    for elements in found:
        yield from in_order(elements)


# --- what the history holds ----------------------------------------------------------------------


def _collect(operations: Iterable[Operation]) -> tuple[Sequence[_Write], Sequence[_Restore]]:
    writes: list[_Write] = []
    restores: list[_Restore] = []
    for op in operations:
        if op.f == "restore":
            if op.outcome == "ok":
                restores.append(_Restore(op))
        elif op.f == "read":
            done = [of for of in restores if _is_after(of.op, op)]
            if op.outcome == "ok" and done:
                done[-1].reads.setdefault(token(op.key), op)
        elif elements := written(op):
            at = _bounds(op) if op.outcome == "ok" else None
            table = token(op.key)
            writes += [
                _Write(table, element, op.outcome, op.invoked, op.start, op.end, at)
                for element in elements
            ]
    return writes, restores


def _is_after(restore: Operation, read: Operation) -> bool:
    return restore.completed is not None and restore.completed < read.invoked


def _bounds(op: Operation) -> Bounds | None:
    try:
        return bounds(op.lsn)
    except ValueError as error:
        raise wrong(op, f"lsn: {error}") from None


def _target(restore: Operation) -> _Target | str:
    """Return the target of a restore, or why it tells nothing.

    Raises:
        ScenarioError: when there is none, or it is malformed.
    """
    told = restore.value if isinstance(restore.value, Mapping) else restore.argument
    found = told.get("target", told) if isinstance(told, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get("kind"), str):
        raise wrong(restore, f"target {found!r}; {_EXPECTED}")
    kind = found["kind"]
    at = found.get(str(kind), found.get("value"))
    inclusive = found.get("inclusive") is not False
    if kind == "lsn":
        try:
            return _Lsn(position(at), inclusive)
        except ValueError as error:
            raise wrong(restore, f"target: {error}") from None
    if kind == "time" and isinstance(at, int) and type(at) is not bool:
        return _Time(at, inclusive)
    return f"the target is {kind} {at!r}: nothing in a history tells how writes stand to that"


_EXPECTED = 'expected {"kind": "lsn", "lsn", "inclusive"} or {"kind": "time", "time"}'


# --- what a restore shows ------------------------------------------------------------------------


def _judge(writes: Sequence[_Write], restore: _Restore, began: int) -> _Verdict:
    target = _target(restore.op)
    if isinstance(target, str):
        return _Verdict(UNKNOWN, target)
    if not restore.reads:
        return _Verdict(UNKNOWN, "nothing was read after the restore")
    is_keyed = _is_keyed(writes, restore)
    ledger = Ledger[tuple[Token, Token]]()
    sides = Counter[Due]()
    for write in writes:
        due = _due(write, target, began)
        if write.outcome == "ok":
            sides[due] += 1
        ledger.take((write.table if is_keyed else _ALL, write.element), due)
    present: Counter[tuple[Token, Token]] = Counter()
    for table, read in restore.reads.items():
        present.update((table if is_keyed else _ALL, element) for element in shown(read))
    found = ledger.compare(present)
    was_read = restore.reads.keys() if is_keyed else {_ALL}
    missing = [element for table, element in found.missing if table in was_read]
    extra = [element for _, element in found.extra]
    duplicated = [element for _, element in found.duplicated]
    kinds = {"missing": missing, "extra": extra, "duplicated": duplicated}
    valid: Valid = True
    reason = ", ".join(f"{len(of)} {kind}" for kind, of in kinds.items() if of)
    if reason:
        valid = False
    elif len(missing) < len(found.missing):
        valid, reason = UNKNOWN, "a table that had to hold something was not read"
    elif not sides[Due.IN] and not sides[Due.OUT]:
        valid, reason = UNKNOWN, "no write is certainly before the target, nor one after it"
    return _Verdict(valid, reason, missing, extra, duplicated, sides)


def _due(write: _Write, target: _Target, began: int) -> Due:
    if write.outcome == "fail":
        return Due.OUT
    if write.outcome == "info" or write.invoked > began:
        return Due.EITHER
    return target.due(write)


_ALL = token(None)


def _is_keyed(writes: Sequence[_Write], restore: _Restore) -> bool:
    """Return whether the tables are told apart: a read without a key shows all of them.

    Raises:
        ScenarioError: when some operations carry a key and others do not.
    """
    wrote, read = {write.table for write in writes}, restore.reads.keys()
    if _ALL not in wrote and _ALL not in read:
        return True
    if len(read) > 1 or (_ALL not in read and len(wrote) > 1):
        found = "key: some writes and reads carry one"
        raise wrong(restore.op, f"{found}; expected all of them, or none")
    return False
