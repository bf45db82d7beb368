"""What a plan is made of: plain data, nothing of it has started."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.history import Json
from harness.protocols import Checker, Job, Verb
from harness.scenario import Backend, Cluster, Scenario, Steady


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One verb, and when it runs.

    Attributes:
        label: for people: `kill leader (power-off)`.
        cluster: what it acts on; None is the scenario's own.
        name: what `as:` calls it. at_s: the reading of the scenario clock that it waits for.
        path: `steps[2]`, where an error points.
    """

    verb: Verb
    label: str
    path: str
    name: str | None = None
    at_s: float | None = None
    background: bool = False
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedExpectation:
    """One property and how strictly it is held.

    Attributes:
        report_only: measured and printed, not judged.
        line: of the scenario file, for the report.
    """

    name: str
    checker: Checker
    report_only: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of the matrix.

    Attributes:
        id: the text in brackets, `nodes=3-sync=quorum`; empty without a matrix.
        variables: the matrix's choices, by their dotted paths or names.
        skip: why this cell cannot run here, or None.
        restored: the clusters that its steps make beside its own.
    """

    id: str
    variables: Mapping[str, Json]
    cluster: Cluster
    workloads: Sequence[Job]
    steady: Steady
    steps: Sequence[PlannedStep]
    expectations: Sequence[PlannedExpectation]
    skip: str | None = None
    restored: Sequence[Cluster] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will happen, before anything does.

    Attributes:
        timeout_s: of one run of one cell.
        secrets: values that came from the environment: no report, log or label may show them.
    """

    scenario: Scenario
    backend: Backend
    cells: Sequence[Cell]
    repeat: int
    seed: int
    timeout_s: float
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Supported:
    """What a driver can do on this machine.

    Attributes:
        verbs: those that it performs; None is all.
        facts: what `requires:` may ask for: `{"azs": 3, "watchdog": True, "netem": False}`.
    """

    verbs: Collection[str] | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
