"""Which objects of a history are linearizable, within a limit of time and memory."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from harness.answer import UNKNOWN, Valid
from harness.history import Json
from harness.linearizability.models import Object
from harness.linearizability.search import Search

State = TypeVar("State", bound=Hashable)
Effect = TypeVar("Effect", bound=Hashable)

_FIRST_ROUND: Final = 2_000  # steps; most objects need fewer
_GROWTH: Final = 4
_SLICE: Final = 20_000  # steps between two looks at the clock: some 20 ms
# Some 300 bytes each.
_REMEMBERED: Final = 6_000_000
# To find the shortest prefix that has no order, where it is known that the whole has none.
_POST_MORTEM: Final = 200_000


@dataclass(frozen=True, slots=True)
class Breach(Generic[State, Effect]):
    """An object that is not linearizable.

    Attributes:
        search: how far it came.
        blocked: the operation that fits nowhere, by its index among the object's calls.
        shortest: whether everything before its return has an order.
    """

    object: Object[State, Effect]
    search: Search[State, Effect]
    blocked: int
    shortest: bool


@dataclass(frozen=True, slots=True)
class Decision(Generic[State, Effect]):
    """What became of a history's objects.

    Attributes:
        valid: false as soon as one object is not linearizable; the others may not be decided then.
        undecided: keys of the objects that time or memory did not suffice for.
        reason: why they are undecided.
    """

    valid: Valid
    breach: Breach[State, Effect] | None = None
    undecided: tuple[Json, ...] = ()
    reason: str = ""


def decide(
    objects: Iterable[Object[State, Effect]],
    is_late: Callable[[], bool],
    *,
    remembered: int = _REMEMBERED,
) -> Decision[State, Effect]:
    """Search the objects in turn, each for longer in every round.

    One hard object must not keep an easy one from showing that the history is broken: a turn is
    short at first.

    Args:
        is_late: whether to give up.
        remembered: how many configurations all searches together may keep in memory.
    """
    waiting: deque[tuple[Object[State, Effect], Search[State, Effect] | None]] = deque()
    for object_ in objects:
        if object_.doomed is not None:
            return Decision(valid=False, breach=_doomed(object_, object_.doomed, is_late))
        waiting.append((object_, None))
    turn = _FIRST_ROUND
    while waiting:
        for _ in range(len(waiting)):
            object_, search = waiting.popleft()
            if search is None:
                search = object_.search()
            room = remembered - sum(s.remembered for _, s in waiting if s is not None)
            found = _turn(search, turn, is_late, room)
            if found is False:
                breach = Breach(object_, search, search.blocked, shortest=True)
                return Decision(valid=False, breach=breach)
            if found is None:
                waiting.append((object_, search))
            late = is_late()
            if waiting and (late or search.remembered > room):
                reason = "the time limit" if late else f"{remembered:,} configurations"
                return Decision(UNKNOWN, None, tuple(o.key for o, _ in waiting), reason)
        turn *= _GROWTH
    return Decision(valid=True)


def _turn(
    search: Search[State, Effect], steps: int, is_late: Callable[[], bool], room: int
) -> bool | None:
    """Search for so many steps, or until it is late or the memory is used up."""
    while steps > 0:
        found = search.run(min(steps, _SLICE))
        if found is not None:
            return found
        steps -= _SLICE
        if is_late() or search.remembered > room:
            return None
    return None


def _doomed(
    object_: Object[State, Effect], doomed: int, is_late: Callable[[], bool]
) -> Breach[State, Effect]:
    """Return the breach of an object with a call that fits nowhere.

    Something before that call may be wrong already: then it is the better example.
    """
    search = object_.search()
    found = _turn(search, _POST_MORTEM, is_late, _POST_MORTEM)
    assert found is not True, "a call that fits nowhere was placed"
    shortest = found is False
    return Breach(object_, search, search.blocked if shortest else doomed, shortest)
