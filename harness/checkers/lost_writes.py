"""`lost_writes`: what was acknowledged is still there at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from harness.expectation import CountExpectation
from harness.history import History, Json, Op
from harness.registry import register
from harness.sightings import Element, as_key, as_witness, elements, shown
from harness.verdict import Measurement, UndecidedError

_NAMED = 10  # lost elements that the note and the evidence name
_PROBE_TABLE = "probe"
_FINAL = "final"


@dataclass(slots=True)
class Table:
    """What was asked of one table, and what its final read showed.

    Attributes:
        acked: elements, each with the operation that acknowledged it.
        possible: how often each may have been written (outcomes ok and unknown).
        present: how often the final read shows each.
        doubt: why the final read decides nothing, or None.
    """

    name: str
    acked: dict[Element, Op] = field(default_factory=dict)
    possible: Counter[Element] = field(default_factory=Counter)
    present: Counter[Element] = field(default_factory=Counter)
    doubt: str | None = None

    @property
    def lost(self) -> Sequence[Element]:
        return [element for element in self.acked if element not in self.present]

    @property
    def unexpected(self) -> Sequence[Element]:
        """Return what is there though every attempt certainly failed, or none was made."""
        return [element for element in self.present if element not in self.possible]

    @property
    def duplicated(self) -> Sequence[Element]:
        return [e for e, n in self.present.items() if e in self.possible and n > self.possible[e]]

    @property
    def recovered(self) -> int:
        """Return how many of unknown outcome turned out to be written."""
        return sum(e in self.possible and e not in self.acked for e in self.present)


@register
class LostWrites(CountExpectation):
    """Count the acknowledged elements that the final read lacks, and what it should not hold.

    Lost: acknowledged, and missing. Unexpected: there, though never tried or certainly refused;
    duplicated: there more often than tried. The last two mean that the database or the harness is
    broken, so they count too, and the note tells them apart. An element of unknown outcome may be
    there or not.

    A pass does not show the order of the elements (`anomalies`), nor that other survivors hold
    the same. It takes a final read of each written table, made after the last acknowledgement
    and after the cluster settled.

    O(n) in the elements. Source: docs/adr/0002.
    """

    name: ClassVar[str] = "lost_writes"

    def examine(self, history: History) -> Measurement:
        tables = tables_of(history)
        if not any(table.acked for table in tables):
            raise UndecidedError("no write was acknowledged, so none could be lost")
        judged = [table for table in tables if table.doubt is None]
        doubts = [table.doubt for table in tables if table.doubt is not None]
        value = sum(len(t.lost) + len(t.unexpected) + len(t.duplicated) for t in judged)
        if doubts and not value:
            raise UndecidedError("; ".join(doubts))
        witnesses = [(e, t.acked[e]) for t in judged for e in t.lost][:_NAMED]
        evidence = [{**as_witness(history, op), "lost": str(e)} for e, op in witnesses]
        return Measurement(
            value, "; ".join([_note(judged), *doubts]), evidence=evidence, at_least=bool(doubts)
        )


def tables_of(history: History) -> Sequence[Table]:
    """Return each table that anything was written to, with its final read taken in."""
    reads = {_named(op.key): op for op in history.select("read", process=_FINAL)}  # the last wins
    tables: dict[str, Table] = {}
    for f in ("write", "txn"):
        for op in history.select(f):
            _take_write(tables, op, _table_name(op, reads))
    settled = history.phase("settled")
    for table in tables.values():
        table.doubt = _take_read(table, reads.get(table.name), settled)
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
    if op.outcome != "fail":
        table.possible.update(tried)
    if op.outcome == "ok":
        table.acked.update((element, op) for element in tried)


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
        table.present.update(shown(table.name, read.value))
    except UndecidedError as reason:
        return str(reason)
    return None


def _note(tables: Sequence[Table]) -> str:
    def told(what: str, of: Sequence[str]) -> str:
        more = ", ..." if len(of) > _NAMED else ""
        return f"{len(of)} {what}: {', '.join(of[:_NAMED])}{more}"

    kinds = {
        "lost": [str(e) for t in tables for e in t.lost],
        "unexpected": [str(e) for t in tables for e in t.unexpected],
        "duplicated": [str(e) for t in tables for e in t.duplicated],
    }
    words = [told(what, of) for what, of in kinds.items() if of]
    acked = sum(len(table.acked) for table in tables)
    recovered = sum(table.recovered for table in tables)
    counts = f"{acked} acknowledged, {recovered} of unknown outcome recovered"
    return "; ".join([*(words or ["none lost"]), counts])
