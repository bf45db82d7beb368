"""Tests for harness.isolation.graph."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.isolation.graph import Edges, alternating, graph, knots
from harness.isolation.inference import Kind
from tests.unit.isolation.tape import Edge, inferred

WW, WR, RW = Kind.WW, Kind.WR, Kind.RW


def edges(*given: Edge) -> Edges:
    return Edges(
        np.array([source for source, _, _ in given], np.int32),
        np.array([target for _, target, _ in given], np.int32),
        np.array([kind for _, _, kind in given], np.int8),
    )


def pairs(of: Edges) -> set[tuple[int, int]]:
    return set(zip(of.source.tolist(), of.target.tolist(), strict=True))


def reached(of: Edges, start: int) -> set[int]:
    """Return what can be reached along the edges."""
    found, grown = {start}, {start}
    while grown:
        grown = {t for s, t in pairs(of) if s in grown} - found
        found |= grown
    return found - {start}


@st.composite
def spans(draw: st.DrawFn) -> Sequence[tuple[int, int | None]]:
    """Draw when transactions were invoked and completed; no two events share a moment."""
    count = draw(st.integers(1, 7))
    moments = draw(st.permutations(range(2 * count)))
    drawn = [sorted(moments[2 * n : 2 * n + 2]) for n in range(count)]
    known = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return [(one, two if of else None) for (one, two), of in zip(drawn, known, strict=True)]


@given(spans())
def test_moments_lead_from_each_transaction_to_those_invoked_after_it(
    of: Sequence[tuple[int, int | None]],
) -> None:
    """A path of real time joins two transactions exactly if one ended before the other began."""
    whole = graph(inferred([], of))
    for number, (_, end) in enumerate(of):
        later = {n for n, (start, _) in enumerate(of) if end is not None and end < start}
        assert {n for n in reached(whole.realtime, number) if n < len(of)} == later


@given(spans())
def test_real_time_is_linear_in_the_transactions(of: Sequence[tuple[int, int | None]]) -> None:
    """At most three edges and one moment a transaction."""
    whole = graph(inferred([], of))
    assert len(whole.realtime) <= 3 * len(of)
    assert whole.size <= 2 * len(of)
    assert (knots(whole.size, np.arange(whole.size) < len(of), whole.realtime) == -1).all()


def test_a_process_orders_its_acknowledged_transactions() -> None:
    """One after the other; one of unknown outcome is in no session."""
    of = inferred([], [(0, 1), (2, 3), (4, 9), (5, 6), (10, None), (11, 12)], [7, 8, 7, 8, 7, 7])
    assert pairs(graph(of).process) == {(0, 2), (2, 5), (1, 3)}


def test_an_edge_to_oneself_is_dropped() -> None:
    """It says nothing."""
    assert len(graph(inferred([(0, 0, WW), (0, 1, WW)], [(0, 3), (1, 2)])).data) == 1


def test_knots_are_components_of_two_transactions_at_least() -> None:
    """0, 1 and 2 are in one; 3 and 4 are not in any, nor is 5 with the hub 6."""
    given = edges(
        (0, 1, WW), (1, 2, WR), (2, 0, RW), (2, 3, WW), (3, 4, WW), (5, 6, RW), (6, 5, RW)
    )
    label = knots(7, np.arange(7) < 6, given)
    assert len(set(label[:3].tolist())) == 1
    assert label[0] >= 0
    assert label[3:].tolist() == [-1] * 4


def _alternates(size: int, hub: Sequence[bool], given: Edges) -> bool:
    """Return whether the graph has a closed walk without adjacent RW."""
    real = np.tile(~np.array(hub), 2)
    return bool((knots(2 * size, real, alternating(size, np.array(hub), given)) >= 0).any())


def test_two_rw_in_a_row_do_not_alternate() -> None:
    """Write skew does not, read skew does, nor do two that meet where a cycle closes."""
    plain = [False] * 4
    assert not _alternates(4, plain, edges((0, 1, RW), (1, 0, RW)))
    assert _alternates(4, plain, edges((0, 1, RW), (1, 0, WW)))
    assert not _alternates(4, plain, edges((0, 1, RW), (1, 2, WW), (2, 0, RW)))
    assert _alternates(4, plain, edges((0, 1, RW), (1, 2, WW), (2, 3, RW), (3, 0, WR)))
    assert _alternates(4, plain, edges((0, 1, WW), (1, 0, WW)))


def test_a_hub_counts_as_one_rw() -> None:
    """0 -> hub -> 1 is one RW; the next one is its neighbour."""
    hub = [False, False, False, True]
    through = (0, 3, RW), (3, 1, RW)
    assert _alternates(4, hub, edges(*through, (1, 0, WR)))
    assert not _alternates(4, hub, edges(*through, (1, 0, RW)))
    assert not _alternates(4, hub, edges(*through, (3, 0, RW)))
