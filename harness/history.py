"""What happened in a run, as its clients saw it: the one input of every verdict.

JSON lines: an `invoke` before each request, and after it the completion `ok` (took effect), `fail`
(certainly did not) or `info` (unknown: it may take effect later, or never). A request without a
completion is `info`. Each client writes its own log, stamped by the clock that all clients share;
`history.jsonl` is the merge of these logs by time.

A run records, by function (`f`), with its process and its value:

- `run`: `nemesis`: facts, `{"scenario", "cell", "seed", "cluster": {...},
  "nodes": {name: {"az", "address"}}, "workloads": [names]}`
- `phase`: `nemesis`: `steady`, `steps`, `settled`, `end`: the run entered it
- a verb (`kill` ...): `nemesis`: `{"as": name or null, "nodes": [...], "at": ns, ...}`: a step,
  or the undo of a fault (`heal`); `at` is when it took effect, where the verb knows
- `open`: any session: `{"through": where it was sent, "in_recovery": bool}`; `node` answered
- `txn`: a workload's session: `[["append", k, v], ["r", k, list], ...]`; `key` = its table
- `write`: `probe/<node>/held.<n>`, `probe/<node>/fresh.<n>`: the row's number; `key` = `probe`;
  `lsn` = bounds
- `role`: `probe/<node>/...`: `{"in_recovery": bool}`: what `node` says of itself in SQL
- `patroni`: `rest/<node>`: the body of GET /patroni with `"status"` added; evidence only
- `dcs`: `dcs/<member>`: `{"key", "value", "revision"}`: a watched key changed (null = gone)
- `dcs-term`: `dcs/<member>`: `{"term", "leader"}`: another member leads the DCS
- `object`: `s3/<prefix>`: what S3 holds: `{"key", "size", "etag", "sse", "kms_key"}` of each object
  when it is first seen or has changed, `{"key", "gone": true}` when it is no longer there
- `mark`: `nemesis`: `{"nodes": [leader], "at", "mark": name, "held": bool, "tli", "time": text with
  zone, "time_us", "lsn": "X/Y", "next_lsn": start of the first record at or after `lsn`, "xid",
  "restore_point": name, "restore_lsn", "system_identifier", "digest": {table: md5} if held,
  "commits" and "aborts": [[xid, start lsn, time in us], ...] if not held: those around the mark in
  WAL order, "commits_from": lsn}`
- `backup`: `nemesis`: `{"nodes": [node], "at", "kind", "label", "stop_lsn": at most}`; of one that
  was allowed to fail and did, `"label": null` and `"failed"`, why
- `destroy`: `nemesis`: `{"nodes": [machines], "at", "kept": [...]}`
- `restore`: `nemesis`: `{"nodes": [nodes], "at", "cluster": name, "mark": name or null, "target":
  {"kind", "value", "inclusive"}, "writable": ns, when it first acknowledged a write, "primary",
  "tli", "system_identifier", "source_system_identifier", "digest": {table: md5}, "prefix",
  "source_prefix"}`
- `replace`: `nemesis`: `{"nodes": [node], "at", "seconds", "leader_sent_bytes"}`; null when the
  leader changed meanwhile
- `knock`: `nemesis`: `{"nodes": [node], "at", "refused": [node], "welcomed": [node]}`: who would
  have talked without TLS
- `wait`: `nemesis`: until `archived`: `{"archived": segment}`
- `heal` of S3: `nemesis`: `{"nodes": [], "s3": "well"}`
- `delay`: `harness`, `client/<vantage>`: longest scheduling delay of the last second, in seconds
- `crowded`: `harness`: for how many seconds since the last such event no core of the nodes' common
  machine was free, at the least
- `timelines`: `final`: `{tli: [[parent tli, "X/Y" where it was left], ...]}`: the history files of
  the survivor
- `read`: `final`, `restored/<cluster>`: `key` = `probe` or a workload's table; value = everything
  that the survivor, or the restored cluster, holds

`run`, `phase`, `dcs`, `dcs-term`, `object`, `delay` and `crowded` are observations: bare events of
type `info`.
"""

import gc
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from heapq import merge as merge_sorted
from pathlib import Path
from typing import Literal, Self, TypeAlias

