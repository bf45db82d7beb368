"""Tests for harness.runner: the one loop, on a cluster in memory and in real time."""

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from harness import loader, record, runner, traffic, trial
from harness.clock import NS, Clock, WallClock
from harness.errors import DriverError
from harness.history import History, Op
from harness.journal import Journal
from harness.plan import Plan
from harness.plan import plan as make_plan
from harness.protocols import Driver
from harness.record import Record
from harness.result import CellResult, ScenarioResult
from harness.scenario import Cluster
from harness.verdict import Verdict
from tests.unit.world import WRITTEN, MemoryDriver

KILL = "  - kill: {role: leader, how: power-off}\n    as: crash\n"
WAIT = "  - wait: {until: new-leader, timeout: 5s}\n"
START = "  - start: {ref: crash}\n"
HANG = "  - sleep: 60s\n"
FREEZE = "  - freeze: {node: pg-2, process: patroni}\n"
WRITERS = "  writers: {max: 1}\n"
NO_CHANGE = "  leader_changes: {max: 0}\n"

T = TypeVar("T")
Prepare = Callable[[MemoryDriver], None]


class Brisk(WallClock):
    """Real time, looked at more often: a world in memory changes within milliseconds."""

    def wait_for(
        self,
        condition: Callable[[], T | None],
        *,
        timeout_s: float,
        what: str,
        every_s: float = 0.1,
    ) -> T:
        return super().wait_for(
            condition, timeout_s=timeout_s, what=what, every_s=min(every_s, 0.005)
        )


@dataclass
class Listener:
    """Keeps what it is told, and may act on it."""

    told: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    on_says: Callable[[str], None] = lambda _: None

    def scenario_begins(self, plan: Plan) -> None:
        self.told.append(f"begins {plan.scenario.name}")

    def cell_begins(self, cell: str, repeat: int, of: int) -> None:
        self.told.append(f"cell {cell or '-'} {repeat}/{of}")

    def says(self, cell: str, t_s: float, text: str) -> None:  # noqa: ARG002
        self.said.append(text)
        self.on_says(text)

    def cell_ends(self, result: CellResult) -> None:
        self.told.append(f"ends {result.id or '-'} {result.verdict}")

    def scenario_ends(self, result: ScenarioResult) -> None:
        self.told.append(f"ends {result.scenario} {result.verdict}")


