"""A bare history as operations, read as a stream: what `drill check` judges.

The file is JSON lines in real-time order, perhaps gzipped. Only what an open operation asked is
kept until it completes, so a million events need no more memory than what a check remembers.
(`harness.history` reads a run's own history as a whole, for the report and the expectations.)

Source: the contract is docs/reference/history.md.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Required, TypedDict

import orjson

from harness.errors import Mistake, ScenarioError
from harness.history import EventType, Json, Outcome

_GZIP = b"\x1f\x8b"


class Line(TypedDict, total=False):
    """One line of a file, its members of the types of the contract."""

    process: Required[str | int]
    type: Required[EventType]
    f: Required[str]
    time: int
    key: Json
    value: Json
    node: str | None
    tli: int | None
    xid: Json
    lsn: Json
    error: Json


class Operation(NamedTuple):
    """One invocation and what became of it.

    Attributes:
        process: the single-threaded client; unique among open operations.
        f: what was asked: `read`, `write`, `cas`, `txn`, `add` ...
        outcome: `ok` took effect; `fail` certainly did not; `info` may have, at any time from its
            invocation on, or never.
        key: the object that it is on, where there is one.
        argument: the value at the invocation.
        value: the result of an `ok`; the argument of any other.
        invoked, completed: positions in real-time order, in lines of the file from 0; no two
            events share one. `completed` is None while the outcome is unknown: an `info`
            completion bounds nothing.
        start, end: the same as `time` (ns), where the events carry one.
        node, tli, xid, lsn: who answered and where the commit stands, where known.
        error: why it failed, where known.
    """

    process: str | int
    f: str
    outcome: Outcome
    key: Json
    argument: Json
    value: Json
    invoked: int
    completed: int | None
    start: int | None
    end: int | None
    node: str | None
    tli: int | None
    xid: Json
    lsn: Json
    error: Json


def read(path: Path) -> Iterator[Operation]:
    """Yield the operations in the order of their completions, those of unknown outcome last.

    A bare `info` event of a process that has nothing open, or another `f` open, is an observation
    and no operation.

    Raises:
        ScenarioError: naming `file:line` of the first malformed line, or why the file cannot be
            read.
    """
    opened: dict[str | int, tuple[Line, int]] = {}
    unknown: list[tuple[Line, int]] = []
    for number, line in enumerate(_lines(path)):
        event = _event(line, path, number)
        process, kind = event["process"], event["type"]
        begun = opened.get(process)
        if kind == "invoke":
            if begun is not None:
                found = f"process {process!r} invokes {event['f']!r} while its {begun[0]['f']!r}"
                raise _wrong(path, number, f"{found} of line {begun[1] + 1} is open; {_ALTERNATE}")
            opened[process] = (event, number)
        elif begun is not None and begun[0]["f"] == event["f"]:
            del opened[process]
            if kind == "info":
                unknown.append(begun)
            else:
                yield _completed(begun, event, number)
        elif kind != "info":
            open_now = "nothing" if begun is None else repr(begun[0]["f"])
            found = f"process {process!r} completes {event['f']!r} and has {open_now} open"
            raise _wrong(path, number, f"{found}; {_ALTERNATE}")
    unknown.extend(opened.values())
    for event, number in sorted(unknown, key=lambda one: one[1]):
        yield _unknown(event, number)


_ALTERNATE = "expected an invocation and its completion in turn"


def _completed(begun: tuple[Line, int], done: Line, number: int) -> Operation:
    asked, invoked = begun
    key, outcome = done.get("key"), done["type"]
    assert outcome != "invoke"
    argument, value = asked.get("value"), done.get("value")
    return Operation(
        asked["process"],
        asked["f"],
        outcome,
        asked.get("key") if key is None else key,
        argument,
        argument if value is None and outcome != "ok" else value,
        invoked,
        number,
        asked.get("time"),
        done.get("time"),
        done.get("node"),
        done.get("tli"),
        done.get("xid"),
        done.get("lsn"),
        done.get("error"),
    )


def _unknown(asked: Line, invoked: int) -> Operation:
    argument = asked.get("value")
    return Operation(
        process=asked["process"],
        f=asked["f"],
        outcome="info",
        key=asked.get("key"),
        argument=argument,
        value=argument,
        invoked=invoked,
        completed=None,
        start=asked.get("time"),
        end=None,
        node=None,
        tli=None,
        xid=None,
        lsn=None,
        error=None,
    )


# --- lines -------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines, unpacked where the file is gzipped (by its content, not by its name)."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            yield from gzip.GzipFile(fileobj=file) if packed else file
    except FileNotFoundError:
        raise _unreadable(path, "no such file; expected a history") from None
    except IsADirectoryError:
        raise _unreadable(path, "a folder; expected a history (JSON lines)") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, f"{error}; expected JSON lines, perhaps gzipped") from None


def _event(line: bytes, path: Path, number: int) -> Line:
    """Return one parsed line whose members have the types of the contract."""
    try:
        event: Line = orjson.loads(line)
        if (
            event["type"] in _TYPES
            and type(event["process"]) in _NAMES
            and type(event["f"]) is str
            and type(event.get("time", 0)) is int
        ):
            return event
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # what exactly is wrong is found below, slowly
    raise _wrong(path, number, _mistake(line))


_TYPES = frozenset({"invoke", "ok", "fail", "info"})
_NAMES = frozenset({int, str})


def _mistake(line: bytes) -> str:
    """Return what is wrong with a line that is no event."""
    try:
        event = orjson.loads(line)
    except ValueError as error:
        found = line[:40].decode(errors="replace").strip()
        return f"{found!r}: {error}; expected one JSON object a line"
    if not isinstance(event, dict):
        return f"{str(event)[:40]!r}; expected a JSON object"
    if missing := [name for name in ("process", "type", "f") if name not in event]:
        return f"no {', '.join(missing)}; expected process, type, f and value"
    if event["type"] not in (*_TYPES,):
        return f"type {event['type']!r}; expected one of invoke, ok, fail, info"
    if type(event["process"]) not in _NAMES:
        return f"process {event['process']!r}; expected a name or a number"
    if type(event["f"]) is not str:
        return f"f {event['f']!r}; expected a name"
    return f"time {event['time']!r}; expected nanoseconds as an integer"


def _wrong(path: Path, number: int, found: str) -> ScenarioError:
    return ScenarioError([Mistake(str(path), number + 1, 1, found)])


def _unreadable(path: Path, found: str) -> ScenarioError:
    return ScenarioError([Mistake(str(path), 0, 0, found)])
