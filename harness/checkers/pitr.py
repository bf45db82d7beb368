"""`pitr`: a restored cluster holds exactly what was committed up to its target."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from harness.expectation import CountExpectation
from harness.history import History, Json, Op, effect_at
from harness.membership import Difference, Due, Ledger
from harness.registry import register
from harness.sightings import (
    Element,
    Restored,
    acks,
    as_witness,
    elements,
    is_of,
    marking,
    restored,
    restoring,
    said,
    writable_at,
)
from harness.timelines import Bounds, bounds
from harness.units import Lsn
from harness.verdict import Measurement, UndecidedError

_NAMED = 5  # elements that the note names; the evidence holds as many writes
_XIDS = 1 << 32  # WAL and recovery targets name transactions without their epoch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(NamedTuple):
    """The end of a transaction in WAL.

    Attributes:
        xid: without its epoch.
        start: where its record begins.
        time_us: its commit time, since 1970.
    """

    xid: int
    start: int
    time_us: int


@dataclass(frozen=True)
class Target:
    """Where a restore was to stop."""

    kind: str
    value: str
    inclusive: bool


@dataclass(frozen=True)
class Cut:
    """What a restore to a target holds, and what it does not.

    Attributes:
        stop: commits that begin before this are in, from it on they are out; None when only
            times are known.
        unsure: the begin of a commit that may be either, or None.
        starts: where each commit around the mark begins, by xid without epoch.
        tli: the timeline that `starts` is of.
        acked_by: what was acknowledged by then (ns) was committed before the target.
        sent_after: what was sent after it (ns) was committed after the target.
        at_mark: the target is not before the mark's own position.
    """

    acked_by: int
    sent_after: int
    tli: int | None = None
    stop: int | None = None
    unsure: int | None = None
    starts: Mapping[int, int] = field(default_factory=dict)
    at_mark: bool = True

    def start_of(self, op: Op) -> int | None:
        """Return where the operation's commit begins; None when that was not recorded."""
        if op.xid is None or (start := self.starts.get(op.xid % _XIDS)) is None:
            return None
        # After a failover another transaction may have had the same number.
        if op.tli is not None and self.tli is not None and op.tli != self.tli:
            at = _bounds(op)
            return start if at and op.tli < self.tli and at[0] <= start < at[1] else None
        return start

    def place(self, op: Op) -> Due:
        """Return where the operation's writes stand."""
        if op.outcome == "fail":
            return Due.OUT
        start = self.start_of(op)
        if start is not None and self.stop is not None:
            if start == self.unsure:
                return Due.EITHER
            return Due.IN if start < self.stop else Due.OUT
        if op.start > self.sent_after:
            return Due.OUT
        if op.outcome != "ok" or op.end is None or op.end > self.acked_by:
            return Due.EITHER
        # One whose xid is known, and not among the commits around the mark, came before them.
        is_early = self.at_mark or (op.xid is not None and bool(self.starts))
        return Due.IN if is_early else Due.EITHER


@register
class Pitr(CountExpectation):
    """Count what a restored cluster lacks of the state it was restored to, and what it has beyond.

    That state is a prefix of the order of commit records in WAL: not of transaction ids, nor of
    what clients saw. Where the mark recorded this order, each commit around it is in or out by
    PostgreSQL's own rule. Replay stops before the first record whose time is later than the
    target (exclusive: not earlier), although some after it carry an earlier time; after the
    record of the xid (exclusive: before it); after the first record that begins at or past the
    LSN (exclusive: before it); at the restore point. Other writes are in if they were
    acknowledged before the mark, and out if they were sent after it. To `latest`, what was
    acknowledged before the mark, or before the last `wait: {until: archived}`, is in.
    The rest may be there, but with no gap: with a write, all that was acknowledged before it was
    sent, and all of its own transaction. Missing, extra and duplicated elements count. A restored
    cluster that is not on a newer timeline, or has another system identifier, counts one each.
    Unless it is given, `max` is 0.

    A pass does not show the order of elements (`anomalies`), nor tables that no client writes
    (`digest`). Writes that an asynchronous failover lost before the mark count as missing.
    Undecided when nothing was written on one side of the target: the restore might have stopped
    anywhere there.

    O(n log n) in the elements. Source: PostgreSQL, xlogrecovery.c, `recoveryStopsBefore` and
    `recoveryStopsAfter`; docs/adr/0002.

    Attributes:
        of: the restored cluster, as its step's `as_cluster` names it.

    Example:
        pitr: {of: restored}
    """

    name: ClassVar[str] = "pitr"
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "cluster"

    of: str
    max: int | None = Field(0, ge=0, strict=True)

    def examine(self, history: History) -> Measurement:
        restore = restoring(history, self.of)
        target = _target(restore)
        held = restored(history, self.of)
        mark = _mark(history, restore, target)
        cut = _cut(history, restore, target, mark)
        tally = _tally(history, restore, cut)
        found = _compare(tally, held)
        breaches, doubts = _lineage(history, restore, mark)
        doubts = [*doubts, *_unread(tally, held), *_untested(tally, target, cut)]
        value = len(found.wrong) + len(breaches)
        if doubts and not value:
            raise UndecidedError("; ".join(doubts))
        witnesses = [tally.tried[e] for e in found.wrong if e in tally.tried][:_NAMED]
        return Measurement(
            value,
            "; ".join([_said(found), *breaches, tally.note(cut), *doubts]),
            evidence=[as_witness(history, restore), *(as_witness(history, op) for op in witnesses)],
            at_least=bool(doubts),
        )