@dataclass
class Bench:
    """Runs scenarios in a folder of its own."""

    folder: Path
    clock: WallClock = field(default_factory=Brisk)
    listener: Listener = field(default_factory=Listener)
    drivers: list[MemoryDriver] = field(default_factory=list)
    prepare: Prepare = lambda _: None
    journalled: dict[str, list[str]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def driver(self) -> MemoryDriver:
        return self.drivers[0]

    def plan(
        self,
        steps: str = KILL + WAIT + START,
        expect: str = WRITERS,
        *,
        more: str = "",
        repeat: int | None = None,
        cell: str | None = None,
        name: str = "node-kill",
    ) -> Plan:
        path = self.folder / f"{name}.yaml"
        path.write_text(
            f"scenario: {name}\ntitle: A test\n{more}"
            "workload: {append: {clients: 1, rate: 20/s, through: primary-elb}}\n"
            f"steps:\n{steps}expect:\n{expect}"
        )
        return make_plan(loader.load(path), "docker", seed=7, repeat=repeat, cell=cell)

    def run(self, plan: Plan | None = None, *, jobs: int = 1, keep: bool = False) -> ScenarioResult:
        return runner.run(
            plan or self.plan(),
            out=self.out,
            clock=self.clock,
            listener=self.listener,
            slots=threading.BoundedSemaphore(jobs),
            keep=keep,
            make_driver=self.make,
        )

    def cell(self, *arguments: str, more: str = "") -> CellResult:
        (cell,) = self.run(self.plan(*arguments, more=more)).cells
        return cell

    def make(
        self,
        backend: str,
        run: str,  # noqa: ARG002 - the form of a MakeDriver
        folder: Path,
        clock: Clock,
        *,
        keep: bool,  # noqa: ARG002
        says: Callable[[str], None],  # noqa: ARG002
    ) -> Driver:
        assert backend == "docker"
        made = MemoryDriver(clock, folder, pace=0)
        made.failover_s = 0.02

        def look(verb: str, _what: object) -> None:
            text = (folder / "journal.jsonl").read_text()
            self.journalled.setdefault(verb, text.splitlines())

        made.before_act = look
        self.drivers.append(made)
        self.prepare(made)
        return made

    def history(self, folder: str = "") -> History:
        return History.load(self.out / folder / "history.jsonl")

    def deeds(self) -> list[str]:
        return [op.f for op in self.history().deeds]

    def abort_when(self, text: str) -> None:
        """Abort as the user does, from another thread, once this is said."""

        def abort(said: str) -> None:
            if text in said:
                task = WallClock().spawn(self.clock.abort, "user")
                task.join()

        self.listener.on_says = abort

    def assert_left_clean(self) -> None:
        """Every driver was taken down once, with all faults undone."""
        for driver in self.drivers:
            assert driver.downs == 1
            assert driver.rooms_end == [1] * len(driver.rooms), "room is given back after that"
            assert all(machine.powered for machine in driver.inside.values())
            assert not any(machine.frozen for machine in driver.inside.values())
            assert all(member.powered for member in driver.members.values())
            assert driver.slowed == {}
            assert driver.cuts == []
        for path in self.out.rglob("journal.jsonl"):
            book = Journal(path)
            assert book.open == []
            book.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch) -> Iterator[Bench]:
    # Enough to be sure that acknowledgements are counted.
    monkeypatch.setattr(traffic, "_BASELINE", 3)
    monkeypatch.setattr(trial, "_ROUNDS", 0.0)
    monkeypatch.setattr(record, "_SAMPLE_S", 0.01)
    monkeypatch.setattr(record, "_TELL_NS", NS // 20)
    made = Bench(tmp_path)
    yield made
    for driver in made.drivers:
        for client in driver.clients.values():
            client.end()


def spoil(method: str, text: str = "it broke") -> Prepare:
    def prepare(driver: MemoryDriver) -> None:
        driver.refusing[method] = text

    return prepare


def one(history: History, f: str) -> Op:
    (op,) = [deed for deed in history.deeds if deed.f == f]
    return op


# --- a run that goes well ----------------------------------------------------------------------


def test_a_run_from_its_start_to_its_end(bench: Bench) -> None:
    """Phases in order, steps recorded with their machines, everything read at the end."""
    result = bench.run()
    assert result.verdict is Verdict.PASS, result.cells[0]
    history = bench.history()
    phases = [str(event.value) for event in history.notes("phase")]
    assert phases == ["steady", "steps", "steady", "settled", "end"]
    times = [event.time for event in history.events]
    assert times == sorted(times)
    assert bench.deeds() == ["kill", "wait", "start"]
    assert history.moment("crash") is one(history, "kill")
    for op in history.deeds:
        assert op.outcome == "ok"
    assert one(history, "start").value["nodes"] == ["pg-1"]  # type: ignore[index, call-overload]
    reads = history.select("read", "ok")
    assert [(op.key, op.node) for op in reads] == [("append", "pg-2"), ("probe", "pg-2")]
    assert reads[0].start > history.finish, "read when all work has ended"
    assert max(op.start for op in history.select("write")) < reads[0].start
    bench.assert_left_clean()


def test_facts_name_the_run(bench: Bench) -> None:
    """Whoever reads the history alone knows what was asked."""
    bench.run()
    facts = bench.history().facts
    assert (facts["scenario"], facts["seed"], facts["workloads"]) == ("node-kill", 7, ["append"])
    assert facts["nodes"]["pg-3"] == {"az": "c", "address": "10.0.0.3"}  # type: ignore[index, call-overload]


def test_the_survivors_timelines_are_recorded(bench: Bench) -> None:
    """So that what was acknowledged past a fork is known to be lost, whatever else is read."""
    bench.run()
    (told,) = bench.history().select("timelines", "ok", process="final")
    assert told.value == {"2": [[1, f"0/{WRITTEN:X}"]]}


def test_results_and_listener_say_the_same(bench: Bench) -> None:
    """Versions are what the driver read back."""
    result = bench.run()
    assert result.versions == {"patroni": "4.1", "postgres": "17.5", "dcs": "memory"}
    assert (result.scenario, result.backend, result.seed) == ("node-kill", "docker", 7)
    assert bench.listener.told == [
        "begins node-kill",
        "cell - 1/1",
        "ends - pass",
        "ends node-kill pass",
    ]
    (cell,) = result.cells
    assert cell.histories == [bench.out / "history.jsonl"]
    assert cell.repeats == 1
    assert cell.note == ""
    assert (bench.out / "logs" / "pg-1.log").is_file()


def test_the_undo_is_on_disk_before_the_fault(bench: Bench) -> None:
    """Seen from the world at the moment it is hit."""
    bench.run()
    written = [json.loads(line) for line in bench.journalled["power_off"]]
    assert written == [{"id": 0, "undo": {"method": "start", "arguments": {"node": "pg-1"}}}]


def test_what_no_step_undid_is_undone_before_the_end_is_judged(bench: Bench) -> None:
    """Last first, and recorded, so that checkers know."""
    steps = FREEZE + "  - partition: {from: {node: pg-3}, to: {service: dcs}, port: 2379}\n"
    cell = bench.cell(steps)
    assert cell.verdict is Verdict.PASS, cell
    undone = [verb for verb, _ in bench.driver.seen if verb in ("mend", "thaw")]
    assert undone == ["mend", "thaw"]
    heals = [op.value for op in bench.history().deeds if op.f == "heal"]
    assert heals[-1] == {"nodes": ["pg-2"]}
    assert len(heals) == 2
    settled = bench.history().phase("settled")
    assert settled is not None
    assert all(op.start < settled for op in bench.history().deeds)
    bench.assert_left_clean()


def test_a_cut_that_is_not_mended_proves_nothing(bench: Bench) -> None:
    """The links are named; what is said of them rests on a connection, not on the mending."""
    bench.prepare = lambda driver: driver.idle.add("mend")
    cell = bench.cell("  - partition: {from: {node: pg-3}, to: {service: dcs}, for: 400ms}\n")
    assert cell.verdict is Verdict.ERROR
    assert "pg-3 to etcd-1" in cell.note
    assert "dead after a cut was mended" in cell.note


def test_a_bound_of_a_second_wants_the_machine_for_itself(bench: Bench) -> None:
    """Its neighbours would make it an error; others have neighbours."""
    for bound, alone in (("1s", True), ("60s", False)):
        bench.cell(KILL + WAIT + START, f"  failover: {{since: crash, max: {bound}}}\n")
        assert bench.drivers.pop().alone == alone


@pytest.mark.parametrize(
    ("alone_s", "verdict"), [(0.1, Verdict.PASS), (3.5, Verdict.FAIL)], ids=["held", "broken"]
)
def test_what_proved_nothing_in_a_crowd_is_run_again_alone(
    bench: Bench, alone_s: float, verdict: Verdict
) -> None:
    """Its nodes may have been late; what they do with cores of their own is the verdict."""

    def prepare(driver: MemoryDriver) -> None:
        crowd = len(bench.drivers) == 1
        driver.spare = 0.0 if crowd else 2.0
        driver.failover_s = 3.5 if crowd else alone_s

    bench.prepare = prepare
    cell = bench.cell(KILL + WAIT + START, "  failover: {since: crash, max: 3s}\n" + WRITERS)
    assert [driver.alone for driver in bench.drivers] == [False, True], cell
    assert (cell.verdict, cell.repeats) == (verdict, 1)
    assert cell.note == ""
    assert cell.beside.startswith("failover: max 3.")
    assert "no core of the nodes' machine was free" in cell.beside
    bench.assert_left_clean()


def test_with_cores_to_spare_a_red_bound_is_red(bench: Bench) -> None:
    """Nobody was late, so nothing is run again."""

    def prepare(driver: MemoryDriver) -> None:
        driver.spare, driver.failover_s = 1.0, 3.5

    bench.prepare = prepare
    cell = bench.cell(KILL + WAIT + START, "  failover: {since: crash, max: 3s}\n")
    assert (len(bench.drivers), cell.verdict, cell.beside) == (1, Verdict.FAIL, "")


@pytest.mark.parametrize("spare", [0.0, 1.0, None])
def test_a_wait_that_is_overdue_in_a_crowd_is_run_again_alone(
    bench: Bench, spare: float | None
) -> None:
    """Elsewhere nobody but the cluster made it late, and the run ends as it is: an error."""

    def prepare(driver: MemoryDriver) -> None:
        late = len(bench.drivers) == 1
        driver.spare = spare if late else 2.0
        driver.failover_s = 2.0 if late else 0.02

    bench.prepare = prepare
    overdue = "  - wait: {until: new-leader, timeout: 1s}\n"
    cell = bench.cell(KILL + overdue + START, WRITERS)
    if spare == 0:
        assert (len(bench.drivers), cell.verdict) == (2, Verdict.PASS)
        assert cell.beside.startswith("steps[1]: 'new-leader' did not happen within 1 s")
    else:
        assert (len(bench.drivers), cell.verdict, cell.beside) == (1, Verdict.ERROR, "")


def test_a_wait_for_clients_ends_once_one_was_acknowledged(bench: Bench) -> None:
    """Since it began, and through the runner: a wait that asks nobody would end at once."""
    cell = bench.cell("  - wait: {until: served, timeout: 5s}\n", WRITERS)
    assert cell.verdict is Verdict.PASS, cell.note
    history = History.load(cell.histories[0])
    (wait,) = history.select("wait")
    assert wait.end is not None
    done = [op.end for op in history.select("txn") if op.outcome == "ok" and op.end is not None]
    assert [end for end in done if wait.start < end <= wait.end]


def test_a_crowd_explains_no_fault_that_did_not_bite(bench: Bench) -> None:
    """That proves nothing on any machine."""

    def prepare(driver: MemoryDriver) -> None:
        driver.spare = 0.0
        driver.idle.add("power_off")

    bench.prepare = prepare
    cell = bench.cell(KILL + WAIT + START, WRITERS)
    assert (len(bench.drivers), cell.verdict, cell.beside) == (1, Verdict.ERROR, "")


def test_a_crowd_excuses_no_breach_of_safety(bench: Bench) -> None:
    """Only spans of time become longer by it."""

    def prepare(driver: MemoryDriver) -> None:
        driver.spare = 0.0

    bench.prepare = prepare
    cell = bench.cell(KILL + WAIT + START, "  leader_changes: {max: 0}\n")
    assert (len(bench.drivers), cell.verdict) == (1, Verdict.FAIL)


def test_an_az_goes_dark_and_comes_back(bench: Bench) -> None:
    """Its machines alone are told to be healed, once all of it is back; clients of all go on."""
    steps = "  - blackout: {az: {of: leader}, for: 400ms}\n    as: dark\n" + WAIT
    bench.plan(steps)
    path = bench.folder / "node-kill.yaml"
    path.write_text(path.read_text().replace("primary-elb", "every-node"))
    result = bench.run(make_plan(loader.load(path), "docker", seed=7))
    assert result.verdict is Verdict.PASS, result.cells[0]
    dark, heal = one(bench.history(), "blackout"), one(bench.history(), "heal")
    assert dark.value["nodes"] == ["pg-1", "etcd-1"]  # type: ignore[index, call-overload]
    assert heal.value == {"nodes": ["etcd-1", "pg-1"]}
    assert heal.start - dark.start >= 0.4 * NS
    loads = {str(op.process) for op in bench.history().select("txn")}
    assert loads == {"append/0.0", "append/1.0", "append/2.0"}
    bench.assert_left_clean()


def test_for_heals_in_the_background_and_is_recorded(bench: Bench) -> None:
    """Once: what is undone already is not undone again at the end."""
    steps = "  - freeze: {node: pg-2, process: patroni, for: 50ms}\n  - sleep: 1ms\n"
    assert bench.cell(steps).verdict is Verdict.PASS
    assert [verb for verb, _ in bench.driver.seen] == ["freeze", "thaw"]
    heal, freeze = one(bench.history(), "heal"), one(bench.history(), "freeze")
    assert heal.value == {"nodes": ["pg-2"]}
    assert heal.start - freeze.start >= 0.05 * NS


def test_for_leaves_alone_what_a_step_has_undone(bench: Bench) -> None:
    """A second fault of the same kind must last until its own time."""
    first = "  - freeze: {node: pg-2, process: patroni, for: 300ms}\n"
    thaw = "  - thaw: {node: pg-2, process: patroni}\n"
    assert bench.cell(first + thaw).verdict is Verdict.PASS
    assert [verb for verb, _ in bench.driver.seen] == ["freeze", "thaw"]
    assert "heal" not in bench.deeds()


def test_background_steps_run_beside_the_others(bench: Bench) -> None:
    """Each under a process of its own, and the end waits for them."""
    steps = "  - sleep: 100ms\n    background: true\n  - sleep: 1ms\n"
    assert bench.cell(steps).verdict is Verdict.PASS
    (long, short) = [op for op in bench.history().deeds if op.f == "sleep"]
    assert (long.process, short.process) == ("nemesis/0", "nemesis")
    assert long.end is not None
    assert short.end is not None
    assert long.start < short.start < short.end < long.end


def test_at_waits_for_the_scenario_clock(bench: Bench) -> None:
    """Zero is the start of the first step."""
    bench.cell("  - sleep: 1ms\n  - sleep: 1ms\n    at: 150ms\n")
    history = bench.history()
    steps = history.phase("steps")
    assert steps is not None
    assert 0.15 <= (history.deeds[1].start - steps) / NS < 5


# --- worlds that break -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["up", "client", "versions", "prepare", "start_job", "stop_job", "final_read", "power_off"],
)
def test_a_driver_that_fails_is_an_error(bench: Bench, method: str) -> None:
    """With its own reason, whatever it was doing; and nothing is left behind."""
    bench.prepare = spoil(method)
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert "it broke" in cell.note
    assert bench.driver.downs == 1
    assert (bench.out / "history.jsonl").is_file()


