"""Orders of a register's versions that an order of transactions implies, key by key.

Registers hide their past: that x was 1 and then 2 is only known under an assumption. If every
key by itself respects the order of sessions ("sequential") or of real time ("linearizable"),
then what a transaction last knew of a key comes before what a later one first saw of it.

Versions are numbers, of which no two keys share one. A dependency between versions is a pair
(earlier, later).

Source: Kingsbury & Alvaro, "Elle" (PVLDB 2020), section 5.2; the elle library, rw_register.clj,
`transaction-graph->version-graphs`, whose pairs (and no others) are to be implied by ours.
"""

from bisect import bisect_left
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from harness.isolation.inference import NEVER, Int32s, Int64s

Pairs: TypeAlias = tuple[Int32s, Int32s]
"""Two columns of equal length: the earlier versions and the later ones."""


@dataclass(frozen=True)
class Touches:
    """Which transaction knew what of which key; one row for a transaction and a key.

    Rows are in the order of their transactions.

    Attributes:
        transaction, key: who, and of what.
        first: the version that it read before writing the key; the one it wrote last, if none.
        last: the version that it wrote last; the one it read first, if none.
    """

    transaction: Int32s
    key: Int32s
    first: Int32s
    last: Int32s


def sequential(touches: Touches, process: Int32s, completed: Int64s) -> Pairs:
    """Return the pairs that the order of sessions implies.

    Only acknowledged transactions have a place in their session, as in Elle.
    """
    known = completed[touches.transaction] != NEVER
    who, key = touches.transaction[known], touches.key[known]
    first, last = touches.first[known], touches.last[known]
    order = np.lexsort((completed[who], key, process[who]))
    who, key, first, last = who[order], key[order], first[order], last[order]
    follows = (process[who[:-1]] == process[who[1:]]) & (key[:-1] == key[1:])
    follows &= last[:-1] != first[1:]
    return last[:-1][follows], first[1:][follows]


def linearizable(
    touches: Touches, invoked: Int64s, completed: Int64s, written: Sequence[bool]
) -> Pairs:
    """Return pairs that the order of real time implies: those of Elle, without implied ones.

    Elle walks from each transaction along the *covering* order of real time (`a` before `b` and
    no acknowledged transaction wholly between them), through transactions that did not touch the
    key, and stops at the first that did. All of those pairs are quadratically many. A pair v1, v3
    is left out here when v1, v2 and v2, v3 are pairs and a known transaction wrote v2: then the
    dependencies between transactions that it would give are implied too, and of the same kinds.

    Near-linear: about transactions x concurrency x keys of a transaction, as long as versions of
    unknown writers are few.

    Args:
        touches: of all transactions that may have happened.
        invoked, completed: of each transaction, positions in real-time order.
        written: of each version, whether an acknowledged transaction wrote it.
    """
    sweep = _Sweep(touches, invoked, completed, written)
    moments = np.concatenate((invoked, completed[completed != NEVER]))
    # An even number is an invocation, an odd one a completion.
    what = np.concatenate((np.arange(len(invoked)) * 2, np.flatnonzero(completed != NEVER) * 2 + 1))
    for event in what[np.argsort(moments)].tolist():
        if event & 1:
            sweep.complete(event >> 1)
        else:
            sweep.invoke(event >> 1)
    pairs = [(early, late) for late, before in sweep.before.items() for early in before]
    columns = np.array(pairs, np.int32).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


_Versions: TypeAlias = frozenset[int]
_NONE: Final[_Versions] = frozenset()


