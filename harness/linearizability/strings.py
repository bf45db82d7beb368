"""What the reads to come say about a string that is written and appended to.

Appends in a wrong order make a string that nobody will ever read, and there are very many wrong
orders. They need not be told apart: all that counts is whether a `put` can still hide the mess.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from harness.linearizability.returns import HIDES, SEES, Group, Return, Sight

StringEffect: TypeAlias = tuple[Literal["get", "put", "append"], str]

# Stands for all strings that no `get` to come begins with. No JSON text holds a lone surrogate.
JUNK: Final = "\udfff"


def step(state: str, effect: StringEffect) -> str | None:
    """Return the string after an operation; None where it does not fit."""
    f, text = effect
    if f == "get":
        return state if state == text else None
    return text if f == "put" else state + text


def sight(earlier: StringEffect, later: StringEffect) -> Sight:  # noqa: ARG001 - of no matter
    """Return what the second of two operations shows of the first."""
    return HIDES if later[0] == "put" else SEES


class Outlook:
    """Says of a state on the way whether it can lead to what is read next.

    Until the next `get` that is not placed yet has its place, only `put`s that are open or begin
    before it returns can replace the string. Without any, the string must be a beginning of what
    that `get` reads.
    """

    def __init__(
        self, returns: Sequence[Return[StringEffect]], groups: Sequence[Group[StringEffect]]
    ) -> None:
        self._returns = returns
        end = len(returns)
        opened: dict[int, int] = {}
        self._puts: list[int] = []  # bits of those that are open
        self._begun: list[int] = []  # how many have begun so far
        begun = 0
        for number, here in enumerate(returns):
            opened.update((which, number) for _, _, which in here.fresh)
            begun += sum(effect[0] == "put" for _, effect, _ in here.begun)
            puts = (bit for bit, effect, _ in here.movers if effect[0] == "put")
            self._puts.append(sum(puts))
            self._begun.append(begun)
        self._next = [end] * (end + 1)  # the first number from here on where a `get` returns
        self._opened = [0] * end  # of a number where a `get` returns: where that began
        last: dict[str, int] = {}
        for number in reversed(range(end)):
            (f, text), index = returns[number].effect, returns[number].which
            self._next[number] = number if f == "get" else self._next[number + 1]
            if f == "get":
                self._opened[number] = opened[index]
                last.setdefault(text, number)
        self._texts = sorted(last)
        self._last = [last[text] for text in self._texts]
        self._uses: dict[str, int] = {JUNK: -1}
        self._unknown = [
            (since, bit)
            for group in groups
            if group.effect[0] == "put"
            for bit, _, since, _ in group.members
        ]

    def __call__(self, number: int, placed: int, used: int, unseen: int, state: str) -> str | None:
        following = self._next[number]
        end = len(self._returns)
        while (
            following < end
            and self._opened[following] <= number
            and placed & self._returns[following].bit
        ):
            following = self._next[following + 1]
        if following == end:
            return JUNK
        if self._returns[following].effect[1].startswith(state):
            return state
        if not self._replaceable(number, following, placed, used):
            return None
        if self._use(state) >= number:
            return state
        # What may not have happened need not have made a mess.
        return None if unseen else JUNK

    def _replaceable(self, number: int, following: int, placed: int, used: int) -> bool:
        if self._puts[number] & ~placed or self._begun[following] > self._begun[number]:
            return True
        return any(since <= following and not used & bit for since, bit in self._unknown)

    def _use(self, state: str) -> int:
        """Return the last number where a `get` returns a string that begins with this one."""
        known = self._uses.get(state)
        if known is None:
            known = -1
            for number in range(bisect_left(self._texts, state), len(self._texts)):
                if not self._texts[number].startswith(state):
                    break
                known = max(known, self._last[number])
            self._uses[state] = known
        return known