def test_a_step_that_fails_says_which(bench: Bench) -> None:
    """Its path in the file, and what it saw; what it journalled is undone."""
    bench.prepare = lambda driver: driver.idle.add("power_off")
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert cell.note.startswith("steps[0]: kill: pg-1 answers 200; it did not lose power")
    kill = one(bench.history(), "kill")
    assert (kill.outcome, bool(kill.error)) == ("info", True)
    assert [verb for verb, _ in bench.driver.seen] == ["power_off", "start"]
    bench.assert_left_clean()


def test_faults_are_undone_last_first_when_a_later_step_fails(bench: Bench) -> None:
    """On this way out, too."""
    hopeless = "  - check: {leaders: 0}\n"
    cell = bench.cell(FREEZE + KILL + hopeless)
    assert "steps[2]: check: 1 leaders; expected 0" in cell.note or "0 leaders" in cell.note
    assert [verb for verb, _ in bench.driver.seen] == ["freeze", "power_off", "start", "thaw"]
    bench.assert_left_clean()


def test_a_fault_that_cannot_be_undone_is_an_error(bench: Bench) -> None:
    """Told once; the others are undone, and the cluster is removed."""
    bench.prepare = spoil("thaw", "no such process")
    cell = bench.cell(FREEZE + "  - freeze: {node: pg-3}\n" + KILL + START)
    assert cell.verdict is Verdict.ERROR
    assert cell.note.count("not undone: thaw pg-3 all: no such process; thaw pg-2 patroni") == 1
    assert bench.driver.downs == 1
    assert bench.driver.inside["pg-1"].powered


