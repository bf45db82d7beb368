"""`result.json`: a run's outcome as data, written and read back. Its keys are a contract.

Beside what the contract names, a document carries what it takes to draw every report again:
each repeat's value, the parts of a value, and where the histories lie, relative to the folder.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import Mistake, ScenarioError
from harness.history import Json
from harness.report.text import hide_deep, hider, worst_value
from harness.result import CellResult, ScenarioResult
from harness.verdict import Finding, Verdict

NAME = "result.json"


class _Document(BaseModel):
    # A later version may say more than this one reads.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Expectation(_Document):
    name: str
    verdict: Verdict
    bound: str
    value: float | None
    n: int
    note: str
    unit: Literal["s", "count"] = "count"
    values: Sequence[float | None] = ()
    parts: Sequence[Mapping[str, float]] = ()


class _Evidence(_Document):
    of: str
    shown: Json


class _Cell(_Document):
    id: str
    verdict: Verdict
    repeats: int
    note: str = ""
    beside: str = ""
    seconds: float = 0.0
    expectations: Sequence[_Expectation]
    figures: Mapping[str, Json]
    evidence: Sequence[_Evidence]
    histories: Sequence[str] = ()


class _Result(_Document):
    scenario: str
    title: str
    file: str = ""
    backend: str
    seed: int
    verdict: Verdict
    started: str
    cells: Sequence[_Cell]
    versions: Mapping[str, str]
    replay: str


def to_json(result: ScenarioResult, folder: Path, *, secrets: Collection[str] = ()) -> str:
    """Return the document; histories are named relative to `folder` where they lie in it."""
    document = _Result(
        scenario=result.scenario,
        title=result.title,
        file=result.file,
        backend=result.backend,
        seed=result.seed,
        verdict=result.verdict,
        started=result.started,
        cells=[_from_cell(cell, folder) for cell in result.cells],
        versions=result.versions,
        replay=result.replay,
    )
    shown = hide_deep(_finite(document.model_dump(mode="json")), hider(secrets))
    return json.dumps(shown, indent=2, allow_nan=False) + "\n"


def _finite(value: Json) -> Json:
    """Return the value with null for each number that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(inner) for inner in value]
    return value


def _from_cell(cell: CellResult, folder: Path) -> _Cell:
    return _Cell(
        id=cell.id,
        verdict=cell.verdict,
        repeats=cell.repeats,
        note=cell.note,
        beside=cell.beside,
        seconds=round(cell.seconds, 3),
        expectations=[_from_finding(finding) for finding in cell.findings],
        figures=cell.figures,
        evidence=[
            _Evidence(of=finding.name, shown=item)
            for finding in cell.findings
            for item in finding.evidence
        ],
        histories=[_relative(path, folder) for path in cell.histories],
    )


def _relative(path: Path, folder: Path) -> str:
    path, folder = path.resolve(), folder.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _from_finding(finding: Finding) -> _Expectation:
    return _Expectation(
        name=finding.name,
        verdict=finding.verdict,
        bound=finding.bound,
        value=worst_value(finding),
        n=sum(value is not None for value in finding.values),
        note=finding.note,
        unit=finding.unit,
        values=finding.values,
        parts=finding.parts,
    )


def load(folder: Path) -> ScenarioResult:
    """Read back the document of a run's folder.

    Raises:
        ScenarioError: when there is none, or it is none of ours; it names every mistake.
    """
    path = folder / NAME
    try:
        # Not by pydantic's own reader, which refuses the lone surrogates that JSON can carry.
        document = _Result.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise ScenarioError(
            [Mistake(str(path), 0, 0, f"{error.strerror}; expected the folder of a run")]
        ) from None
    except ValueError as error:
        if not isinstance(error, ValidationError):
            raise ScenarioError([Mistake(str(path), 0, 0, f"no JSON: {error}")]) from None
        raise ScenarioError(_mistakes(path, error)) from None
    return _to_result(document, folder)


def _mistakes(path: Path, error: ValidationError) -> Sequence[Mistake]:
    return [
        Mistake(
            str(path), 0, 0, f"{'.'.join(map(str, wrong['loc'])) or 'document'}: {wrong['msg']}"
        )
        for wrong in error.errors()
    ]


def _to_result(document: _Result, folder: Path) -> ScenarioResult:
    return ScenarioResult(
        scenario=document.scenario,
        title=document.title,
        file=document.file,
        backend=document.backend,
        seed=document.seed,
        started=document.started,
        cells=[_to_cell(cell, folder) for cell in document.cells],
        versions=document.versions,
        replay=document.replay,
    )


def _to_cell(cell: _Cell, folder: Path) -> CellResult:
    return CellResult(
        id=cell.id,
        verdict=cell.verdict,
        repeats=cell.repeats,
        findings=[
            Finding(
                name=e.name,
                verdict=e.verdict,
                bound=e.bound,
                unit=e.unit,
                values=e.values,
                note=e.note,
                parts=e.parts,
                evidence=[item.shown for item in cell.evidence if item.of == e.name],
            )
            for e in cell.expectations
        ],
        note=cell.note,
        beside=cell.beside,
        figures=cell.figures,
        histories=[folder / name for name in cell.histories],
        seconds=cell.seconds,
    )
