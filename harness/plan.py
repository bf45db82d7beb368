"""A scenario made ready for one backend: the cells of its matrix, with every plug-in in place."""

import os
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from harness.covering import covering
from harness.drafting.cell import Drafted, draft
from harness.errors import Mistake, ScenarioError
from harness.places import Document
from harness.planned import Cell, Plan, PlannedExpectation, PlannedStep, Supported
from harness.scenario import Backend, BackendOverride, Scenario
from harness.validation import one_of

__all__ = ["Cell", "Plan", "PlannedExpectation", "PlannedStep", "Supported", "plan"]

# Of one run of one cell, from the first container to the last: twice what the slowest cell of
# the catalogue's default waits may take.
DEFAULT_TIMEOUT_S = 1800.0


def plan(
    scenario: Scenario,
    backend: Backend,
    *,
    seed: int,
    cell: str | None = None,
    repeat: int | None = None,
    supported: Supported | None = None,
    environment: Mapping[str, str] | None = None,
) -> Plan:
    """Make a scenario ready for one backend; nothing starts.

    Args:
        scenario: as the loader read it.
        backend: where it will run.
        seed: what every random choice of the run comes from.
        cell: the text in brackets of the only cell to plan; None is all of them that the file asks
            for.
        repeat: runs of each cell; None is what the file says for the backend.
        supported: what the driver can do here; None asks nothing of it.
        environment: what `${env:NAME}` reads; None is the process's own.

    Raises:
        ScenarioError: with each mistake that shows only in a cell, and for an unknown cell.
    """
    assert scenario.document is not None, "only a scenario that the loader read can be planned"
    document = scenario.document
    secrets = os.environ if environment is None else environment
    cells, problems = draft(document, backend, seed=seed, supported=supported, environment=secrets)
    if problems:
        raise ScenarioError([document.mistake(problem) for problem in problems])
    override = scenario.backends.get(backend, BackendOverride())
    if repeat is not None and repeat < 1:
        text = f"--repeat: found {repeat}; expected at least 1"
        raise ScenarioError([Mistake(document.file, 0, 0, text)])
    return Plan(
        scenario=scenario,
        backend=backend,
        cells=_covering(cells, scenario) if cell is None else [_named(cells, cell, document)],
        repeat=repeat or override.repeat,
        seed=seed,
        timeout_s=override.timeout or DEFAULT_TIMEOUT_S,
        secrets=frozenset(secret for c in cells for secret in c.secrets),
    )


def _covering(cells: Sequence[Drafted], scenario: Scenario) -> Sequence[Cell]:
    whole = [one.cell for one in cells]
    return whole if scenario.cover is None else covering(whole, scenario.cover)


def _named(cells: Sequence[Drafted], cell: str, document: Document) -> Cell:
    by_id = {c.cell.id: c.cell for c in cells}
    if cell in by_id:
        return by_id[cell]
    known = sorted(by_id, key=lambda name: (-SequenceMatcher(None, cell, name).ratio(), name))
    expected = f"expected {one_of(known)}" if any(known) else "the scenario has no matrix"
    raise ScenarioError([Mistake(document.file, 0, 0, f"--cell: found {cell!r}; {expected}")])
