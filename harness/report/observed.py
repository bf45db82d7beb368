"""What a history shows, as spans in seconds: who led, who wrote, what was done, what clients felt.

Second 0 is the beginning of the first step; what lies before it is negative. Everything here is
for people to look at; verdicts come from the checkers alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal, TypeAlias

from harness.clock import NS
from harness.history import NEMESIS, Event, History, Json, Op

Axis: TypeAlias = Callable[[int], float]

_OWN_WORDS = ("run", "phase")  # what the run says of itself, not what it did to the cluster
_UNDOES = ("start", "thaw", "mend", "heal")
_HARMLESS = ("wait", "sleep", "check", "mark", "backup", "restore")
_OBSERVERS = ("probe", "rest", "dcs", "final")  # the run's own sessions, which are no clients
EVERY_NODE = "every node"  # where clients go that ignore the ELBs
# A pause longer than this many of the usual intervals between two answers is drawn as a gap.
_GAP_INTERVALS = 4
_REFUSED_GAP_S = 2.5  # a refused session is tried again about once a second
_OUTAGE_MIN_S = 1.0  # a shorter wait of the clients is not worth shading


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted. `who` is a node's name, or a word for what it was."""

    start_s: float
    end_s: float
    who: str

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that the run did to the cluster.

    Attributes:
        kind: a `fault` harms, a `heal` undoes, a `step` only asks or waits.
        nodes: whom it touched. until_s: when a later deed undid it, if one did.
    """

    start_s: float
    end_s: float
    verb: str
    kind: Literal["fault", "heal", "step"]
    nodes: Sequence[str]
    detail: str = ""
    ok: bool = True
    until_s: float | None = None

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.verb, ", ".join(self.nodes), self.detail)))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client: when it ended, how long it took, and whether it was acknowledged."""

    end_s: float
    seconds: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """All that is drawn and told of one run.

    Attributes:
        nodes: every node that is named anywhere, in order. azs: where each stands, if known.
        leader: who held the leader key.
        acknowledged, refused: by node, of writes asked of it directly; an attempt whose outcome
            is unknown counts as refused here.
        writers: each change of who acknowledges: second, node, timeline.
        calls, outages: by the ELB's name or `every node`; an outage is the longest time without an
            acknowledgement, where that was remarkable.
        elections: of the DCS itself: second, who leads it now.
    """

    start_s: float
    end_s: float
    nodes: Sequence[str]
    azs: Mapping[str, str]
    phases: Sequence[Span]
    deeds: Sequence[Deed]
    leader: Sequence[Span]
    acknowledged: Mapping[str, Sequence[Span]]
    refused: Mapping[str, Sequence[Span]]
    writers: Sequence[tuple[float, str, int | None]]
    calls: Mapping[str, Sequence[Call]]
    outages: Mapping[str, Span]
    elections: Sequence[tuple[float, str]]


def observe(history: History) -> Observed:
    """Return what this history shows. An empty one shows nothing, and is no error."""
    times = [event.time for event in history.events] or [0]
    zero = history.phase("steps") or min(times)

    def at(time_ns: int) -> float:
        return (time_ns - zero) / NS

    end_s = at(max(times))
    probes = [op for op in history.ops if str(op.process).startswith("probe/")]
    writes = [op for op in probes if op.f == "write"]
    azs = _azs(history)
    leader = _leader(history.events, at, end_s)
    phases = _phases(history.events, at, end_s)
    calls = _calls(history, azs, at, end_s)
    settled = next((span.start_s for span in phases if span.who == "settled"), end_s)
    return Observed(
        start_s=at(min(times)),
        end_s=end_s,
        nodes=sorted({*azs, *map(_asked, writes), *(span.who for span in leader)}),
        azs=azs,
        phases=phases,
        deeds=_until_undone([*_deeds(history.ops, at, end_s), *_heals(history.events, at)]),
        leader=leader,
        acknowledged=_acknowledged(writes, at),
        refused=_refused(probes, at, end_s),
        writers=[*_writers(writes, at)],
        calls=calls,
        outages={elb: gap for elb, of in calls.items() if (gap := _outage(of, settled))},
        elections=[*_elections(history.events, at)],
    )


