"""Tests for harness.targets: which machines a step is aimed at."""

from collections.abc import Mapping, Sequence
from random import Random

import pytest

from harness import conditions, targets
from harness.errors import DriverError
from harness.faults.kill import Kill
from harness.scenario import Cluster, Target
from tests.unit.world import MemoryWorld


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld(Cluster(nodes=5, azs=("a", "b", "c"), sync="sync"))


def resolve(world: MemoryWorld, target: Mapping[str, object], seed: int = 7) -> Sequence[str]:
    world.random = Random(seed)
    return world.resolve(Target.model_validate(target))


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ({"role": "leader"}, ["pg-1"]),
        ({"role": "primary"}, ["pg-1"]),
        ({"role": "sync-standby"}, ["pg-2"]),
        ({"role": "replica", "pick": "all"}, ["pg-2", "pg-3", "pg-4", "pg-5"]),
        ({"az": "a"}, ["pg-1", "pg-4", "etcd-1"]),
        ({"az": "c"}, ["pg-3", "etcd-3"]),
        ({"az": {"of": "leader"}}, ["pg-1", "pg-4", "etcd-1"]),
        ({"az": {"of": "sync-standby"}}, ["pg-2", "pg-5", "etcd-2"]),
        ({"role": "dcs-leader"}, ["etcd-1"]),
        ({"az": {"of": "dcs-leader"}}, ["pg-1", "pg-4", "etcd-1"]),
        ({"service": "dcs"}, ["etcd-1", "etcd-2", "etcd-3"]),
        ({"service": "elb"}, ["primary-elb", "replica-elb"]),
        ({"service": "patroni"}, ["pg-1", "pg-2", "pg-3", "pg-4", "pg-5"]),
        ({"service": "postgres"}, ["pg-1", "pg-2", "pg-3", "pg-4", "pg-5"]),
        ({"service": "cluster"}, ["pg-1", "pg-2", "pg-3", "pg-4", "pg-5"]),
        ({"node": "pg-4"}, ["pg-4"]),
        ({"ref": "crash"}, ["pg-3", "pg-2"]),
    ],
    ids=str,
)
def test_each_selector(world: MemoryWorld, target: dict[str, object], found: list[str]) -> None:
    """Roles mean one machine, places and services mean all of theirs."""
    world.named = {"crash": ["pg-3", "pg-2"]}
    assert resolve(world, target) == found


@pytest.mark.parametrize(
    ("pick", "count"), [("one", 1), (1, 1), (3, 3), ("all", 4), ("50%", 2), ("51%", 3), ("1%", 1)]
)
def test_pick_says_how_many(world: MemoryWorld, pick: object, count: int) -> None:
    """Of four replicas; a share is rounded up, so that it is never nobody."""
    found = resolve(world, {"role": "replica", "pick": pick})
    assert len(found) == count
    assert found == sorted(found)


@pytest.mark.parametrize("target", [{"service": "dcs"}, {"az": "a"}, {"ref": "crash"}], ids=str)
def test_pick_narrows_places_too(world: MemoryWorld, target: dict[str, object]) -> None:
    """What is written counts, even where it is the default of others."""
    world.named = {"crash": ["pg-3", "pg-2"]}
    assert len(resolve(world, {**target, "pick": "one"})) == 1


def test_chance_comes_from_the_seed(world: MemoryWorld) -> None:
    """The same seed picks the same; other seeds reach every machine."""
    assert resolve(world, {"random": "node"}, 3) == resolve(world, {"random": "node"}, 3)
    picked = {resolve(world, {"random": "node"}, seed)[0] for seed in range(40)}
    assert picked == {f"pg-{n}" for n in range(1, 6)}
    assert resolve(world, {"role": "replica"}, 3) == resolve(world, {"role": "replica"}, 3)
    assert len({resolve(world, {"role": "replica"}, seed)[0] for seed in range(40)}) == 4


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"role": "leader"}, "target role=leader: nothing is that now; expected a machine"),
        ({"az": {"of": "leader"}}, "target role=leader: 0 found; expected 1"),
        ({"ref": "crash"}, "target ref=crash: nothing is that now"),
        ({"node": "pg-9"}, "target node=pg-9: nothing is that now"),
        ({"az": "z"}, "target az=z: nothing is that now"),
        ({"service": "s3"}, "target service=s3: nothing is that now"),
        ({"role": "replica", "pick": 6}, "target role=replica pick=6: 5 found; expected 6"),
    ],
    ids=str,
)
def test_an_empty_selection_is_an_error(
    world: MemoryWorld, target: dict[str, object], words: str
) -> None:
    """A step aimed at nobody would prove nothing."""
    del world.driver.keys["leader"]
    world.driver.failover_s = 99
    world.driver.machines = lambda _: ()  # type: ignore[method-assign, assignment]
    world.inside("pg-1").in_recovery = True
    with pytest.raises(DriverError) as raised:
        resolve(world, target)
    assert words in str(raised.value)


def test_the_leader_is_not_the_primary(world: MemoryWorld) -> None:
    """One holds the key, the other takes writes; neither is a replica."""
    world.driver.keys["leader"] = "pg-2"
    assert resolve(world, {"role": "leader"}) == ["pg-2"]
    assert resolve(world, {"role": "primary"}) == ["pg-1"]
    assert resolve(world, {"role": "replica", "pick": "all"}) == ["pg-3", "pg-4", "pg-5"]


def test_who_is_silent_is_no_replica(world: MemoryWorld) -> None:
    """Nobody can say what it is."""
    world.inside("pg-3").powered = False
    assert resolve(world, {"role": "replica", "pick": "all"}) == ["pg-2", "pg-4", "pg-5"]


def test_a_leader_that_is_no_node_is_nobody() -> None:
    """A stale key of another cluster."""
    world = MemoryWorld()
    view = conditions.View({"leader": "pg-9"}, {})
    with pytest.raises(DriverError, match="role=leader"):
        targets.resolve(Target(role="leader"), world.driver, view, {}, Random(1))


def test_a_target_is_told_in_the_files_words() -> None:
    """Only what selects, and only what was written."""
    assert (
        targets.describe(Kill.model_validate({"role": "leader", "how": "power-off"}))
        == "role=leader"
    )
    assert targets.describe(Target()) == "(none)"


def test_a_ref_means_no_machine_of_another_cluster(world: MemoryWorld) -> None:
    """A step on a restored cluster cannot reach into the old one."""
    world.named = {"crash": ["copy-1", "pg-2"], "far": ["copy-1"]}
    assert resolve(world, {"ref": "crash"}) == ["pg-2"]
    with pytest.raises(DriverError, match="ref=far: nothing is that now"):
        resolve(world, {"ref": "far"})


def test_all_machines_of_a_cluster(world: MemoryWorld) -> None:
    """Nodes, DCS members and ELBs."""
    assert targets.machines(world.driver) == [
        *(f"pg-{n}" for n in range(1, 6)),
        *("etcd-1", "etcd-2", "etcd-3", "primary-elb", "replica-elb"),
    ]


def test_without_a_quorum_no_dcs_member_leads(world: MemoryWorld) -> None:
    """The driver says why."""
    world.driver.quorum = False
    world.driver.gone = {"etcd-1", "etcd-2"}
    with pytest.raises(DriverError, match="no leader within"):
        resolve(world, {"role": "dcs-leader"})
