"""A harness that dies leaves nothing that `heal` and `reap` do not find, and nothing broken.

`DRILL_MOMENTS=10` tries ten moments of death instead of one.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import docker
import pytest
from docker.errors import APIError

from harness import budget, cli, drivers, turns
from harness.clock import WallClock
from harness.drivers.docker import leftovers
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.engine import Thing, connect, is_miscounted, remove_run, things
from harness.history import read_events
from harness.journal import _read
from harness.reaper import LABEL_JOURNAL, LABEL_MACHINE
from harness.scenario import Cluster

pytestmark = pytest.mark.docker

MOMENTS = int(os.environ.get("DRILL_MOMENTS", "1"))
CLOCK = WallClock()
NODES = ("pg-1", "pg-2")
# Three faults of three kinds, and then a minute in which to die.
SCENARIO = """\
scenario: to-be-killed
title: Three faults are in force when the harness dies
cluster: {nodes: 2, azs: [a, b], sync: async}
workload: {append: {clients: 2, rate: 10/s, through: every-node}}
steps:
  - freeze: {role: leader, process: patroni}
    as: hang
  - partition: {from: {ref: hang}, to: {service: dcs}}
  - freeze: {role: replica}
  - sleep: 60s
expect:
  writers: {max: 1}
"""


class Victim:
    """`./drill run` in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scenario = folder / "to-be-killed.yaml"
        scenario.write_text(SCENARIO)
        words = ["run", str(scenario), "--backend", "docker", "--out", str(folder)]
        self.log = folder / "output.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def open_faults(self) -> int:
        # Read beside the journal's owner, who has it locked.
        path = self.folder / "journal.jsonl"
        return len(_read(path.read_bytes())) if path.exists() else 0

    def wait_for(self, what: str, condition: object, timeout_s: float = 90) -> None:
        """Wait until the victim has come this far."""

        def holds() -> bool:
            assert self.process.poll() is None, self.output
            return bool(condition())  # type: ignore[operator]

        CLOCK.wait_for(holds, timeout_s=timeout_s, what=what, every_s=0.02)

    def kill(self) -> None:
        """Let it die as by `kill -9`."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def ask(self, number: int) -> int:
        """Send it a signal; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(autouse=True, scope="module")
def _engine() -> None:
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    """Yield a run that goes on; whatever a failed test leaves of it is removed."""
    # Waited for here, where nothing is timed; the victim, a child, does not wait any more.
    cluster = Cluster(nodes=2, azs=("a", "b"))
    turn = turns.of_user().take(budget.run_cost(cluster), CLOCK, print, by_hand=True)
    started = Victim(tmp_path)
    try:
        yield started
    finally:
        turn.release()
        if started.process.poll() is None:
            started.kill()
        engine = connect()
        for run in runs_of(tmp_path):
            remove_run(engine, run)
        engine.close()


def runs_of(folder: Path) -> Sequence[str]:
    """Return the runs that journal below this folder, and have something on the engine."""
    engine = connect()
    found = {t.run for t in things(engine) if str(folder) in t.marks.get(LABEL_JOURNAL, "")}
    engine.close()
    return sorted(found)


def machines_of(folder: Path) -> Mapping[str, str]:
    """Return the machines that a run has now, and their states."""
    engine = connect()
    found = {
        thing.marks[LABEL_MACHINE]: thing.state
        for thing in things(engine)
        if thing.kind == "container" and str(folder) in thing.marks.get(LABEL_JOURNAL, "")
    }
    engine.close()
    return found


def faults_of(folder: Path) -> list[str]:
    """Return which faults are in force, as the containers show it and no journal."""
    (run,) = runs_of(folder)
    driver = DockerDriver.attach(run, folder, CLOCK)
    found = [name for name, state in machines_of(folder).items() if state == "paused"]
    for node in NODES:
        found += [f"{one.words} on {node}" for one in driver._running(node) if "T" in one.state]
        pid = driver._containers.pid(node)
        rules = driver._containers.nemesis(f"nsenter -t {pid} -n iptables -w -S") if pid else ""
        found += [line for line in rules.splitlines() if "DROP" in line or "REJECT" in line]
    driver.detach()
    return found


def is_shielded() -> bool:
    """Return whether the route that keeps stray packets here is in place."""
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return "unreachable 198.18.0.0/15" in routes


def is_held_by_the_engine(engine: docker.DockerClient, thing: Thing) -> bool:
    """Return whether nobody could remove it: an empty network whose ends the engine miscounted."""
    if thing.kind != "network":
        return False
    try:
        engine.api.remove_network(thing.id)
    except APIError as refusal:
        return is_miscounted(engine, thing.id, refusal)
    return False  # it could be removed, so it should have been


