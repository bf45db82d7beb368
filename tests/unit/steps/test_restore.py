"""Tests for harness.steps.restore: a cluster that comes back from S3, or does not."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from harness.errors import AbortedError, DriverError, OverdueError
from harness.faults.destroy import Destroy
from harness.history import Json
from harness.protocols import RecoveryTarget
from harness.scenario import Cluster
from harness.steps.mark import Mark
from harness.steps.restore import Goal, Restore
from tests.unit.world import MemoryDriver, MemoryWorld, PlainDriver

LATEST = {"to": {"by": "latest"}}


def restore(world: MemoryWorld, **what: object) -> Mapping[str, Json]:
    return Restore.model_validate(what).perform(world)


def marked() -> tuple[MemoryWorld, Mapping[str, Json]]:
    """Return a world with the mark `before`, after which much was written."""
    world = MemoryWorld()
    world.driver.wal.commit("drill.append", "first")
    done = Mark.model_validate("before").perform(world)
    world.marks["before"] = done
    for number in range(5):
        world.driver.wal.commit("drill.append", str(number))
    world.seen.clear()
    return world, done


def of_clone(world: MemoryWorld) -> MemoryDriver:
    (clone,) = world.driver.clones
    return clone


# --- beside the old one ------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["time", "lsn", "xid", "name"])
def test_a_mark_comes_back_by_each_of_its_names(by: str) -> None:
    """Its tables are those of the mark, and nothing that was written since."""
    world, mark = marked()
    done = restore(world, to={"mark": "before", "by": by}, as_cluster="copy", nodes=2)
    assert done["digest"] == mark["digest"]
    assert (done["cluster"], done["mark"], done["nodes"]) == (
        "copy",
        "before",
        ["copy-1", "copy-2"],
    )
    recorded = {"time": "time", "lsn": "lsn", "xid": "xid", "name": "restore_point"}[by]
    wanted = {"kind": by, "value": str(mark[recorded]), "inclusive": True}
    assert done["target"] == wanted
    assert of_clone(world).wal is not world.driver.wal


def test_what_is_recorded() -> None:
    """Exactly this: the checkers' contract."""
    world, _ = marked()
    done = restore(world, to={"mark": "before", "by": "lsn"}, as_cluster="copy")
    assert set(done) == {
        *("nodes", "at", "cluster", "mark", "target", "writable", "primary", "tli", "digest"),
        *("system_identifier", "source_system_identifier", "prefix", "source_prefix"),
    }
    assert (done["prefix"], done["source_prefix"]) == ("spilo/copy/", "spilo/drill/")
    assert done["system_identifier"] == done["source_system_identifier"]
    assert (done["tli"], done["primary"], done["nodes"]) == (
        2,
        "copy-1",
        ["copy-1", "copy-2", "copy-3"],
    )
    assert isinstance(done["writable"], int)
    assert isinstance(done["at"], int)
    assert 3 <= (done["writable"] - done["at"]) / 1e9 < 4


def test_it_joins_the_run_and_is_read() -> None:
    """Under its own name, by a reader of its own."""
    world, _ = marked()
    restore(world, to={"mark": "before", "by": "lsn"}, as_cluster="copy", nodes=1)
    assert world.seen[-1] == ("joined", "copy")
    assert world.worlds["copy"].cluster == Cluster(nodes=1)
    seen = of_clone(world).seen
    assert seen == [("read back", ("copy-1", "restored/copy"))]


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ({"by": "name", "value": "there"}, RecoveryTarget("name", "there")),
        ({"by": "xid", "value": "700", "inclusive": False}, RecoveryTarget("xid", "700", False)),  # noqa: FBT003
        ({"by": "latest"}, RecoveryTarget("latest")),
    ],
)
def test_a_moment_may_be_named_by_itself(to: dict[str, object], target: RecoveryTarget) -> None:
    """As PostgreSQL reads it; no mark is recorded then."""
    world = MemoryWorld()
    world.driver.wal.commit()
    world.driver.wal.point("there")
    done = restore(world, to=to, as_cluster="copy")
    assert ("clone", ("copy", target)) in world.seen
    assert done["mark"] is None