from typing_extensions import TypeAliasType

from harness.errors import Mistake, ScenarioError

# Recursive, so a real alias: pydantic cannot expand an implicit one.
Json = TypeAliasType(
    "Json", "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
)
Outcome: TypeAlias = Literal["ok", "fail", "info"]
EventType: TypeAlias = Literal["invoke", "ok", "fail", "info"]
EVENT_TYPES = ("invoke", "ok", "fail", "info")
NEMESIS = "nemesis"
# Events, never operations.
_OBSERVATIONS = frozenset({"run", "phase", "dcs", "dcs-term", "object", "delay", "crowded"})
_HEAL = "heal"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history.

    Attributes:
        process: the single-threaded client; it alternates invoke and completion, and goes on under
            another name after an `info`.
        type: `invoke`, `ok`, `fail` or `info`.
        f: what was asked or observed: the functions below.
        time: CLOCK_MONOTONIC in nanoseconds.
        value: the argument at the invocation, the result at the completion.
        key: the table that the operation is on.
        node, tli, xid: who answered, on which timeline, in which transaction.
        lsn: the commit's position, or `[at least, at most]`.
        error: `<SQLSTATE or class>: <text>`.
        index: position in the merged history; -1 before the merge.
    """

    process: str | int
    type: EventType
    f: str
    time: int
    value: Json = None
    key: Json = None
    node: str | None = None
    tli: int | None = None
    xid: int | None = None
    lsn: Json = None
    error: str | None = None
    index: int = -1

    def to_json(self) -> str:
        """Return the event as one line of JSON, absent fields left out."""
        members = {name: getattr(self, name) for name in _FIELDS}
        kept = {k: v for k, v in members.items() if v is not None or k == "value"}
        return json.dumps(kept, separators=(",", ":"))


_FIELDS = tuple(field.name for field in fields(Event))
_KNOWN = frozenset(_FIELDS)


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: an invocation and what became of it.

    Attributes:
        argument: the value at the invocation. value: at the completion (the argument if none).
        end: None while, or if, the outcome stayed unknown without any completion.
    """

    process: str | int
    f: str
    outcome: Outcome
    start: int
    end: int | None
    argument: Json
    value: Json
    key: Json = None
    node: str | None = None
    tli: int | None = None
    xid: int | None = None
    lsn: Json = None
    error: str | None = None


