"""What a history shows, in the terms that checkers think in.

Who acknowledged writes, who was asked and when, who held the leader key, who was primary when a
fault struck, what a restored cluster holds, what S3 holds. Everything is read from the history;
nothing here judges.
"""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from harness.history import History, Json, Op, effect_at
from harness.verdict import UndecidedError

PROBE = "probe/"
_RESTORED = "restored/"
NS = 1_000_000_000
SSE_KMS = "aws:kms"  # how S3 names the encryption with a key of KMS


def seconds(duration_ns: int) -> float:
    """Return nanoseconds as seconds."""
    return duration_ns / NS


def nodes(history: History) -> Sequence[str]:
    """Return the names of the cluster's nodes, from the run's facts; empty for a bare history."""
    named = history.facts.get("nodes")
    if isinstance(named, Mapping):
        return [str(name) for name in named]
    return [str(name) for name in named] if isinstance(named, Sequence) else []


def asked(op: Op) -> str:
    """Return the node that a probe asks: its process is `probe/<node>/...`."""
    return str(op.process).split("/")[1]


def as_witness(history: History, op: Op) -> Mapping[str, Json]:
    """Return an operation as evidence that a person can read; times in seconds since `steps`."""
    said: dict[str, Json] = {
        "process": op.process,
        "f": op.f,
        "outcome": op.outcome,
        "value": op.value,
        "node": op.node,
        "tli": op.tli,
        "lsn": op.lsn,
        "start_s": round(history.seconds(op.start), 6),
        "end_s": None if op.end is None else round(history.seconds(op.end), 6),
        "error": op.error,
    }
    return {name: value for name, value in said.items() if value is not None}


# --- acknowledged writes -------------------------------------------------------------------------


def appends(value: Json) -> Iterator[tuple[Json, Json]]:
    """Yield key and element of each append in a transaction's value."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return
    for part in value:
        if isinstance(part, Sequence) and not isinstance(part, str):
            match part:
                case ["append", key, element]:
                    yield key, element


def is_write(op: Op) -> bool:
    """Tell whether the operation asked for something to be written."""
    return op.f == "write" or (op.f == "txn" and any(appends(op.argument)))


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledged write, with what every check of it needs.

    Attributes:
        start: when it was sent. end: when its acknowledgement came. Both ns.
    """

    node: str
    start: int
    end: int
    tli: int | None
    op: Op


def acks(history: History, process: str = "") -> Sequence[Ack]:
    """Return the acknowledged writes of which the node is known, by time of acknowledgement."""
    found = [
        Ack(op.node, op.start, op.end, op.tli, op)
        for f in ("write", "txn")
        for op in history.select(f, "ok", process=process)
        if op.node is not None and op.end is not None and is_write(op)
    ]
    return sorted(found, key=lambda ack: ack.end)


@dataclass(frozen=True, slots=True)
class Reign:
    """A node becomes the primary: the first acknowledgement on a timeline newer than all before."""

    node: str
    tli: int
    first: Ack


def reigns(acknowledged: Iterable[Ack]) -> Sequence[Reign]:
    """Return the nodes that became primary, in order; a node that follows itself reigns on."""
    found: list[Reign] = []
    newest = 0
    for ack in acknowledged:
        if ack.tli is None or ack.tli <= newest:
            continue
        newest = ack.tli
        if not found or found[-1].node != ack.node:
            found.append(Reign(ack.node, ack.tli, ack))
    return found


# --- what was asked ------------------------------------------------------------------------------


def attempts(history: History, node: str) -> Sequence[Op]:
    """Return each try to write straight to a node, by the time it was made.

    A session that could not be opened is such a try too: the write behind it was not sent.
    """
    process = f"{PROBE}{node}/"
    refused = [op for op in history.select("open", process=process) if op.outcome != "ok"]
    tries = [*history.select("write", process=process), *refused]
    return sorted(tries, key=lambda op: op.start)


