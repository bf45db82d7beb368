"""Timelines of PostgreSQL: who wrote on them, where they were left, and what of them survived.

A promotion begins a new timeline, and its `.history` file says where each of its ancestors was
left: the end of the last record that was replayed from it. The rules that `writers`, `lost_writes`
and `single-master` share.

Source: PostgreSQL 17, xlogrecovery.c and timeline.c (`writeTimeLineHistory`); docs/adr/0002.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

from harness.history import Json
from harness.units import Lsn

T = TypeVar("T")

Bounds: TypeAlias = tuple[int, int]
"""The lowest and the highest position in WAL that a commit may have; the same if it is known."""

Histories: TypeAlias = Mapping[int, Sequence[tuple[int, int]]]
"""Of each timeline, its ancestors with the position at which each was left."""


# --- positions -----------------------------------------------------------------------------------


def position(value: object) -> int:
    """Return a position in WAL.

    Raises:
        ValueError: when it is neither a number nor text like `0/3000060`.
    """
    if isinstance(value, str):
        return int(Lsn.parse(value))
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"found {value!r}; expected a log position like 0/3000060")


def bounds(lsn: Json) -> Bounds | None:
    """Return what a commit's position is between, from the `lsn` of its event; None without one.

    Raises:
        ValueError: when it is neither a position nor a pair of them that rises.
    """
    if lsn is None:
        return None
    if not isinstance(lsn, list):
        at = position(lsn)
        return at, at
    match lsn:
        case [low, high] if position(low) <= position(high):
            return position(low), position(high)
    raise ValueError(f"found {lsn!r}; expected a log position, or [at least, at most]")


def histories(told: object) -> Histories:
    """Return the histories of timelines as they are recorded: `{tli: [[parent, fork], ...]}`.

    Raises:
        ValueError: when it is no such mapping, or a parent is not older than its timeline.
    """
    if not isinstance(told, Mapping):
        raise ValueError(f"found {told!r}; {_EXPECTED}")  # noqa: TRY004 - as pydantic asks
    return {
        _tli(tli): tuple(_ancestor(one, _tli(tli)) for one in _listed(ancestors))
        for tli, ancestors in told.items()
    }


_EXPECTED = 'expected the ancestors of each timeline, as {"2": [[1, "0/3000060"]]}'


def _listed(ancestors: object) -> Sequence[object]:
    if isinstance(ancestors, list | tuple):
        return ancestors
    raise ValueError(f"found {ancestors!r}; {_EXPECTED}")


def _ancestor(told: object, tli: int) -> tuple[int, int]:
    match told:
        # A `.history` file gives the reason in a third column.
        case [parent, fork] | [parent, fork, str()] if _tli(parent) < tli:
            return _tli(parent), position(fork)
    raise ValueError(f"found {told!r} as an ancestor of {tli}; expected an older one and its fork")


def _tli(told: object) -> int:
    """Return a timeline: JSON writes the keys of a mapping as text."""
    if isinstance(told, str) and told.isascii() and told.isdigit():
        told = int(told)
    if type(told) is int and told >= 1:
        return told
    raise ValueError(f"found timeline {told!r}; expected a number from 1")


# --- what survived -------------------------------------------------------------------------------


class Fate(Enum):
    """What became of a commit."""

    KEPT = "kept"
    LOST = "lost"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Lineage:
    """One timeline, and where each of its ancestors was left.

    Attributes:
        tli: the timeline.
        forks: by ancestor, the first position that was not taken over from it.
    """

    tli: int
    forks: Mapping[int, int]

    @classmethod
    def of(cls, tli: int, histories: Histories) -> "Lineage":
        """Return the ancestry of a timeline; what its own history leaves out its parents' say."""
        forks: dict[int, int] = {}
        known = [tli]
        for one in known:
            for parent, fork in histories.get(one, ()):
                if parent not in forks:
                    forks[parent] = fork
                    known.append(parent)
        return cls(tli, forks)

    def fate(self, tli: int, at: Bounds | None) -> Fate:
        """Return what became of a commit at `at` on the timeline `tli`.

        A commit at the very position of the fork is kept: an `lsn` is read after the commit, so it
        is the end of its record, and the fork is the end of the last record that was taken over.
        A timeline that is no ancestor lost all that was written on it, unless it is older than all
        that is known.
        """
        if tli == self.tli:
            return Fate.KEPT
        fork = self.forks.get(tli)
        if fork is None:
            return Fate.LOST if min(self.forks, default=tli) < tli < self.tli else Fate.UNSURE
        if at is None or at[0] <= fork < at[1]:
            return Fate.UNSURE
        return Fate.KEPT if at[1] <= fork else Fate.LOST


# --- who wrote -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Late(Generic[T]):
    """Writes on older timelines that were sent after a newer one's acknowledgement.

    Attributes:
        newer: the acknowledgement on the newer timeline.
        first: the one sent first, at `start`. last: the one acknowledged last, at `end`.
        count: how many there are. nodes: who acknowledged them.
    """

    newer: T
    first: T
    start: int
    last: T
    end: int
    count: int
    nodes: set[str]


class Masters(Generic[T]):
    """Who acknowledged writes on which timeline, and what of it breaks the rule of one master.

    A breach is one timeline that two nodes acknowledge, or a write on an older timeline that was
    sent after a newer one's acknowledgement. Writes that overlap in time, or only touch, are none:
    either may have come first. It keeps one write a node and timeline, and two a breach.

    Attributes:
        first: by timeline and node, the first acknowledgement.
        late: by newer timeline, the writes that came too late on older ones.
    """

    def __init__(self) -> None:
        self.first: dict[int, dict[str, T]] = {}
        self.late: dict[int, Late[T]] = {}
        # Each acknowledgement on a timeline newer than all before, and its end.
        self._newest: list[tuple[int, T]] = []
        self._ends: list[int] = []

    @property
    def shared(self) -> Mapping[int, Mapping[str, T]]:
        """Return the timelines that more than one node acknowledged."""
        return {tli: by for tli, by in sorted(self.first.items()) if len(by) > 1}

    def take(self, node: str, tli: int, start: int, end: int, what: T) -> None:
        """Note an acknowledged write; they come in the order of their ends.

        Args:
            node: who acknowledged it. tli: on which timeline.
            start, end: when it was sent and acknowledged, both on one scale.
            what: stands for it in what is found.
        """
        self.first.setdefault(tli, {}).setdefault(node, what)
        # Strictly before: intervals that touch are concurrent and prove nothing.
        before = bisect_left(self._ends, start)
        if before and self._newest[before - 1][0] > tli:
            self._take_late(before - 1, Late(what, what, start, what, end, 1, {node}))
        if not self._newest or self._newest[-1][0] < tli:
            self._newest.append((tli, what))
            self._ends.append(end)

    def _take_late(self, by: int, found: Late[T]) -> None:
        newer, found.newer = self._newest[by]
        known = self.late.setdefault(newer, found)
        if known is found:
            return
        known.count += 1
        known.nodes |= found.nodes
        if found.start < known.start:
            known.first, known.start = found.first, found.start
        if found.end > known.end:
            known.last, known.end = found.last, found.end