# --- where the target is --------------------------------------------------------------------------


def _target(restore: Op) -> Target:
    found = said(restore).get("target")
    if not isinstance(found, Mapping) or not isinstance(found.get("kind"), str):
        raise UndecidedError(f"the restore recorded no target: {found!r}")
    value, inclusive = found.get("value"), found.get("inclusive")
    return Target(str(found["kind"]), "" if value is None else str(value), inclusive is not False)


def _mark(history: History, restore: Op, target: Target) -> Op | None:
    name = said(restore).get("mark")
    if isinstance(name, str):
        return marking(history, name)
    if target.kind != "latest":
        raise UndecidedError(f"it was restored to no mark, but to {target.kind} {target.value!r}")
    return None


def _cut(history: History, restore: Op, target: Target, mark: Op | None) -> Cut:
    """Return what the target lets in.

    Raises:
        UndecidedError: when the mark does not tell.
    """
    if target.kind == "latest":
        return Cut(_archived_by(history, restore, mark), writable_at(restore))
    assert mark is not None, "a restore to no mark is told before"
    end = mark.start if mark.end is None else mark.end
    commits = _records(said(mark), "commits")
    if not commits:
        if said(mark).get("held") is True:
            idle = effect_at(mark)  # within the hold: nothing was under way then
            return Cut(idle, idle) if mark.start <= idle <= end else Cut(mark.start, end)
        raise UndecidedError("the mark neither held the load nor recorded the order of commits")
    stop, unsure = _stop(target, said(mark), commits)
    at, tli = _lsn(said(mark), "lsn"), said(mark).get("tli")
    return Cut(
        mark.start,
        end,
        tli=tli if isinstance(tli, int) else None,
        stop=stop,
        unsure=unsure,
        starts={commit.xid: commit.start for commit in commits},
        at_mark=at is not None and stop >= at,
    )


def _archived_by(history: History, restore: Op, mark: Op | None) -> int:
    """Return the moment (ns) by which all that was acknowledged is certainly in the archive."""
    known = [
        deed.start
        for deed in history.deeds
        if deed.f == "wait" and deed.outcome == "ok" and said(deed).get("until") == "archived"
        if deed.end is not None and deed.end <= restore.start
    ]
    known += [] if mark is None else [effect_at(mark)]
    if not known:
        raise UndecidedError("no mark and no wait tells what was archived before the restore")
    return max(known)


def _stop(
    target: Target, mark: Mapping[str, Json], commits: Sequence[Record]
) -> tuple[int, int | None]:
    """Return where replay stops, and the begin of a commit about which that leaves a doubt.

    Replay stops at the end of an aborted transaction too, so a mark may record those as
    `aborts`, in the same form.
    """
    ends = sorted([*commits, *_records(mark, "aborts")], key=lambda record: record.start)
    match target.kind:
        case "time":
            at = _time_us(target.value, mark)
            late = at + 1 if target.inclusive else at
            return next((r.start for r in ends if r.time_us >= late), ends[-1].start + 1), None
        case "xid":
            return _stop_at_xid(target, ends), None
        case "lsn":
            return _stop_at_lsn(target, mark, ends)
        case "name":
            stop = _lsn(mark, "restore_lsn")
            if stop is None or target.value != mark.get("restore_point"):
                raise UndecidedError(f"the mark made no restore point {target.value!r}")
            return stop, None
    raise UndecidedError(f"the restore has a target of unknown kind {target.kind!r}")


