"""`writers`: at most one node acknowledges writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from harness.expectation import Expectation
from harness.history import History, Json, Op
from harness.registry import register
from harness.sightings import (
    PROBE,
    Ack,
    acks,
    as_witness,
    attempts,
    in_recovery,
    longest_unseen,
    nodes,
    powerless,
    reigns,
    role_answers,
    seconds,
    tried_spans,
)
from harness.timelines import Masters
from harness.verdict import Measurement, UndecidedError

# Fresh probes come once a second: five seconds without any are a blind spell.
_BLIND_S = 5.0


@dataclass(frozen=True, slots=True)
class Breach:
    """Two or more primaries at once, with the writes that show it."""

    nodes: frozenset[str]
    text: str
    witnesses: Sequence[Op]


@register
class Writers(Expectation):
    """Count the nodes that acknowledged writes side by side; 1 is a single master.

    A breach is one timeline acknowledged on two nodes; a write on an older timeline sent after a
    newer one's acknowledgement; or two system identifiers among those who acknowledge. Writes
    that overlap in time are no breach: either may have come first.

    A pass does not show that no write was lost (`lost_writes`), nor that a node which no probe
    reached, or which had an overlap shorter than the probes' interval, did not accept any. So a
    node without probes for 5 s, unless it had no power, makes it undecided. Read-only overlap is
    told, not judged.

    O(n log n) in the acknowledged writes. Source: docs/adr/0002.

    Attributes:
        max: how many at once are allowed.
    """

    name: ClassVar[str] = "writers"
    unit: ClassVar[Literal["s", "count"]] = "count"

    max: int | None = Field(None, ge=1, strict=True)

    def examine(self, history: History) -> Measurement:
        acknowledged = [ack for ack in acks(history) if ack.tli is not None]
        found = breaches(acknowledged, history)
        overlap = [*_read_only_overlaps(history, acknowledged)]
        if found:
            worst = max(found, key=lambda breach: len(breach.nodes))
            evidence = [as_witness(history, op) for b in found for op in b.witnesses]
            note = "; ".join([worst.text, *(text for text, _ in overlap)])
            return Measurement(max(2, len(worst.nodes)), note, evidence=evidence)
        if blind := _blindness(history):
            raise UndecidedError(blind)
        evidence = [as_witness(history, op) for _, ops in overlap for op in ops]
        note = "; ".join([_summary(acknowledged), *(text for text, _ in overlap)])
        return Measurement(1, note, evidence=evidence)


def breaches(acknowledged: Sequence[Ack], history: History) -> Sequence[Breach]:
    """Return every kind of breach, each with the writes that show it."""
    masters = Masters[Ack]()
    for ack in acknowledged:  # by the time of the acknowledgement
        if ack.tli is not None:
            masters.take(ack.node, ack.tli, ack.start, ack.end, ack)
    return [
        *_shared_timelines(masters, history),
        *_writes_on_old_timelines(masters, history),
        *_identifiers(acknowledged, history),
    ]


def _shared_timelines(masters: Masters[Ack], history: History) -> Iterator[Breach]:
    """Yield each timeline that more than one node acknowledged a write on."""
    for tli, by_node in masters.shared.items():
        said = " and ".join(
            f"{ack.node} at {history.seconds(ack.end):.3f} s" for ack in by_node.values()
        )
        text = f"timeline {tli} was acknowledged by {said}"
        yield Breach(frozenset(by_node), text, [ack.op for ack in by_node.values()])


def _writes_on_old_timelines(masters: Masters[Ack], history: History) -> Iterator[Breach]:
    """Yield, for each newer timeline, the writes on older ones sent after its acknowledgement."""
    for late in masters.late.values():
        newer, first, last = late.newer, late.first, late.last
        text = (
            f"{first.node} acknowledged {late.count} writes on timeline {first.tli} that "
            f"were sent from {history.seconds(first.start):.3f} s on (the last at "
            f"{history.seconds(last.start):.3f} s), after {newer.node} had acknowledged timeline "
            f"{newer.tli} at {history.seconds(newer.end):.3f} s"
        )
        shown = [newer.op, first.op] + ([last.op] if last is not first else [])
        yield Breach(frozenset({newer.node, *late.nodes}), text, shown)


def _identifiers(acknowledged: Sequence[Ack], history: History) -> Iterator[Breach]:
    """Yield the nodes whose data came from different `initdb`s, where that was recorded."""
    first = {ack.node: ack for ack in reversed(acknowledged)}
    told = history.facts.get("system_identifiers")
    identifiers: dict[str, set[str]] = {}
    for node, identifier in told.items() if isinstance(told, Mapping) else ():
        identifiers.setdefault(str(identifier), set()).add(str(node))
    for op in history.select("patroni", "ok"):
        body = op.value if isinstance(op.value, Mapping) else {}
        # What a replica says may be of a copy that it is about to throw away.
        if body.get("role") in ("primary", "master") and body.get("database_system_identifier"):
            node = op.node or str(op.process).removeprefix("rest/")
            identifiers.setdefault(str(body["database_system_identifier"]), set()).add(node)
    writing = {i: of & first.keys() for i, of in identifiers.items() if of & first.keys()}
    if len(writing) > 1:
        said = " and ".join(f"{i} ({', '.join(sorted(of))})" for i, of in sorted(writing.items()))
        who = frozenset[str]().union(*writing.values())
        text = f"writes were acknowledged under several system identifiers: {said}"
        yield Breach(who, text, [first[node].op for node in sorted(who)])


def _blindness(history: History) -> str | None:
    """Return why a second primary could have gone unseen, or None."""
    if not history.select("write", "ok", process=PROBE):
        return "no probe's write was acknowledged on any node"
    named = nodes(history)
    if not named:
        return "the run's facts name no nodes, so one may have gone unprobed"
    tried = {node: attempts(history, node) for node in named}
    silent = [node for node, of in tried.items() if not of]
    if silent:
        return f"no write was tried on {', '.join(silent)}; a check blind there proves nothing"
    start = history.phase("steps")
    if start is None:
        return None
    end = min(history.finish, max(of[-1].start for of in tried.values()))
    for node in named:
        spans = [*tried_spans(history, node), *powerless(history, node)]
        begin, until = longest_unseen(spans, start, end)
        if seconds(until - begin) > _BLIND_S:
            return (
                f"no write was tried on {node} for {seconds(until - begin):.1f} s from "
                f"{history.seconds(begin):.1f} s on"
            )
    return None


def _read_only_overlaps(
    history: History, acknowledged: Sequence[Ack]
) -> Iterator[tuple[str, Sequence[Op]]]:
    """Yield the old primaries that went on answering as primaries after a new one's first write.

    Weaker than a breach: they acknowledged nothing, but whoever read from them read the past.
    """
    order = reigns(acknowledged)
    for old, new in pairwise(order):
        answers: list[Op] = []
        for op in role_answers(history, old.node):
            if op.start <= new.first.end or op.end is None:
                continue
            if in_recovery(op) is not False:
                break
            answers.append(op)
        if answers:
            last = max(answers, key=lambda op: op.end or 0)
            span = seconds((last.end or last.start) - new.first.end)
            yield f"read-only overlap {span:.1f} s on {old.node}", (new.first.op, last)


def _summary(acknowledged: Sequence[Ack]) -> str:
    told: dict[tuple[str, Json], int] = {}
    for ack in acknowledged:
        told[ack.node, ack.tli] = told.get((ack.node, ack.tli), 0) + 1
    by = ", ".join(f"{node} on timeline {tli} ({n})" for (node, tli), n in told.items())
    return f"{len(acknowledged)} acknowledged writes: {by}"