def test_latest_may_name_a_mark_all_the_same() -> None:
    """For whoever compares it with that."""
    world, mark = marked()
    done = restore(world, to={"mark": "before", "by": "latest"}, as_cluster="copy")
    assert done["mark"] == "before"
    assert done["digest"] != mark["digest"]
    assert done["target"] == {"kind": "latest", "value": "", "inclusive": True}


def test_the_identity_of_a_source_that_is_gone_is_the_marks() -> None:
    """And of one that never had a mark, and is gone, nothing is known."""
    world, _ = marked()
    Destroy.model_validate({"service": "cluster"}).perform(world)
    known = restore(world, to={"mark": "before", "by": "xid"}, as_cluster="copy")
    assert known["source_system_identifier"] == "7300000000000000001"
    unknown = restore(world, **LATEST, as_cluster="other")
    assert unknown["source_system_identifier"] is None


# --- what goes wrong ---------------------------------------------------------------------------


def test_a_target_that_is_never_reached_is_an_error() -> None:
    """With what its nodes say of themselves; it is in the run by then, so its logs are kept."""
    world = MemoryWorld()
    with pytest.raises(OverdueError) as raised:
        restore(world, to={"by": "name", "value": "nowhere"}, as_cluster="copy", timeout="30s")
    text = "restore: no write was acknowledged within 30s: nobody leads, copy-1 is silent, unknown"
    assert str(raised.value).startswith(text)
    assert 30 <= world.now_s < 60
    assert "copy" in world.worlds


@pytest.mark.parametrize("lack", ["query", "dcs"])
def test_a_leader_that_acknowledges_nothing_is_no_restored_cluster(lack: str) -> None:
    """Holding the key is not enough, nor is answering."""
    world, _ = marked()
    clone = world.driver.clone

    def spoil(name: str, cluster: Cluster, target: RecoveryTarget) -> object:
        made = clone(name, cluster, target)
        of_clone(world).refusing = {lack: "it broke"}
        return made

    world.driver.clone = spoil  # type: ignore[assignment, method-assign]
    with pytest.raises(OverdueError, match="no write was acknowledged within 10s"):
        restore(world, to={"mark": "before", "by": "xid"}, as_cluster="copy", timeout="10s")


def test_a_leader_of_another_cluster_is_not_waited_for() -> None:
    """A clone that found the keys of its source would be taken for restored at once."""
    world, _ = marked()
    clone = world.driver.clone

    def confuse(name: str, cluster: Cluster, target: RecoveryTarget) -> object:
        made = clone(name, cluster, target)
        of_clone(world).dcs = lambda **_: {"leader": "pg-1"}  # type: ignore[method-assign]
        return made

    world.driver.clone = confuse  # type: ignore[assignment, method-assign]
    with pytest.raises(OverdueError, match="no write was acknowledged"):
        restore(world, to={"mark": "before", "by": "xid"}, as_cluster="copy", timeout="5s")


def test_a_mark_that_was_not_made_is_an_error() -> None:
    """Nothing is started then."""
    world = MemoryWorld()
    with pytest.raises(DriverError, match="mark 'before': not made"):
        restore(world, to={"mark": "before", "by": "xid"}, as_cluster="copy")
    assert world.driver.clones == []


def test_a_mark_that_lacks_the_target_is_an_error() -> None:
    """One that was read from an older history, say."""
    goal = Goal.model_validate({"mark": "before", "by": "xid"})
    with pytest.raises(DriverError, match="the mark 'before' has no xid"):
        goal.target({"time": "now"})


def test_an_abort_is_no_restore_that_took_too_long() -> None:
    """It stays what it is."""
    world, _ = marked()

    def abort(seconds: float) -> None:  # noqa: ARG001
        raise AbortedError("aborted")

    world.clock.sleep = abort  # type: ignore[method-assign]
    with pytest.raises(AbortedError, match=r"^aborted$"):
        restore(world, to={"mark": "before", "by": "xid"}, as_cluster="copy")