def _stop_at_xid(target: Target, ends: Sequence[Record]) -> int:
    try:
        xid = int(target.value) % _XIDS
    except ValueError:
        raise UndecidedError(f"the target is {target.value!r}, which is no xid") from None
    for record in ends:
        if record.xid == xid:
            return record.start + target.inclusive
    raise UndecidedError(f"the mark does not know where transaction {target.value} ended")


def _stop_at_lsn(
    target: Target, mark: Mapping[str, Json], ends: Sequence[Record]
) -> tuple[int, int | None]:
    at = _parsed(target.value)
    if not target.inclusive:
        return at, None
    low, following = _lsn(mark, "lsn"), _lsn(mark, "next_lsn")
    if low is not None and following is not None and low <= at <= following:
        return following + 1, None
    first = next((record.start for record in ends if record.start >= at), None)
    # A record that is no transaction's end may begin before the next of those that are known.
    return (at + 1, None) if first in (at, None) else (at, first)


def _records(mark: Mapping[str, Json], key: str) -> Sequence[Record]:
    rows = mark.get(key)
    found: list[Record] = []
    for row in rows if isinstance(rows, Sequence) and not isinstance(rows, str) else ():
        match row:
            case [int() as xid, str() as start, int() as time_us]:
                found.append(Record(xid % _XIDS, _parsed(start), time_us))
            case _:
                raise UndecidedError(f"the mark's {key} hold {row!r}; expected xid, LSN and time")
    return found


def _lsn(mark: Mapping[str, Json], key: str) -> int | None:
    found = mark.get(key)
    return None if found is None else _parsed(str(found))


def _parsed(text: str) -> int:
    try:
        return Lsn.parse(text)
    except ValueError as error:
        raise UndecidedError(str(error)) from None


def _time_us(text: str, mark: Mapping[str, Json]) -> int:
    """Return the target's time since 1970, as PostgreSQL reads it."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is not None:
        return (at - _EPOCH) // timedelta(microseconds=1)
    known = mark.get("time_us")
    if text == mark.get("time") and isinstance(known, int):
        return known
    raise UndecidedError(f"the target is {text!r}; expected a time with its zone")


def _bounds(op: Op) -> Bounds | None:
    """Return what the commit's position is between; None where that is unknown."""
    try:
        return bounds(op.lsn)
    except ValueError as error:
        raise UndecidedError(str(error)) from None


# --- what was written -----------------------------------------------------------------------------


@dataclass
class _Tally:
    """Every write, by where it stands to the target.

    Attributes:
        ledger: where each element stands, and how often it may have been written.
        tried: by element, the last operation that tried it.
        writes: each that may be there, with its elements.
        sides: how many acknowledged writes are surely in and surely out.
        last_in, first_out: the operations next to the target, where the order is known.
    """

    ledger: Ledger[Element] = field(default_factory=Ledger)
    tried: dict[Element, Op] = field(default_factory=dict)
    writes: list[tuple[Op, Sequence[Element], Due]] = field(default_factory=list)
    sides: Counter[Due] = field(default_factory=Counter)
    last_in: tuple[int, Op] | None = None
    first_out: tuple[int, Op] | None = None

    def take(self, op: Op, place: Due) -> None:
        found = elements(op)
        for element in found:
            if self.ledger.take(element, place):
                self.tried[element] = op
        if op.outcome != "fail":
            self.writes.append((op, found, place))

    def take_side(self, op: Op, start: int | None, place: Due) -> None:
        """Note how near to the target the operation was."""
        if op.outcome == "ok" or start is not None:
            self.sides[place] += 1
        if start is None:
            return
        if place is Due.IN and (self.last_in is None or start > self.last_in[0]):
            self.last_in = start, op
        if place is Due.OUT and (self.first_out is None or start < self.first_out[0]):
            self.first_out = start, op

    def note(self, cut: Cut) -> str:
        sides = self.sides
        told = f"{sides[Due.IN]} writes before the target, {sides[Due.OUT]} after it, "
        told += f"{sides[Due.EITHER]} may be either"
        if cut.stop is not None and self.last_in and self.first_out:
            last, first = self.last_in, self.first_out
            told += f"; it lies between {_commit(*last)} and {_commit(*first)}"
        return told


