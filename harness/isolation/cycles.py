"""Cycles of dependencies: which classes of them exist, for certain, and a short one of each.

What decides about a model is whether any cycle of a class exists; that is told exactly, in linear
time, by strongly connected components of four graphs (`Family`), each with and without the orders
of processes and of real time (`Order`). What people read is one short cycle with a name. Its
search is bounded: in a large component another cycle than the worst may be shown, and no model's
verdict hangs on it.

A name is that of the worst cycle found in its component: what it implies (a G0 also breaks what a
G1c breaks) is not searched for in the same component. `-process` and `-realtime` are named where
no cycle without such edges was found.

Source: Adya (1999), definitions 5 and 6 (G0, G1c, G2) and 4.4.2 (G-single); Cerone & Gotsman,
"Analysing Snapshot Isolation" (JACM 2018), theorem 4.1: snapshot isolation holds if and only if
every cycle has two adjacent anti-dependencies; Kingsbury & Alvaro, "Elle" (PVLDB 2020), section 6.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice, pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from harness.isolation.graph import (
    Edges,
    Flags,
    Graph,
    Positions,
    alternating,
    graph,
    joined,
    knots,
    matrix_of,
)
from harness.isolation.inference import Inference, Int32s, Int64s, Kind


class Order(IntEnum):
    """Which orders a cycle may use beside the dependencies."""

    DATA = 0
    PROCESS = 1
    REALTIME = 2


class Family(IntEnum):
    """Cycles that have in common what they may be made of; each family includes those before it.

    Attributes:
        WRITES: WW only.
        READS: WW and WR.
        APART: also RW, but never two in a row.
        ANY: all.
    """

    WRITES = 0
    READS = 1
    APART = 2
    ANY = 3


class Step(NamedTuple):
    """One edge of a cycle: from a transaction to that of the next step."""

    transaction: int
    kind: Kind


Walk: TypeAlias = Sequence[Step]


@dataclass(frozen=True)
class Cycle:
    """A cycle that was found; its last step leads to the first one's transaction."""

    name: str
    steps: Walk


@dataclass(frozen=True)
class Findings:
    """What is known of the cycles of a history.

    Attributes:
        exist: every family of cycles that there are, with the least order that it takes. It is
            exact: what is not listed does not exist.
        cycles: short ones, at most `_SHOWN` of a name.
        empty: nothing orders any two transactions, so that no cycle could have shown.
    """

    exist: frozenset[tuple[Family, Order]] = frozenset()
    cycles: Sequence[Cycle] = ()
    empty: bool = False


_SHOWN: Final = 3  # cycles of one name
_KNOTS: Final = 40  # the smallest components of each family that are searched
_WORK: Final = 2_000_000  # states times starts of one shortest-path search
_TRIED: Final = 16  # shortest walks that are looked at until one is a simple cycle
_NOTHING: Final = 1e-9  # the weight of what is no step: from moment to moment

SUFFIX: Final[Mapping[Order, str]] = {
    Order.DATA: "",
    Order.PROCESS: "-process",
    Order.REALTIME: "-realtime",
}


def search(inference: Inference) -> Findings:
    """Return which cycles a history has."""
    whole = graph(inference)
    everything = joined(whole.data, whole.realtime)  # real time includes the order of processes
    real = np.arange(whole.size) < whole.transactions
    label = knots(whole.size, real, everything)
    if (label < 0).all():
        return Findings(empty=not _ordered(whole))
    tangle = _tangle(whole, label)
    labels = dict(_families(tangle))
    return Findings(frozenset(_least(labels)), _cycles(tangle, labels, inference))


def _ordered(whole: Graph) -> bool:
    """Return whether anything orders two transactions."""
    into = whole.realtime.target < whole.transactions
    return bool(len(whole.data) or into.any())


