"""`index.html`: one page that tells a run; it asks nothing of other places and runs no script."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from harness.errors import ScenarioError
from harness.history import History, Json
from harness.report import chart, summary, text
from harness.report.observed import observe
from harness.report.story import Moment, tell
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict, percentile

NAME = "index.html"
_HERE = Path(__file__).parent
_WORDS = {
    Verdict.PASS: "Pass",
    Verdict.FAIL: "Fail",
    Verdict.ERROR: "Error",
    Verdict.SKIP: "Skipped",
}
# A page stays below half a megabyte: so many charts, and so many dots in all of them.
_CHARTS, _DOTS = 12, 9000
_EVIDENCE = 20  # of one expectation; the rest is in result.json


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    seconds: float
    start_pct: float
    share_pct: float


@dataclass(frozen=True, slots=True)
class _Run:
    """One repeat, drawn and told; without charts when its history could not be read."""

    number: int
    charts: Sequence[chart.Chart]
    story: Sequence[Moment]
    note: str = ""


def to_html(result: ScenarioResult, *, secrets: Collection[str] = ()) -> str:
    """Return the page; none of the secrets appears on it."""
    allowed = max(1, _CHARTS // max(1, len(result.cells)))
    drawn = sum(min(len(cell.histories), allowed) for cell in result.cells)
    marks = min(1200, _DOTS // max(1, drawn))
    runs = {cell.id: _runs(cell, allowed, marks) for cell in result.cells}
    hide = text.hider(secrets)

    def safe(value: object) -> object:
        # All that the template prints comes by here; jinja escapes it afterwards.
        if isinstance(value, str) and not isinstance(value, Markup):
            return text.printable(hide(value))
        return value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=safe,
    )
    environment.filters |= {
        "show": text.show,
        "value": text.worst_value,
        "parts": _parts,
        "parts_text": text.parts_of,
        "sparkline": text.sparkline,
        "plural": text.plural,
        "clauses": lambda note: [clause for clause in note.split("; ") if clause],
        "figure": _figure,
        "evidence": _evidence,
        "moment": _moment,
        "why": summary.why_cell,
        "gravest": summary.gravest,
        "remarks": summary.remarks,
    }
    return environment.from_string(_read("page.html.j2")).render(
        result=result,
        runs=runs,
        why=summary.why(result),
        words=_WORDS,
        marks=text.MARKS,
        style=Markup(_read("page.css")),  # noqa: S704 - our own file
        svg=getattr(environment.from_string(_read("chart.svg.j2")).module, "svg"),  # noqa: B009
    )


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _runs(cell: CellResult, allowed: int, marks: int) -> Sequence[_Run]:
    """Return the runs that are drawn: the one to blame first, then the others in order."""
    chosen = sorted(range(len(cell.histories)), key=lambda i: (i != blamed_run(cell), i))[:allowed]
    return [_run(cell.histories[index], index + 1, marks) for index in chosen]


def blamed_run(cell: CellResult) -> int | None:
    """Return the index of the run that the verdict hangs on."""
    for finding in summary.gravest(cell.findings):
        if (index := text.worst_run(finding)) is not None:
            return index
    return None


def _run(path: Path, number: int, marks: int) -> _Run:
    try:
        history = History.load(path)
    except (OSError, ScenarioError) as error:
        return _Run(number, (), (), f"its history cannot be read: {error}")
    if not history.events:
        return _Run(number, (), (), "its history is empty")
    seen = observe(history)
    wide = chart.draw(seen, width=chart.WIDE, marks=marks)
    narrow = chart.draw(seen, width=chart.NARROW, marks=marks // 3)
    return _Run(number, (wide, narrow), tell(seen))


def _parts(finding: Finding) -> Sequence[_Part]:
    """Return the pieces of the worst run's time, with where each begins and how long it is."""
    index = text.worst_run(finding)
    if index is None or index >= len(finding.parts) or finding.unit != "s":
        return ()
    pieces = finding.parts[index]
    whole = sum(pieces.values())
    if whole <= 0:
        return ()
    placed, begun = [], 0.0
    for name, seconds in pieces.items():
        placed.append(_Part(name, seconds, 100 * begun / whole, 100 * seconds / whole))
        begun += seconds
    return placed


def _moment(label: str) -> str:
    """Return the date and time of an ISO label, to the second; the label itself if it is none."""
    try:
        return f"{datetime.fromisoformat(label).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return label


def _figure(value: Json) -> str:
    """Return a measured figure for people: a list of numbers as its range, anything else short."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_figure(inner)}" for name, inner in value.items())
    numbers = [v for v in value if isinstance(v, (int, float))]
    if 1 < len(numbers) == len(value):
        middle = percentile(numbers, 0.5)
        ends = f"{_number(min(numbers))} … {_number(max(numbers))}"
        return f"{ends}, median {_number(middle)} (n={len(numbers)})"
    return ", ".join(map(_figure, value))


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".").replace(",", "\N{NARROW NO-BREAK SPACE}")


def _evidence(finding: Finding) -> str:
    shown = [json.dumps(item, default=str) for item in finding.evidence[:_EVIDENCE]]
    if len(finding.evidence) > _EVIDENCE:
        shown.append(f"… and {len(finding.evidence) - _EVIDENCE} more in result.json")
    return "\n".join(shown)