def test_a_driver_that_keeps_nothing_restores_nothing() -> None:
    """It says so."""
    world = MemoryWorld()
    plain = PlainDriver(world.clock)
    plain.up(world.cluster)
    with pytest.raises(DriverError, match="restore: the memory driver keeps nothing in S3"):
        restore(MemoryWorld(driver=plain, beside=world), **LATEST, as_cluster="copy")


# --- in place ----------------------------------------------------------------------------------


def test_in_place_every_machine_is_made_anew() -> None:
    """The DCS first, the ELBs last; with all that was written."""
    world, _ = marked()
    before = world.driver.wal.digest("drill.append")
    Destroy.model_validate({"service": "cluster"}).perform(world)
    world.seen.clear()
    done = restore(world, **LATEST)
    made = [str(what) for verb, what in world.seen if verb == "renew"]
    kinds = [name.rstrip("-123") for name in made]
    assert kinds == ["etcd"] * 3 + ["pg"] * 3 + ["primary-elb", "replica-elb"]
    assert done["cluster"] == "own"
    assert done["digest"]["drill.append"] == before  # type: ignore[index, call-overload]
    assert done["prefix"] == done["source_prefix"] == "spilo/drill/"
    assert ("joined", "own") in world.seen
    assert ("read back", ("pg-1", "restored/own")) in world.seen


def test_in_place_only_what_is_gone_is_made_anew() -> None:
    """A DCS that was kept still is what it was."""
    world, _ = marked()
    Destroy.model_validate({"service": "cluster", "keep": ["s3", "dcs"]}).perform(world)
    world.seen.clear()
    restore(world, **LATEST)
    made = [str(what) for verb, what in world.seen if verb == "renew"]
    assert not any(name.startswith("etcd") for name in made)
    assert len(made) == 5


def test_in_place_of_a_cluster_that_runs_is_an_error() -> None:
    """Its data is better than what S3 has."""
    world, _ = marked()
    Destroy.model_validate({"node": "pg-2"}).perform(world)
    with pytest.raises(DriverError, match="pg-1, pg-3 runs; expected a cluster that was destroyed"):
        restore(world, **LATEST)
    assert "renew" not in world.verbs()


def test_in_place_without_a_dcs_is_given_up() -> None:
    """The nodes would only wait for it."""
    world, _ = marked()
    Destroy.model_validate({"service": "cluster"}).perform(world)
    world.driver.refusing = {"dcs": "no quorum"}
    with pytest.raises(DriverError, match="a quorum of the DCS did not happen within 20 s"):
        restore(world, **LATEST, timeout="20s")


# --- what cannot be meant ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"to": {"by": "time"}}, "by time without a moment; expected mark or value"),
        ({"to": {"by": "time", "mark": "a", "value": "b"}}, "value beside a mark"),
        ({"to": {"by": "latest", "value": "b"}}, "value beside by: latest"),
        ({"to": {"by": "latest", "inclusive": False}}, "inclusive of no time, lsn or xid"),
        ({"to": {"by": "name", "mark": "a", "inclusive": True}}, "inclusive of no time"),
        ({"to": {"by": "time", "mark": "a"}, "as_cluster": None}, "in place; expected by: latest"),
        ({"to": {"by": "latest"}, "nodes": 2}, "nodes without as_cluster"),
        ({"to": {"by": "latest"}, "as_cluster": "copy", "nodes": 0}, "greater than or equal to 1"),
        ({"to": {"by": "latest"}, "as_cluster": "Copy"}, "should match pattern"),
        ({"to": {"mark": "a"}, "as_cluster": "copy"}, "Field required"),
        ({"to": {"by": "name", "value": " "}, "as_cluster": "copy"}, "should match pattern"),
    ],
)
def test_what_could_only_be_a_mistake(what: dict[str, object], text: str) -> None:
    """It is refused before anything starts."""
    with pytest.raises(ValidationError, match=text):
        Restore.model_validate(what)
