"""Tests for harness.faults.flap: cuts and mends in turn, each shown."""

import pytest
from pydantic import ValidationError

from harness import cuts
from harness.clock import NS
from harness.errors import DriverError
from harness.faults.flap import Flap
from harness.protocols import Link
from tests.unit.world import MemoryWorld

LINKS = cuts.between(["pg-1"], ["etcd-1", "etcd-2", "etcd-3"], both=True)


def flap(**more: object) -> Flap:
    given = {"from": {"role": "leader"}, "to": {"service": "dcs"}, "cut": "5s", "open": "10s"}
    return Flap.model_validate({**given, "for": "40s", **more})


def test_it_flaps_for_its_time_and_ends_open() -> None:
    """The way back is journalled before the first cut, and struck after the last mend."""
    world = MemoryWorld()
    done = flap().perform(world)
    undo = cuts.undo_of(LINKS, ["pg-1"])
    pair = [("cut", tuple(LINKS)), ("mend", tuple(LINKS))]
    assert world.seen == [("undo later", undo), *pair * 3, ("undone", undo)]
    assert world.driver.cuts == []
    spans = [[at * NS, (at + 5) * NS] for at in (0, 15, 30)]
    assert (done["nodes"], done["cuts"], world.clock.now_ns()) == (["pg-1"], spans, 45 * NS)


def test_each_cut_lasts_as_long_as_it_says() -> None:
    """Showing it takes a part of its time, and adds none."""
    world = MemoryWorld()
    times: list[float] = []
    world.driver.before_act = lambda *_: times.append(world.now_s)
    flap(cut="4s", open="6s", **{"for": "30s"}).perform(world)
    assert times == [0, 4, 10, 14, 20, 24]


def test_a_cut_that_does_nothing_is_an_error() -> None:
    """The journal still has the way back."""
    world = MemoryWorld()
    world.driver.idle = {"cut"}
    with pytest.raises(DriverError, match=r"flap: pg-1 to etcd-1.*still open after the cut"):
        flap().perform(world)
    assert "undone" not in world.verbs()


def test_a_mend_that_does_nothing_is_an_error() -> None:
    """Likewise: the next cut would be none."""
    world = MemoryWorld()
    world.driver.idle = {"mend"}
    with pytest.raises(DriverError, match=r"pg-1 to etcd-1.*dead after a cut was mended"):
        flap().perform(world)
    assert "undone" not in world.verbs()


def test_links_that_were_dead_before_prove_nothing() -> None:
    """Nothing is cut."""
    world = MemoryWorld()
    world.driver.cuts = [Link("etcd-2", "pg-1")]
    with pytest.raises(DriverError, match="dead before the cut"):
        flap().perform(world)
    assert world.seen == []


def test_one_way_and_one_port() -> None:
    """As a partition."""
    world = MemoryWorld()
    flap(
        direction="outgoing", drop="reject", port=2379, to=[{"service": "dcs", "pick": 2}]
    ).perform(world)
    made = next(what for verb, what in world.seen if verb == "cut")
    assert isinstance(made, tuple)
    assert [(link.source, link.port, link.drop) for link in made] == [("pg-1", 2379, "reject")] * 2


@pytest.mark.parametrize(
    ("more", "words"),
    [({"cut": "1s"}, "expected at least 4s"), ({"for": "19s"}, "at least two cuts")],
)
def test_what_could_not_be_shown_is_refused(more: dict[str, object], words: str) -> None:
    """Too short to be seen, or no flapping."""
    with pytest.raises(ValidationError, match=words):
        flap(**more)


def test_there_must_be_something_to_cut() -> None:
    """A machine cannot be cut off itself."""
    with pytest.raises(DriverError, match="nothing to cut"):
        flap(to={"node": "pg-1"}).perform(MemoryWorld())
