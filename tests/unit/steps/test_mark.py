"""Tests for harness.steps.mark: four names of one moment, and what was there."""

from collections.abc import Mapping, Sequence

import pytest
from pydantic import ValidationError

from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.protocols import RecoveryTarget
from harness.steps.mark import Mark
from tests.unit.memory_wal import MemoryWal, read_lsn
from tests.unit.world import MemoryWorld

KEYS = {
    *("nodes", "mark", "held", "tli", "system_identifier", "at", "xid", "lsn", "next_lsn"),
    *("restore_point", "restore_lsn", "time", "time_us"),
}


def mark(world: MemoryWorld, what: object = "before") -> Mapping[str, Json]:
    return Mark.model_validate(what).perform(world)


def targets(done: Mapping[str, Json]) -> Sequence[RecoveryTarget]:
    """Return each way to name the mark."""
    return [
        RecoveryTarget("time", str(done["time"])),
        RecoveryTarget("lsn", str(done["lsn"])),
        RecoveryTarget("xid", str(done["xid"])),
        RecoveryTarget("name", str(done["restore_point"])),
    ]


def digests(wal: MemoryWal | None) -> Mapping[str, str]:
    assert wal is not None, "the target is never reached"
    return {name: wal.digest(name) for name in ("drill.append", "drill.mark", "drill.probe")}


def test_a_name_alone_is_a_mark() -> None:
    """Held, unless told otherwise."""
    made = Mark.model_validate("before")
    assert (made.point, made.held) == ("before", True)


@pytest.mark.parametrize("name", ["", "Before", "a b", "x" * 64, 7, None, "it's"])
def test_what_is_no_name_of_a_restore_point(name: object) -> None:
    """PostgreSQL takes at most 63 characters."""
    with pytest.raises(ValidationError):
        Mark.model_validate(name)


def test_what_is_recorded_while_held() -> None:
    """Exactly this; no more, so that no reader comes to lean on it."""
    done = mark(MemoryWorld())
    assert set(done) == KEYS | {"digest"}
    assert (done["nodes"], done["mark"], done["held"], done["tli"]) == (["pg-1"], "before", True, 1)
    assert done["next_lsn"] == done["lsn"]


@pytest.mark.parametrize("kind", range(4), ids=["time", "lsn", "xid", "name"])
def test_every_target_of_a_held_mark_restores_its_digest(kind: int) -> None:
    """Though others commit before it, and at the very instant of its end."""
    world = MemoryWorld()
    world.driver.busy = 3
    done = mark(world)
    world.driver.query("pg-1", "SELECT 1", deadline_s=1)
    wal = world.driver.wal
    assert digests(wal) != done["digest"], "somebody wrote since"
    assert digests(wal.until(targets(done)[kind])) == done["digest"]


def test_without_the_hold_the_digest_would_be_of_no_moment() -> None:
    """The test above would see a hold that holds nothing."""
    world = MemoryWorld()
    world.driver.busy = 3
    world.held = lambda: MemoryWorld().held()  # type: ignore[method-assign]
    done = mark(world)
    restored = [digests(world.driver.wal.until(target)) for target in targets(done)]
    assert any(one != done["digest"] for one in restored)


def test_the_clients_are_held_once_and_released() -> None:
    """Also when the server refuses in the middle of it."""
    world = MemoryWorld()
    mark(world)
    assert world.verbs() == ["hold", "release"]
    world = MemoryWorld()
    make = world.driver.wal.point

    def refuse(name: str) -> None:
        make(name)
        raise DriverError("42501: permission denied")

    world.driver.wal.point = refuse  # type: ignore[assignment, method-assign]
    with pytest.raises(DriverError, match="permission denied"):
        mark(world)
    assert world.verbs() == ["hold", "release"]


def test_a_later_commit_has_a_later_time() -> None:
    """Two thousandths of a second pass before anybody is released."""
    world = MemoryWorld()
    done = mark(world)
    assert world.driver.wal.commit().time_us > int(str(done["time_us"]))


def test_under_load_the_commits_around_it_are_recorded() -> None:
    """At least twenty before it and twenty after, in the order of the WAL, its own among them."""
    world = MemoryWorld()
    world.driver.busy = 7
    done = mark(world, {"point": "loaded", "held": False})
    assert set(done) == KEYS | {"commits", "aborts", "commits_from"}
    commits = done["commits"]
    assert isinstance(commits, list)
    places = [read_lsn(lsn) for _, lsn, _ in commits]
    assert places == sorted(places)
    assert places[0] >= read_lsn(str(done["commits_from"]))
    assert sum(place < read_lsn(str(done["lsn"])) for place in places) >= 20
    assert sum(place >= read_lsn(str(done["restore_lsn"])) for place in places) >= 20
    assert done["xid"] in [xid for xid, _, _ in commits]
    assert all(isinstance(part, int) for xid, _, us in commits for part in (xid, us))
    assert world.verbs() == [], "nobody was held"


def test_without_load_it_is_not_waited_for_for_ever() -> None:
    """Five seconds on either side."""
    world = MemoryWorld()
    done = mark(world, {"point": "idle", "held": False})
    assert 10 <= world.now_s < 11
    assert len(done["commits"]) == 2  # type: ignore[arg-type]


def test_commits_without_a_time_prove_nothing() -> None:
    """A restore by time is judged by them."""
    world = MemoryWorld()
    world.driver.wal.timed = False
    with pytest.raises(DriverError, match=r"no commit time of .*; expected track_commit_timestamp"):
        mark(world, {"point": "loaded", "held": False})


def test_nobody_leads_so_nothing_is_marked() -> None:
    """The DCS is asked first."""
    world = MemoryWorld()
    world.driver.keys.pop("leader")
    world.driver.failover_s = 999
    with pytest.raises(DriverError, match="role=leader: nothing is that now"):
        mark(world)


def test_an_abort_is_no_lack_of_load() -> None:
    """It ends the wait for commits, and the mark."""
    world = MemoryWorld()

    def abort(seconds: float) -> None:  # noqa: ARG001
        raise AbortedError("aborted")

    world.clock.sleep = abort  # type: ignore[method-assign]
    with pytest.raises(AbortedError):
        mark(world, {"point": "loaded", "held": False})