# --- which families exist ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Tangle:
    """The part of a graph where cycles may run.

    Attributes:
        original: of each vertex, its number in the whole graph; shape (v,).
        real, hub: which vertices are transactions and hubs; shape (v,).
        label: the component of each vertex, with all orders; shape (v,).
        data: one edge of two transactions, of the strongest kind, and those of hubs.
        process, realtime: the orders.
    """

    original: Positions
    real: Flags
    hub: Flags
    label: Int32s
    data: Edges
    process: Edges
    realtime: Edges

    @property
    def size(self) -> int:
        return len(self.original)

    def edges(self, order: Order) -> Edges:
        """Return the dependencies together with one order."""
        if order is Order.DATA:
            return self.data
        return joined(self.data, self.process if order is Order.PROCESS else self.realtime)

    def components(self, edges: Edges) -> Int32s:
        return knots(self.size, self.real, edges)

    def states(self, edges: Edges) -> Edges:
        """Return the edges of walks without adjacent RW: see `alternating`."""
        return alternating(self.size, self.hub, edges)

    def state_components(self, edges: Edges) -> Int32s:
        """Return the components of states of walks without adjacent RW; shape (2 v,)."""
        return knots(2 * self.size, np.tile(self.real, 2), self.states(edges))


def _tangle(whole: Graph, label: Int32s) -> _Tangle:
    """Return what is inside the components."""
    original = np.flatnonzero(label >= 0)
    number = np.zeros(whole.size, np.int32)
    number[original] = np.arange(len(original))

    def inner(edges: Edges) -> Edges:
        kept = edges.within(label)
        return Edges(number[kept.source], number[kept.target], kept.kind)

    real = original < whole.transactions
    moments = np.zeros(whole.size, np.bool_)
    moments[whole.realtime.source[whole.realtime.source >= whole.transactions]] = True
    moments[whole.realtime.target[whole.realtime.target >= whole.transactions]] = True
    return _Tangle(
        original, real, ~real & ~moments[original], label[original],
        _strongest(inner(whole.data), len(original)), inner(whole.process), inner(whole.realtime),
    )  # fmt: skip


def _strongest(edges: Edges, size: int) -> Edges:
    """Return one edge of each pair of vertices, of the lowest kind."""
    pair = edges.source.astype(np.int64) * size + edges.target
    order = np.lexsort((edges.kind, pair))
    first = np.ones(len(order), np.bool_)
    first[1:] = pair[order[1:]] != pair[order[:-1]]
    return edges.where(order[first])


def _families(tangle: _Tangle) -> Iterator[tuple[tuple[Family, Order], Int32s]]:
    """Yield each family of cycles that exists, with the components in which they run.

    Components of `Family.APART` are those of states: see `alternating`.
    """
    for order in Order:
        edges = tangle.edges(order)
        label = tangle.components(edges)
        if (label < 0).all():
            continue
        yield (Family.ANY, order), label
        edges = edges.within(label)
        states = tangle.state_components(edges)
        if (states >= 0).any():
            yield (Family.APART, order), states
        for family, kinds in ((Family.READS, (Kind.RW,)), (Family.WRITES, (Kind.RW, Kind.WR))):
            edges = edges.where(~np.isin(edges.kind, kinds))
            label = tangle.components(edges)
            if (label < 0).all():
                break
            yield (family, order), label
            edges = edges.within(label)


def _least(found: Iterable[tuple[Family, Order]]) -> Iterator[tuple[Family, Order]]:
    least: dict[Family, Order] = {}
    for family, order in found:
        least[family] = min(order, least.get(family, order))
    yield from least.items()


# --- short cycles with names -------------------------------------------------------------------


def name_of(steps: Walk) -> str:
    """Return the name of a simple cycle."""
    kinds = [step.kind for step in steps]
    rw = kinds.count(Kind.RW)
    if rw == 1:
        name = "G-single-item"
    elif rw:
        adjacent = any(
            a is b is Kind.RW for a, b in zip(kinds, [*kinds[1:], kinds[0]], strict=True)
        )
        name = "G2-item" if adjacent else "G-nonadjacent-item"
    else:
        name = "G1c" if Kind.WR in kinds else "G0"
    if Kind.REALTIME in kinds:
        return name + SUFFIX[Order.REALTIME]
    return name + SUFFIX[Order.PROCESS if Kind.PROCESS in kinds else Order.DATA]


