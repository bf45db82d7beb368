"""`lost_writes`: what was acknowledged is still there at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from harness.expectation import CountExpectation
from harness.history import History, Json, Op, Outcome
from harness.membership import Difference, Due, Ledger
from harness.registry import register
from harness.sightings import Element, acks, as_key, as_witness, elements, shown
from harness.timelines import Fate, Lineage, bounds, histories
from harness.verdict import Measurement, UndecidedError

_NAMED = 10  # lost elements that the note and the evidence name
_PROBE_TABLE = "probe"
_FINAL = "final"


@dataclass(slots=True)
class Table:
    """What was asked of one table, and what its final read showed.

    Attributes:
        acked: elements, each with the operation that acknowledged it.
        ledger: what has to be there (outcome ok), and what may be (unknown).
        found: how the final read differs from that; None if it decides nothing.
        doubt: why it does not.
    """

    name: str
    acked: dict[Element, Op] = field(default_factory=dict)
    ledger: Ledger[Element] = field(default_factory=Ledger)
    found: Difference[Element] | None = None
    doubt: str | None = None


@register
class LostWrites(CountExpectation):
    """Count the acknowledged elements that the final read lacks, and what it should not hold.

    Lost: acknowledged, and missing. Unexpected: there, though never tried or certainly refused;
    duplicated: there more often than tried. The last two mean that the database or the harness is
    broken, so they count too, and the note tells them apart. An element of unknown outcome may be
    there or not.

    A pass does not show the order of the elements (`anomalies`), nor that other survivors hold
    the same. It takes a final read of each written table, made after the last acknowledgement
    and after the cluster settled. What was acknowledged in a table without such a read is lost at
    least where its commit lies past the fork of its timeline, if the survivor's histories of
    timelines were recorded.

    O(n) in the elements. Source: docs/adr/0002.
    """

    name: ClassVar[str] = "lost_writes"

    def examine(self, history: History) -> Measurement:
        tables = tables_of(history)
        if not any(table.acked for table in tables):
            raise UndecidedError("no write was acknowledged, so none could be lost")
        doubts = [table.doubt for table in tables if table.doubt is not None]
        judged = [table.found for table in tables if table.found is not None]
        value = sum(len(found.wrong) for found in judged)
        if doubts and not value:
            raise UndecidedError("; ".join(doubts))
        lost = [(e, t.acked[e]) for t in tables if t.found for e in t.found.missing][:_NAMED]
        evidence = [{**as_witness(history, op), "lost": str(e)} for e, op in lost]
        acked = sum(len(table.acked) for table in tables if table.doubt is None)
        note = "; ".join([_note(judged, acked), *doubts])
        return Measurement(value, note, evidence=evidence, at_least=bool(doubts))


def tables_of(history: History) -> Sequence[Table]:
    """Return each table that anything was written to, with its final read taken in."""
    reads = {_named(op.key): op for op in history.select("read", process=_FINAL)}  # the last wins
    tables: dict[str, Table] = {}
    for f in ("write", "txn"):
        for op in history.select(f):
            _take_write(tables, op, _table_name(op, reads))
    settled = history.phase("settled")
    lineage = _lineage(history)
    for table in tables.values():
        table.doubt = _take_read(table, reads.get(table.name), settled)
        if table.doubt is not None and lineage is not None:
            past = [e for e, op in table.acked.items() if _is_past_fork(op, lineage)]
            table.found = Difference(past, [], [], [])
    # A table that nothing was acknowledged in lacks nothing, so its missing read is no doubt.
    return [table for table in tables.values() if table.acked or table.doubt is None]


def _table_name(op: Op, reads: Mapping[str, Op]) -> str:
    if op.key is not None:
        return _named(op.key)
    if op.f == "write":
        return _PROBE_TABLE
    others = [name for name in reads if name != _PROBE_TABLE]
    return others[0] if len(others) == 1 else "unnamed table"


def _named(key: Json) -> str:
    return str(as_key(key))


def _take_write(tables: dict[str, Table], op: Op, name: str) -> None:
    tried = elements(op, name)
    if not tried:
        return
    table = tables.setdefault(name, Table(name))
    for element in tried:
        table.ledger.take(element, _DUE[op.outcome])
    if op.outcome == "ok":
        table.acked.update((element, op) for element in tried)


_DUE: Mapping[Outcome, Due] = {"ok": Due.IN, "info": Due.EITHER, "fail": Due.OUT}


def _take_read(table: Table, read: Op | None, settled: int | None) -> str | None:
    """Take in what the final read shows; return why it decides nothing, or None."""
    if read is None:
        return f"no final read of {table.name}"
    if read.outcome != "ok":
        return f"the final read of {table.name} ended {read.outcome}: {read.error or 'no reason'}"
    if settled is None or read.start < settled:
        return f"{table.name} was read before the cluster settled"
    acknowledged = max((op.end or op.start for op in table.acked.values()), default=read.start)
    if acknowledged > read.start:
        return f"{table.name} was read before the last acknowledgement"
    try:
        table.found = table.ledger.compare(Counter(shown(table.name, read.value)))
    except UndecidedError as reason:
        return str(reason)
    return None


def _lineage(history: History) -> Lineage | None:
    """Return the ancestry of the survivor's timeline, where it was recorded; None else."""
    told = history.select("timelines", "ok", process=_FINAL)
    if not told:
        return None
    try:
        known = histories(told[-1].value)
    except ValueError:
        return None  # it shows nothing, so the doubt stands
    newest = max((ack.tli for ack in acks(history) if ack.tli is not None), default=0)
    # A timeline without a history, or of a restored cluster: nothing is known of its ancestry.
    return Lineage.of(max(known), known) if known and newest <= max(known) else None


def _is_past_fork(op: Op, lineage: Lineage) -> bool:
    try:
        return op.tli is not None and lineage.fate(op.tli, bounds(op.lsn)) is Fate.LOST
    except ValueError:
        return False  # a position that cannot be read shows nothing


def _note(judged: Sequence[Difference[Element]], acked: int) -> str:
    def told(what: str, of: Sequence[Element]) -> str:
        more = ", ..." if len(of) > _NAMED else ""
        return f"{len(of)} {what}: {', '.join(map(str, of[:_NAMED]))}{more}"

    kinds = {
        "lost": [e for found in judged for e in found.missing],
        "unexpected": [e for found in judged for e in found.extra],
        "duplicated": [e for found in judged for e in found.duplicated],
    }
    words = [told(what, of) for what, of in kinds.items() if of]
    recovered = sum(len(found.recovered) for found in judged)
    counts = f"{acked} acknowledged, {recovered} of unknown outcome recovered"
    return "; ".join([*(words or ["none lost"]), counts])
