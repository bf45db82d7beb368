"""The graph of dependencies with the orders of processes and of real time, and its knots.

Vertices are the transactions, then the hubs of the inference, then moments. Real time orders
nearly all pairs of transactions; moments keep that linear in size: there is one between each run
of completions and the invocations that follow, transactions lead to the moment after their
completion, moments to each other in order of time, and to the transactions invoked then. So one
transaction is completed before another is invoked exactly if a path of moments leads from it to
the other.

Source: components by Pearce's algorithm (An Improved Algorithm for Finding the Strongly Connected
Components of a Directed Graph, 2005), which scipy has.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.isolation.inference import NEVER, Inference, Int8s, Int32s, Int64s, Kind

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

Flags: TypeAlias = NDArray[np.bool_]
Positions: TypeAlias = NDArray[np.intp]
Weights: TypeAlias = NDArray[np.int8] | NDArray[np.float64]


@dataclass(frozen=True)
class Edges:
    """Edges of one graph; shape (m,) each."""

    source: Int32s
    target: Int32s
    kind: Int8s

    def __len__(self) -> int:
        return len(self.source)

    def where(self, which: Flags | Positions) -> "Edges":
        """Return some of them."""
        return Edges(self.source[which], self.target[which], self.kind[which])

    def of(self, *kinds: Kind) -> "Edges":
        """Return those of some kinds."""
        return self.where(np.isin(self.kind, kinds))

    def without(self, kind: Kind) -> "Edges":
        """Return those of other kinds than one."""
        return self.where(self.kind != kind)

    def within(self, label: Int32s) -> "Edges":
        """Return those between vertices of one component; a negative label is none."""
        of = label[self.source]
        return self.where((of >= 0) & (of == label[self.target]))


def joined(*parts: Edges) -> Edges:
    """Return all edges of several sets on the same vertices."""
    return Edges(
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.kind for part in parts]),
    )


@dataclass(frozen=True)
class Graph:
    """Everything that orders the transactions of a history.

    Attributes:
        transactions: the first so many vertices.
        size: all vertices.
        data: the dependencies; may pass through hubs.
        process: from each acknowledged transaction to the next one of its process.
        realtime: to, between and from moments.
    """

    transactions: int
    size: int
    data: Edges
    process: Edges
    realtime: Edges


def graph(inference: Inference) -> Graph:
    """Return the graph of an inference."""
    source, target, kind = inference.source, inference.target, inference.kind
    real = source != target
    data = Edges(source[real], target[real], kind[real])
    vertices = len(inference) + inference.hubs
    realtime, moments = _realtime(inference.invoked, inference.completed, vertices)
    return Graph(len(inference), vertices + moments, data, _processes(inference), realtime)


def _processes(inference: Inference) -> Edges:
    """Return the orders of sessions, as Elle has them: acknowledged transactions only."""
    ok = np.flatnonzero(inference.completed != NEVER)
    order = ok[np.lexsort((inference.completed[ok], inference.process[ok]))]
    same = inference.process[order[:-1]] == inference.process[order[1:]]
    return _edges(order[:-1][same], order[1:][same], Kind.PROCESS)


def _realtime(invoked: Int64s, completed: Int64s, vertices: int) -> tuple[Edges, int]:
    """Return the edges of real time and the number of moments, numbered from `vertices` on."""
    order = np.argsort(invoked)
    following = np.searchsorted(invoked[order], completed)  # rank of the next invocation
    before = np.flatnonzero((completed != NEVER) & (following < len(invoked)))
    starts, moment = np.unique(following[before], return_inverse=True)
    since = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
    after = since >= 0
    moments = np.arange(vertices, vertices + len(starts))
    edges = joined(
        _edges(before, vertices + moment.reshape(-1), Kind.REALTIME),
        _edges(moments[:-1], moments[1:], Kind.REALTIME),
        _edges(vertices + since[after], order[after], Kind.REALTIME),
    )
    return edges, len(starts)


def _edges(source: Positions, target: Positions, kind: Kind) -> Edges:
    return Edges(
        source.astype(np.int32), target.astype(np.int32), np.full(len(source), kind, np.int8)
    )


def knots(size: int, real: Flags, edges: Edges) -> Int32s:
    """Return the strongly connected component of each vertex; -1 where no cycle runs.

    Args:
        size: number of vertices.
        real: which of them are transactions; a component with fewer than two has no cycle, as
            hubs and moments alone have none and no transaction depends on itself.
        edges: on them.
    """
    # Imported when it is used: a third of a second that nobody who only reads help should wait.
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    matrix = matrix_of(size, edges, np.ones(len(edges), np.int8))
    count, label = connected_components(matrix, directed=True, connection="strong")
    trivial = np.bincount(label[real], minlength=count) < 2
    found: Int32s = np.where(trivial[label], np.int32(-1), label.astype(np.int32))
    return found


def matrix_of(size: int, edges: Edges, weight: Weights) -> "csr_matrix":
    """Return the edges as scipy wants a graph; shape (size, size)."""
    from scipy.sparse import csr_matrix

    begin = np.zeros(size + 1, np.int32)
    np.cumsum(np.bincount(edges.source, minlength=size), out=begin[1:])
    order = np.argsort(edges.source, kind="stable")
    return csr_matrix((weight[order], edges.target[order], begin), (size, size))


def alternating(size: int, hub: Flags, edges: Edges) -> Edges:
    """Return the edges of the graph in which no path takes two RW edges in a row.

    Vertex v stands for v reached otherwise than by RW, v + size for v reached by RW; a hub is
    always reached by RW and passes that on. A cycle of this graph is a closed walk of the other
    one in which no two RW edges follow each other, not even around its end. If there is one,
    there is a simple cycle like that too: where a walk meets itself it can be cut in two, and
    both pieces have adjacent RW edges only if the walk has some.

    Args:
        size: number of vertices.
        hub: which of them are hubs.
        edges: on them.
    """
    rw = edges.of(Kind.RW)
    other = edges.without(Kind.RW)
    shift = np.int32(size)
    return Edges(
        np.concatenate([other.source, other.source + shift, rw.source + shift * hub[rw.source]]),
        np.concatenate([other.target, other.target, rw.target + shift]),
        np.concatenate([other.kind, other.kind, rw.kind]),
    )
