"""Tests for harness.faults.slow: machines that answer late, shown by a request that is timed."""

import pytest
from pydantic import ValidationError

from harness.errors import DriverError
from harness.faults.slow import Slow
from harness.protocols import Undo
from tests.unit.world import MemoryWorld


def slow(**more: object) -> Slow:
    return Slow.model_validate({"service": "dcs", "rate": "4KiB", **more})


def test_the_way_back_is_journalled_before_the_first_is_slow() -> None:
    """A run that dies between two of them leaves none without its undo."""
    world = MemoryWorld()
    done = slow(loss="20%").perform(world)
    members = [f"etcd-{n}" for n in (1, 2, 3)]
    assert world.seen == [
        *(("undo later", Undo("quicken", {"node": name})) for name in members),
        *(("slow", (name, 4096, 0.2)) for name in members),
    ]
    assert (done["nodes"], done["how"]) == (members, "4096 B/s and 20% loss")
    assert done["seconds"] == {name: {"before": 0.0, "after": 1.0} for name in members}


@pytest.mark.parametrize(("pick", "many"), [("one", 1), (2, 2), ("all", 3)])
def test_one_member_a_quorum_or_all(pick: object, many: int) -> None:
    """As many as are asked for."""
    world = MemoryWorld()
    slow(pick=pick).perform(world)
    assert len(world.driver.slowed) == many


def test_a_node_is_timed_by_its_patroni() -> None:
    """There is no DCS to be read from it."""
    world = MemoryWorld()
    slow(service=None, node="pg-2", rate=None, loss="5%").perform(world)
    assert world.driver.slowed == {"pg-2": (None, 0.05)}


def test_for_counts_from_the_fault_and_not_from_its_proof() -> None:
    """Showing it takes seconds; it must not last those longer."""
    world = MemoryWorld()
    slow(**{"for": "30s"}).perform(world)
    assert world.now_s >= 1
    for task in world.tasks:
        task.join()
    assert world.now_s == 30
    assert world.driver.slowed == {}


def test_who_answers_as_fast_as_before_is_not_slow() -> None:
    """It is asked for a while, for chance may spare a request; then it is an error."""
    world = MemoryWorld()
    world.driver.idle = {"slow"}
    text = r"slow: a slow answer of etcd-1 did not happen .*: the slowest took 0.00 s, and 0.00 s"
    with pytest.raises(DriverError, match=text):
        slow(pick="all").perform(world)
    assert world.verbs().count("undo later") == 3


def test_no_answer_at_all_is_slow() -> None:
    """So little may be left that a request does not come through."""
    world = MemoryWorld()

    def fall_silent(verb: str, _what: object) -> None:
        if verb == "slow":
            world.driver.quorum = False

    world.driver.before_act = fall_silent
    done = slow(pick="one").perform(world)
    assert [told["after"] for told in done["seconds"].values()] == [5.0]  # type: ignore[index,union-attr,call-overload]


def test_who_did_not_answer_before_proves_nothing() -> None:
    """Nothing is done, and nothing journalled."""
    world = MemoryWorld()
    world.driver.members["etcd-2"].powered = False
    with pytest.raises(DriverError, match="etcd-2 does not answer; expected it to"):
        slow().perform(world)
    assert world.seen == []


def test_an_elb_can_be_asked_nothing() -> None:
    """So how slow it is could not be shown."""
    with pytest.raises(DriverError, match="primary-elb, replica-elb can be asked nothing"):
        slow(service="elb").perform(MemoryWorld())


@pytest.mark.parametrize(
    "wrong", [{"rate": None}, {"rate": "1"}, {"loss": "0%"}, {"loss": "100%"}, {"loss": 0.2}]
)
def test_what_is_not_slow_is_refused(wrong: dict[str, object]) -> None:
    """Nothing, next to nothing, or all of it: that is a partition."""
    with pytest.raises(ValidationError):
        slow(**wrong)
