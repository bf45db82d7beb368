"""The one loop: a plan, a driver, a history, findings. Nothing here knows which world it is in."""

import shlex
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Protocol

from harness import conditions, drivers, journal, registry, targets, validity
from harness.clock import NS, Clock, Task, WallClock, wall_label
from harness.errors import AbortedError, DriverError, HarnessError, NotSteadyError
from harness.history import NEMESIS, Event, EventType, Follower, History, Json, Log, merge_logs
from harness.plan import Cell, Plan, PlannedStep
from harness.protocols import Client, Driver, Job, Undo
from harness.result import CellResult, ScenarioResult
from harness.scenario import BackendOverride, Cluster, Target
from harness.units import format_duration
from harness.verdict import Measurement, Verdict, judge, of_cell

REGION = "region"
_SAMPLE_S = 0.05
# Acknowledgements before the first step: two seconds of the default rate.
_BASELINE = 40
_SETTLE_S = 30.0  # for those
# For the last one: longer than any bound on an outage, so that a longer outage is seen as such.
_RESUME_S = 90.0


class Listener(Protocol):
    """Whoever shows a run while it runs."""

    def scenario_begins(self, plan: Plan) -> None: ...
    def cell_begins(self, cell: str, repeat: int, of: int) -> None: ...

    def says(self, cell: str, t_s: float, text: str) -> None:
        """Show an event; `t_s` counts from the first step, and is negative before it."""
        ...

    def cell_ends(self, result: CellResult) -> None: ...
    def scenario_ends(self, result: ScenarioResult) -> None: ...


class MakeDriver(Protocol):
    """How a world is entered; tests pass one with a planted defect."""

    def __call__(
        self,
        backend: str,
        run: str,
        folder: Path,
        clock: Clock,
        *,
        keep: bool,
        says: Callable[[str], None],
    ) -> Driver: ...


def run(
    plan: Plan,
    *,
    out: Path,
    clock: WallClock,
    listener: Listener,
    jobs: int = 1,
    keep: bool = False,
    make_driver: MakeDriver = drivers.make,
) -> ScenarioResult:
    """Run all cells of a plan, up to `jobs` side by side, and judge them.

    Whatever is wrong with one cell's world is that cell's verdict. A bug in the harness ends all
    cells: each heals and removes its cluster before the bug is raised.
    """
    started = wall_label()
    listener.scenario_begins(plan)
    slots = threading.BoundedSemaphore(max(1, jobs))
    results: dict[str, CellResult] = {}
    versions: dict[str, str] = {}
    bugs: list[Exception] = []
    ours = clock.child()

    def one(cell: Cell) -> None:
        with slots:
            cell_run = _CellRun(plan, cell, out, ours, listener, keep, make_driver)
            try:
                results[cell.id] = cell_run.run()
                listener.cell_ends(results[cell.id])
            except Exception as bug:  # noqa: BLE001 - raised below, once the other cells have healed
                bugs.append(bug)
                ours.abort()
            versions.update(cell_run.versions)

    tasks = [ours.spawn(partial(one, cell), f"cell-{cell.id}") for cell in plan.cells]
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
        make_driver: MakeDriver,
    ) -> None:
        self._plan = plan
        self._cell = cell
        self._out = out / cell.id if cell.id else out
        self._clock = clock
        self._listener = listener
        self._keep = keep
        self._make_driver = make_driver
        self.versions: dict[str, str] = {}

    def run(self) -> CellResult:
        begun = self._clock.now_ns()
        if self._cell.skip is not None:
            return CellResult(self._cell.id, Verdict.SKIP, 0, (), note=self._cell.skip)
        histories: list[Path] = []
        note = ""
        for number in range(self._plan.repeat):
            self._listener.cell_begins(self._cell.id, number + 1, self._plan.repeat)
            repeat = self._repeat(number)
            try:
                repeat.run(self._make_driver, keep=self._keep)
            except AbortedError as error:
                note = str(error)
            except HarnessError as error:
                note = f"run {number + 1}: {error}" if self._plan.repeat > 1 else str(error)
            self.versions.update(repeat.versions)
            if repeat.history is not None:
                histories.append(repeat.history)
            if note:
                break
        seconds = (self._clock.now_ns() - begun) / NS
        return judge_cell(self._cell, histories, note, seconds)

    def _repeat(self, number: int) -> "_Repeat":
        return _Repeat(
            plan=self._plan,
            cell=self._cell,
            folder=self._out / f"run-{number + 1}" if self._plan.repeat > 1 else self._out,
            clock=self._clock.child(),
            random=Random(f"{self._plan.seed}/{self._cell.id}/{number}"),
            tell=partial(self._listener.says, self._cell.id),
        )


