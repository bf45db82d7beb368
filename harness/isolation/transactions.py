"""The transactions of a history while it is read: who, when, where, and what they asked.

Shared by the workloads. A million transactions are kept in flat arrays, never as objects.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from harness.errors import ScenarioError
from harness.evidence import wrong
from harness.history import Json
from harness.isolation.inference import NEVER, Int32s, Int64s
from harness.operations import Operation

Token: TypeAlias = int | str | tuple[str, str, None]
"""A JSON scalar that can be compared: Python takes 1, 1.0 and True for equal, JSON does not."""

PLAIN: Final = frozenset({int, str})
"""The types of scalars that are their own token."""

VERBS: Final = frozenset({"append", "r", "w"})
"""The functions that a micro-operation may have."""

_UNKNOWN_TIME: Final = -1
_EXPECTED: Final = 'expected a list of ["append" | "r" | "w", key, value]'


def token(value: Json, operation: Operation) -> Token:
    """Return a key or an element as something that equals only what is the same in JSON.

    Raises:
        ScenarioError: it is no scalar.
    """
    if type(value) is int or type(value) is str:
        return value
    if value is None or isinstance(value, bool | float):
        return type(value).__name__, repr(value), None
    raise wrong(operation, f"{value!r}; expected a number or a text")


def is_transaction(operation: Operation) -> bool:
    """Return whether this is a transaction: `f` is `txn`, or what it asked is micro-operations."""
    if operation.f == "txn":
        return True
    asked = operation.argument
    return isinstance(asked, list) and bool(asked) and all(map(_is_micro, asked))


def _is_micro(value: Json) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and value[0] in VERBS
    )


def malformed(operation: Operation) -> ScenarioError:
    """Return the error that says what is wrong with the value of a transaction."""
    done = operation.value
    if not isinstance(done, list):
        return wrong(operation, f"value {done!r}; {_EXPECTED}")
    odd = next((micro for micro in done if not _is_micro(micro)), done)
    return wrong(operation, f"micro-operation {odd!r}; {_EXPECTED}")


class Transactions:
    """The acknowledged transactions and those of unknown outcome, numbered as they come."""

    def __init__(self) -> None:
        self._codes: dict[str | int, int] = {}
        self._nodes: dict[str | None, int] = {}
        self._named: tuple[list[str | int], list[str | None]] = [], []
        self._process = array("i")
        self._node = array("i")
        self._invoked = array("q")
        self._completed = array("q")
        self._start = array("q")
        self._end = array("q")

    def __len__(self) -> int:
        return len(self._process)

    def add(self, operation: Operation) -> int:
        """Record one transaction that was not refused; return its number."""
        process, _, _, _, _, _, invoked, completed, start, end, node, _, _, _, _ = operation
        number = len(self._process)
        self._process.append(self._codes.setdefault(process, len(self._codes)))
        self._node.append(self._nodes.setdefault(node, len(self._nodes)))
        self._invoked.append(invoked)
        self._completed.append(NEVER if completed is None else completed)
        self._start.append(_UNKNOWN_TIME if start is None else start)
        self._end.append(_UNKNOWN_TIME if end is None else end)
        return number

    def certain(self, number: int) -> bool:
        """Return whether a transaction was acknowledged."""
        return self._completed[number] != NEVER

    def acknowledged(self) -> int:
        """Return how many of them succeeded for certain."""
        return len(self._completed) - self._completed.count(NEVER)

    def arrays(self) -> tuple[Int32s, Int64s, Int64s]:
        """Return process codes, invocations and completions, as `Inference` wants them."""
        return (
            np.array(self._process, np.int32),
            np.array(self._invoked, np.int64),
            np.array(self._completed, np.int64),
        )

    def describe(self, number: int, operations: Sequence[Json]) -> Mapping[str, Json]:
        """Return one transaction as JSON: see `Inference.describe`.

        Args:
            number: of the transaction.
            operations: its micro-operations, which each workload keeps in its own way.
        """
        known = self._completed[number] != NEVER
        processes, nodes = self._named
        if len(processes) != len(self._codes) or len(nodes) != len(self._nodes):
            self._named = list(self._codes), list(self._nodes)
        return {
            "process": self._named[0][self._process[number]],
            "node": self._named[1][self._node[number]],
            "outcome": "ok" if known else "info",
            "start": _time(self._start[number]),
            "end": _time(self._end[number]) if known else None,
            "operations": list(operations),
        }


def _time(at: int) -> int | None:
    return None if at == _UNKNOWN_TIME else at
