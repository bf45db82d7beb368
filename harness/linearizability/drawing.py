"""A counterexample as people read it: what was going on where no order exists."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import orjson

from harness.history import Json
from harness.linearizability.breach import Breach
from harness.linearizability.calls import Call

State = TypeVar("State", bound=Hashable)
Effect = TypeVar("Effect", bound=Hashable)

_LATEST: Final = 5  # operations of the order that are shown
_OPEN: Final = 8  # of those that were open
_UNKNOWN: Final = 3  # of those that may have happened, or may yet
_WORDS: Final = 24  # characters of a value


class Bar(NamedTuple):
    """One operation in a drawing.

    Attributes:
        row: the process.
        words: what it did.
        start, end: positions in real-time order; `end` is None where nobody knows when it ends.
        misfit: it is the one that cannot be placed.
    """

    row: str
    words: str
    start: int
    end: int | None
    misfit: bool


def explain(breach: Breach[State, Effect]) -> tuple[str, Mapping[str, Json]]:
    """Return one sentence, and what shows it: see `harness.checks.linearizable`."""
    object_, order = breach.object, breach.order
    state = object_.initial
    for index in order:
        after = object_.rules.step(state, object_.calls[index].effect)
        assert after is not None, "an order that was found is an order"
        state = after
    blocked = object_.calls[breach.blocked]
    shown = _shown(breach)
    places = {index: place for place, index in enumerate(order, 1)}
    longest = (
        "fits nowhere; a longest order of what came before has"
        if breach.shortest
        else "is out of reach; the longest order that was found has"
    )
    reason = (
        f"{named_key(object_.key)}: {_sentence(blocked)} {longest} {len(order)} operations and "
        f"leaves {_json(object_.show(state))}"
    )
    detail: Mapping[str, Json] = {
        "key": object_.key,
        "line": (blocked.completed or 0) + 1,
        "prefix": len(order),
        "state": object_.show(state),
        "operations": [_told(object_.calls[i], places.get(i)) for i in shown],
        "unplaced": [_sentence(object_.calls[i]) for i in shown if i not in places],
        "drawing": draw([_bar(object_.calls[i], misfit=i == breach.blocked) for i in shown]),
    }
    return reason, detail


def named_key(key: Json) -> str:
    """Return what an object is called."""
    return "the object without a key" if key is None else f"key {_json(key)}"


def _sentence(call: Call[Effect]) -> str:
    return f"{words(call)} by process {call.process!r} ({_lines(call)})"


def _shown(breach: Breach[State, Effect]) -> Sequence[int]:
    """Return the operations that explain it, by their invocations."""
    calls = breach.object.calls
    end = calls[breach.blocked].completed or 0
    latest = breach.order[-_LATEST:]
    among = {*breach.order}
    running = [
        index
        for index, call in enumerate(calls)
        if call.completed is not None and call.invoked < end < call.completed
    ]
    may = [
        index
        for index, call in enumerate(calls)
        if call.completed is None and call.invoked < end and index not in among
    ]
    chosen = {breach.blocked, *latest, *running[-_OPEN:], *may[-_UNKNOWN:]}
    return sorted(chosen, key=lambda index: calls[index].invoked)


def _told(call: Call[Effect], position: int | None) -> Json:
    """Return an operation for the answer; its position in the order, from 1."""
    return {
        "process": call.process,
        "f": call.f,
        "value": call.value,
        "lines": [call.invoked + 1, None if call.completed is None else call.completed + 1],
        "outcome": "info" if call.completed is None else "ok",
        "position": position,
    }


def _lines(call: Call[Effect]) -> str:
    end = "" if call.completed is None else f" to {call.completed + 1}"
    return f"line{'s' if end else ''} {call.invoked + 1}{end}"


def words(call: Call[Effect]) -> str:
    """Return what an operation did, in a few words."""
    value = call.argument if call.value is None and call.f != "read" else call.value
    if call.f in ("acquire", "release"):
        told = call.f
    elif call.f == "cas" and isinstance(value, list):
        missed = " missed" if value[2:] == [False] else ""
        told = f"cas {_clipped(value[0])} to {_clipped(value[1])}{missed}"
    else:
        told = f"{call.f} {_clipped(value)}"
    return f"{told} ?" if call.completed is None else told


def _json(value: Json) -> str:
    return orjson.dumps(value).decode()


def _clipped(value: Json) -> str:
    """Return a value, of a long one its end: what is appended is there."""
    text = _json(value)
    return text if len(text) <= _WORDS else f"...{text[-_WORDS:]}"


def _bar(call: Call[Effect], *, misfit: bool) -> Bar:
    return Bar(str(call.process), words(call), call.invoked, call.completed, misfit)


def draw(bars: Sequence[Bar]) -> list[str]:
    """Return lines of text: time from left to right, a row for each process.

    An operation reaches from `|` to `|`, one of unknown outcome on to `>`; the one that fits
    nowhere is drawn with `=`. Only the order of the ends is to scale.
    """
    columns = _columns(bars)
    width = max(columns.values(), default=0) + 1
    margin = max((len(bar.row) for bar in bars), default=0) + 2
    rows: dict[str, list[str]] = {}
    for bar in bars:
        row = rows.setdefault(bar.row, [" "] * width)
        start = columns[bar.start]
        end = width - 1 if bar.end is None else columns[bar.end]
        line = "=" if bar.misfit else "-"
        text = f"|{bar.words:{line}^{end - start - 1}}{'|' if bar.end is not None else '>'}"
        row[start : end + 1] = text
    return [f"{name:<{margin}}{''.join(row).rstrip()}" for name, row in rows.items()]


def _columns(bars: Sequence[Bar]) -> Mapping[int, int]:
    """Return the column of each end, so that every bar has room for its words."""
    starts = {bar.start: bar for bar in bars}
    ends = {bar.end: bar for bar in bars if bar.end is not None}
    columns: dict[int, int] = {}
    column = -1
    for position in sorted([*starts, *ends]):
        column += 1
        if position in ends:
            bar = ends[position]
            column = max(column, columns[bar.start] + len(bar.words) + 3)
        columns[position] = column
    open_ended = [columns[bar.start] + len(bar.words) + 3 for bar in bars if bar.end is None]
    columns[1 << 62] = max([column, *open_ended])
    return columns
