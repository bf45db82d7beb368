"""What a table must hold, may hold and must not hold, element by element, and what it does hold."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeAlias, TypeVar

from harness.evidence import wrong
from harness.history import Json
from harness.operations import Operation

E = TypeVar("E", bound=Hashable)


class Due(IntEnum):
    """Whether an element that was tried has to be there; of several tries the surest counts."""

    OUT = 0
    EITHER = 1
    IN = 2


@dataclass(frozen=True)
class Difference(Generic[E]):
    """How what is there differs from what has to be.

    Attributes:
        missing: has to be there, and is not.
        extra: is there, though every try certainly did not write it, or there was none.
        duplicated: is there more often than it was tried.
        recovered: is there, and did not have to be: no fault.
    """

    missing: Sequence[E]
    extra: Sequence[E]
    duplicated: Sequence[E]
    recovered: Sequence[E]

    @property
    def wrong(self) -> Sequence[E]:
        return [*self.missing, *self.extra, *self.duplicated]


@dataclass
class Ledger(Generic[E]):
    """Every try to write, element by element.

    Attributes:
        due: of each element that was tried.
        tries: how often it may have been written.
    """

    due: dict[E, Due] = field(default_factory=dict)
    tries: Counter[E] = field(default_factory=Counter)

    def take(self, element: E, due: Due) -> bool:
        """Note one try; return whether it is the surest of this element so far."""
        is_surest = due >= self.due.get(element, Due.OUT)
        if is_surest:
            self.due[element] = due
        if due:
            self.tries[element] += 1
        return is_surest

    def compare(self, present: Counter[E]) -> Difference[E]:
        """Return how what is there, each so many times, differs from what has to be."""
        due, tries = self.due, self.tries
        return Difference(
            [e for e, of in due.items() if of is Due.IN and e not in present],
            [e for e in present if not due.get(e)],
            [e for e, n in present.items() if n > tries[e] > 0],
            [e for e in present if due.get(e) is Due.EITHER],
        )


# --- elements of bare histories ------------------------------------------------------------------

Token: TypeAlias = int | str | tuple["Token", ...]
"""A JSON value as something that equals only what is the same in JSON, and can be hashed."""


def token(value: Json) -> Token:
    """Return a value in a form that may stand in a set; `plain` is the way back.

    Python takes 1, 1.0 and True for equal; JSON does not.
    """
    if type(value) is int or type(value) is str:
        return value
    if value is None or isinstance(value, bool | float | int | str):
        return type(value).__name__, repr(value)
    if isinstance(value, Mapping):
        members = sorted(value.items())
        return ("map", *((name, token(member)) for name, member in members))
    return ("list", *map(token, value))


def plain(value: Token) -> Json:
    """Return the JSON value that a token stands for."""
    match value:
        case ("list", *members):
            return [plain(member) for member in members]
        case ("map", *members):
            return {str(one[0]): plain(one[1]) for one in members if isinstance(one, tuple)}
        case ("bool", said):
            return said == "True"
        case ("float", str(said)):
            return float(said)
        case int() | str():
            return value
    return None


def in_order(tokens: Iterable[Token]) -> Sequence[Json]:
    """Return the values: sorted if they are all numbers or all texts, else as they come."""
    found = [*tokens]
    numbers, texts = ([one for one in found if isinstance(one, kind)] for kind in (int, str))
    if len(numbers) == len(found):
        return sorted(numbers)
    if len(texts) == len(found):
        return sorted(texts)
    return [plain(one) for one in found]


_WRITES = frozenset({"add", "append", "write", "put"})


def written(op: Operation) -> Sequence[Token]:
    """Return the elements that an operation asked to be written; of a transaction as key and value.

    An operation that writes nothing has none.
    """
    if op.f in _WRITES:
        return [token(op.value if op.argument is None else op.argument)]
    if op.f != "txn" or not isinstance(op.argument, list):
        return []
    return [_entry(*found[1:]) for found in op.argument if _is_write(found)]


def _is_write(micro: Json) -> bool:
    return isinstance(micro, list) and len(micro) == 3 and micro[0] in ("append", "w")


def _entry(key: Json, value: Json) -> Token:
    return token([key, value])


def shown(op: Operation) -> Iterator[Token]:
    """Yield the elements that an `ok` read of a whole table shows.

    A row `["r", key, [values]]` is a list of that table, as transactions write it.

    Raises:
        ScenarioError: when it shows no list.
    """
    if op.value is None:
        return
    if not isinstance(op.value, list):
        raise wrong(op, f"value {str(op.value)[:40]!r}; expected the list of all elements")
    for row in op.value:
        match row:
            case ["r", key, [*held]]:
                yield from (_entry(key, one) for one in held)
            case ["r", _, None]:
                continue
            case _:
                yield token(row)
