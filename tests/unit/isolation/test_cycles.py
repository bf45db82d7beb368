"""Tests for harness.isolation.cycles."""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.isolation.cycles import SUFFIX, Family, Findings, Order, Step, Walk, name_of, search
from harness.isolation.inference import Inference, Kind
from harness.isolation.models import anomalies_of, ruled_out
from tests.unit.isolation.tape import Edge, inferred

WW, WR, RW = Kind.WW, Kind.WR, Kind.RW
AT_ONCE = [(n, 100 + n) for n in range(12)]
APART = [(2 * n, 2 * n + 1) for n in range(12)]


def found(edges: Sequence[Edge], process: Sequence[int] = (), *, apart: bool = False) -> Findings:
    size = 1 + max(max(source, target) for source, target, _ in edges)
    return search(inferred(edges, (APART if apart else AT_ONCE)[:size], process[:size]))


def names(findings: Findings) -> list[str]:
    return sorted(cycle.name for cycle in findings.cycles)


CASES = [
    ("G0", [(0, 1, WW), (1, 0, WW)]),
    ("G1c", [(0, 1, WW), (1, 0, WR)]),
    ("G1c", [(0, 1, WR), (1, 2, WR), (2, 0, WW)]),
    ("G-single-item", [(0, 1, WR), (1, 0, RW)]),
    ("G-single-item", [(0, 1, WW), (1, 2, WR), (2, 0, RW)]),
    ("G-nonadjacent-item", [(0, 1, RW), (1, 2, WW), (2, 3, RW), (3, 0, WR)]),
    ("G2-item", [(0, 1, RW), (1, 0, RW)]),
    ("G2-item", [(0, 1, RW), (1, 2, WW), (2, 0, RW)]),
]


@pytest.mark.parametrize(("name", "edges"), CASES)
def test_a_cycle_is_named_by_its_edges(name: str, edges: Sequence[Edge]) -> None:
    """The least that its edges show, and nothing else."""
    findings = found(edges)
    assert names(findings) == [name]
    assert {edge.transaction for edge in findings.cycles[0].steps} == {s for s, _, _ in edges}


@pytest.mark.parametrize("edges", [edges for _, edges in CASES])
@pytest.mark.parametrize("kind", [Kind.PROCESS, Kind.REALTIME])
def test_a_cycle_that_needs_another_order_says_so(edges: Sequence[Edge], kind: Kind) -> None:
    """In place of the last edge: one process did that one first, or it only ended earlier."""
    *kept, (source, target, _) = edges
    size = 1 + max(s for s, _, _ in edges)
    spans: list[tuple[int, int | None]] = list(AT_ONCE[:size])
    spans[source], spans[target] = (0, 50), (60, 110)
    process = list(range(size))
    if kind is Kind.PROCESS:
        process[source] = process[target]
    name = name_of([*(Step(s, of) for s, _, of in kept), Step(source, kind)])
    assert name.endswith(f"-{kind.name.lower()}")
    assert names(search(inferred(kept, spans, process))) == [name]
    assert names(search(inferred(kept, AT_ONCE[:size]))) == []


def test_what_is_in_order_has_no_cycle() -> None:
    """Dependencies along real time are no anomaly."""
    findings = found([(0, 1, WW), (1, 2, WR), (0, 2, RW)], apart=True)
    assert findings == Findings()


def test_nothing_that_orders_two_transactions_is_told() -> None:
    """All at once and nothing read: the history could not have shown a cycle."""
    assert search(inferred([], AT_ONCE[:3])).empty
    assert not search(inferred([], APART[:3])).empty
    assert not search(inferred([(0, 1, WW)], AT_ONCE[:3])).empty


def test_what_a_worse_cycle_implies_is_not_told_in_its_component() -> None:
    """A read skew also is whatever a write skew is; elsewhere the write skew is told."""
    near = [(0, 1, WR), (1, 0, RW), (0, 2, RW), (2, 0, RW)]
    assert names(found(near)) == ["G-single-item"]
    assert names(found([*near[:2], (2, 3, RW), (3, 2, RW)])) == ["G-single-item", "G2-item"]
    assert names(found([(0, 1, WW), (1, 0, WW), (1, 2, WR), (2, 0, WW)])) == ["G0"]


