"""What the reads to come say about registers.

Whoever reads a register next must find its value there: it is there already, or somebody who
writes it is open, or begins before that read returns. Otherwise what was placed so far leads
nowhere, and there is no need to find that out by going there. And a value that nobody looks for
from here on is as good as any other one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from harness.linearizability.returns import Group, Return

State = TypeVar("State")
Effect = TypeVar("Effect", bound=Hashable)

Pairs: TypeAlias = tuple[tuple[int, int], ...]
"""Registers with values, both by their numbers."""

UNSEEN: Final = -2  # stands for all values that nobody looks for


class Parts(NamedTuple):
    """An effect, taken apart.

    Attributes:
        needs: what it must find.
        minds: other values that it looks for: it must not find them.
        writes: what it leaves.
    """

    needs: Pairs
    minds: Pairs
    writes: Pairs


class Reader(NamedTuple):
    """An operation that must find a value in a register.

    Attributes:
        begun: the number of the first return that it is open at.
        bit: among the open ones.
    """

    need: int
    begun: int
    bit: int


class Lookahead(Generic[State, Effect]):
    """Says of a state on the way whether it can lead to what is read next.

    Args:
        parts: of an effect.
        values: of a state: each register's.
        state: of such values.
    """

    def __init__(
        self,
        returns: Sequence[Return[Effect]],
        groups: Sequence[Group[Effect]],
        parts: Callable[[Effect], Parts],
        values: Callable[[State], Sequence[int]],
        state: Callable[[list[int]], State],
    ) -> None:
        self._returns = returns
        self._parts = parts = cache(parts)
        self._values, self._state = values, state
        self._at: dict[int, list[int]] = {}  # by register: where its readers return ...
        self._readers: dict[int, list[Reader]] = {}  # ... and they themselves
        self._begun: dict[tuple[int, int], list[int]] = {}  # where the writers of a pair begin
        self._last: dict[tuple[int, int], int] = {}  # where somebody looks for a pair at last
        self._unknown: dict[tuple[int, int], list[tuple[int, int]]] = {}
        begun: dict[int, int] = {}
        for number, here in enumerate(returns):
            for _, effect, which in (*here.fresh, *here.begun):
                begun[which] = number
                for pair in parts(effect).writes:
                    self._begun.setdefault(pair, []).append(number)
            needs, minds, _ = parts(here.effect)
            self._last.update((pair, number) for pair in (*needs, *minds))
            for register, need in needs:
                self._at.setdefault(register, []).append(number)
                reader = Reader(need, begun[here.which], here.bit)
                self._readers.setdefault(register, []).append(reader)
        for group in groups:
            needs, minds, writes = parts(group.effect)
            self._last.update((pair, len(returns)) for pair in (*needs, *minds))
            for pair in writes:
                found = ((member.since, member.bit) for member in group.members)
                self._unknown.setdefault(pair, []).extend(found)

    def __call__(
        self, number: int, placed: int, used: int, _unseen: int, state: State
    ) -> State | None:
        """Return the state as far as it still matters; None when it leads nowhere."""
        values = self._values(state)
        unseen: list[int] = []
        for register, value in enumerate(values):
            following = self._next(register, number, placed)
            if following is not None and following[1] != value:
                position, need = following
                if not self._source((register, need), number, position, placed, used):
                    return None
            if value != UNSEEN and self._last.get((register, value), -1) < number:
                unseen.append(register)
        if not unseen:
            return state
        changed = [*values]
        for register in unseen:
            changed[register] = UNSEEN
        return self._state(changed)

    def _next(self, register: int, number: int, placed: int) -> tuple[int, int] | None:
        """Return where the next reader without a place returns, and what it needs."""
        at = self._at.get(register, ())
        for index in range(bisect_left(at, number), len(at)):
            need, begun, bit = self._readers[register][index]
            if begun > number or not placed & bit:
                return at[index], need
        return None

    def _source(
        self, pair: tuple[int, int], number: int, position: int, placed: int, used: int
    ) -> bool:
        """Return whether somebody may still write this before the return at `position`."""
        begun = self._begun.get(pair, ())
        if bisect_right(begun, number) < bisect_right(begun, position):
            return True
        for bit, effect, _ in self._returns[number].movers:
            if not placed & bit and pair in self._parts(effect).writes:
                return True
        unknown = self._unknown.get(pair, ())
        return any(since <= position and not used & bit for since, bit in unknown)