def _azs(history: History) -> Mapping[str, str]:
    nodes = history.facts.get("nodes")
    if not isinstance(nodes, Mapping):
        return {}
    return {
        str(name): str(node.get("az") or "") if isinstance(node, Mapping) else ""
        for name, node in nodes.items()
    }


def _asked(op: Op) -> str:
    """Return the node that a probe asks: its process is `probe/<node>/...`."""
    return str(op.process).split("/")[1]


def _phases(events: Iterable[Event], at: Axis, end_s: float) -> Sequence[Span]:
    begun = [(at(event.time), str(event.value)) for event in events if event.f == "phase"]
    return [
        Span(start, end, name)
        for (start, name), (end, _) in pairwise([*begun, (end_s, "")])
        if name != "end"
    ]


def _leader(events: Iterable[Event], at: Axis, end_s: float) -> Sequence[Span]:
    """Return who held the leader key, in the DCS's own order, each change seen once."""
    seen: dict[int, tuple[float, str]] = {}
    for event in events:
        change = event.value
        if event.f != "dcs" or not isinstance(change, Mapping) or change.get("key") != "leader":
            continue
        revision = change.get("revision")
        if isinstance(revision, int) and revision not in seen:
            seen[revision] = (at(event.time), str(change.get("value") or ""))
    changes = [seen[revision] for revision in sorted(seen)]
    spans: list[Span] = []
    for (start, who), (end, _) in pairwise([*changes, (end_s, "")]):
        if spans and spans[-1].who == who and spans[-1].end_s == start:
            spans[-1] = replace(spans[-1], end_s=end)
        elif who:
            spans.append(Span(start, end, who))
    return spans


def _deeds(ops: Iterable[Op], at: Axis, end_s: float) -> Iterator[Deed]:
    for op in ops:
        if not str(op.process).startswith(NEMESIS) or op.f in _OWN_WORDS:
            continue
        value = op.value if isinstance(op.value, Mapping) else {}
        # A verb returns once its effect is shown, which takes a while; `at` is when it happened.
        began = value.get("at")
        start_s = at(began if isinstance(began, int) else op.start)
        yield Deed(
            start_s=start_s,
            end_s=max(start_s, at(op.end) if op.end is not None else end_s),
            verb=op.f,
            kind="heal" if op.f in _UNDOES else "step" if op.f in _HARMLESS else "fault",
            nodes=_touched(value),
            detail=_detail(value),
            ok=op.outcome == "ok",
        )


def _heals(events: Iterable[Event], at: Axis) -> Iterator[Deed]:
    """Yield what the run undid by itself: one bare event, since nobody asked for it."""
    paired: set[str | int] = set()
    for event in events:
        if event.type == "invoke":
            paired.add(event.process)
        elif event.f == "heal" and event.process not in paired:
            value = event.value if isinstance(event.value, Mapping) else {}
            yield Deed(at(event.time), at(event.time), "heal", "heal", _touched(value))


def _touched(value: Mapping[str, Json]) -> Sequence[str]:
    """Return the machines that a deed names, or that the undo of one names."""
    nodes = value.get("nodes")
    if isinstance(nodes, Sequence) and not isinstance(nodes, str):
        return [str(node) for node in nodes]
    inner = value.get("arguments")
    source = inner if isinstance(inner, Mapping) else value
    return [str(source[key]) for key in ("node", "source", "destination") if source.get(key)]


def _detail(value: Mapping[str, Json]) -> str:
    words = [value[key] for key in ("until", "how", "process") if isinstance(value.get(key), str)]
    to = value.get("to")
    if isinstance(to, str):
        words.append(f"to {to}")
    elif isinstance(to, Sequence) and to:
        words.append(f"from {', '.join(map(str, to))}")
    # `all` is what a fault does when nothing is said.
    return ", ".join(str(word) for word in words if word != "all")


