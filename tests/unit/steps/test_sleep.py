"""Tests for harness.steps.sleep."""

import pytest
from pydantic import ValidationError

from harness.steps.sleep import Sleep
from tests.unit.world import MemoryWorld


@pytest.mark.parametrize("written", ["90s", {"duration": "90s"}])
def test_time_passes(written: object) -> None:
    """On the run's clock, so that virtual time is as good."""
    world = MemoryWorld()
    assert Sleep.model_validate(written).perform(world) == {"nodes": [], "seconds": 90.0}
    assert world.now_s == 90


@pytest.mark.parametrize("written", [5, "soon", {}, {"duration": "5s", "for": "5s"}])
def test_what_is_no_duration(written: object) -> None:
    """A number without a unit is a mistake."""
    with pytest.raises(ValidationError):
        Sleep.model_validate(written)
