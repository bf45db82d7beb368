"""`single-master`: one node at a time acknowledges writes, and what it acknowledged survives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, JsonValue, WithJsonSchema

from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.evidence import NAMED, told, wrong
from harness.history import Json
from harness.membership import Token, plain, shown, token, written
from harness.operations import Operation
from harness.registry import register
from harness.scenario import EXPECTED
from harness.timelines import Bounds, Fate, Lineage, Masters, bounds, histories

_WRITES = frozenset({"write", "append", "add", "put", "transfer", "acquire", "release"})
# What may be written, as opposed to what it is read as.
_POSITION: JsonValue = {"type": "string", EXPECTED: "a log position like 0/3000060"}
_ANCESTOR: JsonValue = {"type": "array", "items": {"anyOf": [{"type": "integer"}, _POSITION]}}
_HISTORIES: dict[str, JsonValue] = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": _ANCESTOR},
}


@dataclass
class _Fates:
    """What became of the acknowledged writes, by the ancestry of the newest timeline known so far.

    Attributes:
        lineage: of the newest timeline whose history is known.
        counts: by timeline, how many writes it acknowledged.
        lost: past the fork of their timeline.
        unsure: the fork lies within their bounds, or they have none.
        unplaced: how many are on a timeline that is not known to be, or not to be, an ancestor.
    """

    lineage: Lineage
    counts: dict[int, int] = field(default_factory=dict)
    lost: list[Operation] = field(default_factory=list)
    unsure: list[Operation] = field(default_factory=list)
    unplaced: int = 0

    def take(self, op: Operation, tli: int) -> None:
        at = _bounds(op)
        self.counts[tli] = self.counts.get(tli, 0) + 1
        if tli >= self.lineage.tli:
            return  # the newest so far; whether one is newer yet shows at the end
        fate = self.lineage.fate(tli, at)
        if fate is Fate.LOST:
            self.lost.append(op)
        elif fate is Fate.UNSURE and tli in self.lineage.forks:
            self.unsure.append(op)
        elif fate is Fate.UNSURE:
            self.unplaced += 1

    def settle(self) -> None:
        """Take back what was decided by a history that is not the last timeline's."""
        final = self.final
        if final == self.lineage.tli:
            return
        self.lost, self.unsure = [], []
        self.unplaced = sum(n for tli, n in self.counts.items() if tli < final)

    @property
    def final(self) -> int:
        """Return the newest timeline: nothing shows that an older one outlived it."""
        return max([self.lineage.tli, *self.counts])


@dataclass
class _Finals:
    """The last good read of each key: what the final table holds."""

    reads: dict[Token, Operation] = field(default_factory=dict)
    _held: dict[int, frozenset[Token]] = field(default_factory=dict)

    def take(self, op: Operation) -> None:
        self.reads[token(op.key)] = op

    def holds(self, op: Operation, final: int) -> bool | None:
        """Return whether what an operation wrote is there at the end; None if nothing tells.

        A read of an older timeline, one sent before the write was acknowledged, or one that is
        no list and shows another value, tells nothing.
        """
        read = self.reads.get(token(op.key)) or self.reads.get(token(None))
        elements = written(op)
        if read is None or op.completed is None or read.invoked < op.completed or not elements:
            return None
        if read.tli is not None and read.tli < final:
            return None
        is_table = isinstance(read.value, list)
        if not is_table or (op.f != "txn" and isinstance(op.argument, list)):
            return True if elements == [token(read.value)] else None
        held = self._held.get(read.invoked)
        if held is None:
            held = self._held.setdefault(read.invoked, frozenset(shown(read)))
        return held.issuperset(elements)


@register
class SingleMaster(Check):
    """Decide from acknowledged writes whether one node at a time was the master.

    An `ok` write that names its timeline counts. Overlap: one timeline that two nodes
    acknowledged, or a write on an older timeline that was sent after a newer one's
    acknowledgement. Lost: a commit past the fork of its timeline on the ancestry of the newest
    timeline, or on a timeline that is no ancestor of it. Either breaks it; they are told apart.
    Acknowledgements that overlap in time are no breach, as either may have come first.

    The newest timeline is the highest one that has a history or acknowledged a write. A commit at
    the position of the fork itself was taken over. A fork inside the bounds of an `lsn` decides
    nothing: the last read of the final table does, or it is unknown.

    A pass shows nothing of a node that no recorded write reached, of an old primary that still
    answers reads, nor of what was lost in other ways than by a failover (`set` does). Without an
    `ok` write that names its timeline, or without the history of the newest timeline where there
    are several, it is unknown.

    O(n log t) in the writes for t timelines; keeps lost writes, and those that the final table has
    to decide. Source: docs/adr/0002; PostgreSQL 17 documentation, 25.3.6 "Timelines".

    Attributes:
        timeline_history: of each timeline, its ancestors: `[parent, position of the fork]`, as in
            its `.history` file.

    Example:
        {"file": "h.jsonl", "check": "single-master", "timeline_history": {"2": [[1, "0/3000060"]]}}
    """

    name: ClassVar[str] = "single-master"

    timeline_history: Annotated[
        dict[int, tuple[tuple[int, int], ...]],
        BeforeValidator(histories),
        WithJsonSchema(_HISTORIES),
    ] = Field(default_factory=dict)

    def judge(self, operations: Iterable[Operation]) -> Answer:
        newest = max(self.timeline_history, default=0)
        fates = _Fates(Lineage.of(newest, self.timeline_history))
        masters, finals = Masters[Operation](), _Finals()
        for op in operations:
            if op.outcome != "ok":
                continue
            if op.f == "read":
                finals.take(op)
            elif op.tli is not None and _is_write(op):
                tli = _timeline(op)
                fates.take(op, tli)
                if op.node is not None and op.completed is not None:
                    masters.take(op.node, tli, op.invoked, op.completed, op)
        fates.settle()
        return _answer(fates, masters, finals)