def test_a_cluster_that_cannot_be_removed_is_an_error(bench: Bench) -> None:
    """However well the run went; its history is merged all the same."""
    bench.prepare = spoil("down", "network in use")
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert cell.note == "network in use"
    assert cell.repeats == 1
    assert any("./drill reap" in text for text in bench.listener.said)


def test_both_reasons_are_told(bench: Bench) -> None:
    """What went wrong first comes first."""

    def prepare(driver: MemoryDriver) -> None:
        driver.refusing = {"down": "network in use", "power_off": "no such machine"}

    bench.prepare = prepare
    assert bench.cell().note.startswith("steps[0]: no such machine; network in use")


@pytest.mark.parametrize("kind", [DriverError, ValueError])
def test_lost_logs_are_no_reason_to_doubt_a_run(bench: Bench, kind: type[Exception]) -> None:
    """But they are told of."""
    bench.prepare = lambda driver: driver.bugs.update(logs=kind("disk full"))
    assert bench.cell().verdict is Verdict.PASS
    assert "logs not kept: disk full" in bench.listener.said
    bench.assert_left_clean()


def test_a_driver_that_cannot_be_made_is_an_error(bench: Bench) -> None:
    """No engine answers: there is nothing to take down, and nothing to judge."""

    def refuse(_: MemoryDriver) -> None:
        raise DriverError("no Docker engine answers")

    bench.prepare = refuse
    cell = bench.cell()
    assert (cell.verdict, cell.note) == (Verdict.ERROR, "no Docker engine answers")
    assert cell.histories == []
    bench.prepare = lambda _: None
    assert bench.cell().verdict is Verdict.PASS, "the journal was let go of"


