"""The block that a failed cell prints: what broke, in which run, and how to see it again."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.errors import ScenarioError
from harness.history import History
from harness.report.html import blamed_run
from harness.report.observed import observe
from harness.report.story import tell
from harness.report.summary import why_cell
from harness.report.text import (
    MARKS,
    one_line,
    parts_of,
    plural,
    show,
    sparkline,
    worst_run,
    worst_value,
)
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict

_WIDTH = 110
_CLAIM = re.compile(r"(?:max|min|p\d\d) .* (<=|>=|<|>) ")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a failed cell comes from, and how it is seen again.

    Attributes:
        lines: of the scenario file, by expectation.
        again: the command that repeats it. report: the page that draws it.
    """

    again: str
    report: str
    lines: Mapping[str, int] = field(default_factory=dict)


def block(result: ScenarioResult, cell: CellResult, place: Place) -> str:
    """Return the block: the broken expectations at length, the kept ones in one line."""
    return "\n".join(_lines(result, cell, place))


def _lines(result: ScenarioResult, cell: CellResult, place: Place) -> Iterator[str]:
    # The reason first: pytest repeats the first line in its summary.
    nothing = "error: proved nothing: " if cell.verdict is Verdict.ERROR else ""
    yield f"{nothing}{why_cell(cell)}"
    yield f"  backend {result.backend} · {plural(cell.repeats, 'run')} · seed {result.seed}"
    if cell.note and one_line(cell.note) != why_cell(cell):
        yield f"  {one_line(cell.note)}"
    for finding in cell.findings:
        if finding.verdict is not Verdict.PASS:
            yield from _broken(finding, cell, result.file, place.lines.get(finding.name, 0))
    kept = [finding for finding in cell.findings if finding.verdict is Verdict.PASS]
    if kept:
        shown = (f"✓ {one_line(f.name)} {show(worst_value(f), f.unit)}" for f in kept)
        yield "  " + "   ".join(shown)
    yield from _what_happened(cell)
    yield f"  again: {one_line(place.again)}"
    yield f"  report: {one_line(place.report)}"


def _broken(finding: Finding, cell: CellResult, file: str, line: int) -> Iterator[str]:
    where = f"{file}:{line}   " if line else ""
    yield f"  {where}{one_line(f'{finding.name} {finding.bound}')}"
    run = worst_run(finding)
    for number, clause in enumerate(one_line(finding.note).split("; ")):
        which = f"   (run {run + 1})" if run is not None and cell.repeats > 1 and not number else ""
        yield f"    {_mark(clause, finding.verdict)} {clause}{which}"
    for extra in (parts_of(finding), sparkline(finding)):
        if extra:
            yield f"    {extra}"


def _mark(clause: str, verdict: Verdict) -> str:
    """Return the mark of one clause of a note: a bound that was broken, was kept, or is open."""
    if "not established" in clause:
        return MARKS[Verdict.ERROR]
    claim = _CLAIM.match(clause)
    if claim:
        return MARKS[Verdict.PASS if "=" in claim[1] else Verdict.FAIL]
    return MARKS[verdict] if verdict is Verdict.ERROR else " "


def _what_happened(cell: CellResult) -> Iterator[str]:
    """Yield the blamed run's moments, or the only run's, wrapped to lines."""
    index = blamed_run(cell) or 0
    if index >= len(cell.histories):
        return
    try:
        moments = tell(observe(History.load(cell.histories[index])))
    except (OSError, ScenarioError) as error:
        yield f"  run {index + 1}   its history cannot be read: {one_line(str(error))}"
        return
    head = f"  run {index + 1}   "
    # A moment is one piece: no line is broken inside of it.
    pieces = [one_line(str(moment)).replace(" ", "\N{NO-BREAK SPACE}") for moment in moments]
    wrapped = textwrap.wrap(
        "   ".join(pieces), _WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    yield from (line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped)
