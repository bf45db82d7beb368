"""Tests for harness.steps.wait: states that come, and what is lacking when they do not."""

from typing import NoReturn

import pytest

from harness import conditions, cuts
from harness.errors import AbortedError, DriverError, OverdueError
from harness.protocols import Link, Undo
from harness.scenario import Cluster, ReplicaState, Steady
from harness.steps.wait import Wait
from tests.unit.world import MemoryWorld, PlainDriver


def wait(until: object, timeout: str = "30s") -> Wait:
    return Wait.model_validate({"until": until, "timeout": timeout})


def without_leader() -> MemoryWorld:
    """Return a world whose leader just lost its power."""
    world = MemoryWorld()
    world.before = "pg-1"
    world.inside("pg-1").powered = False
    return world


@pytest.mark.parametrize("until", ["new-leader", "new-primary"])
def test_another_node_takes_over(until: str) -> None:
    """The election takes its time; the wait ends soon after."""
    world = without_leader()
    held = wait(until).perform(world)
    assert held == {"nodes": [], "at": world.clock.now_ns(), "until": until}
    assert 5 <= world.now_s < 15


def test_clients_are_served_later_than_the_cluster_is_healthy() -> None:
    """What was acknowledged before the wait does not count; who lacks it is told."""
    world = MemoryWorld()
    world.served_at_s = world.now_s + 7
    held = wait("served").perform(world)
    assert held == {"nodes": [], "at": world.clock.now_ns(), "until": "served"}
    assert 7 <= world.now_s < 8
    world.served_at_s = world.now_s + 99
    text = "'served' did not happen within 30 s: nothing of append was acknowledged"
    with pytest.raises(OverdueError, match=text):
        wait("served").perform(world)


def test_the_same_leader_is_no_new_one() -> None:
    """What is lacking is told: who still holds the key."""
    world = MemoryWorld()
    world.before = "pg-1"
    text = "'new-leader' did not happen within 30 s: the leader key: pg-1"
    with pytest.raises(OverdueError, match=text):
        wait("new-leader").perform(world)


def test_a_question_that_cannot_be_asked_is_not_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time has no part in it, so a machine without a free core is no excuse for it."""
    world = MemoryWorld()
    world.before = "pg-1"

    def pids(node: str, process: str) -> NoReturn:
        raise DriverError(f"{node}: ps: cannot look at {process}")

    monkeypatch.setattr(world.driver, "pids", pids)
    monkeypatch.setattr(conditions, "recovering", lambda *_: None)
    with pytest.raises(DriverError, match="pg-1: ps: cannot look at postgres") as raised:
        wait({"old-leader": "read-only"}).perform(world)
    assert not isinstance(raised.value, OverdueError)


def test_a_new_leader_in_recovery_is_no_new_primary() -> None:
    """The key is not enough."""
    world = MemoryWorld()
    world.before = "pg-1"
    text = "none of pg-2, pg-3 has left recovery"
    with pytest.raises(DriverError, match=text):
        wait("new-primary").perform(world)


def test_nobody_leads_once_the_key_is_gone() -> None:
    """The lease of a leader that is lost runs out; no other node comes."""
    world = MemoryWorld()
    world.driver.failover_s = 99
    del world.driver.keys["leader"]
    held = wait("no-leader").perform(world)
    assert held == {"nodes": [], "at": world.clock.now_ns(), "until": "no-leader"}


def test_a_key_that_stays_is_told() -> None:
    """What is lacking is its holder; a DCS that does not answer says nothing of the key."""
    world = MemoryWorld()
    with pytest.raises(DriverError, match=r"'no-leader' did not happen .* the leader key: pg-1"):
        wait("no-leader", "5s").perform(world)
    world.driver.quorum = False
    with pytest.raises(DriverError, match="'no-leader' did not happen"):
        wait("no-leader", "5s").perform(world)


def test_mended_waits_for_the_end_of_a_partition() -> None:
    """It mends by itself; what stood still meanwhile is none of it."""
    world = MemoryWorld()
    world.undo_later(Undo("thaw", {"node": "pg-3", "process": "all"}))
    cut = cuts.undo_of([Link("pg-1", "pg-2")], ["pg-1"])
    world.undo_later(cut)
    world.heal_after([cut], 12)
    wait("mended").perform(world)
    assert 12 <= world.now_s < 13


def test_a_partition_that_stays_is_told() -> None:
    """What is lacking is the link."""
    world = MemoryWorld()
    world.undo_later(cuts.undo_of([Link("pg-1", "pg-2")], ["pg-1"]))
    with pytest.raises(DriverError, match="not undone: mend pg-1 to pg-2"):
        wait("mended", "5s").perform(world)


def test_mended_waits_for_the_power_that_comes_back() -> None:
    """Whatever has a `for:` is waited for; what a later step starts again is not."""
    world = MemoryWorld()
    world.undo_later(Undo("start", {"node": "pg-1"}))
    dark = Undo("start", {"node": "pg-2"})
    world.undo_later(dark)
    world.heal_after([dark], 12)
    wait("mended").perform(world)
    assert 12 <= world.now_s < 13


def test_healthy_waits_for_every_replica() -> None:
    """A machine that comes back is waited for."""
    world = without_leader()

    def later() -> None:
        world.clock.sleep(20)
        world.driver.start("pg-1")

    world.clock.spawn(later, "later")
    wait("healthy").perform(world)
    assert world.now_s >= 20


def test_a_wait_that_times_out_says_all_that_is_lacking() -> None:
    """Each node's own reason reaches the reader."""
    world = MemoryWorld()
    world.inside("pg-2").powered = False
    world.inside("pg-3").received = 0
    with pytest.raises(DriverError) as raised:
        wait("healthy", "5s").perform(world)
    for part in (
        "'healthy' did not happen within 5 s",
        "pg-2 does not answer",
        "pg-3 is 50000000 bytes",
    ):
        assert part in str(raised.value)


