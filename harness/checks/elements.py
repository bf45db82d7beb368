"""`set`: what was added is there, and nothing else."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.evidence import wrong
from harness.history import Json, Outcome
from harness.membership import Due, Ledger, Token, in_order, shown, token, written
from harness.operations import Operation
from harness.registry import register

_FAULTS = ("lost", "unexpected", "duplicated")
_KINDS = (*_FAULTS, "recovered")


class _Add(NamedTuple):
    """One try to add an element."""

    element: Token
    outcome: Outcome
    invoked: int
    completed: int | None


@dataclass
class _Set:
    """What one set was asked to hold, and the last good read of it."""

    adds: list[_Add] = field(default_factory=list)
    read: Operation | None = None


@register
class Elements(Check):
    """Hold the last `ok` read of a set against what was acknowledged.

    Lost: acknowledged before that read was sent, and missing. Unexpected: there, though every add
    of it certainly failed, or was sent after that read, or there was none. Duplicated: there more
    often than it was added. These three break it. Recovered: of unknown outcome, and there: no
    fault, nor is an add that was under way during the read. The last read is the one that
    completed last. Sets of several keys are judged key by key; an unkeyed read is of all of them.

    A pass shows nothing of what came after that read, of earlier reads (an element may have been
    gone for a while), of the order of elements, nor that other nodes hold the same. Without an
    `ok` read it is unknown.

    O(n) in the adds and the elements read; keeps one short record an add and one read.
    Source: Jepsen 0.3, `jepsen.checker/set`.

    Example:
        {"file": "history.jsonl", "check": "set"}
    """

    name: ClassVar[str] = "set"

    def judge(self, operations: Iterable[Operation]) -> Answer:
        sets = _collect(operations)
        found: dict[str, list[Json]] = {kind: [] for kind in _KINDS}
        unread = [key for key, of in sets.items() if of.read is None]
        for key, of in sets.items():
            if of.read is None:
                continue
            for kind, elements in _difference(of, of.read).items():
                found[kind] += _named(key, elements, alone=len(sets) == 1)
        faults = [f"{len(found[kind])} {kind}" for kind in _FAULTS if found[kind]]
        detail: dict[str, Json] = {**found, "acknowledged": _acknowledged(sets.values())}
        if faults:
            anomalies = sorted(kind for kind in _FAULTS if found[kind])
            return Answer(valid=False, reason=", ".join(faults), anomalies=anomalies, detail=detail)
        if unread or not sets:
            return Answer(UNKNOWN, "the set was never read", detail=detail)
        return Answer(valid=True, detail=detail)


def _collect(operations: Iterable[Operation]) -> Mapping[Token | None, _Set]:
    """Return what was added to and read of each set, by key; None where operations carry none."""
    sets: dict[Token | None, _Set] = {}
    for op in operations:
        if op.f == "add":
            of = sets.setdefault(_key(op), _Set())
            of.adds += [_Add(one, op.outcome, op.invoked, op.completed) for one in written(op)]
        elif op.f == "read" and op.outcome == "ok":
            sets.setdefault(_key(op), _Set()).read = op
    unkeyed = sets.get(None)
    if unkeyed is None or len(sets) == 1:
        return sets
    reads = [of.read for of in sets.values() if of.read is not None]
    if len(reads) == 1 and (unkeyed.read is not None or len(sets) == 2):
        return {None: _Set([add for of in sets.values() for add in of.adds], reads[0])}
    if not reads:
        return sets
    raise wrong(reads[-1], "key: some adds and reads carry one; expected all of them, or none")


def _key(op: Operation) -> Token | None:
    return None if op.key is None else token(op.key)


def _difference(of: _Set, read: Operation) -> Mapping[str, Sequence[Token]]:
    """Return the elements of each kind."""
    ledger = Ledger[Token]()
    acknowledged: set[Token] = set()
    for add in of.adds:
        ledger.take(add.element, _due(add, read))
        if add.outcome == "ok":
            acknowledged.add(add.element)
    found = ledger.compare(Counter(shown(read)))
    recovered = [one for one in found.recovered if one not in acknowledged]
    return dict(zip(_KINDS, (found.missing, found.extra, found.duplicated, recovered), strict=True))


def _due(add: _Add, read: Operation) -> Due:
    assert read.completed is not None, "only ok reads are kept"
    if add.outcome == "fail" or add.invoked > read.completed:
        return Due.OUT
    if add.outcome == "ok" and add.completed is not None and add.completed < read.invoked:
        return Due.IN
    return Due.EITHER


def _named(key: Token | None, elements: Sequence[Token], *, alone: bool) -> Iterator[Json]:
    """Yield the elements as they were written, with their set's key where there are several."""
    for value in in_order(elements):
        yield value if alone else [*in_order([] if key is None else [key]), value]


def _acknowledged(sets: Iterable[_Set]) -> int:
    return sum(add.outcome == "ok" for of in sets for add in of.adds)
