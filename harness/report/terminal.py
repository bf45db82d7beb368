"""What a run shows while it runs: a live line a cell on a terminal, else a plain line an event."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.style import Style
from rich.table import Table
from rich.text import Text

from harness.clock import NS, monotonic_ns
from harness.plan import Plan
from harness.report.summary import cell_name, first_line, gravest, remarks
from harness.report.text import (
    MARKS,
    Hide,
    hider,
    one_line,
    parts_of,
    plural,
    show,
    sparkline,
    worst_value,
)
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict

_STYLES = {
    Verdict.PASS: Style(color="green"),
    Verdict.FAIL: Style(color="red", bold=True),
    Verdict.ERROR: Style(color="yellow"),
    Verdict.SKIP: Style(dim=True),
}


@dataclass
class _Progress:
    """What a running cell said last."""

    repeat: int = 1
    of: int = 1
    phase: str = "preparing"
    said: str = ""
    said_at_s: float | None = None
    said_ns: int = 0

    @property
    def clock_s(self) -> float | None:
        """Return the reading of the scenario clock: it goes on between two events."""
        if self.said_at_s is None or self.said_at_s < 0:
            return None
        return self.said_at_s + (monotonic_ns() - self.said_ns) / NS


class Screen:
    """Where scenarios that run side by side are shown.

    Args:
        stream: where lines go. With a terminal there, running cells share live lines at the
            bottom; otherwise each event is a line of its own.
        shared: several scenarios may be shown at once, so each cell is told with its scenario.
    """

    def __init__(self, stream: TextIO, *, shared: bool = False) -> None:
        self.shared = shared
        # No markup, emoji or highlighting: what is shown is other people's text.
        self.console = Console(
            file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True
        )
        self._lock = threading.Lock()
        self._shown: list[Terminal] = []
        self._live: Live | None = None

    @property
    def is_live(self) -> bool:
        return self._live is not None

    def enter(self, shown: "Terminal") -> None:
        """Show the live lines of a scenario, where there is a terminal."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            return
        with self._lock:
            self._shown = [*self._shown, shown]
            if self._live is None:
                self._live = Live(
                    console=self.console,
                    get_renderable=self._now,
                    refresh_per_second=4,
                    transient=True,
                )
                self._live.start()

    def leave(self, shown: "Terminal") -> None:
        """Take them away; safe to call twice."""
        with self._lock:
            self._shown = [one for one in self._shown if one is not shown]
            if self._live is not None and not self._shown:
                self._live.stop()
                self._live = None

    def _now(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        for shown in self._shown:
            for row in shown.rows():
                table.add_row(*row)
        return Group(table)


class Terminal:
    """Shows one scenario; a `runner.Listener`. Several cells may speak at once.

    Args:
        on: where; a stream is a screen of its own.
        secrets: values that must not appear.
    """

    def __init__(self, on: TextIO | Screen, *, secrets: Sequence[str] = ()) -> None:
        self._screen = on if isinstance(on, Screen) else Screen(on)
        self._hide: Hide = hider(secrets)
        self._lock = threading.Lock()
        self._running: dict[str, _Progress] = {}
        self._scenario = ""

    def scenario_begins(self, plan: Plan) -> None:
        self._scenario = plan.scenario.name
        line = first_line(plan.scenario.name, plan.backend, len(plan.cells), plan.repeat, plan.seed)
        self._print(Text(self._safe(line), style="bold"))
        self._print(Text(f"  {self._safe(plan.scenario.title)}", style="dim"))
        self._screen.enter(self)

    def cell_begins(self, cell: str, repeat: int, of: int) -> None:
        with self._lock:
            self._running[cell] = _Progress(repeat, of)
        if not self._screen.is_live:
            self._print(Text(f"{self._name(cell)} run {repeat} of {of}"))

    def says(self, cell: str, t_s: float, text: str) -> None:
        with self._lock:
            seen = self._running.setdefault(cell, _Progress())
            if text.startswith("phase: "):
                seen.phase = text.removeprefix("phase: ")
            else:
                seen.said = text
            seen.said_at_s, seen.said_ns = t_s, monotonic_ns()
        if not self._screen.is_live:
            clock = f"T{t_s:+.1f}" if t_s >= 0 else "      "
            self._print(Text(f"{self._name(cell)}  {clock:>7}  {self._safe(text)}"))

    def cell_ends(self, result: CellResult) -> None:
        with self._lock:
            self._running.pop(result.id, None)
        lines = (Text("  ").append_text(_hidden(line, self._hide)) for line in self._lines(result))
        # At once: another cell may end at the same time.
        self._print(Text("\n").join(lines))

    def scenario_ends(self, result: ScenarioResult) -> None:  # noqa: ARG002 - the caller says the last line
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; safe to call twice, and after a failure."""
        self._screen.leave(self)

    def rows(self) -> Iterator[Sequence[Text]]:
        """Yield what each running cell does: its name, run, clock, and what it said last."""
        with self._lock:
            running = [(cell, self._row(progress)) for cell, progress in self._running.items()]
        for cell, row in running:
            yield (Text(self._name(cell), style="bold"), *row)

    def _lines(self, result: CellResult) -> Iterator[Text]:
        if not self._screen.shared:
            return cell_lines(result)
        return cell_lines(replace(result, id=cell_name(self._scenario, result.id)))

    def _row(self, seen: _Progress) -> Sequence[Text]:
        clock = seen.clock_s
        return (
            Text(f"run {seen.repeat} of {seen.of}" if seen.of > 1 else "", style="dim"),
            Text(f"T+{clock:.1f} s" if clock is not None else seen.phase, style="cyan"),
            Text(self._safe(seen.said)),
        )

    def _name(self, cell: str) -> str:
        named = cell_name(self._scenario, cell) if self._screen.shared else cell
        return self._safe(named) or "run"

    def _safe(self, text: str) -> str:
        return one_line(self._hide(text))

    def tell(self, lines: Iterable[str]) -> None:
        """Show lines of the scenario that belong together."""
        self._print(Text("\n".join(self._hide(line) for line in lines)))

    def _print(self, line: Text) -> None:
        self._screen.console.print(line)


def cell_lines(result: CellResult) -> Iterator[Text]:
    """Yield what a finished cell is told in: its verdict, then each expectation, gravest first."""
    style = _STYLES[result.verdict]
    head = Text(f"{MARKS[result.verdict]} {result.verdict}", style=style)
    name = one_line(result.id)
    head.append(f" {name}" if name else "", style="bold")
    if result.repeats > 1:
        head.append(f"  {plural(result.repeats, 'run')}", style="dim")
    yield head
    for remark in remarks(result):
        yield Text(f"    {one_line(remark)}", style=style)
    width = max((len(one_line(finding.name)) for finding in result.findings), default=0)
    for finding in gravest(result.findings):
        yield from _finding_lines(finding, width)


def _finding_lines(finding: Finding, width: int) -> Iterator[Text]:
    line = Text(f"  {MARKS[finding.verdict]} ", style=_STYLES[finding.verdict])
    line.append(f"{one_line(finding.name):<{width}}", style="bold")
    line.append(f"  {show(worst_value(finding), finding.unit):>8}")
    line.append(f"  {one_line(finding.bound)}", style="dim")
    yield line
    if finding.verdict is not Verdict.PASS:
        yield from (Text(f"      {clause}") for clause in one_line(finding.note).split("; "))
    for extra in (parts_of(finding), sparkline(finding)):
        if extra:
            yield Text(f"      {one_line(extra) if extra.isascii() else extra}", style="dim")


def _hidden(line: Text, hide: Hide) -> Text:
    """Return the line with secrets hidden; its styles are kept where nothing had to be."""
    return line if hide(line.plain) == line.plain else Text(hide(line.plain))


def plain_cell(result: CellResult) -> str:
    """Return the same lines as plain text."""
    return "\n".join(line.plain for line in cell_lines(result))