@dataclass(frozen=True)
class History:
    """All events of one run in real-time order."""

    events: tuple[Event, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a merged history.

        Raises:
            ScenarioError: naming `file:line` of the first malformed line.
        """
        with no_garbage():
            return cls(tuple(read_events(path)))

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """Return the operations in the order of their invocations; bare `info` events are none."""
        with no_garbage():
            return tuple(_pair(self.events))

    @cached_property
    def _ops_by_f(self) -> Mapping[str, tuple[Op, ...]]:
        found: dict[str, list[Op]] = defaultdict(list)
        for op in self.ops:
            found[op.f].append(op)
        return {f: tuple(ops) for f, ops in found.items()}

    def select(
        self, f: str, outcome: Outcome | None = None, *, process: str = ""
    ) -> tuple[Op, ...]:
        """Return the operations with this function, outcome and prefix of the process's name."""
        ops = self._ops_by_f.get(f, ())
        if outcome is None and not process:
            return ops
        return tuple(
            op
            for op in ops
            if outcome in (None, op.outcome)
            and (not process or str(op.process).startswith(process))
        )

    @cached_property
    def _events_by_f(self) -> Mapping[str, tuple[Event, ...]]:
        found: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            if event.f in _OBSERVATIONS or event.f == _HEAL:
                found[event.f].append(event)
        return {f: tuple(events) for f, events in found.items()}

    def notes(
        self, f: Literal["run", "phase", "dcs", "dcs-term", "object", "delay", "crowded"]
    ) -> tuple[Event, ...]:
        """Return what was observed without being asked for: events that complete no invocation."""
        return self._events_by_f.get(f, ())

    @cached_property
    def facts(self) -> Mapping[str, Json]:
        """Return what the run recorded about itself; empty for a bare history."""
        for event in self.notes("run"):
            if isinstance(event.value, Mapping):
                return event.value
        return {}

    @cached_property
    def deeds(self) -> tuple[Op, ...]:
        """Return what was done to the cluster: the steps, and the undoing of faults."""
        steps = [
            op
            for op in self.ops
            if str(op.process).startswith(NEMESIS)
            and isinstance(op.value, Mapping)
            and op.f not in _OBSERVATIONS
        ]
        # A fault that ends by itself is recorded once it is undone, without an invocation.
        undone = [
            Op(event.process, event.f, "ok", event.time, event.time, event.value, event.value)
            for event in self._events_by_f.get(_HEAL, ())
            if event.type == "info" and isinstance(event.value, Mapping)
        ]
        return tuple(sorted([*steps, *undone], key=lambda op: op.start))

    def moment(self, name: str) -> Op | None:
        """Return the step that the scenario named by `as: <name>`, or None."""
        for op in self.deeds:
            if isinstance(op.value, Mapping) and op.value.get("as") == name:
                return op
        return None

    def instant(self, name: str) -> int | None:
        """Return when the step with this name took effect (ns), or None without such a step."""
        op = self.moment(name)
        return None if op is None else effect_at(op)

    @cached_property
    def _phases(self) -> Mapping[str, int]:
        times: dict[str, int] = {}
        for event in self.notes("phase"):
            times.setdefault(str(event.value), event.time)
        return times

    def phase(self, name: str) -> int | None:
        """Return when the run entered this phase, or None when it never did."""
        return self._phases.get(name)

    @cached_property
    def finish(self) -> int:
        """Return when the observation ended: phase `settled`, else the last event."""
        settled = self.phase("settled")
        return settled if settled is not None else max((e.time for e in self.events), default=0)

    @property
    def broke_off(self) -> bool:
        """Return whether the run ended before it had settled: what is missing might have come."""
        return self.phase("settled") is None

    def seconds(self, time_ns: int) -> float:
        """Return an instant for people: seconds since the first step (else the first event)."""
        return (time_ns - self._zero) / 1e9

    @cached_property
    def _zero(self) -> int:
        steps = self.phase("steps")
        return steps if steps is not None else min((e.time for e in self.events), default=0)

    @cached_property
    def through(self) -> Mapping[str | int, str]:
        """Return where each session was sent: `primary-elb`, `replica-elb` or a node's name."""
        found: dict[str | int, str] = {}
        for op in self.select("open"):
            for said in (op.value, op.argument):
                if isinstance(said, Mapping) and "through" in said:
                    found[op.process] = str(said["through"])
        return found


@contextmanager
def no_garbage() -> Iterator[None]:
    """Keep the cycle collector from running: events form no cycles, and there are many of them.

    Measured: it visits what was loaded so far again and again, half of the time of a load.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def effect_at(op: Op) -> int:
    """Return when a step took effect: the `at` that its verb recorded, else its invocation."""
    at = op.value.get("at") if isinstance(op.value, Mapping) else None
    return at if isinstance(at, int) else op.start


def _pair(events: Iterable[Event]) -> Iterator[Op]:
    """Yield operations in the order of invocation.

    A completion belongs to its process's open invocation of the same function; anything else
    that is no invocation is an observation made beside the operations.
    """
    open_at: dict[str | int, int] = {}
    ops: list[tuple[Event, Event | None]] = []
    for event in events:
        if event.type == "invoke":
            open_at[event.process] = len(ops)
            ops.append((event, None))
        elif (at := open_at.get(event.process)) is not None and ops[at][0].f == event.f:
            del open_at[event.process]
            ops[at] = (ops[at][0], event)
    for begin, end in ops:
        done = end or begin
        yield Op(
            process=begin.process,
            f=begin.f,
            outcome="info" if end is None or end.type == "invoke" else end.type,
            start=begin.time,
            end=end.time if end else None,
            argument=begin.value,
            value=begin.value if done.value is None and done.type != "ok" else done.value,
            key=begin.key if done.key is None else done.key,
            node=done.node,
            tli=done.tli,
            xid=done.xid,
            lsn=done.lsn,
            error=done.error,
        )


class Log:
    """An append-only file of events that survives the death of whoever writes it.

    Each event is one `write(2)`, so a reader sees whole lines but for at most the last one.
    No fsync: the machine is trusted to stay up, and 500 fsyncs a second would slow the DCS.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _drop_torn_tail(self._fd)

    def append(self, event: Event) -> None:
        line = (event.to_json() + "\n").encode()
        # A full disk takes only a part; writing the rest then raises what is wrong.
        while line:
            line = line[os.write(self._fd, line) :]

    def close(self) -> None:
        os.close(self._fd)


def _drop_torn_tail(fd: int) -> None:
    """Cut off half a line that a dead writer left: the next event must not be glued to it."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        begin = max(0, end - 65536)
        newline = os.pread(fd, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            end = begin + newline + 1
            break
        end = begin
    if end < size:
        os.ftruncate(fd, end)


def read_events(path: Path, *, torn_tail: bool = False) -> Iterator[Event]:
    """Yield the events of one file.

    Args:
        path: JSON lines.
        torn_tail: the writer may have died in mid-line; a broken last line is then left out.

    Raises:
        ScenarioError: naming `file:line` of the first malformed line.
    """
    with path.open("rb") as lines:  # as bytes: a line that is no UTF-8 must be named too
        for number, line in enumerate(lines, start=1):
            if torn_tail and not line.endswith(b"\n"):
                return
            yield _parse(line, path, number)


class Follower:
    """Reads a log while it is written: each event once, whole lines only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Event]:
        """Yield the events that came since the last call."""
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield _parse(line, self._path, 0)