def test_settings_that_are_not_the_scenarios(bench: Bench) -> None:
    """The cluster obeys others: an error at once, before anything is done to it."""

    def prepare(driver: MemoryDriver) -> None:
        driver.settings = {"retry_timeout": 11}

    bench.prepare = prepare
    said = "not steady before the first step: retry_timeout is 11 in Patroni's /config; expected 10"
    assert bench.cell(more="steady: {timeout: 1h}\n").note.startswith(f"{said};")
    assert bench.driver.seen == []


def test_settings_that_nobody_tells(bench: Bench) -> None:
    """What cannot be read back is not taken for granted."""

    def prepare(driver: MemoryDriver) -> None:
        driver.settings = None

    bench.prepare = prepare
    note = bench.cell(more="steady: {timeout: 100ms}\n").note
    assert note.startswith("not steady before the first step: no primary tells its settings;")


def test_settings_that_change_later_are_the_scenarios_affair(bench: Bench) -> None:
    """They are read once."""

    def change(verb: str, _: object) -> None:
        if verb == "power_off":
            bench.driver.settings = {"retry_timeout": 11}

    def prepare(driver: MemoryDriver) -> None:
        driver.before_act = change

    bench.prepare = prepare
    assert bench.cell(KILL + WAIT + START).verdict is Verdict.PASS


@pytest.mark.parametrize("when", ["before the first step", "after the last step"])
def test_a_cluster_that_is_not_steady(bench: Bench, when: str) -> None:
    """What it lacks is told."""

    def prepare(driver: MemoryDriver) -> None:
        if when.startswith("after"):
            driver.idle.add("start")
        else:
            driver.quorum = False

    bench.prepare = prepare
    more = "steady: {timeout: 100ms}\n"
    if when.startswith("before"):
        # A cluster without a DCS has no leader key.
        assert (
            "not steady before the first step: no leader key in the DCS"
            in bench.cell(more=more).note
        )
        assert bench.driver.seen == []
    else:
        note = bench.cell(KILL + WAIT, more=more).note
        assert "not steady after the last step: pg-1 does not answer" in note


def test_a_workload_that_never_works_proves_nothing(bench: Bench, monkeypatch) -> None:
    """The steps are not even begun."""
    monkeypatch.setattr(traffic, "_SETTLE_S", 0.05)
    bench.prepare = lambda driver: driver.idle.add("workload")
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert "acknowledged operations of 'append' did not happen within 0.05 s" in cell.note
    assert bench.driver.seen == []


def test_a_workload_that_does_not_come_back_is_left_to_the_checkers(
    bench: Bench, monkeypatch
) -> None:
    """The run waits a while and goes on: an outage is a finding, no error of the run."""
    monkeypatch.setattr(traffic, "_RESUME_S", 0.05)
    bench.prepare = lambda driver: setattr(
        driver, "before_act", lambda *_: driver.idle.add("workload")
    )
    assert bench.cell().verdict is Verdict.PASS
    assert bench.history().phase("end") is not None


def test_the_time_limit_ends_a_run(bench: Bench) -> None:
    """As an error that says where it was; faults are undone."""
    cell = bench.cell(FREEZE + HANG, more="backends: {docker: {timeout: 1s}}\n")
    assert cell.verdict is Verdict.ERROR
    assert cell.note.startswith("not over after 1s: steps[1]: aborted")
    bench.assert_left_clean()


def test_a_background_step_that_fails_is_an_error(bench: Bench) -> None:
    """Though all the others went well."""
    bench.prepare = lambda driver: driver.idle.add("power_off")
    steps = "  - kill: {role: leader, how: power-off}\n    background: true\n  - sleep: 20ms\n"
    cell = bench.cell(steps)
    assert cell.verdict is Verdict.ERROR
    assert cell.note.startswith("steps[0]: kill: pg-1 answers")
    assert one(bench.history(), "sleep").outcome == "ok"
    bench.assert_left_clean()


def test_a_background_heal_that_fails_is_an_error(bench: Bench) -> None:
    """And is tried once more on the way out."""
    bench.prepare = spoil("thaw", "no such process")
    steps = "  - freeze: {node: pg-2, process: patroni, for: 10ms}\n  - sleep: 50ms\n"
    cell = bench.cell(steps)
    assert cell.note.startswith("no such process; not undone: thaw pg-2 patroni")
    assert [verb for verb, _ in bench.driver.seen] == ["freeze", "thaw", "thaw"]


