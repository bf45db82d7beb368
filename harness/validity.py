"""When a whole run proves nothing: its load did no work, nobody watched, or the machine stalled."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.expectation import Expectation
from harness.history import Event, History, Json, Op
from harness.sightings import PROBE, is_write, nodes, seconds, touched

if TYPE_CHECKING:
    from harness.protocols import Checker

# A disturbance of our own may take this share of the tightest bound (issue 3: "past 10 % of a
# bound the verdict is error").
_TOLERATED = 0.1
# So late a cluster's processes are when another one starts beside it: two at a time on two cores,
# seen 0.11 to 0.20 s in three of four runs.
_NEIGHBOUR_S = 0.3
# What an election inside the DCS costs at most, where nothing was seen meanwhile. etcd's members
# wait between one and two election timeouts (ours is 3 s) before they stand; ZooKeeper's notice a
# silent leader after syncLimit ticks (ours are 4 of 1 s), and then need less than a second.
# Source: etcd documentation, "Tuning", raft's randomized election timeout; ZooKeeper
# Administrator's Guide, "Cluster Options". Seen of ZooKeeper: 1.1 s after a leader that hung up,
# 4.1 to 4.8 s after one that fell silent.
_ELECTION_S = 6.0


def reasons(history: History, checkers: Sequence["Checker"]) -> Sequence[str]:
    """Return why this run proves nothing, whatever its checkers found; empty when it may.

    Sound for the run's own account of itself only: a harness that recorded nothing wrong about
    itself, and was wrong, is not caught here.
    """
    bounds = _all_time_bounds(checkers)
    found = [*_idle_workloads(history), *_blind_probes(history), *_damage(history)]
    found += stalls(history, checkers)
    if bounds:
        found += _elections(history, min(bounds))
    return found


def stalls(history: History, checkers: Sequence["Checker"]) -> Sequence[str]:
    """Return those of the reasons that are delays of our own processes."""
    bounds = _all_time_bounds(checkers)
    return [*_stalls(history, min(bounds))] if bounds else []


def late_s(history: History, span_s: float) -> float:
    """Return by how much the nodes' machine may have lengthened a span of this many seconds.

    Somebody waits for a core only while none is free, so at most for that long, in whichever part
    of the run that was worst. That is far more than they were late: a red bound that it explains
    proves nothing, while a green one is none the worse, for nodes that wait only lengthen.
    """
    crowded = [*_crowded(history)]
    worst = total = 0.0
    first = 0
    for at, value in crowded:
        total += value
        while seconds(at - crowded[first][0]) >= max(span_s, 1.0):
            total -= crowded[first][1]
            first += 1
        worst = max(worst, total)
    return min(worst, span_s)


def is_crowded(history: History) -> bool:
    """Return whether the nodes' machine had no core free for more than a tenth of the run."""
    steps = history.phase("steps")
    if steps is None:
        return False
    crowded = sum(value for _, value in _crowded(history))
    return crowded > _TOLERATED * seconds(history.finish - steps)


def _crowded(history: History) -> Iterator[tuple[int, float]]:
    for event in _within(history, history.notes("crowded")):
        if isinstance(event.value, int | float):
            yield event.time, float(event.value)


def needs_quiet(checkers: Sequence["Checker"]) -> bool:
    """Return whether another cluster on the machine would be reason enough."""
    bounds = _all_time_bounds(checkers)
    return bool(bounds) and min(bounds) * _TOLERATED < _NEIGHBOUR_S


def _all_time_bounds(checkers: Sequence["Checker"]) -> Sequence[float]:
    return [bound for checker in checkers for bound in _time_bounds(checker)]


def _time_bounds(checker: "Checker") -> Sequence[float]:
    if isinstance(checker, Expectation):
        return checker.time_bounds
    return [b for b in checker.bounds.values() if b > 0] if checker.unit == "s" else []


