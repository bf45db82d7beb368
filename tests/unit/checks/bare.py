"""Bare histories for tests: operations told one by one, or as spans on a line of events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from harness.answer import Answer
from harness.check import Check
from harness.history import Json, Outcome
from harness.operations import Operation

T = TypeVar("T")


class Bare:
    """Collects operations; `operations()` yields them as the reader does.

    Positions count events: unless `at` says otherwise, an operation follows all before it. The
    clock ticks 10 ns an event.
    """

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._next = 0

    def op(
        self,
        f: str,
        argument: Json = None,
        outcome: Outcome = "ok",
        *,
        value: Json = None,
        at: tuple[int, int] | None = None,
        key: Json = None,
        node: str | None = None,
        tli: int | None = None,
        lsn: Json = None,
    ) -> "Bare":
        """Add one operation; `at` is its span: when it was invoked and completed."""
        invoked, completed = at or (self._next, self._next + 1)
        self._next = max(self._next, completed + 1)
        done = outcome != "info"
        self._operations.append(
            Operation(
                process=f"client-{len(self._operations)}",
                f=f,
                outcome=outcome,
                key=key,
                argument=argument,
                value=argument if value is None and argument is not None else value,
                invoked=invoked,
                completed=completed if done else None,
                start=10 * invoked,
                end=10 * completed if done else None,
                node=node if done else None,
                tli=tli if done else None,
                xid=None,
                lsn=lsn if done else None,
                error=None,
            )
        )
        return self

    def read(
        self, value: Json, outcome: Outcome = "ok", *, key: Json = None, tli: int | None = None
    ) -> "Bare":
        return self.op("read", None, outcome, value=value, key=key, tli=tli)

    def operations(self) -> Iterable[Operation]:
        known = [op for op in self._operations if op.completed is not None]
        unknown = [op for op in self._operations if op.completed is None]
        yield from sorted(known, key=lambda op: op.completed or 0)
        yield from sorted(unknown, key=lambda op: op.invoked)

    def judged(self, check: Check) -> Answer:
        return check.judge(self.operations())


def listed(answer: Answer, name: str) -> Sequence[Json]:
    """Return a list of an answer's detail."""
    found = answer.detail[name]
    assert isinstance(found, list | tuple)
    return found


def first(answer: Answer, name: str) -> Mapping[str, Json]:
    """Return the first of a list of mappings of an answer's detail."""
    found = listed(answer, name)[0]
    assert isinstance(found, Mapping)
    return found
