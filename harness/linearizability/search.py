"""The search for an order of one object's operations in which each one could have happened.

Depth first with a memory of what led nowhere. A return is dealt with when it is reached and not
before (Lowe's just-in-time order): until then an operation is placed only to make way for another
one, so whoever has many open operations has few orders to try. Five facts cut the rest:

- An operation that never changes the object is placed as soon as it fits: it could only fit less
  well later, and nobody is the worse for it.
- Of two ways to the same state with the same open operations placed, the one that used up fewer
  operations of unknown outcome can do all that the other one can.
- Operations of unknown outcome that do the same are taken in the order of their invocations.
- One of them is placed only just before another one sees what it did: if nobody does, or if the
  next one does not mind, the order without it, or with it later, is as good.
- They come last, unless one of them is just what the return needs: most never happened.

Source: Wing & Gong, "Testing and Verifying Concurrent Objects", JPDC 17 (1993); Lowe, "Testing for
linearizability", CCPE 29 (2017), on the memory and on just-in-time linearization.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from harness.linearizability.returns import (
    HIDES,
    SEES,
    Group,
    Move,
    Open,
    Rules,
    in_order,
    returns,
    unknown,
)

State = TypeVar("State")
Effect = TypeVar("Effect")

Link: TypeAlias = "tuple[Link, int] | None"
"""The moves placed so far, the last one first; those that are pure are left out."""


class Branch(NamedTuple, Generic[State]):
    """Where the search may go on.

    Attributes:
        number: so many returns are explained.
        placed: bits of the open operations that have been placed.
        used: bits of those of unknown outcome that have, and that nobody has seen yet.
        state: of the object.
        tried: whether the operation that returns next was tried first and led nowhere.
    """

    number: int
    placed: int
    used: int
    state: State
    link: Link
    tried: bool


class Search(Generic[State, Effect]):
    """One object's search; it can be interrupted and goes on where it was.

    Args:
        moves: in any order.
        initial: the object's state before all of them.
    """

    def __init__(
        self, moves: Sequence[Move[Effect]], initial: State, rules: Rules[State, Effect]
    ) -> None:
        self.moves = moves
        self.order = in_order(moves)
        self.initial = initial
        self.steps = 0
        self.remembered = 0
        self._step, self._sight = rules.step, rules.sight
        self._returns = [*returns(moves, self.order)]
        self._groups = unknown(moves, self.order)
        self._unseen = sum(one.unseen for group in self._groups for one in group.members)
        self._effects = {one.unseen: of.effect for of in self._groups for one in of.members}
        self._useful: dict[int, Sequence[Group[Effect]]] = {}
        self._chains = [*self._chained()]
        self._outlook = rules.outlook(self._returns, self._groups) if rules.outlook else None
        self._seen: list[dict[tuple[int, State], list[int]]] = [{} for _ in self._returns]
        self._stack: list[Branch[State]] = []
        self.deepest: Branch[State] = Branch(-1, 0, 0, initial, None, tried=False)
        if self._returns:
            placed = self._absorbed(self._returns[0].readers, 0, initial)
            self._stack.append(Branch(0, placed, 0, initial, None, tried=False))

    def _chained(self) -> Iterator[Sequence[int]]:
        """Yield for each group those that may show what it did, by their numbers."""
        for group in self._groups:
            yield [
                number
                for number, other in enumerate(self._groups)
                if self._sight(group.effect, other.effect) == SEES
            ]

    def run(self, steps: int) -> bool | None:
        """Search on.

        Returns:
            Whether there is an order; None when `steps` did not suffice.
        """
        if not self._returns:
            return True
        limit = self.steps + steps
        while self._stack:
            if self.steps >= limit:
                return None
            if self._descend(self._stack.pop()):
                return True
        return False

    def explained(self) -> list[int]:
        """Return the operations of the longest order found, by their indexes."""
        placing: list[int] = []
        link = self.deepest.link
        while link is not None:
            link, index = link
            placing.append(index)
        found: list[int] = []
        done: set[int] = set()
        state = self.initial
        number = 0
        while number < len(self._returns):
            here = self._returns[number]
            for _, effect, index in here.readers:
                if index not in done and self._step(state, effect) is not None:
                    done.add(index)
                    found.append(index)
            if here.which in done:
                number += 1
            elif placing:
                index = placing.pop()
                after = self._step(state, self.moves[index].effect)
                assert after is not None, "an order that was found is an order"
                state = after
                done.add(index)
                found.append(index)
            else:
                break
        return found

    def _absorbed(self, readers: "Sequence[Open[Effect]]", placed: int, state: State) -> int:
        """Return `placed` with the pure operations that fit into this state."""
        step = self._step
        for bit, effect, _ in readers:
            if not placed & bit and step(state, effect) is not None:
                placed |= bit
        return placed

    def _descend(self, branch: Branch[State]) -> bool:
        """Go down this branch as far as the returns come easily; True at the end of all."""
        if branch.tried:
            self._spread(branch)
            return False
        number, placed, used, state, link, _ = branch
        step, absorbed, outlook = self._step, self._absorbed, self._outlook
        end = len(self._returns)
        while True:
            here = self._returns[number]
            bit = here.bit
            if placed & bit:
                placed ^= bit
                number += 1
                if number == end:
                    self.deepest = Branch(number, placed, used, state, link, tried=True)
                    return True
                fresh = self._returns[number].fresh
                if fresh:
                    placed = absorbed(fresh, placed, state)
                continue
            if outlook is not None:
                reached = outlook(number, placed, used, used & self._unseen, state)
                if reached is None:
                    return False
                state = reached
            if self._known(number, placed, used, state):
                return False
            self.steps += 1
            branch = Branch(number, placed, used, state, link, True)  # noqa: FBT003 - it is hot
            if number > self.deepest.number:
                self.deepest = branch
            after = None if here.pure else step(state, here.effect)
            if after is None or (used & self._unseen and not self._all_seen(used, here.effect)):
                self._spread(branch)
                return False
            self._stack.append(branch)
            used &= ~self._unseen
            link = (link, here.which)
            state = after
            number += 1
            if number == end:
                self.deepest = Branch(number, placed, used, state, link, tried=True)
                return True
            placed = absorbed(self._returns[number].readers, placed, state)

    def _known(self, number: int, placed: int, used: int, state: State) -> bool:
        """Return whether a branch that can do all that this one can has been taken before."""
        seen = self._seen[number]
        before = seen.get((placed, state))
        if before is None:
            self.remembered += 1
            seen[placed, state] = [used]
            return False
        for other in before:
            if not other & ~used:
                return True
        self.remembered += 1
        before.append(used)
        return False

    def _spread(self, branch: Branch[State]) -> None:
        """Put on the stack what may make way for the return, the likeliest last."""
        number, placed, used, state, link, _ = branch
        here = self._returns[number]
        step = self._step
        unseen = used & self._unseen
        known = used ^ unseen
        likely: list[Branch[State]] = []
        if self._groups:
            self._spread_unknown(branch, likely)
        for bit, effect, index in here.movers:
            if placed & bit or bit == here.bit:
                continue
            self.steps += 1
            after = step(state, effect)
            if after is None or (unseen and not self._all_seen(used, effect)):
                continue
            now = self._absorbed(here.readers, placed | bit, after)
            found = Branch(number, now, known, after, (link, index), False)  # noqa: FBT003
            if now & here.bit:
                likely.append(found)
            else:
                self._stack.append(found)
        self._stack += likely

    def _spread_unknown(self, branch: Branch[State], likely: list[Branch[State]]) -> None:
        """Do the same with what may have happened; into `likely` what the return needs."""
        number, placed, used, state, link, _ = branch
        here = self._returns[number]
        for group in self._useful_at(number):
            # Of several that do the same, the one invoked first.
            one = next((member for member in group.members if not used & member.bit), None)
            if one is None or one.since > number:
                continue
            self.steps += 1
            after = self._step(state, group.effect)
            if after is None or after == state:
                continue
            left = self._still_unseen(used, group.effect)
            if left is None:
                continue
            now = self._absorbed(here.readers, placed, after)
            left |= one.bit | one.unseen
            if now != placed:
                left = self._without_seen(left, now & ~placed, here.readers)
            found = Branch(number, now, left, after, (link, one.which), False)  # noqa: FBT003
            if now & here.bit:
                likely.append(found)
            else:
                self._stack.append(found)

    def _useful_at(self, number: int) -> Sequence[Group[Effect]]:
        """Return what may have happened and might show in what is open at this return."""
        useful = self._useful.get(number)
        if useful is None:
            here = self._returns[number]
            visible = [effect for _, effect, _ in (*here.readers, *here.movers)]
            chosen = {
                index
                for index, group in enumerate(self._groups)
                if group.members[0].since <= number
                and any(self._sight(group.effect, effect) == SEES for effect in visible)
            }
            # And what may show in one of those.
            grown = bool(chosen)
            while grown:
                more = {
                    index
                    for index, shown in enumerate(self._chains)
                    if index not in chosen
                    and self._groups[index].members[0].since <= number
                    and not chosen.isdisjoint(shown)
                }
                chosen |= more
                grown = bool(more)
            useful = self._useful[number] = [self._groups[index] for index in sorted(chosen)]
        return useful

    def _each_unseen(self, used: int) -> Iterator[tuple[int, Effect]]:
        unseen = used & self._unseen
        while unseen:
            bit = unseen & -unseen
            unseen ^= bit
            yield bit, self._effects[bit]

    def _all_seen(self, used: int, effect: Effect) -> bool:
        """Return whether this operation shows all that nobody has seen yet."""
        return all(self._sight(of, effect) == SEES for _, of in self._each_unseen(used))

    def _still_unseen(self, used: int, effect: Effect) -> int | None:
        """Return `used` after one more of unknown outcome; None when it hides an earlier one."""
        for bit, of in self._each_unseen(used):
            sight = self._sight(of, effect)
            if sight == HIDES:
                return None
            if sight == SEES:
                used ^= bit
        return used

    def _without_seen(self, used: int, placed: int, readers: "Sequence[Open[Effect]]") -> int:
        """Return `used` without what these readers have seen."""
        effects = [effect for bit, effect, _ in readers if placed & bit]
        for bit, of in self._each_unseen(used):
            if any(self._sight(of, effect) == SEES for effect in effects):
                used ^= bit
        return used