class _Past:
    """Of one key: which versions a transaction that begins now comes after, and since when.

    The versions are those of the last transactions that touched the key on each path through the
    covering order; of them, those that another one of them implies are left out.
    """

    __slots__ = ("now", "since", "versions")

    def __init__(self) -> None:
        self.since: list[int] = []
        self.versions: list[_Versions] = []
        self.now = _NONE

    def at(self, moment: int) -> _Versions:
        """Return what held just before a moment."""
        if not self.since or self.since[-1] < moment:
            return self.now
        place = bisect_left(self.since, moment)
        return self.versions[place - 1] if place else _NONE

    def change(self, moment: int, versions: _Versions) -> None:
        if versions != self.now:
            self.since.append(moment)
            self.versions.append(versions)
            self.now = versions


class _Sweep:
    """Goes through invocations and completions once, in real-time order.

    The frontier is the acknowledged transactions that a new one would cover. When one, q, joins
    it, those that ended before q began leave: q covers them. So a key's past changes only when

    - a transaction that touched the key ends: then it is what q left, and what those bring along
      that stay in the frontier, that is, that ended while q ran;
    - a transaction ends that did not touch it, but ran while one that did ended: it brings along
      what was the past when it began, which may have been dropped since. (Any other brings what
      is known already.)

    Attributes:
        before: of a version, those that are directly before it.
    """

    def __init__(
        self, touches: Touches, invoked: Int64s, completed: Int64s, written: Sequence[bool]
    ) -> None:
        bounds = np.searchsorted(touches.transaction, np.arange(len(invoked) + 1))
        self._bounds: list[int] = bounds.tolist()
        self._key: list[int] = touches.key.tolist()
        self._first: list[int] = touches.first.tolist()
        self._last: list[int] = touches.last.tolist()
        self._invoked: list[int] = invoked.tolist()
        self._completed: list[int] = completed.tolist()
        self._written = written
        # With what each left of the keys that it touched.
        self._frontier: deque[tuple[int, dict[int, int]]] = deque()
        self._pasts: defaultdict[int, _Past] = defaultdict(_Past)
        # When a key was last touched by a transaction that ended; the latest is at the end.
        self._touched: OrderedDict[int, int] = OrderedDict()
        self.before: dict[int, set[int]] = {}

    def invoke(self, number: int) -> None:
        """Relate what the past of each key holds to what this transaction first saw of it."""
        for row in range(self._bounds[number], self._bounds[number + 1]):
            past = self._pasts[self._key[row]]
            held, first = past.now, self._first[row]
            if not held:
                continue
            before = self.before.setdefault(first, set())
            before |= held
            if first in held:
                before.discard(first)
                if self._written[first]:  # all others are before it now
                    past.change(self._invoked[number], frozenset((first,)))

    def complete(self, number: int) -> None:
        """Let a transaction join the frontier, and tell what each key's past is from now on."""
        began, ends = self._invoked[number], self._completed[number]
        frontier = self._frontier
        while frontier and self._completed[frontier[0][0]] < began:
            frontier.popleft()
        rows = range(self._bounds[number], self._bounds[number + 1])
        mine = {self._key[row]: self._last[row] for row in rows}
        for key, moment in reversed(self._touched.items()):
            if moment < began:
                break
            if key not in mine:
                self._bring_along(self._pasts[key], began, ends)
        for key, last in mine.items():
            past = self._pasts[key]
            brought = {last}
            for other, left in frontier:
                if key in left:
                    brought.add(left[key])
                else:
                    brought |= past.at(self._invoked[other])
            past.change(ends, self._without_implied(brought))
            self._touched[key] = ends
            self._touched.move_to_end(key)
        frontier.append((number, mine))

    def _bring_along(self, past: _Past, began: int, ends: int) -> None:
        then = past.at(began)
        if not then <= past.now:
            past.change(ends, self._without_implied({*then, *past.now}))

    def _without_implied(self, versions: set[int]) -> _Versions:
        """Return the versions without those that are before another one of known writer."""
        if len(versions) > 1:
            # One at a time: of two that are before each other, which is an error, one stays.
            for version in tuple(versions):
                if version in versions and self._written[version]:
                    versions -= self.before.get(version, _NONE)
        return frozenset(versions)
