"""One line for a whole run: what every report opens or closes with."""

from collections.abc import Sequence

from harness.report.text import first_clause, one_line, plural, show, worst_value
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict


def cell_name(scenario: str, cell: str) -> str:
    """Return `node-kill[nodes=3-sync=quorum]`, or the bare scenario where there is no matrix."""
    return f"{scenario}[{cell}]" if cell else scenario


def why(result: ScenarioResult) -> str:
    """Return the reason for the verdict in one line: the first and gravest thing to know."""
    verdict = result.verdict
    if not result.cells:
        return "no cell was run, so nothing was proved"
    if verdict is Verdict.PASS:
        return _why_pass(result)
    reasons = [(cell, why_cell(cell)) for cell in result.cells if cell.verdict is verdict]
    cell, reason = reasons[0]
    if len({text for _, text in reasons}) == 1 and len(reasons) == len(result.cells):
        return reason  # of all cells alike
    more = f" (and {plural(len(reasons) - 1, 'more cell')})" if len(reasons) > 1 else ""
    return one_line(f"{reason}{f' in {cell.id}' if cell.id else ''}{more}")


def why_cell(cell: CellResult) -> str:
    """Return the reason for one cell's verdict."""
    if cell.verdict is Verdict.ERROR and cell.note:
        return one_line(cell.note)  # what ended the run, before what could not be judged then
    for finding in cell.findings:
        if cell.verdict in (Verdict.FAIL, Verdict.ERROR) and finding.verdict is cell.verdict:
            return one_line(f"{finding.name}: {first_clause(finding.note)}")
    if cell.note:
        return one_line(cell.note)
    if cell.verdict is Verdict.PASS:
        return f"{plural(len(cell.findings), 'expectation')} held"
    return "no reason was given"


def remarks(cell: CellResult) -> Sequence[str]:
    """Return what is to be said of a cell beside its findings."""
    beside = f"run again alone, for beside others it proved nothing: {cell.beside}"
    return [text for text in (cell.note, beside if cell.beside else "") if text]


def alone(cells: Sequence[CellResult]) -> str:
    """Return how many cells were run again alone; empty when none was."""
    again = sum(bool(cell.beside) for cell in cells)
    return f"{again} run again alone" if again else ""


def _why_pass(result: ScenarioResult) -> str:
    passed = [cell for cell in result.cells if cell.verdict is Verdict.PASS]
    skipped = len(result.cells) - len(passed)
    runs = sum(cell.repeats for cell in passed)
    judged = sum(len(cell.findings) for cell in passed)
    words = [f"{plural(judged, 'expectation')} held in {plural(runs, 'run')}"]
    words += [_extreme(name, passed) for name in ("failover", "client_outage")]
    words.append(alone(result.cells))
    if skipped:
        words.append(f"{plural(skipped, 'cell')} skipped")
    return ", ".join(filter(None, words))


def _extreme(name: str, cells: Sequence[CellResult]) -> str:
    found = [f for cell in cells for f in cell.findings if f.name == name]
    values = [value for f in found if (value := worst_value(f)) is not None]
    # Only one kind of promise is summed up here, so all of them carry the same unit.
    return f"{name.replace('_', ' ')} {show(max(values), found[0].unit)}" if values else ""


def first_line(scenario: str, backend: str, cells: int, repeat: int, seed: int) -> str:
    """Return the line that a run begins with: all it takes to repeat it."""
    times = f" x {plural(repeat, 'run')}" if repeat > 1 else ""
    return one_line(f"{scenario} on {backend}: {plural(cells, 'cell')}{times}, seed {seed}")


def last_line(result: ScenarioResult) -> str:
    """Return the line that a run ends with."""
    return (
        f"{result.verdict.upper()} {one_line(result.scenario)} {result.backend} "
        f"{plural(len(result.cells), 'cell')} seed {result.seed} — {why(result)}"
    )


def whole_line(results: Sequence[ScenarioResult], seconds: float) -> str:
    """Return the line that a run of several scenarios ends with."""
    cells = [cell for result in results for cell in result.cells]
    verdicts = [verdict for verdict in Verdict if any(c.verdict is verdict for c in cells)]
    told = ", ".join(f"{sum(c.verdict is v for c in cells)} {v}" for v in verdicts)
    told += f" ({again})" if (again := alone(cells)) else ""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{Verdict.worst(r.verdict for r in results).upper()} {plural(len(results), 'scenario')}, "
        f"{plural(len(cells), 'cell')}: {told} — {minutes} min {rest} s"
    )


def gravest(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Return the findings with the failed ones first, then the undecided, then the rest."""
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.PASS: 2, Verdict.SKIP: 3}
    return sorted(findings, key=lambda finding: order[finding.verdict])
