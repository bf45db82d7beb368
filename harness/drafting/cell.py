"""The cells of a scenario on one backend, as far as they are sound."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from harness import rules
from harness.cells import Tree, expand
from harness.drafting.expectations import draft_expectations
from harness.drafting.jobs import draft_jobs
from harness.drafting.sheet import Sheet
from harness.drafting.skips import skip
from harness.drafting.steps import draft_steps
from harness.places import Document, Problem
from harness.planned import Cell, Supported
from harness.scenario import Backend, Cluster, Steady
from harness.validation import check, without_echoes

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Drafted:
    """A cell, and the secrets that went into it."""

    cell: Cell
    secrets: Collection[str]


def draft(
    document: Document,
    backend: Backend,
    *,
    seed: int,
    supported: Supported | None,
    environment: Mapping[str, str],
) -> tuple[Sequence[Drafted], Sequence[Problem]]:
    """Return the cells of one backend that are sound, and each problem of the others, once."""
    trees, problems = expand(document, backend, environment)
    found = list(problems)
    drafted = []
    for tree in trees:
        cluster = _section(tree, Cluster, "cluster")
        cell = _cell(Sheet(document, backend, tree, seed, supported, cluster))
        told = [problem for problem in tree.problems if problem.path not in tree.unfilled]
        found += [tree.in_file(problem, document) for problem in without_echoes(told)]
        if cell is not None and not tree.problems and not tree.unfilled:
            drafted.append(Drafted(cell, tree.secrets.keys()))
    return drafted, without_echoes(found)


def _cell(sheet: Sheet) -> Cell | None:
    """Return the cell, or None when the tree now holds a problem."""
    cluster = sheet.cluster
    steady = _section(sheet.tree, Steady, "steady")
    if cluster is not None:
        sheet.note(rules.cluster_rules(cluster))
    if cluster is not None and steady is not None:
        sheet.note(rules.steady_rules(steady, cluster))
    jobs = draft_jobs(sheet)
    steps, planned = draft_steps(sheet)
    expectations = draft_expectations(sheet)
    if cluster is None or steady is None:
        return None
    return Cell(
        id=sheet.tree.id,
        variables=sheet.tree.choices,
        cluster=cluster,
        workloads=jobs,
        steady=steady,
        steps=planned,
        expectations=expectations,
        skip=skip(sheet, [step.verb for step in steps]),
        restored=sheet.restored,
    )


def _section(tree: Tree, cls: type[M], name: str) -> M | None:
    """Return a section of the cell, or None and the problems noted."""
    model, problems = check(cls, tree.root.get(name, {}), prefix=(name,))
    tree.problems.extend(problems)
    return model