def _cycles(
    tangle: _Tangle, labels: Mapping[tuple[Family, Order], Int32s], inference: Inference
) -> Sequence[Cycle]:
    """Return short cycles from the smallest components of each family."""
    found: dict[str, list[Cycle]] = {}
    for part in _parts(tangle, _chosen(tangle, labels)):
        for cycle in _Part(part, inference).cycles():
            of = found.setdefault(cycle.name, [])
            of.append(cycle)
    shown = [sorted(of, key=lambda cycle: len(cycle.steps))[:_SHOWN] for of in found.values()]
    return [cycle for of in shown for cycle in of]


def _chosen(tangle: _Tangle, labels: Mapping[tuple[Family, Order], Int32s]) -> Sequence[int]:
    """Return the components of the tangle to be searched: of each family the smallest few."""
    chosen: set[int] = set()
    for label in labels.values():
        inside = np.flatnonzero(label >= 0)
        _, first, size = np.unique(label[inside], return_index=True, return_counts=True)
        smallest = np.argsort(size, kind="stable")[:_KNOTS]
        chosen.update(map(int, tangle.label[inside[first[smallest]] % tangle.size]))
    return sorted(chosen)


def _parts(tangle: _Tangle, chosen: Sequence[int]) -> Iterator[_Tangle]:
    """Yield components of a tangle, each as a tangle of its own."""
    order = np.argsort(tangle.label, kind="stable")
    ordered = tangle.label[order]
    number = np.empty(tangle.size, np.int32)
    sorted_edges = [
        edges.where(np.argsort(tangle.label[edges.source], kind="stable"))
        for edges in (tangle.data, tangle.process, tangle.realtime)
    ]
    edge_labels = [tangle.label[edges.source] for edges in sorted_edges]
    for one in chosen:
        members = order[slice(*np.searchsorted(ordered, [one, one + 1]))]
        number[members] = np.arange(len(members))
        data, process, realtime = (
            _renumbered(edges, np.searchsorted(of, [one, one + 1]), number)
            for edges, of in zip(sorted_edges, edge_labels, strict=True)
        )
        yield _Tangle(
            tangle.original[members], tangle.real[members], tangle.hub[members],
            tangle.label[members], data, process, realtime,
        )  # fmt: skip


def _renumbered(edges: Edges, part: Positions, number: Int32s) -> Edges:
    begin, end = part
    return Edges(
        number[edges.source[begin:end]], number[edges.target[begin:end]], edges.kind[begin:end]
    )


@dataclass(frozen=True)
class _Closing:
    """Edges that may close a walk to a cycle: from the walk's end to its start; shape (c,)."""

    end: Int32s
    start: Int32s
    kind: Kind

    def some(self, mask: Flags | Positions) -> "_Closing":
        return _Closing(self.end[mask], self.start[mask], self.kind)