def longest_unseen(spans: Iterable[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """Return the longest stretch of the window that none of the spans covers, as (start, end)."""
    covered, worst = start, (start, start)
    for begin, until in [*sorted(spans), (end, end)]:
        if begin > covered and min(begin, end) - covered > worst[1] - worst[0]:
            worst = (covered, min(begin, end))
        covered = max(covered, until)
    return worst


def tried_spans(history: History, node: str) -> Iterator[tuple[int, int]]:
    """Yield the times during which a try to write to the node was under way (ns)."""
    for op in attempts(history, node):
        yield op.start, op.start if op.end is None else op.end


def touched(deed: Op) -> Sequence[str]:
    """Return the machines that a step names, or that the undo of a fault names."""
    value = deed.value if isinstance(deed.value, Mapping) else {}
    named = value.get("nodes")
    if isinstance(named, Sequence) and not isinstance(named, str) and named:
        return [str(name) for name in named]
    inner = value.get("arguments")
    node = inner.get("node") if isinstance(inner, Mapping) else value.get("node")
    return [] if node is None else [str(node)]


def powerless(history: History, node: str) -> Iterator[tuple[int, int]]:
    """Yield the times (ns) during which the node had no power, so could acknowledge nothing."""
    off: int | None = None
    for deed in sorted(history.deeds, key=effect_at):
        if node not in touched(deed) or not isinstance(deed.value, Mapping):
            continue
        if off is None and deed.value.get("how") == "power-off" and deed.outcome == "ok":
            off = deed.end or deed.start
        elif off is not None and deed.f in ("start", "heal"):
            yield off, effect_at(deed)
            off = None
    if off is not None:
        yield off, max(off, history.finish)


# --- the leader key ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The leader key passed to another holder, or (None) to nobody, at `time` ns."""

    time: int
    holder: str | None


def leader_key(history: History) -> Sequence[KeyChange]:
    """Return how the leader key changed hands, in the DCS's own order.

    Several watchers tell each change, some of them late: the earliest counts, and a change cannot
    have come after one that the DCS put behind it.
    """
    seen: dict[int, tuple[int, str | None]] = {}
    for event in history.notes("dcs"):
        change = event.value
        if not isinstance(change, Mapping) or change.get("key") != "leader":
            continue
        revision, holder = change.get("revision"), change.get("value")
        if isinstance(revision, int):
            name = None if holder is None or holder == "" else str(holder)
            seen[revision] = min(seen.get(revision, (event.time, name)), (event.time, name))
    changes: list[KeyChange] = []
    latest: int | None = None
    for revision in sorted(seen, reverse=True):
        time, name = seen[revision]
        latest = time if latest is None else min(latest, time)
        changes.append(KeyChange(latest, name))
    changes.reverse()
    return changes[:1] + [b for a, b in pairwise(changes) if a.holder != b.holder]


# --- the primary that a step struck --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Struck:
    """The primary that a step was aimed at, or that stood when it was made.

    Attributes:
        at: when the step took effect, ns.
        node: the primary until then; its timeline is `tli`.
        hit: all nodes of the cluster that the step named.
    """

    at: int
    node: str
    tli: int | None
    hit: frozenset[str]


def instant(history: History, name: str) -> int:
    """Return when the step took effect (ns).

    Raises:
        UndecidedError: when the run made no such step.
    """
    at = history.instant(name)
    if at is None:
        raise UndecidedError(f"no step named {name!r} was made")
    return at


def struck(history: History, name: str) -> Struck:
    """Return the primary that the step struck: the last to acknowledge a write before it.

    Raises:
        UndecidedError: when nobody was primary, or the step hit another node than the primary.
    """
    at = instant(history, name)
    moment = history.moment(name)
    named = frozenset(touched(moment) if moment else ())
    known = frozenset(nodes(history))
    hit = named & known if known else named
    before = [ack for ack in acks(history) if ack.end < at]
    if not before:
        raise UndecidedError(f"no write was acknowledged before {name!r}, so nobody was primary")
    last = before[-1]
    if hit and last.node not in hit:
        raise UndecidedError(f"{name!r} hit {', '.join(sorted(hit))}, but {last.node} was primary")
    return Struck(at, last.node, last.tli, hit | {last.node})


# --- windows -------------------------------------------------------------------------------------


def window(history: History, since: str | None, until: str | None) -> tuple[int, int]:
    """Return the time (ns) from one step to another, by default from `steps` to the end.

    Raises:
        UndecidedError: when the run never came to its steps, or made no such step.
    """
    if since is not None:
        start = instant(history, since)
    elif (steps := history.phase("steps")) is not None:
        start = steps
    else:
        raise UndecidedError("the run never came to its steps")
    return start, history.finish if until is None else instant(history, until)


# --- roles ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Role:
    """What a node was last seen to be.

    Attributes:
        last: the last observation, ns. since: the first one in a row that showed the same.
        otherwise: the last one before that, which showed the other role; None without one.
    """

    primary: bool
    last: int
    since: int
    otherwise: int | None


class Roles:
    """What one node was seen to be, over time.

    An observation counts from its end: by then the node certainly had been in that role.
    """

    def __init__(self, seen: Iterable[tuple[int, bool]]) -> None:
        """Take pairs of the end of an observation (ns) and whether it showed a primary."""
        self._seen: list[Role] = []
        for end, primary in sorted(seen):
            before = self._seen[-1] if self._seen else None
            if before is not None and before.primary == primary:
                self._seen.append(Role(primary, end, before.since, before.otherwise))
            else:
                self._seen.append(Role(primary, end, end, before.last if before else None))

    def at(self, time: int) -> Role | None:
        """Return what the node was by what had been seen at this time; None before all."""
        index = bisect_right(self._seen, time, key=lambda role: role.last)
        return self._seen[index - 1] if index else None


def roles(history: History, acknowledged: Iterable[Ack]) -> Mapping[str, Roles]:
    """Return, by node, when it was seen to be primary and when in recovery."""
    seen: dict[str, list[tuple[int, bool]]] = {}
    for ack in acknowledged:
        seen.setdefault(ack.node, []).append((ack.end, True))
    for f in ("role", "open"):
        for op in history.select(f, "ok"):
            node = op.node or (asked(op) if str(op.process).startswith(PROBE) else None)
            if node is not None and op.end is not None and (r := in_recovery(op)) is not None:
                seen.setdefault(node, []).append((op.end, not r))
    return {node: Roles(of) for node, of in seen.items()}


def role_answers(history: History, node: str) -> Sequence[Op]:
    """Return each time the node told a probe its role, by when it was asked.

    A probe asks when it opens a session.
    """
    process = f"{PROBE}{node}/"
    told = [
        *history.select("role", "ok", process=process),
        *history.select("open", "ok", process=process),
    ]
    return sorted((op for op in told if in_recovery(op) is not None), key=lambda op: op.start)


def in_recovery(op: Op) -> bool | None:
    """Return whether the node that answered said it was in recovery; None when it did not say."""
    said = op.value.get("in_recovery") if isinstance(op.value, Mapping) else None
    return said if isinstance(said, bool) else None


def as_key(value: Json) -> Hashable:
    """Return a value that may stand in a set: lists and mappings as their JSON."""
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value, sort_keys=True)


# --- what was written, element by element ---------------------------------------------------------


class Element(NamedTuple):
    """One thing that was written: a number in the probes' table, or an entry of a list.

    Attributes:
        key: the list; None in the probes' table.
    """

    table: str
    key: Hashable
    value: Hashable

    def __str__(self) -> str:
        place = "" if self.key is None else f"{self.key}:"
        return f"{self.table} {place}{self.value}"


def elements(op: Op, table: str | None = None) -> Sequence[Element]:
    """Return what the operation asked to be written; `table` where its key does not say."""
    if table is None:
        table = "probe" if op.key is None and op.f == "write" else str(as_key(op.key))
    if op.f == "write":
        return [Element(table, None, as_key(op.argument))]
    return [Element(table, as_key(key), as_key(it)) for key, it in appends(op.argument)]


def shown(table: str, rows: Json) -> Iterator[Element]:
    """Yield what a read of a whole table shows: `["r", key, [elements]]`, or numbers.

    Raises:
        UndecidedError: when it is no such list.
    """
    if isinstance(rows, str) or not isinstance(rows, Sequence):
        raise UndecidedError(f"the read of {table} holds {str(rows)[:40]!r}, not a list")
    for row in rows:
        match row:
            case ["r", key, None]:
                continue
            case ["r", key, [*held]]:
                yield from (Element(table, as_key(key), as_key(it)) for it in held)
            case _:
                yield Element(table, None, as_key(row))


# --- marks and restored clusters ------------------------------------------------------------------


def said(deed: Op) -> Mapping[str, Json]:
    """Return what a step recorded of itself."""
    return deed.value if isinstance(deed.value, Mapping) else {}


def restoring(history: History, cluster: str) -> Op:
    """Return the step that restored the cluster of this name.

    Raises:
        UndecidedError: when none did, or it did not succeed.
    """
    deed = _last_done(history, "restore", "cluster", cluster)
    if deed is None:
        raise UndecidedError(f"no cluster {cluster!r} was restored")
    return deed


def marking(history: History, name: str) -> Op:
    """Return the step that made the mark of this name.

    Raises:
        UndecidedError: when none did, or it did not succeed.
    """
    deed = _last_done(history, "mark", "mark", name)
    if deed is None:
        raise UndecidedError(f"no mark {name!r} was made")
    return deed


def _last_done(history: History, f: str, key: str, name: str) -> Op | None:
    """Return the last step of this kind that succeeded and recorded the name under the key."""
    done = (deed for deed in reversed(history.deeds) if deed.f == f and deed.outcome == "ok")
    return next((deed for deed in done if said(deed).get(key) == name), None)


def writable_at(restore: Op) -> int:
    """Return when a restored cluster first acknowledged a write (ns)."""
    at = said(restore).get("writable")
    return at if isinstance(at, int) else effect_at(restore)


def is_of(restore: Op, op: Op) -> bool:
    """Tell whether an operation went to the restored cluster, not to the one it came from."""
    return str(op.process).startswith(_RESTORED) or (
        op.node is not None and op.node in touched(restore) and op.start >= restore.start
    )


def is_in_place(history: History, restore: Op) -> bool:
    """Tell whether the restored cluster is the scenario's own, made anew."""
    return bool(touched(restore)) and set(touched(restore)) <= set(nodes(history))


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restored cluster was read to hold.

    Attributes:
        present: how often each element is there.
        tables: those that were read.
        doubts: by table, why a read of it shows nothing.
    """

    present: Counter[Element]
    tables: frozenset[str]
    doubts: Mapping[str, str]


def restored(history: History, cluster: str) -> Restored:
    """Return what the restored cluster holds: the first good read of each of its tables.

    Raises:
        UndecidedError: when nothing was read.
    """
    process = f"{_RESTORED}{cluster}"
    present: Counter[Element] = Counter()
    tables: set[str] = set()
    doubts: dict[str, str] = {}
    for op in history.select("read", process=process):
        table = str(as_key(op.key))
        if str(op.process) != process and not str(op.process).startswith(f"{process}/"):
            continue
        if op.outcome != "ok":
            doubts[table] = f"the read of {table} ended {op.outcome}: {op.error or 'no reason'}"
        elif table not in tables:
            present.update(shown(table, op.value))
            tables.add(table)
    if not tables and not doubts:
        raise UndecidedError(f"nothing was read from {cluster!r}")
    left = {table: doubt for table, doubt in doubts.items() if table not in tables}
    return Restored(present, frozenset(tables), left)


# --- what S3 holds --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object in S3 was first seen, seen to have changed, or seen to be gone.

    Attributes:
        time: when it was seen, ns; it happened at some time since the listing before.
        value: what was recorded of it.
    """

    time: int
    key: str
    value: Mapping[str, Json]

    @property
    def is_gone(self) -> bool:
        return self.value.get("gone") is True


def object_sightings(history: History, prefix: str = "") -> Sequence[Sighting]:
    """Return what was seen of the objects below a prefix, by time."""
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    return [
        Sighting(event.time, key, event.value)
        for event in history.notes("object")
        if isinstance(event.value, Mapping)
        and isinstance(key := event.value.get("key"), str)
        and key.startswith(folder)
    ]


@dataclass(frozen=True, slots=True)
class Archived:
    """A file of the WAL archive, by the name of its object.

    Attributes:
        archive: the folder of one stanza and one version: `<prefix>archive/<stanza>/17-1`.
        number: of the segment since the beginning of the log; None for a timeline's history.
        name: as PostgreSQL calls the file.
    """

    archive: str
    tli: int
    number: int | None
    name: str


# The history of a timeline carries no checksum. What PostgreSQL calls `.partial` is no segment.
# Source: pgBackRest 2.55, command/archive/push (`<segment>-<SHA-1>`, below `<16 digits>/`).
_ARCHIVED = re.compile(
    r"(?P<archive>(?:.*/)?archive/[^/]+/[^/]+)/(?:"
    r"(?:[0-9A-F]{16}/)?(?P<segment>[0-9A-F]{24})-[0-9a-f]{40}"
    r"|(?P<history>[0-9A-F]{8}\.history)(?:-[0-9a-f]{40})?"
    r")(?:\.(?:zst|gz|lz4|bz2))?"
)
_SEGMENTS_A_LOG = 256  # of 16 MiB in 4 GiB: the middle part of the name counts these


def segment_number(name: str) -> int:
    """Return the position of a segment of 16 MiB in the log, from the 24 digits of its name.

    Source: PostgreSQL, `XLogFileName`: timeline, log and segment, 8 hex digits each.
    """
    return int(name[8:16], 16) * _SEGMENTS_A_LOG + int(name[16:24], 16)


def segment_name(tli: int, number: int) -> str:
    """Return what PostgreSQL calls a segment of 16 MiB."""
    log, segment = divmod(number, _SEGMENTS_A_LOG)
    return f"{tli:08X}{log:08X}{segment:08X}"


def archived(key: str) -> Archived | None:
    """Return which file of the WAL archive the object is; None when it is none."""
    match = _ARCHIVED.fullmatch(key)
    if match is None:
        return None
    if (name := match["segment"]) is None:
        return Archived(match["archive"], int(match["history"][:8], 16), None, match["history"])
    return Archived(match["archive"], int(name[:8], 16), segment_number(name), name)