def expect_nothing_left(folder: Path) -> None:
    """Fail unless no container, network, volume or rule of a run is there."""
    engine = connect()
    ours = [t for t in things(engine) if str(folder) in t.marks.get(LABEL_JOURNAL, "")]
    assert [thing for thing in ours if not is_held_by_the_engine(engine, thing)] == []

    def needed_or_gone() -> bool:
        return not is_shielded() or any(thing.kind == "network" for thing in things(engine))

    # By condition, for other runs on this engine come and go between the two looks.
    CLOCK.wait_for(needed_or_gone, timeout_s=60, what="the end of the unreachable route")
    engine.close()


def heal_and_reap(folder: Path) -> list[str]:
    """Do for one run what `./drill heal && ./drill reap` do for all; return what they say."""
    said: list[str] = []
    runs = runs_of(folder)
    assert leftovers.heal(said.append, only=runs) == 0, "\n".join(said)
    if "undone" in " ".join(said):
        assert faults_of(folder) == []
    leftovers.reap(said.append, only=runs)
    return said


def test_faults_that_a_dead_harness_left_are_undone(victim: Victim) -> None:
    """A frozen program, a cut link and a frozen machine, after `kill -9`; then all of it goes."""
    victim.wait_for("three faults", lambda: "freeze replica: done" in victim.output)
    living = machines_of(victim.folder)
    said: list[str] = []
    runs = runs_of(victim.folder)
    assert (leftovers.heal(said.append, only=runs), leftovers.reap(said.append, only=runs)) == (
        0,
        0,
    )
    assert machines_of(victim.folder) == living, "a run that goes on is nobody's to reap"

    victim.kill()
    left = faults_of(victim.folder)
    assert any("patroni" in fault for fault in left), left
    assert any("DROP" in fault for fault in left), left
    assert any(fault in NODES for fault in left), left
    assert victim.open_faults >= 3

    said = heal_and_reap(victim.folder)
    assert victim.open_faults == 0
    assert sum("undone" in line for line in said) >= 3, said
    expect_nothing_left(victim.folder)
    events = list(read_events(victim.folder / "history.jsonl"))
    assert {"freeze", "partition", "append"} & {event.f for event in events}
    assert any(event.f == "txn" and event.type == "ok" for event in events)


@pytest.mark.skipif(MOMENTS == 1, reason="DRILL_MOMENTS=10 tries ten moments")
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_any_moment_of_death_in_mid_fault(victim: Victim, moment: int) -> None:
    """`kill -9` while faults are made or in force: heal and reap leave nothing."""
    victim.wait_for("a fault in the journal", lambda: victim.open_faults)
    CLOCK.sleep(Random(moment).uniform(0, 12))
    faults = victim.open_faults
    victim.kill()
    said = heal_and_reap(victim.folder)
    assert sum("undone" in line for line in said) >= faults, said
    assert victim.open_faults == 0
    expect_nothing_left(victim.folder)
    assert list(read_events(victim.folder / "history.jsonl"))


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_any_moment_of_death_while_the_cluster_is_made(victim: Victim, moment: int) -> None:
    """`kill -9` when a part of it is there: reap removes that part."""
    wanted = Random(moment).randint(1, 11)
    victim.wait_for("objects", lambda: len(machines_of(victim.folder)) >= wanted)
    victim.kill()
    heal_and_reap(victim.folder)
    expect_nothing_left(victim.folder)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *([signal.SIGINT, signal.SIGHUP] if MOMENTS > 1 else [])]
)
def test_a_signal_in_mid_fault_undoes_everything(victim: Victim, number: int) -> None:
    """Exit 3, `aborted`, no open entry in the journal, and nothing left, without heal or reap."""
    victim.wait_for("a fault", lambda: victim.open_faults)
    assert victim.ask(number) == 3, victim.output
    assert victim.open_faults == 0
    expect_nothing_left(victim.folder)
    assert "aborted" in victim.output.splitlines()[-1]
    result = json.loads((victim.folder / "result.json").read_text(encoding="utf-8"))
    assert result["verdict"] == "error"
    assert list(read_events(victim.folder / "history.jsonl"))


def test_ctrl_c_while_the_cluster_is_made_leaves_nothing(victim: Victim) -> None:
    """Exit 3, and no half of a cluster."""
    victim.wait_for("some containers", lambda: len(machines_of(victim.folder)) >= 3)
    assert victim.ask(signal.SIGINT) == 3, victim.output
    expect_nothing_left(victim.folder)
    assert "aborted" in victim.output.splitlines()[-1]


# Docker's client leaves the socket of a failed attempt to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Exit 3 and one sentence from every command that needs it."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    for command in ("heal", "reap", "ps", "down"):
        assert cli.main([command]) == 3
        shown = capsys.readouterr().err
        assert "no Docker engine answers" in shown
        assert "Traceback" not in shown
    gc.collect()