def test_a_step_that_comes_too_late_is_an_error(bench: Bench, monkeypatch) -> None:
    """A schedule that was not kept was not tested."""
    monkeypatch.setattr(Record, "now_s", lambda _: 2.5)
    cell = bench.cell("  - sleep: 1ms\n    at: 1s\n")
    assert "steps[0].at: reached 1.5 s late; expected 1 s" in cell.note


# --- the user stops it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (KILL + HANG, "sleep"),
        (KILL + "  - wait: {until: dcs-quorum, timeout: 5s}\n" + HANG, "kill leader (power-off)"),
        (FREEZE + "  - sleep: 60s\n    background: true\n", "sleep"),
        ("  - freeze: {node: pg-2, for: 60s}\n" + HANG, "sleep"),
        (KILL + HANG, "starting 3 nodes"),
        (KILL + HANG, "phase: steady"),
    ],
)
def test_an_abort_undoes_everything(bench: Bench, steps: str, said: str) -> None:
    """Wherever it comes: an error, reason aborted, and a clean machine."""
    bench.abort_when(said)
    cell = bench.cell(steps)
    assert cell.verdict is Verdict.ERROR
    assert "aborted" in cell.note
    bench.assert_left_clean()
    assert (bench.out / "history.jsonl").is_file()


def test_nothing_goes_on_after_an_abort(bench: Bench) -> None:
    """Not even what would not have had to wait."""
    bench.abort_when("starting")
    bench.cell(KILL + HANG)
    assert bench.driver.seen == []


def test_what_fails_by_an_abort_is_aborted(bench: Bench) -> None:
    """A driver may answer the abort in words of its own."""

    def prepare(driver: MemoryDriver) -> None:
        def refuse(verb: str, _what: object) -> None:
            if verb == "power_off":
                bench.clock.abort()
                raise DriverError("interrupted; interrupted")

        driver.before_act = refuse

    bench.prepare = prepare
    assert bench.cell().note.startswith("aborted")


def test_a_breach_seen_before_an_abort_stays_a_fail(bench: Bench) -> None:
    """What the system did cannot be undone by stopping to look."""
    bench.abort_when("sleep 60s")
    cell = bench.cell(KILL + WAIT + "  - sleep: 100ms\n" + HANG, NO_CHANGE)
    assert cell.verdict is Verdict.FAIL
    assert "aborted" in cell.note


def test_cells_that_wait_for_their_turn_are_not_begun(bench: Bench) -> None:
    """An abort is the end of all."""
    bench.abort_when("sleep")
    result = bench.run(bench.plan(HANG, more="matrix: {cluster.nodes: [2, 3]}\n"))
    assert [cell.verdict for cell in result.cells] == [Verdict.ERROR] * 2
    assert len(bench.drivers) == 1
    assert result.cells[1].note == "aborted"
    assert result.cells[1].histories == []


def test_who_cannot_be_told_does_not_keep_us_from_undoing(bench: Bench) -> None:
    """The reader of our output went away: a bug to the run, but it heals."""

    def gone(text: str) -> None:
        if "done on" in text or "undone" in text:
            raise BrokenPipeError

    bench.listener.on_says = gone
    with pytest.raises(BrokenPipeError):
        bench.run(bench.plan(FREEZE + KILL + HANG))
    bench.assert_left_clean()


# --- bugs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["up", "power_off", "final_read", "down"])
def test_a_bug_reaches_the_top_after_the_undoing(bench: Bench, where: str) -> None:
    """It is no verdict: exit 4; but nothing is left behind, and the history can be read."""
    bench.prepare = lambda driver: driver.bugs.update({where: KeyError("a bug")})
    with pytest.raises(KeyError, match="a bug"):
        bench.run(bench.plan(FREEZE + KILL + WAIT + START))
    assert bench.driver.downs == 1
    assert not any(machine.frozen for machine in bench.driver.inside.values())
    assert bench.history().facts or where == "up"


def test_a_bug_in_the_background_reaches_the_top_too(bench: Bench) -> None:
    """Even when another failure came first."""
    bench.prepare = lambda driver: driver.bugs.update(power_off=AssertionError("a bug"))
    steps = (
        "  - kill: {role: leader, how: power-off}\n    background: true\n  - check: {leaders: 0}\n"
    )
    with pytest.raises(AssertionError, match="a bug"):
        bench.run(bench.plan(steps))
    bench.assert_left_clean()


def test_a_bug_in_one_cell_ends_the_others_cleanly(bench: Bench) -> None:
    """They heal and remove their clusters before the bug is raised."""

    def prepare(driver: MemoryDriver) -> None:
        if len(bench.drivers) == 2:
            driver.bugs["freeze"] = KeyError("a bug")

    bench.prepare = prepare
    planned = bench.plan(FREEZE + HANG, more="matrix: {cluster.nodes: [2, 3, 4]}\n")
    with pytest.raises(KeyError, match="a bug"):
        bench.run(planned, jobs=2)
    assert len(bench.drivers) == 2
    bench.assert_left_clean()
    bench.clock.sleep(0)  # whoever called may go on


# --- many runs ---------------------------------------------------------------------------------


