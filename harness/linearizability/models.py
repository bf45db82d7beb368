"""What the operations of each kind of object do to it, and when they fit.

A model reads operations and hands out objects that can be searched. Whatever an operation says is
put into its effect; one that says nothing (a read of unknown outcome) has none.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from harness.evidence import wrong
from harness.history import Json
from harness.linearizability import strings
from harness.linearizability.calls import Call, Calls, Gathered
from harness.linearizability.lookahead import UNSEEN, Lookahead, Pairs, Parts
from harness.linearizability.returns import (
    HIDES,
    PASSES,
    SEES,
    Group,
    Move,
    Return,
    Rules,
    Sight,
)
from harness.linearizability.search import Search
from harness.linearizability.strings import StringEffect
from harness.linearizability.values import Numbering, token
from harness.operations import Operation

ModelName: TypeAlias = Literal["register", "cas-register", "multi-register", "mutex", "kv-string"]

State = TypeVar("State", bound=Hashable)
Effect = TypeVar("Effect", bound=Hashable)

# What a recorded run observes beside its clients' operations (harness.history).
_OBSERVATIONS: Final = frozenset(
    {"open", "role", "patroni", "dcs", "object", "delay", "crowded", "phase"}
)


@dataclass(frozen=True, slots=True)
class Object(Generic[State, Effect]):
    """One object, ready to be searched.

    Attributes:
        key: it is judged apart from the objects with other keys.
        calls: what may have happened to it.
        moves: the same, for the search: values that nobody ever looks for may be one there.
        doomed: of a call that fits nowhere, whatever the order: its index.
    """

    key: Json
    calls: Sequence[Call[Effect]]
    moves: Sequence[Move[Effect]]
    initial: State
    rules: Rules[State, Effect]
    show: Callable[[State], Json]
    doomed: int | None = None

    def search(self) -> Search[State, Effect]:
        """Return a search from the start."""
        return Search(self.moves, self.initial, self.rules)


class Model(ABC, Generic[State, Effect]):
    """One kind of object."""

    functions: ClassVar[frozenset[str]]

    @abstractmethod
    def effect(self, operation: Operation) -> Effect | None:
        """Return what an operation does; None of one that says nothing.

        Raises:
            ScenarioError: its value has not the form of the contract.
        """
        raise NotImplementedError

    @abstractmethod
    def objects(self, of: Calls[Effect]) -> Iterator[Object[State, Effect]]:
        """Yield what can be judged apart of all that was done under one key."""
        raise NotImplementedError

    def gather(self, operations: Iterable[Operation]) -> Gathered[Effect]:
        """Return what may have happened to each object.

        Raises:
            ScenarioError: a client asked for something that the model does not know, or a value
                has not the form of the contract.
        """
        objects: dict[Hashable, tuple[Json, list[Call[Effect]]]] = {}
        acknowledged = 0
        for operation in operations:
            process, f, outcome, key, argument, value, invoked, completed, *_ = operation
            if f not in self.functions:
                if process == "nemesis" or f in _OBSERVATIONS:
                    continue
                expected = ", ".join(sorted(self.functions))
                raise wrong(operation, f"f {f!r}; expected one of {expected}")
            if outcome == "fail" or process == "nemesis":
                continue
            acknowledged += outcome == "ok"
            effect = self.effect(operation)
            if effect is None:
                continue
            name = token(key)
            of = objects.get(name)
            if of is None:
                objects[name] = of = (key, [])
            of[1].append(Call(process, f, argument, value, invoked, completed, effect))
        return Gathered([Calls(*of) for of in objects.values()], acknowledged)


_Sourced: TypeAlias = tuple[Pairs, Pairs, int, int | None]  # needs, writes, invoked, completed


def _without_source(calls: Iterable[_Sourced], initial: Mapping[int, int]) -> int | None:
    """Return the first call to find a value that nobody could have put there by then."""
    kept = [*calls]
    earliest: dict[tuple[int, int], int] = dict.fromkeys(initial.items(), -1)
    for _, writes, invoked, _ in kept:
        for pair in writes:
            if invoked < earliest.get(pair, invoked + 1):
                earliest[pair] = invoked
    for index, (needs, _, _, completed) in enumerate(kept):
        for pair in needs:
            if completed is not None and earliest.get(pair, completed) >= completed:
                return index
    return None


# --- registers and mutexes ---------------------------------------------------------------------

_ANY: Final = -1
_KEPT: Final = -1


class CellEffect(NamedTuple):
    """Fits where the value is `need` (or any) and is not `forbidden`; makes it `to` (or keeps it).

    Values are numbers from 0.
    """

    need: int
    forbidden: int
    to: int


def _cell_step(state: int, effect: CellEffect) -> int | None:
    need, forbidden, to = effect
    if (need != state and need != _ANY) or forbidden == state:
        return None
    return state if to == _KEPT else to


def _cell_sight(earlier: CellEffect, later: CellEffect) -> Sight:
    need, forbidden, _ = later
    if need == _ANY and forbidden == _ANY:
        return HIDES
    return SEES if need in (_ANY, earlier.to) else HIDES


def _cell_parts(effect: CellEffect) -> Parts:
    need, forbidden, to = effect
    return Parts(
        () if need == _ANY else ((0, need),),
        () if forbidden == _ANY else ((0, forbidden),),
        () if to == _KEPT else ((0, to),),
    )


def _cell_outlook(
    returns: Sequence[Return[CellEffect]], groups: Sequence[Group[CellEffect]]
) -> Lookahead[int, CellEffect]:
    return Lookahead(returns, groups, _cell_parts, lambda state: (state,), lambda values: values[0])


_CELL: Final = Rules(_cell_step, _cell_sight, _cell_outlook)


def _cell_pairs(call: Call[CellEffect]) -> _Sourced:
    needs, _, writes = _cell_parts(call.effect)
    return needs, writes, call.invoked, call.completed


class _Cells(Model[int, CellEffect]):
    """Objects of one value."""

    def objects(self, of: Calls[CellEffect]) -> Iterator[Object[int, CellEffect]]:
        forbidden = {call.effect.forbidden for call in of.calls} - {_ANY}
        seen = {call.effect.need for call in of.calls} | forbidden
        calls: list[Call[CellEffect]] = []
        moves: list[Move[CellEffect]] = []
        for call in of.calls:
            need, unless, to = call.effect
            # Values that nobody looks for cannot be told apart ...
            effect = call.effect if to in seen else CellEffect(need, unless, UNSEEN)
            # ... and where every look is for one value, they only make it fail.
            if to not in seen and call.completed is None and not forbidden:
                continue
            pure = to in (_KEPT, need)
            calls.append(call)
            moves.append(Move(effect, call.invoked, call.completed, pure))
        doomed = _without_source(map(_cell_pairs, calls), {0: 0})
        yield Object(of.key, calls, moves, 0, _CELL, self.show, doomed)

    @abstractmethod
    def show(self, state: int) -> Json:
        """Return what a state stands for."""
        raise NotImplementedError


class Register(_Cells):
    """`read`, `write`, `cas`; `null` is the initial value.

    Args:
        init: the initial value.
    """

    functions = frozenset({"read", "write", "cas"})

    def __init__(self, init: Json) -> None:
        self._number = Numbering(init)

    def effect(self, operation: Operation) -> CellEffect | None:
        if operation.f == "read":
            if operation.outcome != "ok":
                return None
            return CellEffect(self._number(operation.value), _ANY, _KEPT)
        if operation.f == "write":
            asked = operation.argument
            value = operation.value if asked is None else asked
            return CellEffect(_ANY, _ANY, self._number(value))
        return self._cas(operation)

    def _cas(self, operation: Operation) -> CellEffect:
        asked = operation.argument
        done = asked if operation.value is None else operation.value
        if asked is None and isinstance(done, list):
            asked = done[:2]
        if not isinstance(asked, list) or len(asked) != 2:
            raise wrong(operation, f"cas asks {asked!r}; expected [from, to]")
        hit = True
        if isinstance(done, list) and len(done) == 3 and type(done[2]) is bool:
            hit = done[2]
            done = done[:2]
        if done != asked:
            found = f"cas {asked!r} completes as {operation.value!r}"
            raise wrong(operation, f"{found}; expected it again, perhaps with true or false")
        old, new = self._number(asked[0]), self._number(asked[1])
        return CellEffect(old, _ANY, new) if hit else CellEffect(_ANY, old, _KEPT)

    def show(self, state: int) -> Json:
        return self._number.value(state)


class Mutex(_Cells):
    """`acquire` and `release`; whoever holds it may be another one than who releases it."""

    functions = frozenset({"acquire", "release"})

    def effect(self, operation: Operation) -> CellEffect:
        return CellEffect(0, _ANY, 1) if operation.f == "acquire" else CellEffect(1, _ANY, 0)

    def show(self, state: int) -> Json:
        return "held" if state else "free"


# --- maps --------------------------------------------------------------------------------------


class MapEffect(NamedTuple):
    """Fits where the map holds `needs`; puts `writes` into it."""

    needs: Pairs
    writes: Pairs


_NEVER: Final = -1  # no value's number: what contradicts itself fits nowhere


def _map_step(state: tuple[int, ...], effect: MapEffect) -> tuple[int, ...] | None:
    for key, value in effect.needs:
        if state[key] != value:
            return None
    if not effect.writes:
        return state
    after = [*state]
    for key, value in effect.writes:
        after[key] = value
    return (*after,)


def _map_sight(earlier: MapEffect, later: MapEffect) -> Sight:
    if not {*earlier.writes}.isdisjoint(later.needs):
        return SEES
    written = {key for key, _ in earlier.writes}
    left = written.difference(key for key, _ in later.writes)
    if not left:
        return HIDES
    return PASSES if left == written else SEES


def _map_outlook(
    returns: Sequence[Return[MapEffect]], groups: Sequence[Group[MapEffect]]
) -> Lookahead[tuple[int, ...], MapEffect]:
    def parts(effect: MapEffect) -> Parts:
        return Parts(effect.needs, (), effect.writes)

    def same(state: tuple[int, ...]) -> tuple[int, ...]:
        return state

    return Lookahead(returns, groups, parts, same, lambda values: (*values,))


_MAP: Final = Rules(_map_step, _map_sight, _map_outlook)


class MultiRegister(Model[tuple[int, ...], MapEffect]):
    """Reads and writes of several registers at once; reading `null` constrains nothing.

    Registers that no chain of operations connects are judged apart: a history is linearizable
    exactly when that of each of its objects is (Herlihy & Wing, TOPLAS 12 (1990), theorem 1), and
    no operation is on two of those groups.

    Args:
        init: initial values by key, that of a number by its digits.
    """

    functions = frozenset({"txn", "read", "write"})

    def __init__(self, init: Mapping[str, Json]) -> None:
        self._key = Numbering(None)
        self._value = Numbering(None)
        self._init = init

    def effect(self, operation: Operation) -> MapEffect | None:
        needs: dict[int, int] = {}
        writes: dict[int, int] = {}
        for f, name, value in self._micros(operation):
            key = self._key(name)
            if f == "write":
                writes[key] = self._value(value)
            elif operation.outcome == "ok" and value is not None:
                known = writes.get(key, needs.get(key))
                number = self._value(value)
                if known is None:
                    needs[key] = number
                elif known != number:
                    needs[key] = _NEVER
        if not needs and not writes:
            return None
        return MapEffect((*sorted(needs.items()),), (*sorted(writes.items()),))

    def _micros(self, operation: Operation) -> Iterator[tuple[str, Json, Json]]:
        done = operation.argument if operation.value is None else operation.value
        if not isinstance(done, list):
            raise wrong(operation, f"value {done!r}; {_MICROS}")
        for micro in done:
            if not isinstance(micro, list) or len(micro) != 3 or micro[0] not in ("read", "write"):
                raise wrong(operation, f"{micro!r} in the value; {_MICROS}")
            f, key, value = micro
            yield ("write" if f == "write" else "read"), key, value

    def objects(self, of: Calls[MapEffect]) -> Iterator[Object[tuple[int, ...], MapEffect]]:
        for calls in _connected(of.calls):
            keys = sorted({key for call in calls for key in _keys(call.effect)})
            yield self._object(of.key, calls, {key: index for index, key in enumerate(keys)})

    def _object(
        self, key: Json, calls: Sequence[Call[MapEffect]], places: Mapping[int, int]
    ) -> Object[tuple[int, ...], MapEffect]:
        seen = {pair for call in calls for pair in call.effect.needs}
        kept: list[Call[MapEffect]] = []
        moves: list[Move[MapEffect]] = []
        for call in calls:
            needs, writes = call.effect
            found = [(k, v if (k, v) in seen else UNSEEN) for k, v in writes]
            if call.completed is None and all(v == UNSEEN for _, v in found):
                continue  # nobody looks for what it may have written
            effect = MapEffect(
                tuple((places[k], v) for k, v in needs), tuple((places[k], v) for k, v in found)
            )
            kept.append(call._replace(effect=_placed(call.effect, places)))
            moves.append(Move(effect, call.invoked, call.completed, not writes))
        names = [self._key.value(number) for number in places]
        initial = tuple(self._value(self._init.get(str(name))) for name in names)

        def show(state: tuple[int, ...]) -> Json:
            shown = zip(names, state, strict=True)
            return [[name, self._value.value(number)] for name, number in shown]

        sources = ((*call.effect, call.invoked, call.completed) for call in kept)
        doomed = _without_source(sources, dict(enumerate(initial)))
        return Object(key, kept, moves, initial, _MAP, show, doomed)


_MICROS: Final = 'expected a list of ["read" or "write", key, value]'


def _keys(effect: MapEffect) -> Iterator[int]:
    for key, _ in (*effect.needs, *effect.writes):
        yield key


def _placed(effect: MapEffect, places: Mapping[int, int]) -> MapEffect:
    needs, writes = effect
    return MapEffect(
        tuple((places[k], v) for k, v in needs), tuple((places[k], v) for k, v in writes)
    )


def _connected(calls: Sequence[Call[MapEffect]]) -> Iterator[Sequence[Call[MapEffect]]]:
    """Yield the calls in groups that share no key."""
    above: dict[int, int] = {}

    def top(key: int) -> int:
        while above.setdefault(key, key) != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    for call in calls:
        first, *others = _keys(call.effect)
        for other in others:
            above[top(other)] = top(first)
    groups: dict[int, list[Call[MapEffect]]] = {}
    for call in calls:
        groups.setdefault(top(next(_keys(call.effect))), []).append(call)
    yield from groups.values()


# --- strings -----------------------------------------------------------------------------------


_STRING: Final = Rules(strings.step, strings.sight, strings.Outlook)


class KvString(Model[str, StringEffect]):
    """`get`, `put` and `append` on strings; `null` is the initial string.

    Args:
        init: the initial string of every key.
    """

    functions = frozenset({"get", "put", "append"})

    def __init__(self, init: str) -> None:
        self._init = init

    def effect(self, operation: Operation) -> StringEffect | None:
        if operation.f == "get":
            if operation.outcome != "ok":
                return None
            found = self._init if operation.value is None else operation.value
            return "get", self._text(operation, found)
        asked = operation.value if operation.argument is None else operation.argument
        text = self._text(operation, asked)
        return ("put", text) if operation.f == "put" else ("append", text)

    @staticmethod
    def _text(operation: Operation, value: Json) -> str:
        if isinstance(value, str):
            return value
        raise wrong(operation, f"{operation.f} {value!r}; expected a string")

    def objects(self, of: Calls[StringEffect]) -> Iterator[Object[str, StringEffect]]:
        moves = [
            Move(
                call.effect,
                call.invoked,
                call.completed,
                pure=call.effect[0] == "get" or call.effect == ("append", ""),
            )
            for call in of.calls
        ]
        yield Object(of.key, of.calls, moves, self._init, _STRING, str)


def model_of(name: ModelName, init: Json) -> "Register | Mutex | MultiRegister | KvString":
    """Return a fresh model, for one history.

    Args:
        init: what each object holds at first; None for what is usual.
    """
    match name:
        case "register" | "cas-register":
            return Register(init)
        case "mutex":
            return Mutex()
        case "multi-register":
            return MultiRegister(init if isinstance(init, Mapping) else {})
        case "kv-string":
            return KvString(init if isinstance(init, str) else "")
