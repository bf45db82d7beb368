"""Tests for harness.steps.start: a machine that answers again."""

import pytest

from harness.errors import DriverError
from harness.faults.kill import Kill
from harness.protocols import Undo
from harness.steps.start import Start
from tests.unit.world import MemoryWorld


def start() -> Start:
    return Start.model_validate({"node": "pg-2"})


def powerless() -> MemoryWorld:
    world = MemoryWorld()
    world.inside("pg-2").powered = False
    return world


def test_it_answers_and_its_undo_is_struck() -> None:
    """There is nothing left to undo."""
    world = powerless()
    done = start().perform(world)
    assert world.seen == [("start", "pg-2"), ("undone", Undo("start", {"node": "pg-2"}))]
    assert done["nodes"] == ["pg-2"]
    assert world.inside("pg-2").runs("patroni")


def test_a_machine_that_never_answers_was_not_started() -> None:
    """A start that does nothing is an error."""
    world = powerless()
    world.driver.idle = {"start"}
    with pytest.raises(
        DriverError, match="an answer of Patroni on pg-2 did not happen within 60 s"
    ):
        start().perform(world)


def test_a_refused_start_leaves_the_undo_open() -> None:
    """The end of the run tries it again."""
    world = powerless()
    world.driver.refusing = {"start": "no space left"}
    with pytest.raises(DriverError, match="no space left"):
        start().perform(world)
    assert world.verbs() == ["start"]


def test_a_dcs_member_is_up_without_a_quorum() -> None:
    """It accepts connections, and serves nobody yet."""
    world = MemoryWorld()
    Kill.model_validate({"service": "dcs", "pick": "all", "how": "power-off"}).perform(world)
    world.named = {"lost": ["etcd-1", "etcd-2", "etcd-3"]}
    done = Start.model_validate({"ref": "lost", "pick": "one"}).perform(world)
    assert len(done["nodes"]) == 1  # type: ignore[arg-type]
    with pytest.raises(DriverError, match="no quorum"):
        world.driver.dcs(deadline_s=1)
    Start.model_validate({"ref": "lost"}).perform(world)
    assert world.driver.dcs(deadline_s=1)


def test_a_dcs_member_that_never_accepts_was_not_started() -> None:
    """Likewise."""
    world = MemoryWorld()
    Kill.model_validate({"service": "dcs", "pick": "all", "how": "power-off"}).perform(world)
    world.named = {"lost": ["etcd-1"]}
    world.driver.idle = {"start"}
    with pytest.raises(DriverError, match="an answer of etcd-1 did not happen"):
        Start.model_validate({"ref": "lost"}).perform(world)