def test_repeats_are_pooled(bench: Bench) -> None:
    """Each has a cluster, a folder and choices of its own."""
    (cell,) = bench.run(bench.plan("  - sleep: 1ms\n", repeat=3)).cells
    assert (cell.verdict, cell.repeats) == (Verdict.PASS, 3)
    assert cell.histories == [bench.out / f"run-{n}" / "history.jsonl" for n in (1, 2, 3)]
    assert len(cell.findings[0].values) == 3
    assert cell.figures == {"writers_count": [1, 1, 1]}
    assert len(bench.drivers) == 3
    bench.assert_left_clean()


def test_repeats_stop_at_the_first_error(bench: Bench) -> None:
    """What the others showed is judged; which one failed is told."""

    def prepare(driver: MemoryDriver) -> None:
        if len(bench.drivers) == 2:
            driver.refusing["up"] = "no space left"

    bench.prepare = prepare
    (cell,) = bench.run(bench.plan("  - sleep: 1ms\n", repeat=4)).cells
    assert cell.verdict is Verdict.ERROR
    assert cell.note.startswith("run 2: no space left")
    assert len(bench.drivers) == 2
    bench.assert_left_clean()


def test_a_random_pick_is_the_seeds(bench: Bench) -> None:
    """The same run again picks the same machines; its repeats differ."""
    steps = "".join("  - sql: {random: node, run: SELECT 1}\n" for _ in range(6))

    def picked(folder: str) -> list[object]:
        return [op.value["nodes"] for op in bench.history(folder).deeds]  # type: ignore[index, call-overload]

    bench.run(bench.plan(steps, repeat=2))
    first, second = picked("run-1"), picked("run-2")
    bench.run(bench.plan(steps, repeat=2))
    assert (picked("run-1"), picked("run-2")) == (first, second)
    assert first != second


def test_cells_of_a_matrix_have_folders_and_results_of_their_own(bench: Bench) -> None:
    """In the order of the matrix."""
    result = bench.run(bench.plan("  - sleep: 1ms\n", more="matrix: {cluster.nodes: [3, 2]}\n"))
    assert [cell.id for cell in result.cells] == ["nodes=3", "nodes=2"]
    assert [len(driver.inside) for driver in bench.drivers] == [3, 2]
    for cell in result.cells:
        assert bench.history(cell.id).facts["cell"] == cell.id


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("nodes=3-sync=quorum", "nodes=3-sync=quorum"),
        ("statement=SELECT pg_promote()", "statement=SELECT pg_promote()"),
        ("run=SELECT 1/2", "run=SELECT 1_2-"),
        ("../../x", "_.._x-"),
        (".", "-"),
        ("x=" + "a" * 300, "x=" + "a" * 78 + "-"),
        ("x=\u00e9", "x=_-"),
    ],
)
def test_a_cells_folder_stays_in_the_runs(cell: str, name: str) -> None:
    """Whatever a matrix holds, its cells are folders, each of its own."""
    found = runner.folder_name(cell)
    assert found.startswith(name)
    assert (found == cell) == (name == cell)
    assert len(found.encode()) < 100
    assert runner.folder_name(cell + "?") != found


def test_cells_run_one_after_the_other_unless_told(bench: Bench) -> None:
    """The machine is small."""
    bench.run(bench.plan("  - sleep: 20ms\n", more="matrix: {cluster.nodes: [2, 3, 4]}\n"))
    spans = [bench.history(f"nodes={n}").events for n in (2, 3, 4)]
    assert all(a[-1].time < b[0].time for a, b in pairwise(sorted(spans, key=lambda e: e[0].time)))


def test_jobs_run_cells_side_by_side(bench: Bench) -> None:
    """Both are in their steps at once: each waits for the other."""
    met = threading.Barrier(2, timeout=10)

    def prepare(driver: MemoryDriver) -> None:
        def meet(verb: str, _what: object) -> None:
            if verb == "freeze":
                met.wait()

        driver.before_act = meet

    bench.prepare = prepare
    plan = bench.plan(
        "  - freeze: {node: pg-2, process: patroni}\n", more="matrix: {cluster.nodes: [2, 3]}\n"
    )
    result = bench.run(plan, jobs=2)
    assert [cell.verdict for cell in result.cells] == [Verdict.PASS] * 2
    bench.assert_left_clean()


def test_a_run_has_room_for_all_of_its_clusters_before_it_begins(bench: Bench) -> None:
    """Those that its steps restore, too: it could not wait for theirs while it holds its own."""
    plan = bench.plan("  - sleep: 1ms\n")
    (cell,) = plan.cells
    restored = [Cluster(nodes=1), Cluster(nodes=2)]
    bench.run(replace(plan, cells=[replace(cell, restored=restored)]))
    assert bench.driver.rooms == [(cell.cluster, *restored)]
    assert list(dict.fromkeys(bench.driver.told)) == ["leads", "steady"]
    bench.assert_left_clean()


def test_waiting_for_room_counts_for_no_limit(bench: Bench) -> None:
    """However long the others take, and neither is it part of what the cell took."""

    def wait(driver: MemoryDriver) -> None:
        driver.room_s = 0.6

    bench.prepare = wait
    cell = bench.cell("  - sleep: 1ms\n", more="backends: {docker: {timeout: 500ms}}\n")
    assert cell.verdict is Verdict.PASS, cell.note
    assert cell.seconds < 0.6


