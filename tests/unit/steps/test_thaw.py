"""Tests for harness.steps.thaw: what was frozen goes on."""

import pytest

from harness.errors import DriverError
from harness.protocols import Process, Undo
from harness.steps.thaw import Thaw
from tests.unit.world import PROGRAMS, MemoryWorld


def frozen(process: Process) -> tuple[MemoryWorld, Thaw]:
    world = MemoryWorld()
    world.inside("pg-2").frozen.add(process)
    return world, Thaw.model_validate({"node": "pg-2", "process": process})


@pytest.mark.parametrize("process", [*PROGRAMS, "all"])
def test_it_goes_on_and_its_undo_is_struck(process: Process) -> None:
    """There is nothing left to undo."""
    world, thaw = frozen(process)
    done = thaw.perform(world)
    undo = Undo("thaw", {"node": "pg-2", "process": process})
    assert world.seen == [("thaw", ("pg-2", process)), ("undone", undo)]
    assert (done["nodes"], done["process"]) == (["pg-2"], process)
    assert not world.inside("pg-2").frozen


@pytest.mark.parametrize("process", ["patroni", "postgres", "all"])
def test_what_stays_silent_was_not_thawed(process: Process) -> None:
    """A thaw that does nothing is an error."""
    world, thaw = frozen(process)
    world.driver.idle = {"thaw"}
    text = f"an answer of {process} on pg-2 did not happen within 60 s"
    with pytest.raises(DriverError, match=text):
        thaw.perform(world)


def test_another_program_is_not_thawed() -> None:
    """What was frozen by another name stays frozen."""
    world, _ = frozen("patroni")
    with pytest.raises(DriverError, match="an answer of all on pg-2"):
        Thaw.model_validate({"node": "pg-2"}).perform(world)
