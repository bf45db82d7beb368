"""All cells of a plan and all their repeats: each a trial; then the verdict on what they left."""

import re
import shlex
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol
from zlib import crc32

from harness import drivers, validity
from harness.apart import Where, here
from harness.clock import NS, WallClock, wall_label
from harness.errors import AbortedError, HarnessError, OverdueError
from harness.history import History, Json
from harness.plan import Cell, Plan
from harness.planned import PlannedExpectation
from harness.result import CellResult, ScenarioResult
from harness.scenario import BackendOverride
from harness.trial import Trial, runs_alone
from harness.verdict import Finding, Measurement, Verdict, judge, of_cell


class Listener(Protocol):
    """Whoever shows a run while it runs."""

    def scenario_begins(self, plan: Plan) -> None: ...
    def cell_begins(self, cell: str, repeat: int, of: int) -> None: ...

    def says(self, cell: str, t_s: float, text: str) -> None:
        """Show an event; `t_s` counts from the first step, and is negative before it."""
        ...

    def cell_ends(self, result: CellResult) -> None: ...
    def scenario_ends(self, result: ScenarioResult) -> None: ...


def run(
    plan: Plan,
    *,
    out: Path,
    clock: WallClock,
    listener: Listener,
    slots: threading.Semaphore | None = None,
    keep: bool = False,
    make_driver: drivers.Make = drivers.make,
    where: Where = here,
) -> ScenarioResult:
    """Run all cells of a plan, side by side as far as there are slots and room, and judge them.

    Args:
        slots: what each cell takes one of while it runs; other plans may take of the same. None is
            one cell after another.
        where: the place in which cells are judged.

    Whatever is wrong with one cell's world is that cell's verdict. A bug in the harness ends all
    cells: each heals and removes its cluster before the bug is raised.
    """
    started = wall_label()
    listener.scenario_begins(plan)
    slots = slots or threading.BoundedSemaphore(1)
    results: dict[str, CellResult] = {}
    versions: dict[str, str] = {}
    bugs: list[Exception] = []
    ours = clock.child()

    def one(cell: Cell) -> None:
        with slots:
            cell_run = _CellRun(plan, cell, out, ours, listener, keep, make_driver, where)
            try:
                results[cell.id] = cell_run.run()
                listener.cell_ends(results[cell.id])
            except Exception as bug:  # noqa: BLE001 - raised below, once the other cells have healed
                bugs.append(bug)
                ours.abort()
            versions.update(cell_run.versions)

    # In the end who has to be alone: the others would wait for it, and it for them to end.
    queue = sorted(plan.cells, key=runs_alone)
    tasks = [ours.spawn(partial(one, cell), f"cell-{cell.id}") for cell in queue]
    for task in tasks:
        task.join()
    if bugs:
        raise bugs[0]
    result = ScenarioResult(
        scenario=plan.scenario.name,
        title=plan.scenario.title,
        file=plan.scenario.file,
        backend=plan.backend,
        seed=plan.seed,
        started=started,
        cells=[results[cell.id] for cell in plan.cells],
        versions=versions,
        replay=replay(plan),
    )
    listener.scenario_ends(result)
    return result


def replay(plan: Plan) -> str:
    """Return the command that repeats this run."""
    words = ["./drill", "run", plan.scenario.file]
    words += ["--backend", plan.backend, "--seed", str(plan.seed)]
    if len(plan.cells) == 1 and plan.cells[0].id:
        words += ["--cell", plan.cells[0].id]
    if plan.repeat != plan.scenario.backends.get(plan.backend, BackendOverride()).repeat:
        words += ["--repeat", str(plan.repeat)]
    return shlex.join(words)  # ids of cells may hold spaces and parentheses


def folder_name(cell: str) -> str:
    """Return what the folder of a cell is called: its id, where that can be a file's name."""
    plain = re.sub(r"[^\w=+,.() -]", "_", cell, flags=re.ASCII).lstrip(".")[:80]
    # What had to be changed is told apart by its sum.
    return cell if plain == cell else f"{plain}-{crc32(cell.encode()):08x}"


class Silent:
    """A listener that shows nothing: the result and the history say it all."""

    def scenario_begins(self, plan: Plan) -> None: ...
    def cell_begins(self, cell: str, repeat: int, of: int) -> None: ...
    def says(self, cell: str, t_s: float, text: str) -> None: ...
    def cell_ends(self, result: CellResult) -> None: ...
    def scenario_ends(self, result: ScenarioResult) -> None: ...


