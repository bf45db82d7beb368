"""`junit.xml`: the run for whatever reads test results; one test case a cell."""

from collections.abc import Collection, Iterator, Mapping
from xml.etree import ElementTree as ET

from harness.report.summary import cell_name, why, why_cell
from harness.report.text import Hide, hider, show, worst_value, xml_text
from harness.result import CellResult, ScenarioResult
from harness.verdict import RUNS_NEEDED, Finding, Verdict, percentile

NAME = "junit.xml"
_TAGS = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.SKIP: "skipped"}


def to_xml(result: ScenarioResult, *, report: str = "", secrets: Collection[str] = ()) -> str:
    """Return the document; none of the secrets appears in it.

    `report` is where the HTML page lies: a property of each case.
    """
    hide = hider(secrets)

    def clean(text: str) -> str:
        return xml_text(hide(text))

    totals = {"tests": str(len(result.cells))}
    for verdict, plural in ((Verdict.FAIL, "failures"), (Verdict.ERROR, "errors")):
        totals[plural] = str(sum(cell.verdict is verdict for cell in result.cells))
    totals["skipped"] = str(sum(cell.verdict is Verdict.SKIP for cell in result.cells))
    totals["time"] = f"{sum(cell.seconds for cell in result.cells):.3f}"
    root = ET.Element("testsuites", {"name": "drill", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": clean(result.scenario), **totals})
    suite.set("timestamp", clean(result.started))
    _properties(suite, {f"version.{k}": v for k, v in result.versions.items()}, clean)
    for cell in result.cells:
        _case(suite, result, cell, report, clean)
    ET.SubElement(suite, "system-out").text = clean(why(result))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _case(
    suite: ET.Element, result: ScenarioResult, cell: CellResult, report: str, clean: Hide
) -> None:
    case = ET.SubElement(suite, "testcase", {"name": clean(cell_name(result.scenario, cell.id))})
    case.set("classname", clean(result.file or result.scenario))
    case.set("time", f"{cell.seconds:.3f}")
    _properties(case, dict(properties(result, cell, report=report)), clean)
    if cell.verdict in _TAGS:
        outcome = ET.SubElement(case, _TAGS[cell.verdict], {"message": clean(why_cell(cell))})
        outcome.set("type", str(cell.verdict))
        if cell.verdict is not Verdict.SKIP:
            lines = [*map(_line, cell.findings), f"again: {result.replay}"]
            outcome.text = clean("\n".join(lines))


def _line(finding: Finding) -> str:
    value = show(worst_value(finding), finding.unit)
    return f"{finding.verdict}: {finding.name} {value} ({finding.bound}): {finding.note}"


def _properties(parent: ET.Element, values: Mapping[str, str], clean: Hide) -> None:
    if not values:
        return
    folder = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(folder, "property", {"name": clean(name), "value": clean(value)})


def properties(
    result: ScenarioResult, cell: CellResult, *, report: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield what a reader of many runs wants to sort and draw: also pytest's `user_properties`.

    `writers` and `lost_writes` are counts, times are seconds.
    """
    yield "backend", result.backend
    yield "seed", str(result.seed)
    yield "cell", cell.id
    yield "n", str(cell.repeats)
    yield "verdict", str(cell.verdict)
    for finding in cell.findings:
        known = [value for value in finding.values if value is not None]
        if not known:
            continue
        if finding.unit == "count":
            yield finding.name, f"{max(known):g}"
            continue
        yield f"{finding.name}_max", f"{max(known):.3f}"
        for statistic in ("p50", "p95"):
            # A percentile of too few runs is no percentile: it is left out, never guessed.
            if len(known) >= RUNS_NEEDED[statistic]:
                rank = int(statistic[1:]) / 100
                yield f"{finding.name}_{statistic}", f"{percentile(known, rank):.3f}"
    if report:
        yield "report", report