@dataclass
class _Repeat:
    """One run of one cell: a cluster from its start to its end. Implements `protocols.World`.

    Attributes:
        history: where the merged history is, once there is one.
    """

    plan: Plan
    cell: Cell
    folder: Path
    clock: WallClock
    random: Random
    tell: Callable[[float, str], None]
    versions: dict[str, str] = field(default_factory=dict)
    history: Path | None = None

    def run(self, make_driver: MakeDriver, *, keep: bool) -> None:
        """Run it; whatever happens, faults are undone and the history is merged.

        Raises:
            HarnessError: when the run proved nothing.
        """
        self.clock.sleep(0)  # after an abort nothing is begun
        self._named: dict[str, Sequence[str]] = {}
        self._before: str | None = None
        self._zero: int | None = None
        self._hurried = 0
        self._followers: dict[Path, Follower] = {}
        self._acks: dict[str, deque[int]] = {}
        self._background: list[Task] = []
        self._leaving = False
        run_id = f"{Random().getrandbits(32):08x}"
        failures: list[Exception] = []
        with closing(journal.Journal(self.folder / "journal.jsonl")) as self._journal:
            _make_room(self.folder, self._journal)
            with closing(Log(self.folder / "clients" / "nemesis.jsonl")) as self._log:
                self.driver = make_driver(
                    self.plan.backend, run_id, self.folder, self.clock, keep=keep, says=self.says
                )
                try:
                    with self._sampling(), self._limited():
                        self._act()
                except Exception as error:  # noqa: BLE001 - raised below, after the undoing
                    failures.append(error)
                finally:
                    failures += self._leave(keep=keep)
        _raise_worst(failures)

    # --- the run ---------------------------------------------------------------------------

    def _act(self) -> None:
        self.says(f"starting {self._shape()}")
        self.driver.up(self.cell.cluster)
        self._record_facts()
        region = self.driver.client(REGION)
        watchers = self._watchers()
        for job, vantage in watchers:
            if vantage == REGION:
                self.driver.client(vantage).start(job)
        self._steady("before the first step")
        self.versions.update(self.driver.versions())
        region.prepare(self._leader())
        for job, vantage in watchers:
            if vantage != REGION:
                self.driver.client(vantage).start(job)
        for job in self.cell.workloads:
            region.start(job)
        self._first_acknowledgements()
        self._zero = self.clock.now_ns()
        self._phase("steps")
        for number, step in enumerate(self.cell.steps):
            self._step(number, step)
        self._join_background()
        self._heal()
        self._steady("after the last step")
        self._resumed()
        self._phase("settled")
        self._stop([*((job, REGION) for job in self.cell.workloads), *watchers])
        self._final_read(region)
        self._phase("end")

    def _shape(self) -> str:
        cluster = self.cell.cluster
        return f"{cluster.nodes} nodes, {cluster.dcs}, {cluster.sync}, seed {self.plan.seed}"

    def _record_facts(self) -> None:
        nodes: Mapping[str, Json] = {
            node.name: {"az": node.az, "address": node.address} for node in self.driver.nodes
        }
        self._note(
            "run",
            {
                "scenario": self.plan.scenario.name,
                "cell": self.cell.id,
                "seed": self.plan.seed,
                "cluster": self.cell.cluster.model_dump(mode="json"),
                "nodes": nodes,
                "workloads": [job.name for job in self.cell.workloads],
            },
        )

    def _watchers(self) -> Sequence[tuple[Job, str]]:
        """Return the probes: evidence from outside, and writes to each node from its own AZ."""

        def job(name: str, plugin: str, through: str) -> Job:
            seed = self.random.getrandbits(32)
            return Job(name, "probes", plugin, {}, through, seed)

        return [
            *((job(f"dcs/{m.name}", "dcs", m.name), REGION) for m in self.driver.dcs_members),
            *((job(f"rest/{n.name}", "rest", n.name), REGION) for n in self.driver.nodes),
            *((job(f"probe/{n.name}", "writes", n.name), n.az) for n in self.driver.nodes),
        ]

    def _steady(self, when: str) -> None:
        """Wait for the steady state.

        Raises:
            NotSteadyError: with what it lacks.
        """
        wanted = self.cell.steady
        lacks: Sequence[str] = ()

        def holds() -> bool:
            nonlocal lacks
            view = conditions.look(self.driver, self.clock)
            lacks = conditions.steady(view, self.cell.cluster, wanted).lacks
            if lacks and self._zero is None:
                self._hurry(view)
            return not lacks

        try:
            self.clock.wait_for(holds, timeout_s=wanted.timeout, what="steady", every_s=0.2)
        except AbortedError:
            raise
        except DriverError as error:
            raise NotSteadyError(f"not steady {when}: {'; '.join(lacks) or error}") from None
        self._phase("steady")

    def _hurry(self, view: conditions.View) -> None:
        """Start Patroni's next round now: it works once in loop_wait, and a start takes several.

        A PATCH that changes nothing does it. Only before the first step: after it, the
        cluster's own pace is what is measured.
        """
        if view.leader is None or self.clock.now_ns() - self._hurried < NS:
            return
        self._hurried = self.clock.now_ns()
        same: Json = {"ttl": self.cell.cluster.patroni.ttl}
        for node in self.driver.nodes:
            self.driver.patroni(node.name, "/config", deadline_s=2, method="PATCH", body=same)

    def _leader(self) -> str:
        leader = self.driver.dcs(deadline_s=5).get("leader")
        if leader is None:
            raise NotSteadyError("no leader key in the DCS")
        return leader

    def _first_acknowledgements(self) -> None:
        """Wait until every workload, and the probes, have been acknowledged a while."""
        since = self.clock.now_ns()
        for name in (*(job.name for job in self.cell.workloads), "probe"):
            self.clock.wait_for(
                partial(self._acknowledged, name, since, _BASELINE),
                timeout_s=_SETTLE_S,
                what=f"the first {_BASELINE} acknowledged operations of {name!r}",
            )

    def _resumed(self) -> None:
        """Give every workload time to be acknowledged again, and every node to be looked at.

        Whether it was, the history shows, and the checkers judge.
        """
        since = self.clock.now_ns()
        looks = [f"rest/{node.name}" for node in self.driver.nodes]
        for name in (*(job.name for job in self.cell.workloads), *looks):
            with suppress(DriverError):
                self.clock.wait_for(
                    partial(self._acknowledged, name, since),
                    timeout_s=_RESUME_S,
                    what=f"an acknowledgement of {name!r}",
                )
        self.clock.sleep(0)  # an abort meanwhile ends the run

    def _acknowledged(self, name: str, since: int, count: int = 1) -> bool:
        """Return whether this workload or probe was acknowledged that often since."""
        for path in sorted((self.folder / "clients").glob("*.jsonl")):
            follower = self._followers.setdefault(path, Follower(path))
            for event in follower.new():
                if event.type != "ok" or event.f not in ("txn", "write", "patroni"):
                    continue
                # `probe/pg-1/held.0` counts for `probe` and for `probe/pg-1` too.
                for owner in accumulate(str(event.process).split("/"), "{}/{}".format):
                    self._acks.setdefault(owner, deque(maxlen=_BASELINE)).append(event.time)
        return sum(at > since for at in self._acks.get(name, ())) >= count

    def _stop(self, jobs: Sequence[tuple[Job, str]]) -> None:
        """Stop all jobs at once: each waits for its last operation."""
        tasks = [
            self.clock.spawn(
                partial(self.driver.client(vantage).stop, job.name), f"stop-{job.name}"
            )
            for job, vantage in jobs
        ]
        for task in tasks:
            task.join()

    # --- steps -----------------------------------------------------------------------------

    def _step(self, number: int, step: PlannedStep) -> None:
        if step.at_s is not None:
            self._wait_until(step.at_s, step.path)
        if step.background:
            work = partial(self._perform, f"{NEMESIS}/{number}", step)
            self._background.append(self.clock.spawn(work, step.path))
        else:
            self._perform(NEMESIS, step)

    def _wait_until(self, at_s: float, path: str) -> None:
        late = self.now_s() - at_s
        if late > 1:
            raise DriverError(f"{path}.at: reached {late:.1f} s late; expected {at_s:g} s")
        self.clock.sleep(-late)

    def _perform(self, process: str, step: PlannedStep) -> None:
        if step.verb.name in registry.faults():
            self._before = conditions.look(self.driver, self.clock).leader
        self.says(step.label)
        argument: dict[str, Json] = {"as": step.name, "step": step.path}
        self._event(process, "invoke", step.verb.name, argument)
        try:
            done = step.verb.perform(self)
        except DriverError as error:
            self._event(process, "info", step.verb.name, argument, error=str(error))
            raise type(error)(f"{step.path}: {error}") from None
        nodes = done.get("nodes")
        names = [str(node) for node in nodes] if isinstance(nodes, Sequence) else []
        if step.name is not None:
            self._named[step.name] = names
        self._event(process, "ok", step.verb.name, {**argument, **done})
        self.says(f"{step.label}: done{' on ' + ', '.join(names) if names else ''}")

    def _join_background(self) -> None:
        for task in self._background:
            task.join()
        self._background.clear()

    # --- protocols.World -------------------------------------------------------------------

    @property
    def cluster(self) -> Cluster:
        return self.cell.cluster

    def resolve(self, target: Target) -> Sequence[str]:
        view = conditions.look(self.driver, self.clock)
        return targets.resolve(target, self.driver, view, self._named, self.random)

    def undo_later(self, undo: Undo) -> None:
        self._journal.intend(undo)

    def undone(self, undo: Undo) -> None:
        self._journal.strike(undo)

    def heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        def heal() -> None:
            self.clock.sleep(seconds)
            still = self._journal.open  # a later step may have undone some of it
            mine = [undo for undo in reversed(undos) if undo in still]
            for undo in mine:
                journal.undo(self.driver, undo)
                self._journal.strike(undo)
            if mine:
                self._note("heal", {"nodes": _nodes(mine)})
                self.says(f"healed: {mine[0].method} {', '.join(_nodes(mine))}")

        self._background.append(self.clock.spawn(heal, "heal"))

    def leader_before(self) -> str | None:
        return self._before

    # --- the way out -----------------------------------------------------------------------

    def _heal(self) -> None:
        """Undo what is still open, and record it.

        Raises:
            DriverError: when something could not be undone; the rest was.
        """

        def undone(undo: Undo) -> None:
            self._note("heal", {"nodes": _nodes([undo])})

        failures = journal.heal(self._journal, self.driver, self.says, undone=undone)
        if failures:
            raise DriverError(f"not undone: {'; '.join(failures)}")

    def _leave(self, *, keep: bool) -> Sequence[Exception]:
        """Undo, keep the logs, remove the cluster, merge the history: on every way out.

        Returns:
            What went wrong; none of it kept the rest from being done.
        """
        self._leaving = True
        self.clock.abort()  # whatever still waits in the background ends before the undoing
        with self.clock.shielded():
            failures = [*_failures(task.join for task in self._background)]
            failures += _failures([self._heal])
            for lost in _failures([partial(self.driver.logs, self.folder / "logs")]):
                self.says(f"logs not kept: {lost}")  # no reason to doubt the run itself
            failures += _failures([] if keep else [self.driver.down])
        if failures:
            self.says("left something behind? ./drill heal && ./drill reap")
        failures += _failures([self._merge])
        return [one for one in failures if not isinstance(one, AbortedError)]

    def _merge(self) -> None:
        target = self.folder / "history.jsonl"
        merge_logs(self.folder / "clients", target)
        self.history = target

    def _final_read(self, region: Client) -> None:
        leader = self._leader()
        for job in self.cell.workloads:
            region.final_read(Job(job.name, job.kind, job.plugin, job.parameters, leader, job.seed))
        region.final_read(Job("probe", "probes", "writes", {}, leader, 0))

    # --- recording -------------------------------------------------------------------------

    def now_s(self) -> float:
        """Return the reading of the scenario clock; 0 is the start of the first step."""
        return (self.clock.now_ns() - self._zero) / NS if self._zero is not None else -1.0

    def says(self, text: str) -> None:
        # Who cannot be told any more (a closed pipe) must not keep us from undoing.
        with suppress(Exception) if self._leaving else nullcontext():
            self.tell(self.now_s(), text)

    def _phase(self, name: str) -> None:
        self._note("phase", name)
        self.says(f"phase: {name}")

    def _note(self, f: str, value: Json) -> None:
        self._event(NEMESIS + "/run", "info", f, value)

    def _event(
        self, process: str, kind: EventType, f: str, value: Json, error: str | None = None
    ) -> None:
        self._log.append(Event(process, kind, f, self.clock.now_ns(), value, error=error))

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """End the run at its time limit.

        Raises:
            DriverError: at the limit.
            AbortedError: for whatever the world refused after an abort.
        """
        over: list[bool] = []

        def limit() -> None:
            with suppress(AbortedError):
                self.clock.sleep(self.plan.timeout_s)
                over.append(True)
                self.clock.abort()

        self.clock.spawn(limit, "limit")
        try:
            yield
        except DriverError as error:
            if over:
                limit_s = format_duration(self.plan.timeout_s)
                raise DriverError(f"not over after {limit_s}: {error}") from None
            if not isinstance(error, AbortedError):
                self.clock.sleep(0)
            raise

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Record how late this process wakes up: its own delay must not read as an outage."""

        def sample() -> None:
            worst, since = 0.0, self.clock.now_ns()
            while not over:
                asleep = self.clock.now_ns()
                self.clock.sleep(_SAMPLE_S)
                worst = max(worst, (self.clock.now_ns() - asleep) / NS - _SAMPLE_S)
                if self.clock.now_ns() - since > NS:
                    self._event("harness", "info", "delay", round(worst, 4))
                    worst, since = 0.0, self.clock.now_ns()

        over: list[bool] = []
        task = self.clock.spawn(sample, "delay")
        try:
            yield
        finally:
            over.append(True)
            with suppress(AbortedError):
                task.join()


def _make_room(folder: Path, open_journal: journal.Journal) -> None:
    """Remove what an earlier run left in its folder: its events are none of this run's.

    Raises:
        DriverError: when its faults are not undone; its journal is the way to do it.
    """
    if open_journal.open:
        raise DriverError(
            f"{open_journal.path}: found faults of an earlier run that are not undone; expected "
            f"none: ./drill heal && ./drill reap, then remove {folder} or choose another --out"
        )
    for name in ("clients", "logs"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / "history.jsonl").unlink(missing_ok=True)


def _failures(parts: Iterable[Callable[[], object]]) -> Iterator[Exception]:
    """Do all parts, whatever becomes of the others; yield what went wrong."""
    for part in parts:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - handed on
            yield error


def _raise_worst(failures: Sequence[Exception]) -> None:
    """Raise a bug if there is one, else all sentences together as an error of the first's kind."""
    bugs = [error for error in failures if not isinstance(error, HarnessError)]
    if bugs:
        raise bugs[0]
    if failures:
        kind = AbortedError if isinstance(failures[0], AbortedError) else DriverError
        raise kind("; ".join(dict.fromkeys(str(error) for error in failures)))