def _parse(line: bytes, path: Path, number: int) -> Event:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, number, f"{error}; expected one JSON object a line") from None
    if found := _mistake(members):
        raise _wrong(path, number, found)
    # The same few names come a hundred thousand times: keep one copy of each.
    for name in ("process", "type", "f", "node"):
        if isinstance(text := members.get(name), str):
            members[name] = sys.intern(text)
    if not members.keys() <= _KNOWN:
        members = {name: value for name, value in members.items() if name in _KNOWN}
    return Event(**members)


def _wrong(path: Path, number: int, found: str) -> ScenarioError:
    return ScenarioError([Mistake(str(path), number, 1, found)])


def _mistake(members: object) -> str | None:
    """Return what is wrong with one parsed line, or None."""
    if not isinstance(members, dict):
        return f"{str(members)[:40]!r}; expected a JSON object"
    missing = [name for name in _REQUIRED if name not in members]
    if missing:
        return f"no {', '.join(missing)}; expected process, type, f, time and value"
    if members["type"] not in EVENT_TYPES:
        return f"type {members['type']!r}; expected one of {', '.join(EVENT_TYPES)}"
    for name, (kinds, expected) in _KINDS.items():
        # `type`, not isinstance: true is an int to Python, and no time or timeline to us.
        if name in members and type(members[name]) not in kinds:
            return f"{name} {members[name]!r}; expected {expected}"
    return None


_REQUIRED = ("process", "type", "f", "time")
_NONE = type(None)
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "process": ((str, int), "a name or a number"),
    "f": ((str,), "a name"),
    "time": ((int,), "nanoseconds as an integer"),
    "node": ((str, _NONE), "a name"),
    "tli": ((int, _NONE), "a timeline as an integer"),
    "index": ((int,), "an integer"),
}


def merge_logs(folder: Path, target: Path) -> None:
    """Merge the clients' logs in `folder` into one history, by time and then process.

    Safe to repeat, and the way to read a run that died: the logs are kept.
    """
    logs = [read_events(path, torn_tail=True) for path in sorted(folder.glob("*.jsonl"))]
    # Each log may hold several threads' events, so it is only nearly sorted.
    streams = [sorted(log, key=_order) for log in logs]
    unfinished = target.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as out:
        for index, event in enumerate(merge_sorted(*streams, key=_order)):
            out.write(replace(event, index=index).to_json() + "\n")
    unfinished.replace(target)


def _order(event: Event) -> tuple[int, str]:
    """Order by time, then process. Both sorts are stable, which keeps a process's own order.

    It must: in virtual time a completion and the same process's next invocation often tie.
    """
    return event.time, str(event.process)
