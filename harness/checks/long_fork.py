"""`long-fork`: nobody sees two writes in different orders."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field

from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.evidence import NAMED, told, wrong
from harness.history import Json
from harness.isolation.transactions import is_transaction
from harness.membership import Token, in_order, token
from harness.operations import Operation
from harness.registry import register


@dataclass
class _Group:
    """The reads of the keys of one group that differ, and the first two that contradict.

    As long as none do, what they saw written grows from each to the next; there are then at most
    one more of them than keys.
    """

    seen: dict[frozenset[Token], Operation] = field(default_factory=dict)
    fork: tuple[Operation, Operation] | None = None

    def take(self, written: frozenset[Token], op: Operation) -> None:
        if self.fork is not None or written in self.seen:
            return
        for other, by in self.seen.items():
            if not (written <= other or other <= written):
                self.fork = by, op
                return
        self.seen[written] = op


@dataclass
class _Reading:
    """What was read and written so far.

    Attributes:
        values: by key, the value that it was written, or first read, with.
        written: the keys for which a write may have taken effect.
        doubts: why the history is none that can be judged, by kind: how often, and an example.
    """

    groups: dict[frozenset[Token], _Group] = field(default_factory=dict)
    values: dict[Token, Token] = field(default_factory=dict)
    written: set[Token] = field(default_factory=set)
    doubts: dict[str, tuple[int, str]] = field(default_factory=dict)
    reads: int = 0
    early: int = 0
    late: int = 0

    def doubt(self, kind: str, example: str) -> None:
        count, first = self.doubts.get(kind, (0, example))
        self.doubts[kind] = count + 1, first

    def value(self, key: Token, value: Token, op: Operation) -> None:
        if self.values.setdefault(key, value) != value:
            example = f"key {in_order([key])[0]!r} in line {op.invoked + 1}"
            self.doubt("key has several values", example)


@register
class LongFork(Check):
    """Look for two reads of one group of keys that order two writes differently.

    Each key is written once, in a transaction of its own (`[["w", k, v]]`), and read with the other
    keys of its group (`[["r", k, v or null], ...]`): the `group_size` keys with the same
    `k // group_size`. One read that sees x but not y, and another that sees y but not x, are a
    fork: parallel snapshot isolation allows it, snapshot isolation does not. Two such reads break
    it, whatever else is wrong. A read of another number of keys is not compared; with such a read,
    or a key written twice, or a transaction that does both, the history is unknown.

    A pass shows nothing of groups that were read before all or after all of their writes (the
    counts tell), of forks across groups, nor of any other anomaly. Without an `ok` read of a
    group it is unknown.

    O(n * group_size) in the reads; keeps `group_size` reads a group and each key written.
    Source: Jepsen 0.3, `jepsen.tests.long-fork`; Sovran et al., SOSP 2011, section 4.

    Attributes:
        group_size: how many keys are read together.

    Example:
        {"file": "history.jsonl", "check": "long-fork", "group_size": 2}
    """

    name: ClassVar[str] = "long-fork"

    group_size: int = Field(ge=1, strict=True)

    def judge(self, operations: Iterable[Operation]) -> Answer:
        state = _Reading()
        for op in operations:
            if op.outcome == "fail" or not is_transaction(op):
                continue
            micros = _micros(op)
            kinds = {f for f, _, _ in micros}
            if kinds == {"w"} and len(micros) == 1:
                _take_write(state, op, micros[0])
            elif kinds == {"r"}:
                if op.outcome == "ok":
                    self._take_read(state, op, micros)
            elif micros:
                state.doubt("transaction is neither a single write nor a read", _at(op))
        return _answer(state)

    def _take_read(self, state: _Reading, op: Operation, micros: "Sequence[_Micro]") -> None:
        keys = frozenset(key for _, key, _ in micros)
        if len(keys) != self.group_size or len(micros) != len(keys):
            state.doubt(f"read is not of {self.group_size} keys", f"{len(micros)} in {_at(op)}")
            return
        seen = {key: value for _, key, value in micros if value != _NULL}
        for key, value in seen.items():
            state.value(key, value, op)
        state.reads += 1
        state.early += not seen
        state.late += len(seen) == len(keys)
        state.groups.setdefault(keys, _Group()).take(frozenset(seen), op)


_Micro = tuple[str, Token, Token]
_NULL = token(None)


def _micros(op: Operation) -> Sequence[_Micro]:
    """Return what a transaction did: function, key, value.

    Raises:
        ScenarioError: when it is no such list.
    """
    value = op.value if op.outcome == "ok" else op.argument
    if not isinstance(value, list):
        raise wrong(op, f"value {value!r}; {_EXPECTED}")
    found: list[_Micro] = []
    for micro in value:
        match micro:
            case ["r" | "w" as f, key, held]:
                found.append((f, token(key), token(held)))
            case _:
                raise wrong(op, f"value {micro!r}; {_EXPECTED}")
    return found


_EXPECTED = 'expected a list of ["r" | "w", key, value]'


def _take_write(state: _Reading, op: Operation, micro: _Micro) -> None:
    _, key, value = micro
    if value == _NULL:
        raise wrong(op, "value null; expected one that a read can tell from the initial null")
    if key in state.written:
        state.doubt("key is written more than once", f"{in_order([key])[0]!r} in {_at(op)}")
    state.written.add(key)
    state.value(key, value, op)


def _at(op: Operation) -> str:
    return f"line {op.invoked + 1}"


def _answer(state: _Reading) -> Answer:
    forks = [(keys, of.fork) for keys, of in state.groups.items() if of.fork is not None]
    doubts = [f"{n} times: a {kind} ({first})" for kind, (n, first) in state.doubts.items()]
    detail: Mapping[str, Json] = {
        "reads": state.reads,
        "early_reads": state.early,
        "late_reads": state.late,
        "groups": len(state.groups),
        "forked_groups": len(forks),
        "forks": [_shown(keys, fork) for keys, fork in forks[:NAMED]],
        "illegal": doubts,
    }
    if forks:
        reason = f"in {len(forks)} of {len(state.groups)} groups two reads contradict each other"
        return Answer(valid=False, reason=reason, anomalies=["long-fork"], detail=detail)
    if doubts:
        return Answer(UNKNOWN, "; ".join(doubts), detail=detail)
    if not state.reads:
        return Answer(UNKNOWN, "no group was read", detail=detail)
    return Answer(valid=True, detail=detail)


def _shown(keys: Iterable[Token], fork: tuple[Operation, Operation]) -> Mapping[str, Json]:
    return {"keys": in_order(keys), "reads": [told(op) for op in fork]}
