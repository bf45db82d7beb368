"""One run of one cell, from the start of its cluster to its end. The loop is here."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from harness import conditions, drivers, journal, registry, validity
from harness.clock import NS, WallClock
from harness.errors import (
    AbortedError,
    DriverError,
    HarnessError,
    NotSteadyError,
    OverdueError,
)
from harness.history import NEMESIS, Json, merge_logs
from harness.plan import Cell, Plan, PlannedStep
from harness.record import Record
from harness.traffic import Traffic
from harness.units import format_duration
from harness.worlds import OWN, ClusterWorld, Worlds

# How many of Patroni's rounds the first step is put off at the most.
_ROUNDS = 1.0
# Each look is a request to every node: five a second were a tenth of what a run cost.
_LOOK_S = 0.5


def runs_alone(cell: Cell) -> bool:
    """Return whether a cell must have the machine for itself: it measures fractions of a second."""
    return validity.needs_quiet([one.checker for one in cell.expectations])


@dataclass
class Trial:
    """A cluster from its start to its end, what is done to it, and what is restored from it.

    Attributes:
        history: where the merged history is, once there is one.
        alone: it is to have no other cluster beside it.
        waited_s: how long it waited for room before it began; none of its limits count that.
    """

    plan: Plan
    cell: Cell
    folder: Path
    clock: WallClock
    random: Random
    tell: Callable[[float, str], None]
    alone: bool
    versions: dict[str, str] = field(default_factory=dict)
    history: Path | None = None
    waited_s: float = 0.0

    def run(self, make_driver: drivers.Make, *, keep: bool) -> None:
        """Run it; whatever happens, faults are undone and the history is merged.

        Raises:
            HarnessError: when the run proved nothing.
        """
        self.clock.sleep(0)  # after an abort nothing is begun
        self._hurried = 0
        self._is_read = False
        run_id = f"{Random().getrandbits(32):08x}"
        failures: list[Exception] = []
        with closing(journal.Journal(self.folder / "journal.jsonl")) as book:
            _make_room(self.folder, book)
            log = self.folder / "clients" / "nemesis.jsonl"
            with closing(Record(log, self.clock, self.tell)) as self._record:
                says = self._record.says
                self.driver = make_driver(
                    self.plan.backend, run_id, self.folder, self.clock, keep=keep, says=says
                )
                self._worlds = Worlds(
                    clock=self.clock,
                    random=self.random,
                    steady=self.cell.steady,
                    journal=book,
                    record=self._record,
                    own=self.driver,
                )
                self._worlds.join(OWN, self.driver, self.cell.cluster)
                with ExitStack() as held:  # until the cluster is down
                    try:
                        self._wait_for_room(held)
                        with self._record.sampling_delay(self.driver.idle_s), self._limited():
                            self._act()
                    except Exception as error:  # noqa: BLE001 - raised below, after the undoing
                        failures.append(error)
                    finally:
                        failures += self._leave(keep=keep)
        _raise_worst(failures)

    def _wait_for_room(self, held: ExitStack) -> None:
        asked = self.clock.now_ns()
        room = self.driver.room(self.cell.cluster, self.cell.restored, alone=self.alone)
        self._start = held.enter_context(room)
        self.waited_s = (self.clock.now_ns() - asked) / NS

    # --- the run ---------------------------------------------------------------------------

    def _act(self) -> None:
        record = self._record
        record.says(f"starting {self._shape()}")
        self.driver.up(self.cell.cluster)
        self._record_facts()
        logs = self.folder / "clients"
        traffic = Traffic(self.driver, self.cell.workloads, logs, self.clock, self.random)
        self._worlds.traffic = traffic
        traffic.watch()
        self._steady("before the first step")
        self.versions.update(self.driver.versions())
        traffic.begin(self._leader())
        # Patroni's rounds were hurried, so they stand at the same point in every run, and every
        # fault would meet the same age of the leader key. A key's age is uniform in reality.
        self.clock.sleep(self.random.uniform(0, _ROUNDS * self.cell.cluster.patroni.loop_wait))
        record.begin()
        record.phase("steps")
        for number, step in enumerate(self.cell.steps):
            self._step(number, step)
        self._join_background()
        self._worlds.heal()
        self._worlds.expect_mended()
        self._steady("after the last step")
        # Of a cluster that was destroyed nothing is left to come back, or to be read.
        survives = not traffic.stopped
        if survives:
            traffic.resume()
        record.phase("settled")
        survivor = self._leader() if survives else None
        if survivor is not None:
            self._record_timelines(survivor)
        traffic.end(survivor)
        record.phase("end")

    def _shape(self) -> str:
        cluster = self.cell.cluster
        return f"{cluster.nodes} nodes, {cluster.dcs}, {cluster.sync}, seed {self.plan.seed}"

    def _record_facts(self) -> None:
        nodes: Mapping[str, Json] = {
            node.name: {"az": node.az, "address": node.address} for node in self.driver.nodes
        }
        self._record.note(
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

    def _record_timelines(self, survivor: str) -> None:
        """Record how the survivor's timeline came about: which commits its forks left behind.

        Should it not tell, the final reads decide alone.
        """
        self._record.event("final", "invoke", "timelines", None)
        try:
            rows = self.driver.query(survivor, _TIMELINES, deadline_s=5)
            told: Json = {str(tli): list(forks) for tli, forks in map(_forks, rows)}
        except AbortedError:
            raise
        except (DriverError, ValueError) as error:
            self._record.event("final", "fail", "timelines", None, error=str(error))
        else:
            self._record.event("final", "ok", "timelines", told)

    def _steady(self, when: str) -> None:
        """Wait for the steady state of the last cluster that exists.

        Raises:
            NotSteadyError: with what it lacks; at once, where it obeys other settings than asked.
        """
        wanted = self.cell.steady
        world = self._worlds.last
        if world is None:
            raise NotSteadyError(f"not steady {when}: every cluster of the run was destroyed")
        lacks: Sequence[str] = ()

        def holds() -> bool:
            nonlocal lacks
            view = world.look()
            if view.leader is not None:
                self._start.leads()
            unread = self._unread(view)
            lacks = conditions.steady(view, world.cluster, wanted).lacks or unread
            if lacks:
                self._hurry(view)
            return not lacks

        try:
            self.clock.wait_for(holds, timeout_s=wanted.timeout, what="steady", every_s=_LOOK_S)
        except (AbortedError, NotSteadyError):
            raise
        except DriverError as error:
            raise NotSteadyError(f"not steady {when}: {'; '.join(lacks) or error}") from None
        self._start.steady()
        self._record.phase("steady")

    def _unread(self, view: conditions.View) -> Sequence[str]:
        """Read the scenario's settings back, once; return why that could not be done yet.

        Only before the first step: after it, whoever changes them does so on purpose.

        Raises:
            NotSteadyError: when they are others. Nothing mends them, so nobody waits for it.
        """
        if self._record.begun or self._is_read:
            return ()
        found = conditions.settings(self.driver, view)
        if found is None:
            return ("no primary tells its settings",)
        if others := conditions.other_settings(found, self.cell.cluster):
            raise NotSteadyError(f"not steady before the first step: {'; '.join(others)}")
        self._is_read = True
        return ()

    def _hurry(self, view: conditions.View) -> None:
        """Start Patroni's next round now, at most once a second.

        Only before the first step: after it, the cluster's own pace is what is measured.
        """
        if self._record.begun or self.clock.now_ns() - self._hurried < NS:
            return
        self._hurried = self.clock.now_ns()
        conditions.hurry(self.driver, view)

    def _leader(self) -> str:
        leader = self.driver.dcs(deadline_s=5).get("leader")
        if leader is None:
            raise NotSteadyError("no leader key in the DCS")
        return leader

    # --- steps -----------------------------------------------------------------------------

    def _step(self, number: int, step: PlannedStep) -> None:
        if step.at_s is not None:
            self._wait_until(step.at_s, step.path)
        if step.background:
            work = partial(self._perform, f"{NEMESIS}/{number}", step)
            self._worlds.background.append(self.clock.spawn(work, step.path))
        else:
            self._perform(NEMESIS, step)

    def _wait_until(self, at_s: float, path: str) -> None:
        late = self._record.now_s() - at_s
        if late > 1:
            raise DriverError(f"{path}.at: reached {late:.1f} s late; expected {at_s:g} s")
        self.clock.sleep(-late)

    def _perform(self, process: str, step: PlannedStep) -> None:
        world = self._world_of(step)
        if step.verb.name in registry.faults():
            # In an election nobody leads; whoever led before it is still the one to compare with.
            world.before = world.look().leader or world.before
        self._record.says(step.label)
        argument: dict[str, Json] = {"as": step.name, "step": step.path}
        self._record.event(process, "invoke", step.verb.name, argument)
        try:
            done = step.verb.perform(world)
        except DriverError as error:
            self._record.event(process, "info", step.verb.name, argument, error=str(error))
            raise type(error)(f"{step.path}: {error}") from None
        nodes = done.get("nodes")
        names = [str(node) for node in nodes] if isinstance(nodes, Sequence) else []
        if step.name is not None:
            self._worlds.named[step.name] = names
        if step.verb.name == "mark":
            self._worlds.marks[str(done["mark"])] = done
        self._record.event(process, "ok", step.verb.name, {**argument, **done})
        self._record.says(f"{step.label}: done{' on ' + ', '.join(names) if names else ''}")

    def _world_of(self, step: PlannedStep) -> ClusterWorld:
        try:
            return self._worlds.of(step.cluster)
        except DriverError as error:
            raise DriverError(f"{step.path}: {error}") from None

    def _join_background(self) -> None:
        for task in self._worlds.background:
            task.join()
        self._worlds.background.clear()

    # --- the way out -----------------------------------------------------------------------

    def _leave(self, *, keep: bool) -> Sequence[Exception]:
        """Undo, keep the logs, remove the cluster, merge the history: on every way out.

        Returns:
            What went wrong; none of it kept the rest from being done.
        """
        self._record.stop_minding()
        self.clock.abort()  # whatever still waits in the background ends before the undoing
        with self.clock.shielded():
            failures = [*_failures(task.join for task in self._worlds.background)]
            failures += _failures([self._worlds.heal])
            logs = self.folder / "logs"
            keepers = [self.driver, *self._worlds.clones]
            for lost in _failures(partial(driver.logs, logs) for driver in keepers):
                self._record.says(f"logs not kept: {lost}")  # no reason to doubt the run itself
            failures += _failures([] if keep else [self.driver.down])
        if failures:
            self._record.says("left something behind? ./drill heal && ./drill reap")
        failures += _failures([self._merge])
        return [one for one in failures if not isinstance(one, AbortedError)]

    def _merge(self) -> None:
        target = self.folder / "history.jsonl"
        merge_logs(self.folder / "clients", target)
        self.history = target

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


# PostgreSQL keeps every timeline's history beside its WAL.
_TIMELINES = (
    "SELECT name, pg_read_file('pg_wal/' || name) FROM pg_ls_waldir() "
    "WHERE name ~ '^[0-9A-F]{8}[.]history$'"
)


def _forks(row: Sequence[Json]) -> tuple[int, Sequence[Json]]:
    """Return a timeline and its forks, `[parent, "X/Y"]`, from a history file's name and text.

    Raises:
        ValueError: it is none.
    """
    name, text = map(str, row)
    fields = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return int(name.split(".")[0], 16), [[int(parent), at] for parent, at, *_ in fields]


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
        first = type(failures[0])
        kind = first if first in (AbortedError, OverdueError) else DriverError
        raise kind("; ".join(dict.fromkeys(str(error) for error in failures)))
