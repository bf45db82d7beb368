"""What a plan says before it runs: for people in lines, for programs as data."""

from collections.abc import Iterator

from harness.history import Json
from harness.plan import Cell, Plan, PlannedExpectation, PlannedStep
from harness.report.text import one_line, plural, show
from harness.units import format_duration

_COLUMN = 14


def lines(plan: Plan) -> Iterator[str]:
    """Yield the cells, their steps with times, and what is expected of each."""
    scenario = plan.scenario
    runs = f" x {plural(plan.repeat, 'run')}" if plan.repeat > 1 else ""
    yield one_line(f"{scenario.name} on {plan.backend}: {plural(len(plan.cells), 'cell')}{runs}")
    yield f"  {one_line(scenario.title)}"
    for cell in plan.cells:
        yield ""
        name = one_line(cell.id or scenario.name)
        if cell.skip is not None:
            yield f"{name}: skipped, {one_line(cell.skip)}"
            continue
        yield f"{name}: {_shape(cell)}"
        for number, step in enumerate(cell.steps):
            named = f" as {step.name}" if step.name else ""
            yield f"{_when(step, number):>{_COLUMN}}  {one_line(step.label)}{named}"
        for one in cell.expectations:
            yield f"{'expect':>{_COLUMN}}  {one.name} {_bounds(one)}"


def _shape(cell: Cell) -> str:
    cluster, patroni = cell.cluster, cell.cluster.patroni
    return (
        f"{cluster.nodes} nodes in {', '.join(cluster.azs)}; {cluster.dcs}; {cluster.sync}; "
        f"PostgreSQL {cluster.postgres}; ttl {patroni.ttl} s, loop {patroni.loop_wait} s, "
        f"retry {patroni.retry_timeout} s"
    )


def _when(step: PlannedStep, number: int) -> str:
    """Return when a step runs, as far as that is known before it does."""
    if step.at_s is not None:
        begins = f"T+{format_duration(step.at_s)}"
    else:
        begins = "then" if number else "T+0"
    return f"{begins} (behind)" if step.background else begins


def _bounds(one: PlannedExpectation) -> str:
    if one.report_only:
        return "reported"
    return ", ".join(
        f"{name} {show(b, one.checker.unit)}" for name, b in one.checker.bounds.items()
    )


def as_json(plan: Plan) -> Json:
    """Return the same as data."""
    return {
        "scenario": plan.scenario.name,
        "title": plan.scenario.title,
        "backend": plan.backend,
        "repeat": plan.repeat,
        "timeout_s": plan.timeout_s,
        "cells": [_cell_as_json(cell) for cell in plan.cells],
    }


def _cell_as_json(cell: Cell) -> Json:
    return {
        "id": cell.id,
        "skip": cell.skip,
        "cluster": cell.cluster.model_dump(mode="json"),
        "steps": [
            {
                "verb": step.verb.name,
                "label": step.label,
                "as": step.name,
                "at_s": step.at_s,
                "background": step.background,
            }
            for step in cell.steps
        ],
        "expectations": [
            {
                "name": one.name,
                "unit": one.checker.unit,
                "bounds": {str(name): bound for name, bound in one.checker.bounds.items()},
                "report_only": one.report_only,
            }
            for one in cell.expectations
        ],
    }
