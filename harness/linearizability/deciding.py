"""Which objects of a history are linearizable, within a limit of time and memory."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from harness.answer import UNKNOWN, Valid
from harness.history import Json
from harness.linearizability.breach import Breach, breach_of
from harness.linearizability.models import Object
from harness.linearizability.search import Search

State = TypeVar("State", bound=Hashable)
Effect = TypeVar("Effect", bound=Hashable)

_FIRST_ROUND: Final = 2_000  # steps; most objects need fewer
_GROWTH: Final = 4
_SLICE: Final = 20_000  # steps between two looks at the clock: some 20 ms
# Some 300 bytes each.
_REMEMBERED: Final = 6_000_000


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
            return Decision(valid=False, breach=breach_of(object_, object_.search()))
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
                return Decision(valid=False, breach=breach_of(object_, search))
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