def test_an_order_is_named_only_where_no_cycle_goes_without_it() -> None:
    """The same two transactions are also in the wrong order in real time."""
    spans = [(0, 50), (60, 110)]
    assert names(search(inferred([(1, 0, WW)], spans))) == ["G0-realtime"]
    assert names(search(inferred([(1, 0, WW), (0, 1, WW)], spans))) == ["G0"]
    assert names(search(inferred([(1, 0, RW), (0, 1, WR)], spans))) == ["G-single-item"]


def test_real_time_beside_rw_is_no_rw() -> None:
    """1 reads before 0 writes what was acknowledged long before: that is read skew in real time."""
    spans: list[tuple[int, int | None]] = [(0, 50), (60, 110)]
    findings = search(inferred([(0, 1, RW), (1, 0, RW)], spans))
    assert (Family.APART, Order.REALTIME) in findings.exist
    assert (Family.APART, Order.DATA) not in findings.exist
    assert names(findings) == ["G-single-item-realtime", "G2-item"]


def test_a_hub_is_one_dependency() -> None:
    """0 and 1 read what 2 and 3 replaced; 2 wrote what 0 read."""
    edges = [(0, 4, RW), (1, 4, RW), (4, 2, RW), (4, 3, RW), (2, 0, WR)]
    one = inferred(edges, AT_ONCE[:4])
    findings = search(Inference(**{**vars(one), "hubs": 1}))
    assert names(findings) == ["G-single-item"]
    assert set(findings.cycles[0].steps) == {Step(0, RW), Step(2, WR)}


def test_who_reads_and_replaces_through_a_hub_does_not_precede_himself() -> None:
    """Only two such transactions make a cycle."""
    single = inferred([(0, 3, RW), (3, 0, RW), (3, 1, RW), (2, 3, RW)], AT_ONCE[:3])
    assert search(Inference(**{**vars(single), "hubs": 1})) == Findings()
    double = inferred([(0, 2, RW), (2, 0, RW), (1, 2, RW), (2, 1, RW)], AT_ONCE[:2])
    assert names(search(Inference(**{**vars(double), "hubs": 1}))) == ["G2-item"]


def test_a_ring_is_found_whole() -> None:
    """One cycle of 500 transactions."""
    size = 500
    edges = [(n, (n + 1) % size, WR) for n in range(size)]
    findings = search(inferred(edges, [(n, 1000 + n) for n in range(size)]))
    assert names(findings) == ["G1c"]
    assert len(findings.cycles[0].steps) == size


def test_the_shortest_of_several_is_shown() -> None:
    """A pair beside a ring."""
    edges = [(n, (n + 1) % 10, WW) for n in range(10)] + [(7, 6, WW)]
    findings = found(edges)
    assert [step.transaction for step in findings.cycles[0].steps] in ([6, 7], [7, 6])


def test_only_some_cycles_of_a_name_are_shown() -> None:
    """Enough to understand, whatever there is."""
    edges = [edge for n in range(0, 200, 2) for edge in ((n, n + 1, WW), (n + 1, n, WW))]
    findings = search(inferred(edges, [(n, 1000 + n) for n in range(200)]))
    assert names(findings) == ["G0"] * 3


# --- against all simple cycles ------------------------------------------------------------------


def _arcs(of: Inference) -> list[Edge]:
    """Return all edges, those of processes and of real time pair by pair."""
    strongest: dict[tuple[int, int], Kind] = {}
    for s, t, k in zip(of.source.tolist(), of.target.tolist(), of.kind.tolist(), strict=True):
        if s != t:
            strongest[s, t] = min(strongest.get((s, t), RW), Kind(k))
    arcs = [(source, target, kind) for (source, target), kind in strongest.items()]
    spans = list(zip(of.invoked.tolist(), of.completed.tolist(), strict=True))
    for one, (_, end) in enumerate(spans):
        for other, (start, _) in enumerate(spans):
            if end < start:
                arcs.append((one, other, Kind.REALTIME))
                if of.process[one] == of.process[other]:
                    arcs.append((one, other, Kind.PROCESS))
    return arcs