@dataclass
class _Part:
    """One component and the search for its cycles."""

    tangle: _Tangle
    inference: Inference
    _named: dict[str, Cycle] = field(default_factory=dict)

    def cycles(self) -> Sequence[Cycle]:
        """Return a short cycle of each name that no other one found here implies."""
        for order in Order:
            edges = self.tangle.edges(order)
            edges = edges.within(self.tangle.components(edges))
            if len(edges):
                self._without_rw(order, edges)
                self._with_rw(order, edges)
        return list(self._named.values())

    def _known(self, order: Order, *names: str) -> bool:
        """Return whether a cycle of one of these names was found, with this order or less."""
        return any(
            name + SUFFIX[less] in self._named for name in names for less in Order if less <= order
        )

    def _without_rw(self, order: Order, edges: Edges) -> None:
        reads = edges.without(Kind.RW)
        for dropped, names in ((Kind.WR, ["G0"]), (Kind.RW, ["G0", "G1c"])):
            if self._known(order, *names):
                return
            some = reads.without(dropped)
            some = some.within(self.tangle.components(some))
            for kind in (Kind.WW, Kind.WR):
                ends = some.of(kind)
                self._add(some, _Closing(ends.source, ends.target, kind))
                if self._known(order, *names):
                    return

    def _with_rw(self, order: Order, edges: Edges) -> None:
        size = self.tangle.size
        rw = self._rw(edges)
        if not self._known(order, "G-single-item", "G-nonadjacent-item"):
            label = self.tangle.state_components(edges)
            of = label[rw.end]
            apart = rw.some((of >= 0) & (of == label[rw.start + size]))
            if len(apart.end):
                self._add(edges.without(Kind.RW), apart)
                if not self._known(order, "G-single-item"):
                    states = self.tangle.states(edges).within(label)
                    self._add(states, _Closing(apart.end, apart.start + size, Kind.RW))
        if not self._known(order, "G-single-item", "G-nonadjacent-item", "G2-item"):
            self._add(edges, rw)

    def _rw(self, edges: Edges) -> _Closing:
        """Return the pairs of transactions with an RW edge; of those through hubs only some."""
        hub, rw = self.tangle.hub, edges.of(Kind.RW)
        plain = rw.where(~hub[rw.source] & ~hub[rw.target])
        sources, targets = [plain.source], [plain.target]
        for one in np.flatnonzero(hub):
            before = rw.source[rw.target == one][:_TRIED]
            after = rw.target[rw.source == one][:_TRIED]
            sources.append(np.repeat(before, len(after)))
            targets.append(np.tile(after, len(before)))
        end, start = np.concatenate(sources), np.concatenate(targets)
        return _Closing(end[end != start], start[end != start], Kind.RW)

    # --- walks -----------------------------------------------------------------------------

    def _add(self, edges: Edges, closing: _Closing) -> None:
        """Find the shortest simple cycle of some edges and one closing one; record its name."""
        for walk in islice(self._walks(edges, closing), _TRIED):
            steps = self._fewer_realtime(walk)
            name = name_of(steps)
            if name not in self._named and not self._implied(name):
                original = [
                    Step(int(self.tangle.original[step.transaction]), step.kind) for step in steps
                ]
                self._named[name] = Cycle(name, original)
                return

    def _implied(self, name: str) -> bool:
        return any(name in implied(known) for known in self._named)

    def _walks(self, edges: Edges, closing: _Closing) -> Iterator[Walk]:
        """Yield simple cycles, shorter walks first.

        Args:
            edges: of the walk; of vertices, or of states (vertex + size).
            closing: from the walk's end to its start, which may be states.
        """
        if not len(closing.end) or not len(edges):
            return
        size = self.tangle.size
        highest = max(int(edges.target.max()), int(closing.start.max()))
        space = 2 * size if highest >= size else size
        yield from self._pairs(edges, closing, space)
        # Short cycles are between transactions that are near in time, that is, in number.
        near = closing.some(np.argsort(np.abs(closing.start % size - closing.end % size)))
        allowed = max(1, _WORK // space)
        starts = np.array(list(dict.fromkeys(near.start[: 4 * allowed].tolist()))[:allowed])
        real = np.tile(self.tangle.real, space // size)
        weight = (real[edges.source] + real[edges.target].astype(np.float64)) / 2
        matrix = matrix_of(space, edges, np.maximum(weight, _NOTHING))
        from scipy.sparse.csgraph import dijkstra  # type: ignore[import-untyped] # as in graph

        far, before = dijkstra(matrix, indices=starts, return_predecessors=True)
        row = np.full(space, -1)
        row[starts] = np.arange(len(starts))
        near = near.some(row[near.start] >= 0)
        length = far[row[near.start], near.end]
        kinds = _Kinds(edges, space)
        for at in np.argsort(length, kind="stable"):
            if not np.isfinite(length[at]):
                return
            start, end = int(near.start[at]), int(near.end[at])
            steps = self._steps(_path(before[row[start]], start, end), kinds)
            yield from self._simple([*steps, Step(end % size, near.kind)])

    def _pairs(self, edges: Edges, closing: _Closing, space: int) -> Iterator[Walk]:
        """Yield cycles of two transactions, some of those there are."""
        size = self.tangle.size
        start, end = closing.start % size, closing.end % size
        if (edges.kind == Kind.REALTIME).any():
            ended = self.inference.completed[self.tangle.original[start]]
            begun = self.inference.invoked[self.tangle.original[end]]
            for at in np.flatnonzero(ended < begun)[:_TRIED]:
                yield [Step(int(start[at]), Kind.REALTIME), Step(int(end[at]), closing.kind)]
        edge = edges.source.astype(np.int64) * space + edges.target
        back = closing.start.astype(np.int64) * space + closing.end
        for at in np.flatnonzero(np.isin(back, edge))[:_TRIED]:
            kind = Kind(int(edges.kind[edge == back[at]].min()))
            yield [Step(int(start[at]), kind), Step(int(end[at]), closing.kind)]

    def _steps(self, path: Sequence[int], kinds: "_Kinds") -> Iterator[Step]:
        """Yield the steps of a path of vertices or states; hubs and moments are no steps."""
        size = self.tangle.size
        for here, there in pairwise(path):
            if self.tangle.real[here % size]:
                yield Step(here % size, kinds.of(here, there))

    def _simple(self, walk: Walk) -> Iterator[Walk]:
        """Yield a closed walk that meets no transaction twice; one that does, cut into such."""
        met: dict[int, int] = {}
        for at, step in enumerate(walk):
            begin = met.setdefault(step.transaction, at)
            if begin != at:
                pieces = walk[begin:at], [*walk[:begin], *walk[at:]]
                for piece in pieces:
                    yield from self._simple(piece)
                return
        if len(walk) > 1:
            yield walk

    def _fewer_realtime(self, steps: Walk) -> Walk:
        """Return a cycle with one edge of real time, where it had more and keeps its name.

        Of x1 before y1 and x2 before y2, either x1 is before y2 as well, or x2 is before y1.
        """
        at = [index for index, step in enumerate(steps) if step.kind is Kind.REALTIME]
        if len(at) < 2:
            return steps
        turned = [*steps[at[0] :], *steps[: at[0]]]
        second = at[1] - at[0]
        last = turned[second + 1] if second + 1 < len(turned) else turned[0]
        if self._before(turned[0].transaction, last.transaction):
            shorter = [turned[0], *turned[second + 1 :]]
        else:
            shorter = turned[1 : second + 1]
        if len(shorter) > 1 and name_of(shorter) == name_of(steps):
            return self._fewer_realtime(shorter)
        return steps

    def _before(self, one: int, other: int) -> bool:
        first, then = self.tangle.original[one], self.tangle.original[other]
        return bool(self.inference.completed[first] < self.inference.invoked[then])


class _Kinds:
    """The kind of each edge of a graph, by its ends."""

    def __init__(self, edges: Edges, size: int) -> None:
        pair = edges.source.astype(np.int64) * size + edges.target
        order = np.lexsort((edges.kind, pair))
        self._pair: Int64s = pair[order]
        self._kind = edges.kind[order]
        self._size = size

    def of(self, source: int, target: int) -> Kind:
        at = np.searchsorted(self._pair, source * self._size + target)
        return Kind(int(self._kind[at]))


def _path(before: Int32s, start: int, end: int) -> Sequence[int]:
    """Return the vertices of a shortest path, from its start to its end."""
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path[::-1]


def implied(name: str) -> frozenset[str]:
    """Return the names of cycles that need not be told when one of this name was found."""
    order = next(each for each in reversed(Order) if name.endswith(SUFFIX[each]))
    base = name.removesuffix(SUFFIX[order])
    ranks = next(names for names in _RANKS if base in names)
    worse = ranks[ranks.index(base) :]
    return frozenset(each + SUFFIX[more] for each in worse for more in Order if more >= order)


_RANKS: Final = (("G0", "G1c"), ("G-single-item", "G-nonadjacent-item", "G2-item"))