def test_healthy_is_what_the_scenario_calls_steady() -> None:
    """Where one streaming replica is enough, a lost one is not waited for."""
    world = MemoryWorld()
    world.inside("pg-2").powered = False
    world.steady = Steady(replicas=ReplicaState(streaming=1))
    wait("healthy", "5s").perform(world)


def test_streaming_asks_for_no_synchronous_state() -> None:
    """The replicas stream, though /sync names nobody."""
    world = MemoryWorld(Cluster(sync="quorum"))
    del world.driver.keys["sync"]
    wait("streaming").perform(world)
    with pytest.raises(DriverError, match="the DCS names 0 synchronous standbys of 2"):
        wait("healthy").perform(world)


def test_dcs_quorum() -> None:
    """A DCS without a quorum says so; one with it ends the wait."""
    world = MemoryWorld()
    wait("dcs-quorum").perform(world)
    world.driver.quorum = False
    with pytest.raises(DriverError, match=r"'dcs-quorum' did not happen.*no quorum within 1.5 s"):
        wait("dcs-quorum").perform(world)


def test_old_leader_read_only() -> None:
    """In recovery, or not running at all."""
    world = without_leader()
    wait({"old-leader": "read-only"}).perform(world)
    world.driver.start("pg-1")
    world.inside("pg-1").in_recovery = True
    wait({"old-leader": "read-only"}).perform(world)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_old_leader_that_may_write_is_not_read_only(frozen: bool) -> None:  # noqa: FBT001
    """One that is frozen only waits to go on."""
    world = MemoryWorld()
    world.before = "pg-1"
    if frozen:
        world.inside("pg-1").frozen.add("postgres")
    with pytest.raises(DriverError, match=r"'old leader read-only' .*: pg-1 is not read-only"):
        wait({"old-leader": "read-only"}).perform(world)


def test_without_a_fault_there_is_no_old_leader() -> None:
    """Nobody led before."""
    with pytest.raises(DriverError, match="nobody led before"):
        wait({"old-leader": "read-only"}).perform(MemoryWorld())


