"""The outcome of a run as data: what `result.json`, JUnit, HTML and the terminal all show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.history import Json
from harness.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class CellResult:
    """One cell of the matrix, all its repeats together.

    Attributes:
        id: the text in brackets, `nodes=3-sync=quorum`; empty without a matrix.
        note: why it is an error or a skip, when no finding says so.
        figures: measured numbers for people: `failover_s`, `client_outage_s`, `writes`, `delay_s`.
        histories: one merged history a repeat, for the chart and for judging again.
        beside: why it proved nothing beside other clusters, and was run again alone; empty when it
            was run once.
        starved: it is an error for want of cores alone: the nodes' machine had none free for a good
            part of it, and it ran into a deadline, or a bound, that it might have kept.
    """

    id: str
    verdict: Verdict
    repeats: int
    findings: Sequence[Finding]
    note: str = ""
    figures: Mapping[str, Json] = field(default_factory=dict)
    histories: Sequence[Path] = ()
    seconds: float = 0.0
    beside: str = ""
    starved: bool = False


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One scenario on one backend."""

    scenario: str
    title: str
    file: str
    backend: str
    seed: int
    started: str
    cells: Sequence[CellResult]
    versions: Mapping[str, str] = field(default_factory=dict)
    replay: str = ""

    @property
    def verdict(self) -> Verdict:
        return Verdict.worst(cell.verdict for cell in self.cells)
