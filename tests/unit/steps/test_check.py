"""Tests for harness.steps.check: a state that must hold right now."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from harness.errors import DriverError
from harness.steps.check import Check
from tests.unit.world import MemoryWorld


def check(**what: object) -> Check:
    return Check.model_validate(what)


def leaderless() -> MemoryWorld:
    world = MemoryWorld()
    del world.driver.keys["leader"]
    world.driver.failover_s = 99
    return world


def test_one_leader() -> None:
    """The key is held."""
    assert check(leaders=1).perform(MemoryWorld()) == {"nodes": [], "leader": "pg-1"}


def test_no_leader() -> None:
    """The key is gone."""
    assert check(leaders=0).perform(leaderless()) == {"nodes": [], "leader": None}


@pytest.mark.parametrize(("world", "expected", "found"), [(MemoryWorld, 0, 1), (leaderless, 1, 0)])
def test_another_number_of_leaders(
    world: Callable[[], MemoryWorld], expected: int, found: int
) -> None:
    """The run is not what it claims to be."""
    with pytest.raises(DriverError, match=f"{found} leaders; expected {expected}"):
        check(leaders=expected).perform(world())


def test_a_dcs_that_does_not_answer_shows_no_absence() -> None:
    """Without a quorum nobody can say that nobody leads."""
    world = MemoryWorld()
    world.driver.quorum = False
    with pytest.raises(DriverError, match="the DCS has no quorum"):
        check(leaders=0).perform(world)


def test_writes_accepted() -> None:
    """The leader commits one now."""
    check(writes="accepted").perform(MemoryWorld())


def test_a_leader_in_recovery_accepts_no_writes() -> None:
    """The key alone is no write."""
    world = MemoryWorld()
    world.inside("pg-1").in_recovery = True
    with pytest.raises(DriverError, match="recovery is in progress"):
        check(writes="accepted").perform(world)


def test_nobody_leads_so_nothing_is_accepted() -> None:
    """There is nobody to ask."""
    with pytest.raises(DriverError, match="nobody leads"):
        check(writes="accepted").perform(leaderless())


def test_writes_refused() -> None:
    """All are in recovery, or without power."""
    world = leaderless()
    world.inside("pg-1").in_recovery = True
    world.inside("pg-3").powered = False
    check(writes="refused").perform(world)


def test_a_primary_does_not_refuse_writes() -> None:
    """Patroni says so."""
    with pytest.raises(DriverError, match="pg-1 is primary; expected no writes"):
        check(writes="refused").perform(MemoryWorld())


def test_a_primary_under_a_hung_patroni_does_not_refuse_writes() -> None:
    """Silence of its Patroni hides nothing."""
    world = MemoryWorld()
    world.inside("pg-1").frozen.add("patroni")
    with pytest.raises(DriverError, match="pg-1 is primary; expected no writes"):
        check(writes="refused").perform(world)


def test_nothing_to_check_is_a_mistake() -> None:
    """An empty check would always hold."""
    with pytest.raises(ValidationError, match="expected leaders or writes"):
        check()
