"""Tests for harness.faults.s3: one S3 for all, disturbed and well again."""

import pytest
from pydantic import ValidationError

from harness.errors import DriverError
from harness.faults.s3 import S3
from harness.protocols import Undo
from tests.unit.world import MemoryWorld, PlainDriver

WELL = Undo("s3", {"state": "well"})


@pytest.mark.parametrize("how", ["outage", "deny", "slow"])
def test_the_way_back_is_journalled_first(how: str) -> None:
    """Then S3 is disturbed, until the end of the run."""
    world = MemoryWorld()
    done = S3.model_validate({"how": how}).perform(world)
    assert world.seen == [("undo later", WELL), ("s3", how)]
    assert done == {"nodes": [], "at": 0, "how": how}
    assert world.driver.s3_state == how
    assert world.tasks == []


def test_for_makes_it_well_in_the_background() -> None:
    """The step ends when S3 is disturbed; the time counts from there."""
    world = MemoryWorld()
    S3.model_validate({"how": "outage", "for": "60s"}).perform(world)
    for task in world.tasks:
        task.join()
    states = [what for verb, what in world.seen if verb == "s3"]
    assert states == ["outage", "well"]
    assert world.now_s == 60


@pytest.mark.parametrize("what", [{}, {"how": "well"}, {"how": "outage", "for": 60}])
def test_what_is_no_disturbance(what: dict[str, object]) -> None:
    """A fault that mends, or lasts for no known unit."""
    with pytest.raises(ValidationError):
        S3.model_validate(what)


def test_a_fault_that_does_not_take_hold_is_the_drivers_error() -> None:
    """It checks its effect itself; what was journalled is undone at the end."""
    world = MemoryWorld()
    world.driver.refusing = {"s3": "pg-2 still reaches S3"}
    with pytest.raises(DriverError, match="pg-2 still reaches S3"):
        S3.model_validate({"how": "outage"}).perform(world)
    assert ("undo later", WELL) in world.seen


def test_a_driver_without_s3_has_nothing_to_disturb() -> None:
    """And nothing is journalled."""
    world = MemoryWorld()
    plain = PlainDriver(world.clock)
    plain.up(world.cluster)
    other = MemoryWorld(driver=plain, beside=world)
    with pytest.raises(DriverError, match="s3: the memory driver keeps nothing in S3"):
        S3.model_validate({"how": "outage"}).perform(other)
    assert plain.seen == []
