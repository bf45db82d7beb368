"""Tests for harness.steps.backup: a base backup that is named, or the reason why there is none."""

from collections.abc import Mapping

import pytest

from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.steps.backup import Backup
from tests.unit.world import MemoryWorld, PlainDriver


def backup(world: MemoryWorld, **what: object) -> Mapping[str, Json]:
    return Backup.model_validate(what).perform(world)


def test_the_leader_makes_a_full_one_unless_told_otherwise() -> None:
    """What is recorded is what the image's command said."""
    world = MemoryWorld()
    world.driver.labels = ["20261123-110000F"]
    done = backup(world)
    assert world.seen == [("backup", ("pg-1", "full"))]
    assert done == {
        "nodes": ["pg-1"],
        "kind": "full",
        "at": 0,
        "label": "20261123-110000F",
        "stop_lsn": "0/3000028",
    }


@pytest.mark.parametrize("what", [None, {}, {"kind": "incr"}, {"may_fail": True}])
def test_a_backup_without_a_target_is_of_the_leader(what: object) -> None:
    """Also one of which nothing is said at all."""
    assert Backup.model_validate(what).role == "leader"


def test_any_node_can_be_asked() -> None:
    """An incremental one, of a replica."""
    world = MemoryWorld()
    backup(world, kind="incr", node="pg-3")
    assert world.seen == [("backup", ("pg-3", "incr"))]


def test_one_backup_is_made_by_one_node() -> None:
    """Two would wait for each other's lock."""
    with pytest.raises(DriverError, match="backup: found pg-1, pg-2, pg-3; expected one node"):
        backup(MemoryWorld(), service="postgres")


@pytest.mark.parametrize("may_fail", [True, False])
def test_a_backup_that_fails(may_fail: bool) -> None:  # noqa: FBT001
    """Is an error of the run, or, where it was foreseen, is recorded with its reason."""
    world = MemoryWorld()
    world.driver.refusing = {"backup": "exit 56: unable to find primary cluster"}
    if may_fail:
        done = backup(world, may_fail=True)
        assert (done["label"], done["failed"]) == (None, "exit 56: unable to find primary cluster")
        assert "stop_lsn" not in done
    else:
        with pytest.raises(DriverError, match="exit 56"):
            backup(world)


def test_a_backup_without_a_name_is_none() -> None:
    """A command that answers success and has made nothing."""
    world = MemoryWorld()
    world.driver.idle = {"backup"}
    with pytest.raises(DriverError, match="pg-1 named no backup; expected a label"):
        backup(world)
    assert backup(world, may_fail=True)["label"] is None


def test_the_node_may_die_once_it_has_made_it() -> None:
    """The backup is there all the same; how far it reaches is not known."""
    world = MemoryWorld()
    world.driver.refusing = {"query": "no answer"}
    done = backup(world)
    assert done["label"]
    assert done["stop_lsn"] is None


def test_an_abort_is_no_failed_backup() -> None:
    """The run ends."""
    world = MemoryWorld()
    world.driver.bugs = {"backup": AbortedError("aborted")}
    with pytest.raises(AbortedError):
        backup(world, may_fail=True)


def test_a_driver_that_keeps_nothing_makes_no_backup() -> None:
    """It says so, not that an attribute is missing."""
    world = MemoryWorld()
    plain = PlainDriver(world.clock)
    plain.up(world.cluster)
    with pytest.raises(DriverError, match="backup: the memory driver keeps nothing in S3"):
        backup(MemoryWorld(driver=plain, beside=world))
