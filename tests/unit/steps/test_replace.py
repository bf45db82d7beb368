"""Tests for harness.steps.replace: a fresh machine that comes to replicate."""

from collections.abc import Mapping

import pytest

from harness.errors import DriverError
from harness.faults.destroy import Destroy
from harness.history import Json
from harness.protocols import Undo
from harness.steps.replace import Replace
from tests.unit.world import MemoryWorld, PlainDriver


def replace(world: MemoryWorld, **what: object) -> Mapping[str, Json]:
    return Replace.model_validate(what).perform(world)


def renewed(world: MemoryWorld) -> list[object]:
    return [what for verb, what in world.seen if verb == "renew"]


def test_a_replica_is_replaced() -> None:
    """What the leader sent meanwhile is counted."""
    world = MemoryWorld()
    world.driver.sent = {"pg-1": 5000}
    done = replace(world, role="replica")
    assert renewed(world) == done["nodes"]
    assert done["leader_sent_bytes"] == 1000
    assert done["seconds"] == 0


def test_a_dead_machine_need_not_be_started_any_more() -> None:
    """Nor thawed: another stands in its place."""
    world = MemoryWorld()
    world.inside("pg-2").powered = False
    replace(world, node="pg-2")
    undone = [what for verb, what in world.seen if verb == "undone"]
    assert Undo("start", {"node": "pg-2"}) in undone
    assert Undo("thaw", {"node": "pg-2", "process": "patroni"}) in undone


def test_it_holds_when_the_standby_answers() -> None:
    """Patroni alone is not enough, nor is a primary."""
    world = MemoryWorld()
    renew = world.driver.renew

    def slowly(machine: str) -> None:
        renew(machine)
        pid = world.inside(machine).pids.pop("postgres")

        def later() -> None:
            world.clock.sleep(7)
            world.inside(machine).pids["postgres"] = pid

        world.clock.spawn(later, "later")

    world.driver.renew = slowly  # type: ignore[method-assign]
    done = replace(world, node="pg-3")
    assert 7 <= float(str(done["seconds"])) < 8


@pytest.mark.parametrize("lack", ["patroni", "postgres", "recovery"])
def test_one_that_never_replicates_is_an_error(lack: str) -> None:
    """After the time that was given."""
    world = MemoryWorld()
    renew = world.driver.renew

    def badly(machine: str) -> None:
        renew(machine)
        if lack == "recovery":
            world.inside(machine).in_recovery = False
        else:
            del world.inside(machine).pids[lack]  # type: ignore[arg-type]

    world.driver.renew = badly  # type: ignore[method-assign]
    with pytest.raises(DriverError, match="a standby on pg-3 did not happen within 20 s"):
        replace(world, node="pg-3", timeout="20s")


def test_bytes_of_two_leaders_are_not_compared() -> None:
    """Another came to lead meanwhile."""
    world = MemoryWorld()
    renew = world.driver.renew

    def disturb(machine: str) -> None:
        world.driver.lead("pg-2")
        renew(machine)

    world.driver.renew = disturb  # type: ignore[method-assign]
    assert replace(world, node="pg-3")["leader_sent_bytes"] is None


def test_a_counter_that_goes_back_counts_nothing() -> None:
    """The leader was started anew."""
    world = MemoryWorld()
    world.driver.sent = {"pg-1": 5000}
    world.driver.copied = -1
    assert replace(world, node="pg-3")["leader_sent_bytes"] is None


def test_a_leader_that_is_replaced_sends_nothing_that_counts() -> None:
    """Its own bytes are gone with it."""
    world = MemoryWorld()
    renew = world.driver.renew

    def lead_first(machine: str) -> None:
        world.driver.lead("pg-2")
        renew(machine)

    world.driver.renew = lead_first  # type: ignore[method-assign]
    done = replace(world, role="leader")
    assert (done["nodes"], done["leader_sent_bytes"]) == (["pg-1"], None)


def test_a_dcs_that_does_not_answer_only_costs_the_count() -> None:
    """The machine is replaced all the same."""
    world = MemoryWorld()
    world.driver.quorum = False
    assert replace(world, node="pg-3")["leader_sent_bytes"] is None
    assert renewed(world) == ["pg-3"]


def test_a_driver_that_keeps_nothing_replaces_nothing() -> None:
    """Its disk would have to come from somewhere."""
    world = MemoryWorld()
    plain = PlainDriver(world.clock)
    plain.up(world.cluster)
    with pytest.raises(DriverError, match="replace: the memory driver keeps nothing in S3"):
        replace(MemoryWorld(driver=plain, beside=world), node="pg-3")


def test_dcs_members_are_replaced_one_after_the_other() -> None:
    """Two without their disks at once would be a quorum that remembers nothing."""
    world = MemoryWorld()
    renew = world.driver.renew

    def slowly(machine: str) -> None:
        assert world.driver.dcs(deadline_s=1), "the others serve"
        renew(machine)
        world.driver.members[machine].powered = False

        def later() -> None:
            world.clock.sleep(3)
            world.driver.members[machine].powered = True

        world.clock.spawn(later, "later")

    world.driver.renew = slowly  # type: ignore[method-assign]
    done = replace(world, service="dcs", pick=2)
    assert renewed(world) == done["nodes"]
    assert 6 <= float(str(done["seconds"])) < 8


def test_a_dcs_member_that_never_serves_was_not_replaced() -> None:
    """It is waited for as long as was said."""
    world = MemoryWorld()
    world.driver.idle = {"renew"}
    world.driver.gone = {"etcd-1", "etcd-2", "etcd-3"}
    with pytest.raises(DriverError, match=r"an answer of etcd-\d did not happen within 9 s"):
        replace(world, service="dcs", pick="one", timeout="9s")


def test_a_dcs_member_that_was_destroyed_is_replaced() -> None:
    """By the name of the step that did it; the others had a quorum all the time."""
    world = MemoryWorld()
    lost = Destroy.model_validate({"service": "dcs", "pick": "one"}).perform(world)["nodes"]
    assert isinstance(lost, list)
    world.named = {"lost": [str(name) for name in lost]}
    assert world.driver.dcs(deadline_s=1)
    with pytest.raises(DriverError, match="silence"):
        world.driver.dcs(deadline_s=1, member=str(lost[0]))
    replace(world, ref="lost")
    assert world.driver.dcs(deadline_s=1, member=str(lost[0]))