def test_an_abort_ends_the_waiting_for_room(bench: Bench) -> None:
    """Nothing was made; all the same it is taken down."""

    def wait(driver: MemoryDriver) -> None:
        driver.room_s = 60
        WallClock().spawn(bench.clock.abort, "user")

    bench.prepare = wait
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert cell.note.startswith("aborted")
    assert (bench.driver.rooms, bench.driver.ups) == ([], 0)
    bench.assert_left_clean()


@pytest.mark.parametrize("method", ["room", "up", "down"])
def test_room_is_given_back_whatever_goes_wrong(bench: Bench, method: str) -> None:
    """Else the next run of this process would wait for it."""
    bench.prepare = spoil(method, "no space left on device")
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert "no space left on device" in cell.note
    assert len(bench.driver.rooms_end) == len(bench.driver.rooms)


def test_one_failing_cell_disturbs_no_other(bench: Bench) -> None:
    """Its neighbour goes on to the end."""

    def prepare(driver: MemoryDriver) -> None:
        if driver.folder is not None and driver.folder.name == "nodes=2":
            driver.refusing["freeze"] = "no cgroup"

    bench.prepare = prepare
    plan = bench.plan(FREEZE + "  - sleep: 100ms\n", more="matrix: {cluster.nodes: [2, 3]}\n")
    result = bench.run(plan, jobs=2)
    assert [cell.verdict for cell in result.cells] == [Verdict.ERROR, Verdict.PASS]
    assert "no cgroup" in result.cells[0].note
    assert result.verdict is Verdict.ERROR
    bench.assert_left_clean()


def test_a_cell_that_cannot_run_here_is_skipped(bench: Bench) -> None:
    """With the reason, and without a world."""
    result = bench.run(bench.plan(more="backends: {aws: {}}\n"))
    (cell,) = result.cells
    assert (cell.verdict, cell.note) == (Verdict.SKIP, "docker is not listed under `backends`")
    assert bench.drivers == []
    assert result.verdict is Verdict.SKIP
    assert bench.listener.told == ["begins node-kill", "ends - skip", "ends node-kill skip"]


def test_an_earlier_run_in_the_same_folder_is_forgotten(bench: Bench) -> None:
    """The command that repeats a run writes to where the first one wrote."""
    bench.run()
    first = bench.history()
    bench.run(bench.plan("  - sleep: 1ms\n"))
    again = bench.history()
    assert bench.deeds() == ["sleep"]
    assert again.events[0].time > first.events[-1].time


def test_a_folder_with_faults_that_are_not_undone_is_not_reused(bench: Bench) -> None:
    """Its journal is the only way to undo them."""
    bench.prepare = spoil("thaw", "no such process")
    bench.cell(FREEZE)
    bench.prepare = lambda _: None
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert "found faults of an earlier run that are not undone" in cell.note
    assert len(bench.drivers) == 1
    assert cell.histories == []


def test_a_kept_cluster_stays_up_without_its_faults(bench: Bench) -> None:
    """It is there to be looked at."""
    (cell,) = bench.run(bench.plan(FREEZE), keep=True).cells
    assert cell.verdict is Verdict.PASS
    assert bench.driver.downs == 0
    assert bench.driver.rooms_end == [0], "others need not wait until somebody has looked"
    assert not bench.driver.inside["pg-2"].frozen


def test_a_damaged_log_is_an_error_and_no_mistake_of_the_users(bench: Bench) -> None:
    """Nobody can judge by it."""

    def prepare(driver: MemoryDriver) -> None:
        def damage(*_: object) -> None:
            assert driver.folder is not None
            with (driver.folder / "clients" / "region.jsonl").open("ab") as log:
                log.write(b"\xff\n")

        driver.before_act = damage

    bench.prepare = prepare
    cell = bench.cell()
    assert cell.verdict is Verdict.ERROR
    assert "region.jsonl" in cell.note
    assert bench.driver.downs == 1


# --- the command that repeats it ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "arguments", "words"),
    [
        ("", {}, []),
        ("", {"repeat": 3}, ["--repeat", "3"]),
        ("backends: {docker: {repeat: 3}}\n", {}, []),
        ("backends: {docker: {repeat: 3}}\n", {"repeat": 1}, ["--repeat", "1"]),
        ("matrix: {cluster.nodes: [2, 3]}\n", {}, []),
        ("matrix: {cluster.nodes: [2, 3]}\n", {"cell": "nodes=2"}, ["--cell", "nodes=2"]),
    ],
)
def test_replay(bench: Bench, more: str, arguments: dict[str, object], words: list[str]) -> None:
    """Everything that the outcome depends on, and nothing that the file says already."""
    plan = bench.plan(more=more, **arguments)  # type: ignore[arg-type]
    path = str(bench.folder / "node-kill.yaml")
    head = ["./drill", "run", path, "--backend", "docker", "--seed", "7"]
    assert shlex.split(runner.replay(plan)) == [*head, *words]


def test_replay_survives_a_shell(bench: Bench) -> None:
    """Ids of cells hold whatever the matrix holds."""
    more = 'matrix: {statement: ["SELECT pg_promote()", "SELECT 1"]}\n'
    steps = '  - sql: {role: replica, run: "${statement}"}\n'
    plan = bench.plan(steps, more=more, cell="statement=SELECT pg_promote()")
    assert runner.replay(plan).endswith(" --cell 'statement=SELECT pg_promote()'")