def _simple(arcs: Sequence[Edge]) -> Iterator[Walk]:
    """Yield every simple cycle, from its least transaction on."""

    def extend(walk: list[Step], here: int) -> Iterator[Walk]:
        for source, target, kind in arcs:
            if source != here:
                continue
            steps = [*walk, Step(here, kind)]
            met = [step.transaction for step in steps]
            if target == met[0]:
                yield steps
            elif target > met[0] and target not in met:
                yield from extend(steps, target)

    for start in sorted({source for source, _, _ in arcs}):
        yield from extend([], start)


def _kind_of_walk(walk: Walk) -> tuple[Family, Order]:
    kinds = [step.kind for step in walk]
    order = max(
        (Order.REALTIME if kind is Kind.REALTIME else Order.PROCESS if kind is Kind.PROCESS
         else Order.DATA) for kind in kinds
    )  # fmt: skip
    if RW in kinds:
        adjacent = any(x is y is RW for x, y in zip(kinds, [*kinds[1:], kinds[0]], strict=True))
        return (Family.ANY if adjacent else Family.APART), order
    return (Family.READS if WR in kinds else Family.WRITES), order


def _random(random: Random) -> Inference:
    size = random.randint(2, 5)
    moments = random.sample(range(2 * size), 2 * size) if random.random() < 0.5 else []
    spans: list[tuple[int, int | None]] = [
        tuple(sorted(moments[2 * n : 2 * n + 2])) if moments else (n, 90 + n)  # type: ignore[misc]
        for n in range(size)
    ]
    edges = [
        (random.randrange(size), random.randrange(size), random.choice([WW, WR, RW, RW]))
        for _ in range(random.randint(1, 8))
    ]
    # A process does one thing after the other.
    process = list(range(size))
    for n in range(1, size):
        other = random.randrange(n)
        free = [m for m in range(n) if process[m] == process[other]]
        if all(_follows(spans[m], spans[n]) or _follows(spans[n], spans[m]) for m in free):
            process[n] = process[other]
    return inferred(edges, spans, process)


def _follows(one: tuple[int, int | None], other: tuple[int, int | None]) -> bool:
    return one[1] is not None and one[1] < other[0]


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_families_and_names_agree_with_all_simple_cycles(random: Random) -> None:
    """Which families exist is exact; each cycle shown is one; and each broken model is shown."""
    of = _random(random)
    arcs = _arcs(of)
    cycles = list(_simple(arcs))
    findings = search(of)
    expected: set[tuple[Family, Order]] = set()
    for family, order in map(_kind_of_walk, cycles):
        expected |= {(f, o) for f in Family for o in Order if f >= family and o >= order}
    least = {(f, o) for f, o in expected if all(o <= p for g, p in expected if g is f)}
    assert set(findings.exist) == least
    for cycle in findings.cycles:
        steps = list(cycle.steps)
        following = [step.transaction for step in [*steps[1:], steps[0]]]
        assert all(
            (s.transaction, t, s.kind) in arcs for s, t in zip(steps, following, strict=True)
        )
        assert len({step.transaction for step in steps}) == len(steps)
        assert name_of(steps) == cycle.name
    shown = {cycle.name for cycle in findings.cycles}
    assert ruled_out(shown) == ruled_out(map(name_of, cycles)) == ruled_out(anomalies_of(least))
    singles = {name_of(walk) for walk in cycles} & {"G-single-item"}
    assert singles <= shown
    assert all(SUFFIX[order] in "".join(shown) for _, order in least)


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_hub_says_what_all_its_pairs_would(random: Random) -> None:
    """The same families of cycles, and as much broken by those that are shown."""
    plain = _random(random)
    size = len(plain)
    before = random.sample(range(size), random.randint(1, size))
    after = random.sample(range(size), random.randint(1, size))
    through = [(b, size, RW) for b in before] + [(size, t, RW) for t in after]
    pairs = [(b, t, RW) for b in before for t in after]
    given = list(
        zip(plain.source.tolist(), plain.target.tolist(), plain.kind.tolist(), strict=True)
    )
    spans = list(zip(plain.invoked.tolist(), plain.completed.tolist(), strict=True))
    process = plain.process.tolist()
    listed = search(inferred([*given, *pairs], spans, process))
    hub = inferred([*given, *through], spans, process)
    found = search(Inference(**{**vars(hub), "hubs": 1}))
    assert found.exist == listed.exist
    shown = [ruled_out(cycle.name for cycle in each.cycles) for each in (found, listed)]
    assert shown[0] == shown[1]