def _nodes(undos: Sequence[Undo]) -> list[str]:
    names = (undo.arguments.get("node") or undo.arguments.get("source") for undo in undos)
    return sorted({str(name) for name in names})


def judge_cell(cell: Cell, histories: Sequence[Path], note: str, seconds: float) -> CellResult:
    """Judge the recorded repeats of one cell.

    A run that ended early is judged too: a breach seen before the end is still a breach.
    """
    measured: dict[str, list[Measurement]] = {one.name: [] for one in cell.expectations}
    void: list[str] = [note] if note else []
    figures: dict[str, list[Json]] = {}
    for path in histories:
        history = History.load(path)
        checkers = [one.checker for one in cell.expectations]
        void += validity.reasons(history, checkers)
        for one in cell.expectations:
            found = one.checker.measure(history)
            measured[one.name].append(found)
            figures.setdefault(f"{one.name}_{one.checker.unit}", []).append(found.value)
    findings = [
        judge(
            one.name,
            one.checker.unit,
            one.checker.bounds,
            measured[one.name],
            report_only=one.report_only,
        )
        for one in cell.expectations
    ]
    verdicts = [of_cell(findings)]
    if void or not histories:
        verdicts.append(Verdict.ERROR)
    return CellResult(
        id=cell.id,
        verdict=Verdict.worst(verdicts),
        repeats=len(histories),
        findings=findings,
        note="; ".join(dict.fromkeys(void)),
        figures=dict(figures),
        histories=histories,
        seconds=seconds,
    )