def _idle_workloads(history: History) -> Iterator[str]:
    """Yield the workloads that did no work at all, or none before the first step."""
    named = history.facts.get("workloads")
    if not isinstance(named, Sequence | Mapping) or isinstance(named, str):
        return
    steps = history.phase("steps")
    deeds = [deed.start for deed in history.deeds if steps is None or deed.start >= steps]
    first = min(deeds, default=history.finish)
    for name in map(str, named):
        calls = [op for op in history.ops if op.f != "open" and _belongs(op, name)]
        # Where writing was asked for, a read that came back is no work done.
        writes = any(is_write(op) for op in calls)
        done = [op for op in calls if op.outcome == "ok" and (is_write(op) or not writes)]
        what = "write" if writes else "operation"
        if not done:
            yield f"workload {name}: no {what} of {len(calls)} tried was acknowledged"
        elif not any(op.end is not None and op.end <= first for op in done):
            yield f"workload {name}: no {what} was acknowledged before the first step"


def _belongs(op: Op, name: str) -> bool:
    process = str(op.process)
    return process == name or process.startswith(f"{name}/")


def _blind_probes(history: History) -> Iterator[str]:
    writes = history.select("write", process=PROBE)
    if not writes:
        yield "no probe tried to write"
    elif not any(op.outcome == "ok" for op in writes):
        yield f"none of the probes' {len(writes)} writes was acknowledged"


def _damage(history: History) -> Iterator[str]:
    """Yield what a whole history cannot hold: outcomes of what was never asked."""
    asked = {(event.process, event.f) for event in history.events if event.type == "invoke"}
    stray = [
        event
        for event in history.events
        if event.type in ("ok", "fail") and (event.process, event.f) not in asked
    ]
    if stray:
        first = stray[0]
        yield (
            f"{len(stray)} outcomes without an invocation (the first: {first.f} of "
            f"{first.process} at {history.seconds(first.time):.3f} s); the history is damaged"
        )


def _stalls(history: History, bound_s: float) -> Iterator[str]:
    """Yield where our own processes woke up too late to measure against this bound.

    The longest single delay counts: by so much may one instant of a measurement be late.
    """
    late = [
        (float(event.value), event)
        for event in _within(history, history.notes("delay"))
        if isinstance(event.value, int | float)
    ]
    if not late:
        return
    worst, event = max(late, key=lambda pair: pair[0])
    if worst > _TOLERATED * bound_s:
        yield (
            f"{event.process} was scheduled {worst:.2f} s late at {history.seconds(event.time):.1f}"
            f" s; more than a tenth of the tightest bound, {bound_s:g} s"
        )


def _elections(history: History, bound_s: float) -> Iterator[str]:
    """Yield elections inside the DCS that no step can have caused.

    Each costs the time without a sign of the DCS before the new term was seen, or at most
    `_ELECTION_S`: the quiet before an election may be longer than the election.
    """
    first_fault = _first_fault_on_dcs(history)
    watched = sorted((*history.notes("dcs"), *history.notes("dcs-term")), key=lambda e: e.time)
    inside = {id(event) for event in _within(history, watched)}
    terms: set[str] = set()
    cost, times = 0.0, []
    last_sign: int | None = None
    for event in watched:
        term = _term(event.value) if event.f == "dcs-term" else None
        elected = term is not None and bool(terms) and term not in terms
        ours = first_fault is not None and event.time >= first_fault
        if elected and not ours and id(event) in inside:
            silence = _ELECTION_S if last_sign is None else seconds(event.time - last_sign)
            cost += min(silence, _ELECTION_S)
            times.append(f"{history.seconds(event.time):.1f} s")
        if term is not None:
            terms.add(term)
        last_sign = event.time
    if cost > _TOLERATED * bound_s:
        yield (
            f"the DCS elected another leader by itself at {', '.join(times)}, which cost up to "
            f"{cost:.1f} s; more than a tenth of the tightest bound, {bound_s:g} s"
        )


def _term(value: Json) -> str | None:
    term = value.get("term") if isinstance(value, Mapping) else None
    return None if term is None else str(term)


def _first_fault_on_dcs(history: History) -> int | None:
    """Return when a step first named a DCS member; from then on elections are no surprise."""
    members = {
        str(event.process).removeprefix("dcs/")
        for event in (*history.notes("dcs"), *history.notes("dcs-term"))
    } - set(nodes(history))
    return min((d.start for d in history.deeds if members & set(touched(d))), default=None)


def _within(history: History, events: Sequence[Event]) -> Iterator[Event]:
    """Yield the events between the first step and the settled cluster."""
    steps = history.phase("steps")
    for event in events:
        if steps is not None and steps <= event.time <= history.finish:
            yield event