def test_an_abort_stays_an_abort() -> None:
    """It is no state that failed to come."""
    world = MemoryWorld()

    def abort(seconds: float) -> None:  # noqa: ARG001
        raise AbortedError("aborted")

    world.clock.sleep = abort  # type: ignore[method-assign]
    world.before = "pg-1"
    with pytest.raises(AbortedError, match="aborted: the leader key: pg-1"):
        wait("new-leader").perform(world)


# --- what S3 has -------------------------------------------------------------------------------


def archive(world: MemoryWorld, name: str, after_s: float = 0) -> None:
    """Let the archiver report this file after a while."""

    def work() -> None:
        world.clock.sleep(after_s)
        world.driver.wal.archived = name

    world.clock.spawn(work, "archiver")


SEGMENT = "000000010000000000000003"


@pytest.mark.parametrize(
    "last", [SEGMENT, "000000010000000000000004", f"{SEGMENT}.00000028.backup"]
)
def test_archived_closes_the_segment_and_waits_for_it(last: str) -> None:
    """What is recorded is the segment that was written when the wait began."""
    world = MemoryWorld()
    archive(world, last, after_s=4)
    assert wait("archived").perform(world) == {
        "nodes": [],
        "at": world.clock.now_ns(),
        "until": "archived",
        "archived": SEGMENT,
    }
    assert world.driver.wal.segment == 4, "the next one is written now"
    assert 4 <= world.now_s < 5
    assert world.driver.wal.entries, "a segment in which nothing stands is not closed"


@pytest.mark.parametrize(
    "last",
    [
        "",
        "000000010000000000000002",
        "00000002.history",
        f"{SEGMENT}.partial",
        "000000020000000000000009",
        "000000010000000000000002.00000028.backup",
    ],
)
def test_what_does_not_show_that_a_segment_is_archived(last: str) -> None:
    """One before it, one of another timeline, half of it."""
    world = MemoryWorld()
    archive(world, last)
    with pytest.raises(DriverError, match=f"pg-1 archived {last or 'nothing'} last, not yet"):
        wait("archived", "5s").perform(world)


def test_an_archiver_that_cannot_be_asked_is_waited_for() -> None:
    """And its reason is told in the end."""
    world = MemoryWorld()
    tell = world.driver.wal.answer

    def answer(sql: str, timeline: int) -> object:
        if "archiver" in sql:
            raise DriverError("pg-1: too many clients")
        return tell(sql, timeline)

    world.driver.wal.answer = answer  # type: ignore[assignment, method-assign]
    with pytest.raises(DriverError, match=r"'archived' did not happen .* pg-1: too many clients"):
        wait("archived", "5s").perform(world)


def test_backup_done() -> None:
    """At least one finished base backup, of this cluster."""
    world = MemoryWorld()
    world.driver.store("spilo/other/backup/drill/1F/backup.manifest")
    world.driver.store("spilo/drill/backup/drill/2F/backup.manifest.copy")
    text = "no finished base backup below spilo/drill/backup/"
    with pytest.raises(DriverError, match=text):
        wait("backup-done", "5s").perform(world)
    world.driver.backup("pg-1", "full")
    held = wait("backup-done").perform(world)
    assert held == {"nodes": [], "at": world.clock.now_ns(), "until": "backup-done"}


def test_an_s3_that_does_not_answer_is_waited_for() -> None:
    """It may be the very fault."""
    world = MemoryWorld()
    world.driver.refusing = {"objects": "S3: 503 SlowDown"}
    with pytest.raises(DriverError, match=r"'backup-done' did not happen .* S3: 503 SlowDown"):
        wait("backup-done", "5s").perform(world)


@pytest.mark.parametrize("until", ["archived", "backup-done"])
def test_a_driver_that_keeps_nothing_is_not_waited_for(until: str) -> None:
    """Nothing could come."""
    world = MemoryWorld()
    plain = PlainDriver(world.clock)
    plain.up(world.cluster)
    with pytest.raises(DriverError, match="wait: the memory driver keeps nothing in S3"):
        wait(until).perform(MemoryWorld(driver=plain, beside=world))
    assert world.now_s == 0
