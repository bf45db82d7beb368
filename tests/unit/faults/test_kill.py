"""Tests for harness.faults.kill: power and programs that are really gone."""

import pytest
from pydantic import ValidationError

from harness.errors import DriverError
from harness.faults.kill import Kill
from harness.protocols import Undo
from tests.unit.world import MemoryWorld


def power_off(**target: object) -> Kill:
    return Kill.model_validate({"how": "power-off", **(target or {"role": "leader"})})


def kill(process: str, **more: object) -> Kill:
    return Kill.model_validate({"node": "pg-2", "process": process, **more})


def test_power_off_is_journalled_first_and_recorded() -> None:
    """The way back is on disk before the power goes; the instant is that of the loss."""
    world = MemoryWorld()
    done = power_off().perform(world)
    assert world.seen == [("undo later", Undo("start", {"node": "pg-1"})), ("power_off", "pg-1")]
    assert not world.inside("pg-1").powered
    assert (done["nodes"], done["how"], done["at"]) == (["pg-1"], "power-off", 0)


def test_power_off_of_several_journals_all_before_the_first() -> None:
    """A run that dies between two of them leaves none without its undo."""
    world = MemoryWorld()
    done = power_off(role="replica", pick="all").perform(world)
    assert done["nodes"] == ["pg-2", "pg-3"]
    assert world.verbs() == ["undo later", "undo later", "power_off", "power_off"]


def test_power_off_waits_five_seconds_for_silence() -> None:
    """A closed socket would have been seen by then."""
    world = MemoryWorld()
    power_off().perform(world)
    assert world.now_s >= 5


def test_a_machine_that_still_answers_did_not_lose_power() -> None:
    """A power-off that does nothing is an error, and stays in the journal."""
    world = MemoryWorld()
    world.driver.idle = {"power_off"}
    with pytest.raises(DriverError, match="pg-1 answers 200; it did not lose power"):
        power_off().perform(world)
    assert world.verbs() == ["undo later", "power_off"]


@pytest.mark.parametrize("seen", ["eof", "reset"])
def test_a_peer_that_saw_the_end_is_no_power_loss(seen: str) -> None:
    """Peers of a machine without power see silence, not a closed socket."""
    world = MemoryWorld()
    world.driver.noisy = seen
    with pytest.raises(DriverError, match=f"a peer of pg-1 saw {seen}; expected silence"):
        power_off().perform(world)


def test_a_machine_that_is_off_cannot_lose_power() -> None:
    """Nobody can hold a connection to it, so nothing could be shown."""
    world = MemoryWorld()
    world.inside("pg-1").powered = False
    with pytest.raises(DriverError, match="pg-1"):
        power_off(node="pg-1").perform(world)
    assert world.seen == []


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_killed_program_has_other_process_ids(signal: str) -> None:
    """A supervisor starts it again, so there is nothing to undo."""
    world = MemoryWorld()
    before = world.driver.pids("pg-2", "patroni")
    done = kill("patroni", signal=signal).perform(world)
    assert world.seen == [("kill", ("pg-2", "patroni", signal))]
    assert world.driver.pids("pg-2", "patroni") != before
    assert (done["nodes"], done["process"]) == (["pg-2"], "patroni")


def test_killing_all_programs_is_journalled_first() -> None:
    """Nobody on the machine is left to start them again."""
    world = MemoryWorld()
    kill("all").perform(world)
    assert world.verbs() == ["undo later", "kill"]
    assert world.driver.pids("pg-2", "all") == []


@pytest.mark.parametrize(("signal", "within"), [("KILL", 10), ("TERM", 60)])
def test_a_program_that_lives_on_was_not_killed(signal: str, within: int) -> None:
    """The same process ids after the signal: the fault did not bite."""
    world = MemoryWorld()
    world.driver.idle = {"kill"}
    text = f"the end of postgres on pg-2 after SIG{signal} did not happen within {within} s"
    with pytest.raises(DriverError, match=text):
        kill("postgres", signal=signal).perform(world)


def test_a_program_that_does_not_run_cannot_be_killed() -> None:
    """The leader has no walreceiver."""
    world = MemoryWorld()
    with pytest.raises(DriverError, match="no walreceiver runs on pg-1; nothing could be killed"):
        kill("walreceiver", node="pg-1").perform(world)
    assert world.seen == []


@pytest.mark.parametrize("extra", [{"process": "patroni"}, {"signal": "TERM"}])
def test_power_off_takes_no_program(extra: dict[str, str]) -> None:
    """The two ways of killing do not mix."""
    with pytest.raises(ValidationError, match="expected one of the two"):
        power_off(role="leader", **extra)


@pytest.mark.parametrize("pick", ["one", 2, "all"])
def test_dcs_members_lose_power_too(pick: object) -> None:
    """One, a quorum, or all of them."""
    world = MemoryWorld()
    done = power_off(service="dcs", pick=pick).perform(world)
    lost = done["nodes"]
    assert isinstance(lost, list)
    assert [name for name, one in world.driver.members.items() if not one.powered] == lost
    assert len(lost) == {"one": 1, 2: 2, "all": 3}[pick]


def test_a_dcs_member_that_still_runs_did_not_lose_power() -> None:
    """Whatever it is, its processes are looked for."""
    world = MemoryWorld()
    world.driver.idle = {"power_off"}
    with pytest.raises(DriverError, match=r"etcd-\d still runs; expected no process"):
        power_off(service="dcs", pick="one").perform(world)
