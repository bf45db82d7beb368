"""Tests for harness.faults.partition: cuts that were open before and are dead after."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from harness.errors import DriverError
from harness.faults.partition import Partition
from harness.protocols import Link, Undo
from harness.scenario import Cluster
from tests.unit.world import MemoryWorld

LEADER: Mapping[str, object] = {"role": "leader"}
DCS: Mapping[str, object] = {"service": "dcs"}


def partition(
    here: Mapping[str, object] | Sequence[Mapping[str, object]] = LEADER,
    there: Mapping[str, object] | Sequence[Mapping[str, object]] = DCS,
    **more: object,
) -> Partition:
    return Partition.model_validate({"from": here, "to": there, **more})


def test_the_mend_is_journalled_before_the_cut() -> None:
    """One entry for all links, which are cut at once."""
    world = MemoryWorld()
    done = partition().perform(world)
    (_, undo), (_, made) = world.seen
    assert world.verbs() == ["undo later", "cut"]
    assert isinstance(undo, Undo)
    assert undo.arguments["links"] == [asdict(link) for link in world.driver.cuts]
    assert made == tuple(world.driver.cuts)
    assert (done["nodes"], done["to"], done["links"]) == (
        ["pg-1"],
        [f"etcd-{n}" for n in (1, 2, 3)],
        6,
    )


def test_outgoing_cuts_one_way() -> None:
    """Only what the first group sends is lost."""
    world = MemoryWorld()
    partition(direction="outgoing", port=2379, drop="reject").perform(world)
    assert world.driver.cuts == [Link("pg-1", f"etcd-{n}", 2379, "reject") for n in (1, 2, 3)]


def test_a_link_that_was_dead_before_proves_nothing() -> None:
    """Nothing is cut, so nothing is journalled."""
    world = MemoryWorld()
    world.driver.cuts = [Link("etcd-2", "pg-1")]
    with pytest.raises(
        DriverError, match=r"pg-1 to etcd-2.*dead before the cut, which proves nothing"
    ):
        partition().perform(world)
    assert world.seen == []


def test_a_link_that_was_not_tried_in_time_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no cut: what counts is that each link was shown to be open."""
    world = MemoryWorld()
    honest, asked = world.driver.dead, list[Sequence[Link]]()

    def dead(links: Sequence[Link]) -> Sequence[Link]:
        asked.append(links)
        return links[:1] if len(asked) == 1 else honest(links)

    monkeypatch.setattr(world.driver, "dead", dead)
    partition().perform(world)
    assert [len(links) for links in asked] == [6, 1, 6, 6]
    assert len(world.driver.cuts) == 6


def test_a_link_that_is_open_after_was_not_cut() -> None:
    """A cut that does nothing is an error, and stays in the journal."""
    world = MemoryWorld()
    world.driver.idle = {"cut"}
    with pytest.raises(DriverError, match=r"pg-1 to etcd-1, .*: still open after the cut"):
        partition().perform(world)
    assert world.verbs().count("undo later") == 1


def test_a_late_try_is_no_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine too busy for the first try after a cut that did nothing does not make it one."""
    world = MemoryWorld()
    world.driver.idle = {"cut"}
    honest = world.driver.dead
    late = iter([False, True])

    def dead(links: Sequence[Link]) -> Sequence[Link]:
        return links if next(late, False) else honest(links)

    monkeypatch.setattr(world.driver, "dead", dead)
    with pytest.raises(DriverError, match=r"pg-1 to etcd-1, .*: still open after the cut"):
        partition().perform(world)


def test_there_must_be_something_to_cut() -> None:
    """A machine cannot be cut off itself."""
    world = MemoryWorld()
    with pytest.raises(DriverError, match="pg-1 on both sides; nothing to cut"):
        partition(LEADER, {"node": "pg-1"}).perform(world)


def test_who_is_on_both_sides_stays_on_the_first() -> None:
    """The leader is cut off the rest of the cluster."""
    world = MemoryWorld()
    done = partition(LEADER, {"service": "cluster"}).perform(world)
    assert (done["nodes"], done["to"]) == (["pg-1"], ["pg-2", "pg-3"])


def test_for_mends_in_the_background() -> None:
    """The step ends with the cut; the time counts from there."""
    world = MemoryWorld()
    partition(for_="20s").perform(world)
    assert len(world.driver.cuts) == 6
    for task in world.tasks:
        task.join()
    assert world.driver.cuts == []
    assert world.now_s == 20


def test_an_attempt_that_cannot_be_made_is_the_drivers_error() -> None:
    """A machine that is down can try nothing."""
    world = MemoryWorld()
    world.driver.refusing = {"dead": "pg-1 is down"}
    with pytest.raises(DriverError, match="pg-1 is down"):
        partition().perform(world)


def test_groups_of_several_targets() -> None:
    """A minority: the AZ of the leader and one replica, cut off every other node and DCS member."""
    world = MemoryWorld(Cluster(nodes=5))
    rest = [{"service": "cluster"}, {"service": "dcs"}]
    done = partition([{"az": {"of": "leader"}}, {"node": "pg-4"}, {"node": "pg-5"}], rest).perform(
        world
    )
    assert done["nodes"] == ["pg-1", "pg-4", "etcd-1", "pg-5"]
    assert done["to"] == ["pg-2", "pg-3", "etcd-2", "etcd-3"]
    assert done["links"] == len(world.driver.cuts) == 2 * 4 * 4


@pytest.mark.parametrize("pick", ["one", 2, "all"])
def test_one_member_a_quorum_or_all_of_the_dcs(pick: object) -> None:
    """Of a service as many as are asked for."""
    world = MemoryWorld()
    done = partition(there={"service": "dcs", "pick": pick}).perform(world)
    assert done["links"] == 2 * {"one": 1, 2: 2, "all": 3}[pick]


def test_a_group_is_of_somebody() -> None:
    """An empty list says nothing."""
    with pytest.raises(ValidationError):
        partition([])