def _commit(start: int, op: Op) -> str:
    return f"xid {op.xid} at {Lsn(start)} ({', '.join(map(str, elements(op)[:2]))})"


def _tally(history: History, restore: Op, cut: Cut) -> _Tally:
    tally = _Tally()
    for f in ("txn", "write"):
        for op in history.select(f):
            if not elements(op):
                continue
            if is_of(restore, op):
                # Written after the restore: no part of what was restored, and no fault of it.
                for element in elements(op):
                    tally.ledger.take(element, Due.EITHER)
                continue
            place = cut.place(op)
            tally.take(op, place)
            if op.outcome != "fail":
                tally.take_side(op, cut.start_of(op), place)
    return tally


# --- what is there --------------------------------------------------------------------------------


def _said(found: Difference[Element]) -> str:
    kinds = {"missing": found.missing, "extra": found.extra, "duplicated": found.duplicated}
    words = [_named(what, of) for what, of in kinds.items() if of]
    return "; ".join(words) or "none missing, none extra"


def _named(what: str, of: Sequence[Element]) -> str:
    more = ", ..." if len(of) > _NAMED else ""
    return f"{len(of)} {what}: {', '.join(map(str, of[:_NAMED]))}{more}"


def _compare(tally: _Tally, held: Restored) -> Difference[Element]:
    found = tally.ledger.compare(held.present)
    missing = [element for element in found.missing if _is_lost(element, held)]
    return replace(found, missing=[*missing, *dict.fromkeys(_holes(tally, held))])


def _holes(tally: _Tally, held: Restored) -> Iterator[Element]:
    """Yield what is missing of writes that may be there or not, though no prefix lacks it.

    A commit that is there has with it every commit that was acknowledged before it was sent; and
    a transaction is there as a whole. An element that was tried twice does not show by which.
    """

    def is_there(element: Element) -> bool:
        return element in held.present and tally.ledger.tries[element] == 1

    reached = max(
        (op.start for op, found, place in tally.writes if place and any(map(is_there, found))),
        default=0,
    )
    for op, found, place in tally.writes:
        if place is not Due.EITHER:
            continue
        is_passed = op.outcome == "ok" and op.end is not None and op.end < reached
        if is_passed or any(map(is_there, found)):
            yield from (e for e in found if _is_lost(e, held) and tally.ledger.due[e] is place)


def _is_lost(element: Element, held: Restored) -> bool:
    return element.table in held.tables and element not in held.present


# --- what makes it no restore, or no proof --------------------------------------------------------


def _lineage(history: History, restore: Op, mark: Op | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return what is wrong with the restored cluster's ancestry, and what is unknown of it."""
    breaches, doubts = [], []
    found = said(restore)
    # Without a mark the source may have been gone before anybody asked it for its identifier.
    known = [] if mark is None else [said(mark).get("tli")]
    known = known or [ack.tli for ack in acks(history) if not is_of(restore, ack.op)]
    tli, old = found.get("tli"), max((t for t in known if isinstance(t, int)), default=None)
    if not isinstance(tli, int) or old is None:
        doubts.append(f"the timelines are unknown: {tli!r} after {old!r}")
    elif tli <= old:
        breaches.append(f"it is on timeline {tli}, not on a newer one than {old}")
    own, source = found.get("system_identifier"), found.get("source_system_identifier")
    if own is None or (source is None and mark is not None):
        doubts.append(f"the system identifiers are unknown: {own!r} from {source!r}")
    elif source is not None and str(own) != str(source):
        breaches.append(f"its system identifier is {own}, not its source's {source}")
    return breaches, doubts


def _unread(tally: _Tally, held: Restored) -> Sequence[str]:
    needed = {e.table for e, place in tally.ledger.due.items() if place is not Due.OUT}
    return [held.doubts.get(t, f"{t} was not read") for t in sorted(needed - held.tables)]


def _untested(tally: _Tally, target: Target, cut: Cut) -> Iterator[str]:
    """Yield why a wrong restore could look the same."""
    if not tally.sides[Due.IN]:
        yield "nothing was acknowledged before the target"
    if target.kind == "latest":
        return
    if not tally.sides[Due.OUT]:
        yield "nothing was written after the target, so no replay could go too far"
    elif cut.stop is not None and not (tally.last_in and tally.first_out):
        side = "before" if tally.last_in is None else "after"
        yield f"the boundary was not tested: no recorded commit of a client {side} the target"
