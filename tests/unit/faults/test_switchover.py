"""Tests for harness.faults.switchover: a leadership that really moved."""

import json

import pytest

from harness.errors import DriverError, OverdueError
from harness.faults.switchover import Switchover
from harness.scenario import Cluster
from tests.unit.world import MemoryWorld


def switchover(**to: object) -> Switchover:
    return Switchover.model_validate({"to": to} if to else {})


def test_it_holds_when_another_is_primary() -> None:
    """What is recorded is who led before, and who leads now."""
    world = MemoryWorld()
    done = switchover().perform(world)
    assert (done["nodes"], done["to"], done["at"]) == (["pg-1"], "pg-2", 0)
    assert world.driver.keys["leader"] == "pg-2"


def test_the_candidate_that_is_asked_for_leads() -> None:
    """Patroni is told the name."""
    world = MemoryWorld()
    assert switchover(node="pg-3").perform(world)["to"] == "pg-3"
    assert world.seen == [("switchover", {"leader": "pg-1", "candidate": "pg-3"})]


def test_a_candidate_is_asked_for_once_it_is_synchronous() -> None:
    """Patroni drops a standby from them for a round after a move, and refuses it meanwhile."""
    world = MemoryWorld(Cluster(sync="quorum"))
    dcs, calls = world.driver.dcs, iter(range(99))

    def settling(*, deadline_s: float) -> object:
        keys = dict(dcs(deadline_s=deadline_s))
        if next(calls) < 3:  # the first is for who leads
            keys["sync"] = json.dumps({"leader": "pg-1", "sync_standby": "pg-2"})
            assert world.seen == []
        return keys

    world.driver.dcs = settling  # type: ignore[method-assign, assignment]
    done = switchover(node="pg-3").perform(world)
    assert done["to"] == "pg-3"
    assert done["at"]  # what is measured from here begins when Patroni was asked


def test_a_candidate_that_never_is_synchronous_is_not_asked_for() -> None:
    """Patroni would refuse it; who is missed is named."""
    world = MemoryWorld(Cluster(sync="quorum"))
    world.driver.keys["sync"] = json.dumps({"leader": "pg-1", "sync_standby": "pg-2"})
    with pytest.raises(OverdueError, match=r"pg-3 as a synchronous standby, .* within 60 s"):
        switchover(node="pg-3").perform(world)
    assert world.seen == []


def test_any_candidate_is_asked_for_in_an_asynchronous_cluster() -> None:
    """There the DCS names nobody."""
    world = MemoryWorld(Cluster(sync="async"))
    world.driver.keys.pop("sync", None)
    assert switchover(node="pg-3").perform(world)["to"] == "pg-3"


def test_who_leads_already_goes_on_leading() -> None:
    """Patroni, which would refuse, is not asked."""
    world = MemoryWorld()
    done = switchover(node="pg-1").perform(world)
    assert (done["nodes"], done["to"]) == (["pg-1"], "pg-1")
    assert world.seen == []


def test_who_leads_already_must_take_writes() -> None:
    """A leader in recovery is not what was asked for."""
    world = MemoryWorld()
    world.inside("pg-1").in_recovery = True
    with pytest.raises(DriverError, match="pg-1 leads already; expected it to be primary"):
        switchover(node="pg-1").perform(world)


def test_a_refusal_ends_the_run() -> None:
    """Patroni's own words reach the reader."""
    world = MemoryWorld()
    world.driver.switchover_status = 503
    with pytest.raises(DriverError, match="pg-1 answered 503: candidate is not ready"):
        switchover().perform(world)


def test_another_than_the_candidate_is_no_success() -> None:
    """A switchover that became a race was not the one asked for."""
    world = MemoryWorld()
    world.driver.switchover_to = "pg-2"
    with pytest.raises(DriverError, match="pg-2 leads; expected pg-3"):
        switchover(node="pg-3").perform(world)


def test_a_leadership_that_stays_is_no_switchover() -> None:
    """Patroni said yes, and nothing happened."""
    world = MemoryWorld()
    world.driver.idle = {"switchover"}
    with pytest.raises(DriverError, match="a primary other than pg-1 did not happen within 60 s"):
        switchover().perform(world)


def test_a_leader_that_is_not_yet_primary_is_waited_for() -> None:
    """It holds the key, but PostgreSQL is in recovery."""
    world = MemoryWorld()
    lead = world.driver.lead

    def lead_without_promotion(node: str) -> None:
        lead(node)
        world.inside(node).in_recovery = True

    world.driver.lead = lead_without_promotion  # type: ignore[method-assign]
    with pytest.raises(DriverError, match="a primary other than pg-1"):
        switchover().perform(world)


def test_a_dcs_that_elects_meanwhile_is_waited_for() -> None:
    """A moment without a quorum is no reason to give up."""
    world = MemoryWorld()
    dcs, calls = world.driver.dcs, iter(range(9))

    def shaky(*, deadline_s: float) -> object:
        if next(calls) == 1:
            raise DriverError("no quorum")
        return dcs(deadline_s=deadline_s)

    world.driver.dcs = shaky  # type: ignore[method-assign, assignment]
    assert switchover().perform(world)["to"] == "pg-2"


def test_without_a_leader_there_is_none_to_move() -> None:
    """The target means nobody."""
    world = MemoryWorld()
    del world.driver.keys["leader"]
    world.driver.failover_s = 99
    with pytest.raises(DriverError, match="role=leader"):
        switchover().perform(world)
