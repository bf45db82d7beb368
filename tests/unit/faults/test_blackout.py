"""Tests for harness.faults.blackout: an AZ without power, or without a network."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from harness import cuts
from harness.errors import DriverError
from harness.faults.blackout import Blackout
from harness.protocols import Link, Undo
from harness.scenario import Cluster
from tests.unit.world import MemoryWorld

INSIDE = ["pg-1", "etcd-1"]
OUTSIDE = ["pg-2", "pg-3", "etcd-2", "etcd-3", "primary-elb", "replica-elb", "s3"]
LINKS = cuts.between(INSIDE, OUTSIDE, both=True)
STARTS = [Undo("start", {"node": name}) for name in INSIDE]


def blackout(*kinds: str, **more: object) -> Blackout:
    given = {"az": {"of": "leader"}, **({"kinds": kinds} if kinds else {}), **more}
    return Blackout.model_validate(given)


def test_compute_takes_the_power_of_all_machines_of_the_az() -> None:
    """The way back is journalled before the first goes; the others keep theirs."""
    world = MemoryWorld()
    done = blackout("compute").perform(world)
    journalled = [("undo later", undo) for undo in STARTS]
    assert world.seen == [*journalled, *(("power_off", name) for name in INSIDE)]
    assert not world.inside("pg-1").powered
    assert not world.driver.members["etcd-1"].powered
    assert world.inside("pg-2").powered
    assert done == {
        "nodes": INSIDE,
        "at": 0,
        "az": "a",
        "kinds": ["compute"],
        "how": "power-off",
    }


def test_network_cuts_the_az_off_everything_else() -> None:
    """Both ways, at once; inside it all goes on."""
    world = MemoryWorld()
    done = blackout("network").perform(world)
    assert world.seen == [("undo later", cuts.undo_of(LINKS, INSIDE)), ("cut", tuple(LINKS))]
    assert world.driver.dead([Link("pg-1", "etcd-1")]) == []
    assert world.inside("pg-1").powered
    assert (done["nodes"], done["how"]) == (INSIDE, "network")


def test_both_end_in_the_reverse_order() -> None:
    """Power first, while its loss can still be seen; the network is back before the power is."""
    world = MemoryWorld()
    blackout(**{"for": "30s"}).perform(world)
    acts = ["undo later", "undo later", "power_off", "power_off", "undo later", "cut"]
    assert world.verbs() == acts
    for task in world.tasks:
        task.join()
    assert world.now_s == 30
    assert world.driver.cuts == []
    assert world.inside("pg-1").powered
    assert world.driver.members["etcd-1"].powered


@pytest.mark.parametrize("kind", ["compute", "network"])
def test_for_counts_from_the_loss_and_not_from_its_proof(kind: str) -> None:
    """Showing it takes seconds; it must not last those longer."""
    world = MemoryWorld()
    blackout(kind, **{"for": "1m"}).perform(world)
    for task in world.tasks:
        task.join()
    assert world.now_s == 60


def test_an_az_of_a_role_is_found_when_it_is_hit() -> None:
    """Or one is named."""
    world = MemoryWorld()
    world.driver.lead("pg-3")
    assert blackout("compute").perform(world)["az"] == "c"
    assert blackout("compute", az="b").perform(world)["nodes"] == ["pg-2", "etcd-2"]


def _idle(*verbs: str) -> Callable[[MemoryWorld], None]:
    def spoil(world: MemoryWorld) -> None:
        world.driver.idle = {*verbs}

    return spoil


def _cuts_too_much(world: MemoryWorld) -> None:
    def also_inside(verb: str, _what: object) -> None:
        if verb == "cut":
            world.driver.cuts.append(Link("etcd-1", "pg-1"))

    world.driver.before_act = also_inside


def _dead_link(world: MemoryWorld) -> None:
    world.driver.cuts = [Link("pg-1", "s3")]


@pytest.mark.parametrize(
    ("kind", "spoil", "words"),
    [
        ("compute", _idle("power_off"), "pg-1 answers 200; it did not lose power"),
        ("network", _idle("cut"), "pg-1 to pg-2, .*still open after the cut"),
        ("network", _cuts_too_much, "pg-1 to etcd-1, etcd-1 to pg-1: cut off within the AZ"),
        ("network", _dead_link, "pg-1 to s3, s3 to pg-1: dead before the cut"),
    ],
)
def test_a_blackout_that_is_none_is_an_error(
    kind: str, spoil: Callable[[MemoryWorld], None], words: str
) -> None:
    """Whichever part of it does not bite, or bites too much."""
    world = MemoryWorld()
    spoil(world)
    with pytest.raises(DriverError, match=f"blackout: {words}"):
        blackout(kind).perform(world)


@pytest.mark.parametrize("kind", ["compute", "network"])
def test_what_was_down_before_is_not_asked(kind: str) -> None:
    """A machine that died earlier, inside or outside, is no reason to stop; nor is it started."""
    world = MemoryWorld()
    world.driver.members["etcd-1"].powered = False
    world.inside("pg-2").powered = False
    blackout(kind).perform(world)
    assert STARTS[1] not in [what for _, what in world.seen]


def test_an_az_without_a_living_machine_goes_nowhere() -> None:
    """Nothing is done, and nothing journalled."""
    world = MemoryWorld(Cluster(nodes=2))
    world.driver.members["etcd-3"].powered = False
    with pytest.raises(DriverError, match="none of etcd-3 runs; expected a living AZ"):
        blackout(az="c").perform(world)
    assert world.seen == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"az": None, "role": "leader"}, "role in a blackout; expected az"),
        ({"pick": "one"}, "pick in a blackout"),
        ({"az": None}, "no az; expected one that goes dark"),
        ({"kinds": []}, "at least 1 item"),
        ({"kinds": ["storage"]}, "compute"),
    ],
)
def test_a_blackout_is_of_a_whole_az(what: dict[str, object], words: str) -> None:
    """Whatever else is meant, another verb does."""
    with pytest.raises(ValidationError, match=words):
        blackout(**what)
