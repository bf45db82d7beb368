"""Tests for harness.faults.destroy: machines that are gone, and what is left alone."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from harness.errors import DriverError
from harness.faults.destroy import Destroy
from harness.history import Json
from harness.protocols import Undo
from tests.unit.world import MemoryWorld, PlainDriver

NODES = ["pg-1", "pg-2", "pg-3"]
DCS = ["etcd-1", "etcd-2", "etcd-3"]
ELBS = ["primary-elb", "replica-elb"]


def destroy(world: MemoryWorld, **what: object) -> Mapping[str, Json]:
    return Destroy.model_validate(what).perform(world)


def destroyed(world: MemoryWorld) -> list[object]:
    return [what for verb, what in world.seen if verb == "destroy"]


def test_a_cluster_is_its_nodes_its_dcs_and_its_elbs() -> None:
    """The clients end first: none of them is to see what is no outage of the cluster."""
    world = MemoryWorld()
    done = destroy(world, service="cluster")
    assert world.verbs()[:2] == ["stop traffic", "destroy"]
    assert sorted(map(str, destroyed(world))) == sorted([*NODES, *DCS, *ELBS])
    assert done == {"nodes": [*NODES, *DCS, *ELBS], "at": 0, "kept": ["s3"]}


def test_the_dcs_may_be_kept() -> None:
    """Then the keys of a cluster are there whose data is not."""
    world = MemoryWorld()
    done = destroy(world, service="cluster", keep=["s3", "dcs"])
    assert done["nodes"] == [*NODES, *ELBS]
    assert done["kept"] == ["s3", "dcs"]
    assert world.driver.quorum


@pytest.mark.parametrize(
    ("what", "machines", "ends"),
    [
        ({"node": "pg-2"}, ["pg-2"], False),
        ({"role": "leader"}, ["pg-1"], False),
        ({"service": "dcs"}, DCS, False),
        ({"az": "a"}, ["pg-1", "etcd-1"], False),
        ({"az": "a", "keep": ["dcs", "s3"]}, ["pg-1"], False),
        ({"service": "postgres"}, NODES, True),
    ],
)
def test_only_what_is_meant_is_destroyed(
    what: dict[str, object],
    machines: list[str],
    ends: bool,  # noqa: FBT001
) -> None:
    """The clients go on as long as a node is left."""
    world = MemoryWorld()
    assert destroy(world, **what)["nodes"] == machines
    assert ("stop traffic" in world.verbs()) == ends


def test_two_nodes_of_a_cluster_are_no_cluster() -> None:
    """Its DCS and its ELBs stay."""
    world = MemoryWorld()
    assert len(list(destroy(world, service="cluster", pick=2)["nodes"])) == 2  # type: ignore[arg-type]
    assert "stop traffic" not in world.verbs()


def test_a_machine_that_still_runs_is_an_error() -> None:
    """It was said to be gone."""
    world = MemoryWorld()
    world.driver.idle = {"destroy"}
    with pytest.raises(DriverError, match="pg-2 still runs; expected no process"):
        destroy(world, node="pg-2")


def test_what_was_done_to_it_before_is_not_undone_any_more() -> None:
    """There is nothing to start; and the destruction itself has no undo."""
    world = MemoryWorld()
    destroy(world, node="pg-2")
    undone = [what for verb, what in world.seen if verb == "undone"]
    assert Undo("start", {"node": "pg-2"}) in undone
    assert Undo("thaw", {"node": "pg-2", "process": "all"}) in undone
    assert "undo later" not in world.verbs()


def test_there_must_be_something_to_destroy() -> None:
    """Everything that is meant is kept."""
    with pytest.raises(DriverError, match="everything is kept; nothing could be destroyed"):
        destroy(MemoryWorld(), service="dcs", keep=["s3", "dcs"])


@pytest.mark.parametrize("keep", [[], ["dcs"], ["s4"], "s3"])
def test_s3_is_always_kept(keep: object) -> None:
    """Without it nothing could come back."""
    with pytest.raises(ValidationError):
        Destroy.model_validate({"service": "cluster", "keep": keep})


def test_a_driver_that_keeps_nothing_destroys_nothing() -> None:
    """Nothing would come back; the clients go on."""
    world = MemoryWorld()
    plain = PlainDriver(world.clock)
    plain.up(world.cluster)
    other = MemoryWorld(driver=plain, beside=world)
    with pytest.raises(DriverError, match="destroy: the memory driver keeps nothing in S3"):
        destroy(other, service="cluster")
    assert plain.seen == []
