"""What the faults of a whole AZ, of links and of programs do on a real cluster, and how it ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from harness import conditions, cuts
from harness.clock import NS, WallClock
from harness.errors import DriverError
from harness.faults.blackout import Blackout
from harness.faults.flap import Flap
from harness.faults.freeze import Freeze
from harness.faults.partition import Partition
from harness.faults.slow import Slow
from harness.faults.switchover import Switchover
from harness.history import Json, read_events
from harness.journal import Journal
from harness.protocols import Driver, Job, Link, Verb
from harness.record import Record
from harness.scenario import Steady
from harness.worlds import OWN, ClusterWorld, Worlds
from tests.conformance.conftest import CLUSTER, leader, replica, wait_open, wait_steady

CLOCK = WallClock()


@pytest.fixture
def worlds(driver: Driver, tmp_path: Path) -> Iterator[Worlds]:
    """Yield the world of verbs on the cluster that all tests share, healed in the end."""
    record = Record(tmp_path / "nemesis.jsonl", CLOCK, lambda *_: None)
    journal = Journal(tmp_path / "journal.jsonl")
    made = Worlds(
        clock=CLOCK,
        random=Random(7),
        steady=Steady(),
        journal=journal,
        record=record,
        own=driver,
    )
    made.join(OWN, driver, CLUSTER)
    try:
        yield made
    finally:
        made.heal()
        journal.close()
        record.close()
        wait_steady(driver)


@pytest.fixture
def world(worlds: Worlds) -> ClusterWorld:
    return worlds.of(None)


def heal(worlds: Worlds) -> None:
    """Undo what is open, by the journal alone."""
    assert worlds.journal.open
    worlds.heal()
    assert not worlds.journal.open


def lead(world: ClusterWorld, node: str) -> None:
    """Let this node lead: the DCS keeps its quorum when the other's AZ goes."""
    if leader(world.driver) != node:
        to: Mapping[str, object] = {"to": {"node": node}}
        Switchover.model_validate(to).perform(world)
    wait_steady(world.driver)


@contextmanager
def watched(driver: Driver, node: str) -> Iterator[None]:
    """Let a client in the node's own AZ ask it again and again."""
    az = next(one.az for one in driver.nodes if one.name == node)
    job = Job(f"asked/{node}", "probes", "rest", {"every": "200ms"}, node, 1)
    client = driver.client(az)
    client.start(job)
    try:
        yield
    finally:
        client.stop(job.name)


def answered(log: Path, node: str, since_ns: int) -> bool:
    """Return whether the node answered the client in its AZ since then."""
    return any(
        event.type == "ok" and event.time > since_ns and event.process == f"rest/{node}"
        for event in read_events(log)
    )


def test_an_az_without_power(worlds: Worlds, world: ClusterWorld) -> None:
    """Its node and its DCS member are gone at once; the rest keeps its quorum and its leader."""
    driver = world.driver
    lead(world, "pg-1")
    done = Blackout.model_validate({"az": "b", "kinds": ["compute"]}).perform(world)
    assert done["nodes"] == ["pg-2", "etcd-2"]
    assert [driver.pids(name, "all") for name in ("pg-2", "etcd-2")] == [[], []]
    assert leader(driver) == "pg-1"
    heal(worlds)
    wait_steady(driver)
    CLOCK.wait_for(lambda: reads(driver, "etcd-2"), timeout_s=60, what="an answer of etcd-2")


def reads(driver: Driver, member: str) -> bool:
    try:
        return bool(driver.dcs(deadline_s=2, member=member))
    except DriverError:
        return False


def test_an_az_without_a_network(worlds: Worlds, world: ClusterWorld, folder: Path) -> None:
    """Nobody outside is reached from inside, or from outside; clients inside still are served."""
    driver = world.driver
    lead(world, "pg-1")
    log = folder / "clients" / "b.jsonl"
    with watched(driver, "pg-2"):
        done = Blackout.model_validate({"az": "b", "kinds": ["network"]}).perform(world)
        assert isinstance(done["at"], int)
        after_s = (CLOCK.now_ns() - done["at"]) / NS
        assert after_s < 20, "it is shown before a leader key could expire"
        outside = ["pg-1", "etcd-1", "etcd-3", "primary-elb", "replica-elb", "s3"]
        links = cuts.between(["pg-2", "etcd-2"], outside, both=True)
        assert driver.dead(links) == links
        wait_open(driver, [Link("pg-2", "etcd-2"), Link("etcd-2", "pg-2")])
        begun = CLOCK.now_ns()
        CLOCK.wait_for(lambda: answered(log, "pg-2", begun), timeout_s=60, what="an answer inside")
        heal(worlds)
        wait_open(driver, links)


def test_links_that_flap(worlds: Worlds, world: ClusterWorld) -> None:
    """Each cut and each opening is shown; nothing is left to be undone."""
    driver = world.driver
    source, destination = replica(driver), leader(driver)
    done = Flap.model_validate(
        {
            "from": {"node": source},
            "to": {"node": destination},
            "port": 5432,
            "drop": "reject",
            "cut": "4s",
            "open": "2s",
            "for": "10s",
        }
    ).perform(world)
    assert isinstance(done["cuts"], list)
    assert len(done["cuts"]) == 2
    assert worlds.journal.open == []
    wait_open(driver, cuts.between([source], [destination], 5432, both=True))


@pytest.mark.parametrize("drop", ["blackhole", "reject"])
def test_a_minority_is_cut_off(worlds: Worlds, world: ClusterWorld, drop: str) -> None:
    """A group is made of several targets; all of its links go at once, and come back at once."""
    lead(world, "pg-1")
    partition: Verb = Partition.model_validate(
        {
            "from": [{"role": "replica"}, {"service": "s3"}],
            "to": [{"role": "leader"}, {"service": "dcs", "pick": 2}],
            "direction": "outgoing",
            "drop": drop,
        }
    )
    begun = CLOCK.now_ns()
    done: Mapping[str, Json] = partition.perform(world)
    assert done["links"] == 6
    # Two tries of 1.5 s show that a link is dead: one after another, six would take longer.
    assert (CLOCK.now_ns() - begun) / NS < 6 * 2 * 1.5
    heal(worlds)


def test_a_node_is_slow_and_fast_again(worlds: Worlds, world: ClusterWorld) -> None:
    """Shown by a request that takes longer; afterwards it takes as long as before."""
    what = {"role": "replica", "rate": "4KiB", "loss": "10%"}
    done = Slow.model_validate(what).perform(world)
    assert isinstance(done["nodes"], list)
    heal(worlds)
    node = str(done["nodes"][0])
    CLOCK.wait_for(
        lambda: quickest_s(world.driver, node) < 0.2,
        timeout_s=60,
        what="an answer as fast as before",
    )


def quickest_s(driver: Driver, machine: str) -> float:
    """Return how long the quickest of a few requests takes."""
    took: list[float] = []
    for _ in range(5):
        begun = CLOCK.now_ns()
        conditions.answers(driver, machine, deadline_s=5)
        took.append((CLOCK.now_ns() - begun) / NS)
    return min(took)


@pytest.mark.parametrize("process", ["walreceiver", "postgres", "patroni", "all"])
def test_a_program_that_is_frozen_is_silent(
    worlds: Worlds, world: ClusterWorld, process: str
) -> None:
    """Each is shown by what it does no more, and goes on afterwards."""
    done = Freeze.model_validate({"role": "replica", "process": process}).perform(world)
    assert done["process"] == process
    heal(worlds)