def _is_write(op: Operation) -> bool:
    if op.f == "cas":
        # The third element tells that it did not hit, so it changed nothing.
        return not (isinstance(op.value, list) and len(op.value) == 3 and op.value[2] is False)
    return op.f in _WRITES or (op.f == "txn" and bool(written(op)))


def _timeline(op: Operation) -> int:
    if type(op.tli) is not int or op.tli < 1:
        raise wrong(op, f"tli {op.tli!r}; expected a timeline as a number from 1")
    if op.node is not None and type(op.node) is not str:
        raise wrong(op, f"node {op.node!r}; expected a name")
    return op.tli


def _bounds(op: Operation) -> Bounds | None:
    try:
        return bounds(op.lsn)
    except ValueError as error:
        raise wrong(op, f"lsn: {error}") from None


# --- the answer ----------------------------------------------------------------------------------


def _answer(fates: _Fates, masters: Masters[Operation], finals: _Finals) -> Answer:
    final = fates.final
    held = [(op, finals.holds(op, final)) for op in fates.unsure]
    lost = [*fates.lost, *(op for op, is_there in held if is_there is False)]
    undecided = [op for op, is_there in held if is_there is None]
    shared = [_shared(tli, by) for tli, by in masters.shared.items()]
    late = [_late(one.newer, one.first, one.last, one.count) for one in masters.late.values()]
    named = {"lost": lost, "older-timeline": late, "shared-timeline": shared}
    anomalies = [name for name, found in named.items() if found]
    detail: Mapping[str, Json] = {
        "lost": _values(lost),
        "overlap": [*shared, *late],
        "undecided": _values(undecided),
        "unplaced": fates.unplaced,
        "writes": sum(fates.counts.values()),
        "final_timeline": final if fates.counts else None,
        "timelines": {str(tli): [*by] for tli, by in sorted(masters.first.items())},
        "first_lost": [told(op) for op in lost[:NAMED]],
    }
    if anomalies:
        reason = "; ".join(_said(lost, shared, late, final))
        return Answer(valid=False, reason=reason, anomalies=anomalies, detail=detail)
    if doubt := _doubt(fates, undecided):
        return Answer(UNKNOWN, doubt, detail=detail)
    return Answer(valid=True, detail=detail)


def _said(
    lost: Sequence[Operation],
    shared: Sequence[Mapping[str, Json]],
    late: Sequence[Mapping[str, Json]],
    final: int,
) -> Iterable[str]:
    if lost:
        yield f"{len(lost)} acknowledged writes did not survive on timeline {final}"
    if shared:
        yield f"{len(shared)} timelines were acknowledged by several nodes"
    if late:
        yield "writes on an older timeline were sent after a newer one had acknowledged"


def _doubt(fates: _Fates, undecided: Sequence[Operation]) -> str | None:
    if not fates.counts:
        return "no acknowledged write names its timeline"
    if undecided:
        doubt = f"a fork may be before or after {len(undecided)} writes on its timeline"
        return f"{doubt}, and no final read tells"
    if fates.unplaced:
        known = f"nothing tells how {fates.unplaced} writes stand to timeline {fates.final}"
        return f"{known}; expected its history in timeline_history"
    return None


def _values(ops: Iterable[Operation]) -> Sequence[Json]:
    """Return what operations wrote; of a transaction each key with its value."""
    return [plain(one) for op in ops for one in written(op) or [token(op.argument)]]


def _shared(tli: int, by: Mapping[str, Operation]) -> Mapping[str, Json]:
    return {"kind": "shared-timeline", "tli": tli, "first": [told(op) for op in by.values()]}


def _late(newer: Operation, first: Operation, last: Operation, count: int) -> Mapping[str, Json]:
    return {
        "kind": "older-timeline",
        "newer": told(newer),
        "first": told(first),
        "last": told(last),
        "writes": count,
    }