class _CellRun:
    """One cell: its repeats, pooled into one result."""

    def __init__(
        self,
        plan: Plan,
        cell: Cell,
        out: Path,
        clock: WallClock,
        listener: Listener,
        keep: bool,  # noqa: FBT001 - handed on by name
        make_driver: drivers.Make,
        where: Where,
    ) -> None:
        self._plan = plan
        self._cell = cell
        self._out = out / folder_name(cell.id) if cell.id else out
        self._clock = clock
        self._listener = listener
        self._keep = keep
        self._make_driver = make_driver
        self._where = where
        self.versions: dict[str, str] = {}

    def run(self) -> CellResult:
        if self._cell.skip is not None:
            return CellResult(self._cell.id, Verdict.SKIP, 0, (), note=self._cell.skip)
        alone = runs_alone(self._cell)
        result = self._judged(self._out, alone=alone)
        if alone or self._keep or not result.starved or self._clock.is_aborted:
            return result
        why = result.note or "; ".join(
            f"{one.name}: {one.note}" for one in result.findings if one.verdict is Verdict.ERROR
        )
        self._listener.says(self._cell.id, 0.0, f"proved nothing beside others: {why}")
        again = self._judged(self._out / "alone", alone=True)
        return replace(again, beside=why, seconds=result.seconds + again.seconds)

    def _judged(self, out: Path, *, alone: bool) -> CellResult:
        """Run all repeats and judge them."""
        begun = self._clock.now_ns()
        histories: list[Path] = []
        note, overdue, waited = "", False, 0.0
        for number in range(self._plan.repeat):
            self._listener.cell_begins(self._cell.id, number + 1, self._plan.repeat)
            trial = self._trial(number, out, alone=alone)
            try:
                trial.run(self._make_driver, keep=self._keep)
            except AbortedError as error:
                note = str(error)
            except HarnessError as error:
                note = f"run {number + 1}: {error}" if self._plan.repeat > 1 else str(error)
                overdue = isinstance(error, OverdueError)
            self.versions.update(trial.versions)
            waited += trial.waited_s
            if trial.history is not None:
                histories.append(trial.history)
            if note:
                break
        seconds = (self._clock.now_ns() - begun) / NS - waited
        return self._where(judge_cell, self._cell, histories, note, seconds, overdue=overdue)

    def _trial(self, number: int, out: Path, *, alone: bool) -> Trial:
        return Trial(
            plan=self._plan,
            cell=self._cell,
            folder=out / f"run-{number + 1}" if self._plan.repeat > 1 else out,
            clock=self._clock.child(),
            random=Random(f"{self._plan.seed}/{self._cell.id}/{number}"),
            tell=partial(self._listener.says, self._cell.id),
            alone=alone,
        )


def judge_cell(
    cell: Cell, histories: Sequence[Path], note: str, seconds: float, *, overdue: bool = False
) -> CellResult:
    """Judge the recorded repeats of one cell.

    A run that ended early is judged too: a breach seen before the end is still a breach.

    Args:
        note: why it ended early; empty when it did not.
        overdue: it did because something did not come in time.
    """
    measured: dict[str, list[Measurement]] = {one.name: [] for one in cell.expectations}
    void: list[str] = [note] if note else []
    stalls: list[str] = [note] if overdue else []
    figures: dict[str, list[Json]] = {}
    checkers = [one.checker for one in cell.expectations]
    crowded = False
    for path in histories:
        history = History.load(path)
        void += validity.reasons(history, checkers)
        stalls += validity.stalls(history, checkers)
        crowded |= validity.is_crowded(history)
        for one in cell.expectations:
            found = one.checker.measure(history)
            if one.checker.unit == "s" and found.value is not None:
                found = replace(found, late=validity.late_s(history, found.value))
            measured[one.name].append(found)
            figures.setdefault(f"{one.name}_{one.checker.unit}", []).append(found.value)
    findings = [_judge(one, measured[one.name]) for one in cell.expectations]
    verdicts = [of_cell(findings)]
    if void or not histories:
        verdicts.append(Verdict.ERROR)
    verdict = Verdict.worst(verdicts)
    undecided = [
        one
        for one, finding in zip(cell.expectations, findings, strict=True)
        if finding.verdict is Verdict.ERROR
    ]
    # What broke off leaves much undecided; what did not, nothing but for want of cores.
    explained = {*void} <= {*stalls} and (
        overdue or all(_is_late(one, measured[one.name]) for one in undecided)
    )
    return CellResult(
        id=cell.id,
        verdict=verdict,
        repeats=len(histories),
        findings=findings,
        note="; ".join(dict.fromkeys(void)),
        figures=dict(figures),
        histories=histories,
        seconds=seconds,
        starved=crowded and verdict is Verdict.ERROR and explained,
    )


def _judge(one: PlannedExpectation, measured: Sequence[Measurement]) -> Finding:
    checker = one.checker
    return judge(one.name, checker.unit, checker.bounds, measured, report_only=one.report_only)


def _is_late(one: PlannedExpectation, measured: Sequence[Measurement]) -> bool:
    """Return whether it would be broken, had its nodes had all the cores that they wanted."""
    punctual = [replace(found, late=0.0) for found in measured]
    return _judge(one, punctual).verdict is Verdict.FAIL