def _until_undone(deeds: Sequence[Deed]) -> Sequence[Deed]:
    """Return the deeds with the end of each fault that a later deed undid."""
    heals = [deed for deed in deeds if deed.kind == "heal"]

    def undone(fault: Deed) -> float | None:
        return next(
            (
                h.start_s
                for h in heals
                if h.start_s >= fault.start_s and {*h.nodes} & {*fault.nodes}
            ),
            None,
        )

    return [replace(d, until_s=undone(d)) if d.kind == "fault" else d for d in deeds]


def _acknowledged(writes: Iterable[Op], at: Axis) -> Mapping[str, Sequence[Span]]:
    moments: dict[str, list[float]] = {}
    for op in writes:
        if op.outcome == "ok" and op.end is not None:
            moments.setdefault(op.node or _asked(op), []).append(at(op.end))
    return {node: merged([(t, t) for t in times], node) for node, times in moments.items()}


def _refused(probes: Iterable[Op], at: Axis, end_s: float) -> Mapping[str, Sequence[Span]]:
    attempts: dict[str, list[tuple[float, float]]] = {}
    for op in probes:
        if op.f in ("write", "open") and op.outcome != "ok":
            end = at(op.end) if op.end is not None else end_s
            attempts.setdefault(_asked(op), []).append((at(op.start), end))
    return {node: merged(spans, node, gap_s=_REFUSED_GAP_S) for node, spans in attempts.items()}


def merged(
    spans: Sequence[tuple[float, float]], who: str, *, gap_s: float | None = None
) -> Sequence[Span]:
    """Return the spans with those joined that lie closer than the gap.

    Without a gap, it is a few of the usual intervals between their beginnings.
    """
    ordered = sorted(spans)
    if gap_s is None:
        usual = [b[0] - a[0] for a, b in pairwise(ordered)]
        gap_s = _GAP_INTERVALS * median(usual) if usual else 0.0
    joined: list[Span] = []
    for start, end in ordered:
        if joined and start - joined[-1].end_s <= gap_s:
            joined[-1] = replace(joined[-1], end_s=max(end, joined[-1].end_s))
        else:
            joined.append(Span(start, end, who))
    return joined


def _writers(writes: Iterable[Op], at: Axis) -> Iterator[tuple[float, str, int | None]]:
    done = sorted(
        ((op.end, op) for op in writes if op.outcome == "ok" and op.end is not None),
        key=lambda pair: pair[0],
    )
    last: tuple[str, int | None] | None = None
    for end, op in done:
        who = (op.node or _asked(op), op.tli)
        if who != last:
            yield at(end), *who
        last = who


def _calls(
    history: History, nodes: Mapping[str, str], at: Axis, end_s: float
) -> Mapping[str, Sequence[Call]]:
    """Return what clients asked, by the ELB; those that ignore it share one name."""
    found: dict[str, list[Call]] = {}
    for op in history.ops:
        through = history.through.get(op.process)
        if through is None or str(op.process).split("/")[0] in _OBSERVERS:
            continue
        if through in nodes:
            through = EVERY_NODE
        if op.f == "open" and op.outcome == "ok":
            continue  # a session made is no work done
        end = at(op.end) if op.end is not None else end_s
        found.setdefault(through, []).append(Call(end, end - at(op.start), op.outcome == "ok"))
    return {elb: sorted(calls, key=lambda c: c.end_s) for elb, calls in sorted(found.items())}


def _outage(calls: Sequence[Call], before_s: float) -> Span | None:
    """Return the longest time without an acknowledgement, the end of the run included."""
    done = [call.end_s for call in calls if call.ok and call.end_s <= before_s]
    if not done:
        return None
    refused_after = [call.end_s for call in calls if done[-1] < call.end_s <= before_s]
    gaps = [*pairwise([*done, *refused_after[-1:]])]
    if not gaps:
        return None
    start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
    usual = median(b - a for a, b in gaps)
    return Span(start, end, "outage") if end - start >= max(_OUTAGE_MIN_S, 10 * usual) else None


def _elections(events: Iterable[Event], at: Axis) -> Iterator[tuple[float, str]]:
    terms: list[Json] = []
    for event in events:
        if event.f == "dcs-term" and isinstance(event.value, Mapping):
            term = event.value.get("term")
            if terms and term not in terms:
                yield at(event.time), str(event.value.get("leader") or "nobody")
            terms.append(term)
