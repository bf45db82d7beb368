"""A judged history for people: what was found, what shows it, and the verdict last."""

from collections.abc import Iterator, Mapping, Sequence

from harness.answer import Valid
from harness.history import Json
from harness.isolation.explanation import lines as cycle_lines
from harness.judging import Judgement
from harness.report.text import MARKS, one_line, plural
from harness.verdict import Verdict

_ITEMS = 10  # of a list in the detail
_WIDTH = 160


def verdict(valid: Valid) -> Verdict:
    """Return pass, fail or, of a history that could not show it, error."""
    return Verdict.ERROR if valid == "unknown" else Verdict.PASS if valid else Verdict.FAIL


def lines(judgement: Judgement) -> Iterator[str]:
    """Yield what `drill check` prints of one history."""
    answer = judgement.answer
    for model, valid in answer.models.items():
        yield f"  {MARKS[verdict(valid)]} {model}" + (" (unknown)" if valid == "unknown" else "")
    if answer.anomalies:
        yield f"anomalies: {', '.join(answer.anomalies)}"
    for name, value in answer.detail.items():
        yield from _told(name, value)
    told = verdict(answer.valid)
    name = f"{one_line(judgement.case.file)} {judgement.case.check.name}"
    size = f"{plural(judgement.ops, 'operation')} in {judgement.seconds:.1f} s"
    yield f"{told.upper()} {name} — {one_line(answer.reason) or 'holds'} ({size})"


def _told(name: str, value: Json) -> Iterator[str]:
    """Yield one piece of the detail: text as it is, a list item by item, anything else short."""
    if isinstance(value, Mapping):
        yield from (line for key, part in value.items() for line in _told(f"{name} {key}", part))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _listed(name, value)
    else:
        yield f"{name}: {_short(value)}"


def _listed(name: str, items: Sequence[Json]) -> Iterator[str]:
    if name == "cycles":
        yield from (f"  {line}" for cycle in items for line in cycle_lines(_mapping(cycle)))
    elif name == "drawing":
        yield from (f"  {line}" for line in items)
    elif items:
        yield f"{name}:"
        yield from (f"  {_short(item)}" for item in items[:_ITEMS])
        if len(items) > _ITEMS:
            yield f"  ... {len(items) - _ITEMS} more"


def _mapping(value: Json) -> Mapping[str, Json]:
    assert isinstance(value, Mapping), f"{value!r} is no cycle"
    return value


def _short(value: Json) -> str:
    if isinstance(value, Mapping):
        told = ", ".join(f"{key} {_short(part)}" for key, part in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        told = f"[{', '.join(map(_short, value))}]"
    else:
        told = one_line(str(value))
    return told if len(told) <= _WIDTH else f"{told[: _WIDTH - 3]}..."
