"""Tests for harness.faults.freeze: programs that stop, and are shown to be silent."""

import pytest

from harness.clock import NS
from harness.errors import DriverError
from harness.faults.freeze import Freeze
from harness.protocols import Process, Undo
from tests.unit.world import PROGRAMS, MemoryWorld


def freeze(process: Process = "all", **more: object) -> Freeze:
    return Freeze.model_validate({"role": "leader", "process": process, **more})


@pytest.mark.parametrize("process", [*PROGRAMS, "all"])
def test_thaw_is_journalled_before_the_freeze(process: Process) -> None:
    """The way back is on disk first, for each program."""
    world = MemoryWorld()
    done = freeze(process).perform(world)
    undo = Undo("thaw", {"node": "pg-1", "process": process})
    assert world.seen == [("undo later", undo), ("freeze", ("pg-1", process))]
    assert (done["nodes"], done["at"], done["process"]) == (["pg-1"], 0, process)


def test_a_walreceiver_that_receives_is_not_frozen() -> None:
    """Shown by what the leader writes."""
    world = MemoryWorld()
    world.driver.idle = {"freeze"}
    with pytest.raises(DriverError, match="pg-2 still receives WAL"):
        freeze("walreceiver", role=None, node="pg-2").perform(world)
    assert world.now_s >= 1


def test_without_a_leader_a_walreceiver_has_nothing_to_miss() -> None:
    """So nothing could be shown."""
    world = MemoryWorld()
    world.driver.failover_s = 99
    del world.driver.keys["leader"]
    with pytest.raises(DriverError, match="nobody leads whose WAL pg-2 could miss"):
        freeze("walreceiver", role=None, node="pg-2").perform(world)


@pytest.mark.parametrize("process", ["patroni", "all"])
def test_a_patroni_that_answers_is_not_frozen(process: Process) -> None:
    """A freeze that does nothing is an error."""
    world = MemoryWorld()
    world.driver.idle = {"freeze"}
    with pytest.raises(DriverError, match="Patroni on pg-1 still answers 200"):
        freeze(process).perform(world)


def test_a_postgres_that_answers_is_not_frozen() -> None:
    """The same for PostgreSQL."""
    world = MemoryWorld()
    world.driver.idle = {"freeze"}
    with pytest.raises(DriverError, match="PostgreSQL on pg-1 still answers"):
        freeze("postgres").perform(world)


def test_a_node_whose_postgres_runs_on_is_not_frozen() -> None:
    """Of a whole node both are asked."""
    world = MemoryWorld()
    world.driver.before_act = lambda *_: world.inside("pg-1").frozen.add("patroni")
    world.driver.idle = {"freeze"}
    with pytest.raises(DriverError, match="PostgreSQL on pg-1 still answers"):
        freeze().perform(world)


def test_for_counts_from_the_freeze_and_not_from_its_proof() -> None:
    """Showing it takes seconds; the fault must not last those longer."""
    world = MemoryWorld()
    freeze(for_="30s", pick="all", role="replica").perform(world)
    assert world.now_s >= 3
    assert not world.inside("pg-2").runs("patroni")
    for task in world.tasks:
        task.join()
    assert world.clock.now_ns() == 30 * NS
    assert world.inside("pg-2").runs("patroni")


def test_without_for_nothing_heals_by_itself() -> None:
    """It lasts until a step, or the end of the run, undoes it."""
    world = MemoryWorld()
    freeze().perform(world)
    assert world.tasks == []


def test_dcs_members_are_frozen_whole() -> None:
    """The one that is left has no quorum, and answers nobody."""
    world = MemoryWorld()
    frozen = Freeze.model_validate({"service": "dcs", "pick": 2}).perform(world)["nodes"]
    assert isinstance(frozen, list)
    assert [name for name, one in world.driver.members.items() if one.frozen] == frozen
    with pytest.raises(DriverError, match="no quorum"):
        world.driver.dcs(deadline_s=1)


def test_a_dcs_member_that_answers_is_not_frozen() -> None:
    """By a read of its own."""
    world = MemoryWorld()
    world.driver.idle = {"freeze"}
    with pytest.raises(DriverError, match=r"etcd-\d still answers"):
        Freeze.model_validate({"service": "dcs", "pick": "one"}).perform(world)


def test_a_dcs_member_runs_no_patroni() -> None:
    """Nothing is frozen, and nothing journalled."""
    world = MemoryWorld()
    with pytest.raises(DriverError, match="is no node and runs no patroni; expected nodes"):
        Freeze.model_validate({"service": "dcs", "process": "patroni"}).perform(world)
    assert world.seen == []
