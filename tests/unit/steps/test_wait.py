"""Tests for harness.steps.wait: states that come, and what is lacking when they do not."""

import pytest

from harness.errors import AbortedError, DriverError
from harness.scenario import Cluster, ReplicaState, Steady
from harness.steps.wait import Wait
from tests.unit.world import MemoryWorld


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
    assert wait(until).perform(world) == {"nodes": [], "until": until}
    assert 5 <= world.now_s < 15


def test_the_same_leader_is_no_new_one() -> None:
    """What is lacking is told: who still holds the key."""
    world = MemoryWorld()
    world.before = "pg-1"
    text = "'new-leader' did not happen within 30 s: the leader key: pg-1"
    with pytest.raises(DriverError, match=text):
        wait("new-leader").perform(world)


def test_a_new_leader_in_recovery_is_no_new_primary() -> None:
    """The key is not enough."""
    world = MemoryWorld()
    world.before = "pg-1"
    text = "none of pg-2, pg-3 has left recovery"
    with pytest.raises(DriverError, match=text):
        wait("new-primary").perform(world)


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
