"""The real-time order of one object's operations, as the search goes through it: by returns."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

State = TypeVar("State")
Effect = TypeVar("Effect")


class Move(NamedTuple, Generic[Effect]):
    """What one operation does to its object, and when it can have done so.

    Attributes:
        invoked, completed: positions in real-time order; `completed` is None where the outcome is
            unknown.
        pure: it never changes the state.
    """

    effect: Effect
    invoked: int
    completed: int | None
    pure: bool


Open: TypeAlias = "tuple[int, Effect, int]"
"""An open operation: its bit among those open with it, its effect, its index."""


class Return(NamedTuple, Generic[Effect]):
    """One return, and what was open when it came.

    Attributes:
        bit, effect, which: of the operation that returns; `which` is its index.
        pure: whether it is pure.
        fresh, begun: operations invoked since the return before: pure ones, and all others.
        readers: all open pure operations.
        movers: all other open operations. The one that returns is among these or those.
    """

    bit: int
    effect: Effect
    which: int
    pure: bool
    fresh: "Sequence[Open[Effect]]"
    begun: "Sequence[Open[Effect]]"
    readers: "Sequence[Open[Effect]]"
    movers: "Sequence[Open[Effect]]"


class Member(NamedTuple):
    """One operation of unknown outcome.

    Attributes:
        bit: set once it is placed.
        unseen: set while nobody has seen what it did.
        since: the number of the first return that it can come before.
        which: its index.
    """

    bit: int
    unseen: int
    since: int
    which: int


class Group(NamedTuple, Generic[Effect]):
    """Operations of unknown outcome that do the same, in the order of their invocations."""

    effect: Effect
    members: Sequence[Member]


Sight: TypeAlias = Literal[0, 1, 2]
HIDES: Final = 0  # the later one makes the earlier one in vain
PASSES: Final = 1  # it does not matter which one comes first
SEES: Final = 2  # it may fit, or do what it does, because of the earlier one


class Outlook(Protocol[State]):
    """What is known of the returns to come."""

    def __call__(
        self, number: int, placed: int, used: int, unseen: int, state: State, /
    ) -> State | None:
        """Return the state as far as it still matters; None when it leads nowhere.

        Args:
            number: of the return to come.
            placed: bits of the open operations that have been placed.
            used, unseen: bits of those of unknown outcome.
        """
        ...


class Rules(NamedTuple, Generic[State, Effect]):
    """How an object behaves.

    Attributes:
        step: what an operation makes of a state; None where it cannot have happened in it.
        sight: what the second of two operations in a row shows of the first.
        outlook: made of the returns and of what may have happened; says which states to follow.
    """

    step: Callable[[State, Effect], State | None]
    sight: Callable[[Effect, Effect], Sight]
    outlook: (
        Callable[[Sequence[Return[Effect]], Sequence[Group[Effect]]], Outlook[State]] | None
    ) = None


def in_order(moves: Sequence[Move[Effect]]) -> Sequence[int]:
    """Return the operations that return, by their indexes, in the order of their returns."""
    known = (index for index, move in enumerate(moves) if move.completed is not None)
    return sorted(known, key=lambda index: moves[index].completed or 0)


def returns(moves: Sequence[Move[Effect]], order: Sequence[int]) -> Iterator[Return[Effect]]:
    """Yield the returns in their order."""
    waiting = sorted(order, key=lambda index: moves[index].invoked, reverse=True)
    slots: list[int] = []  # bits of returned operations, for new ones: few bits compare fast
    width = 0
    readers: dict[int, Open[Effect]] = {}
    movers: dict[int, Open[Effect]] = {}
    reading: Sequence[Open[Effect]] = ()
    moving: Sequence[Open[Effect]] = ()
    for returning in order:
        completed = moves[returning].completed
        assert completed is not None
        fresh: list[Open[Effect]] = []
        begun: list[Open[Effect]] = []
        while waiting and moves[waiting[-1]].invoked < completed:
            index = waiting.pop()
            if not slots:
                slots.append(1 << width)
                width += 1
            move = moves[index]
            entry = (slots.pop(), move.effect, index)
            if move.pure:
                readers[index] = entry
                fresh.append(entry)
            else:
                movers[index] = entry
                begun.append(entry)
        pure = returning in readers
        # Most returns share a list with the one before.
        if len(reading) != len(readers) or fresh:
            reading = [*readers.values()]
        if len(moving) != len(movers) or begun:
            moving = [*movers.values()]
        own = (readers if pure else movers).pop(returning)
        yield Return(*own, pure, fresh, begun, reading, moving)
        slots.append(own[0])


def unknown(moves: Sequence[Move[Effect]], order: Sequence[int]) -> Sequence[Group[Effect]]:
    """Return the operations of unknown outcome, by what they do."""
    found = (index for index, move in enumerate(moves) if move.completed is None and not move.pure)
    members: dict[Effect, list[Member]] = {}
    since = 0
    for number, index in enumerate(sorted(found, key=lambda index: moves[index].invoked)):
        while since < len(order) and (moves[order[since]].completed or 0) < moves[index].invoked:
            since += 1
        one = Member(2 << 2 * number, 1 << 2 * number, since, index)
        members.setdefault(moves[index].effect, []).append(one)
    return [Group(effect, of) for effect, of in members.items()]
