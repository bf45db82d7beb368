"""Tests for harness.journal: how faults are undone is on disk first, and is done last first."""

import json
import os
from pathlib import Path

import pytest

from harness import cuts, journal
from harness.clock import WallClock
from harness.errors import DriverError
from harness.journal import Journal
from harness.protocols import Link, RecoveryTarget, Undo
from harness.scenario import Cluster
from tests.unit.world import MemoryDriver, PlainDriver

START = Undo("start", {"node": "pg-1"})
THAW = Undo("thaw", {"node": "pg-2", "process": "patroni"})
LINK = Link("pg-1", "etcd-1", 2379, "reject")
MEND = cuts.undo_of([LINK], ["pg-1"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


@pytest.fixture
def driver() -> MemoryDriver:
    made = MemoryDriver(WallClock(), pace=0)
    made.up(Cluster())
    return made


def lines(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def reopened(book: Journal) -> Journal:
    """Return the journal as another process finds it."""
    book.close()
    return Journal(book.path)


def heal(book: Journal, driver: MemoryDriver) -> tuple[list[str], list[str]]:
    """Return what could not be undone, and what was said."""
    said: list[str] = []
    return list(journal.heal(book, driver, said.append)), said


def test_it_is_on_disk_when_intend_returns(path: Path, monkeypatch) -> None:
    """Written, and forced there, before the caller may make the fault."""
    synced: list[str] = []
    sync = os.fsync

    def fsync(fd: int) -> None:
        sync(fd)
        synced.append(path.read_text())

    monkeypatch.setattr(os, "fsync", fsync)
    Journal(path).intend(START)
    entry = {"id": 0, "undo": {"method": "start", "arguments": {"node": "pg-1"}}}
    assert lines(path) == [entry]
    assert synced == [path.read_text()]


def test_what_is_open_comes_last_first(path: Path) -> None:
    """The way back is the way there, backwards."""
    book = Journal(path)
    for undo in (START, THAW, MEND):
        book.intend(undo)
    assert book.open == [MEND, THAW, START]


def test_strike_takes_the_newest_of_equals(path: Path) -> None:
    """A machine that was killed twice and started once is still to be started once."""
    book = Journal(path)
    for undo in (START, THAW, START):
        book.intend(undo)
    assert book.strike(START)
    assert book.open == [THAW, START]
    assert lines(path)[-1] == {"undone": 2}
    assert book.strike(START)
    assert not book.strike(START)
    assert book.open == [THAW]


def test_another_process_finds_what_is_open(path: Path) -> None:
    """Everything is in the file; equal arguments come back equal."""
    book = Journal(path)
    for undo in (START, MEND, THAW):
        book.intend(undo)
    book.strike(MEND)
    again = reopened(book)
    assert again.open == [THAW, START]
    again.intend(MEND)
    assert reopened(again).open == [MEND, THAW, START]


def test_numbers_may_begin_again(path: Path) -> None:
    """Where nothing was open, an old number comes to mean something new."""
    book = Journal(path)
    book.intend(START)
    book.strike(START)
    again = reopened(book)
    again.intend(THAW)
    assert reopened(again).open == [THAW]


@pytest.mark.parametrize("torn", [b'{"id": 1, "undo": {"met', b'{"undone": 0', b"\xff\x00", b"{"])
def test_half_a_last_line_costs_nothing_else(path: Path, torn: bytes) -> None:
    """Its writer died in mid-word; what follows is not glued to it."""
    book = Journal(path)
    book.intend(START)
    book.close()
    with path.open("ab") as stream:
        stream.write(torn)
    again = Journal(path)
    assert again.open == [START]
    again.intend(THAW)
    assert reopened(again).open == [THAW, START]


def test_a_journal_has_one_writer(path: Path) -> None:
    """A second run into the same folder would undo the faults of the first."""
    book = Journal(path)
    with pytest.raises(DriverError, match="in use by another run"):
        Journal(path)
    book.close()
    Journal(path).close()


def test_closing_twice_is_harmless_and_final(path: Path) -> None:
    """A late writer must not write into a file that somebody opened since."""
    book = Journal(path)
    book.close()
    with path.with_name("other").open("wb") as other:
        book.close()
        with pytest.raises(DriverError, match=r"journal\.jsonl: not written"):
            book.intend(START)
        other.flush()
    assert path.with_name("other").read_bytes() == b""
    assert book.open == []


def test_what_a_full_disk_takes_in_parts_is_written_whole(path: Path, monkeypatch) -> None:
    """A short write is no write; the rest follows, or says why it cannot."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    book = Journal(path)
    book.intend(START)
    assert len(lines(path)) == 1

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DriverError, match="not written: No space left on device"):
        book.intend(THAW)
    assert book.open == [START]


def test_heal_calls_the_opposites_last_first(path: Path, driver: MemoryDriver) -> None:
    """Each by the driver's own method, with the arguments of the fault."""
    book = Journal(path)
    for undo in (START, THAW, MEND):
        book.intend(undo)
    failures, said = heal(book, driver)
    assert driver.seen == [("mend", (LINK,)), ("thaw", ("pg-2", "patroni")), ("start", "pg-1")]
    assert failures == []
    assert said == [
        "undone: mend pg-1 to etcd-1",
        "undone: thaw pg-2 patroni",
        "undone: start pg-1",
    ]


def test_healing_again_does_nothing(path: Path, driver: MemoryDriver) -> None:
    """In this process and in the next one."""
    book = Journal(path)
    book.intend(START)
    heal(book, driver)
    driver.seen.clear()
    assert heal(book, driver) == ([], [])
    assert heal(reopened(book), driver) == ([], [])
    assert driver.seen == []


@pytest.mark.parametrize("foreseen", [True, False])
def test_one_failure_stops_nothing_else(path: Path, driver: MemoryDriver, foreseen: bool) -> None:  # noqa: FBT001
    """What fails is told and stays open, be it the world's doing or a bug's."""
    if foreseen:
        driver.refusing = {"thaw": "no such process"}
    else:
        driver.bugs = {"thaw": KeyError("pg-2")}
    book = Journal(path)
    for undo in (START, THAW, MEND):
        book.intend(undo)
    failures, said = heal(book, driver)
    words = "no such process" if foreseen else "KeyError: 'pg-2'"
    assert failures == [f"thaw pg-2 patroni: {words}"]
    assert [verb for verb, _ in driver.seen] == ["mend", "thaw", "start"]
    assert len(said) == 2
    assert reopened(book).open == [THAW]


def test_a_heal_that_dies_half_way_is_continued(path: Path, driver: MemoryDriver) -> None:
    """What was done is struck as soon as it is done."""
    book = Journal(path)
    for undo in (START, MEND):
        book.intend(undo)

    def die(verb: str, _what: object) -> None:
        if verb == "start":
            raise KeyboardInterrupt

    driver.before_act = die
    with pytest.raises(KeyboardInterrupt):
        heal(book, driver)
    driver.before_act = lambda _verb, _what: None
    again = reopened(book)
    assert again.open == [START]
    heal(again, driver)
    assert again.open == []


# --- S3, and clusters beside the run's own ------------------------------------------------------

WELL = Undo("s3", {"state": "well"})


def test_s3_is_made_well_by_the_runs_own_driver(path: Path, driver: MemoryDriver) -> None:
    """It is about no machine, and there is one for all clusters."""
    clone = clone_of(driver)
    book = Journal(path)
    book.intend(WELL)
    said: list[str] = []
    assert journal.heal(book, driver, said.append, clones=[clone]) == []
    assert driver.seen == [("s3", "well")]
    assert clone.seen == []
    assert said == ["undone: s3 well"]
    assert journal.machines_of(WELL) == []


def test_a_driver_without_s3_cannot_make_it_well(path: Path) -> None:
    """The journal of another kind of driver: told, and it stays open."""
    book = Journal(path)
    book.intend(WELL)
    plain = PlainDriver(WallClock(), pace=0)
    plain.up(Cluster())
    text = "s3 well: heal: the memory driver keeps nothing in S3; expected one that does"
    assert journal.heal(book, plain, lambda _: None) == [text]
    assert book.open == [WELL]


def test_each_machine_is_healed_by_the_driver_that_has_it(path: Path, driver: MemoryDriver) -> None:
    """Names are unique over all clusters of a run."""
    clone = clone_of(driver)
    book = Journal(path)
    mend = cuts.undo_of([Link("copy-etcd-1", "copy-1")], ["copy-etcd-1"])
    for undo in (START, Undo("start", {"node": "copy-1"}), mend):
        book.intend(undo)
    assert journal.heal(book, driver, lambda _: None, clones=[clone]) == []
    assert driver.seen == [("start", "pg-1")]
    assert [verb for verb, _ in clone.seen] == ["mend", "start"]


def test_a_machine_that_nobody_has_is_the_own_drivers() -> None:
    """It knows what to say of it."""
    clock = WallClock()
    own, other = MemoryDriver(clock, pace=0), MemoryDriver(clock, pace=0, scope="copy")
    own.refusing = {"start": "no machine pg-9"}
    with pytest.raises(DriverError, match="no machine pg-9"):
        journal.undo(own, Undo("start", {"node": "pg-9"}), [other])


def test_a_machine_that_is_gone_has_nothing_to_be_undone() -> None:
    """Neither its start, nor its pace, nor any thaw; a cut of its peers is not its own."""
    moot = list(journal.moot("pg-1"))
    assert Undo("start", {"node": "pg-1"}) in moot
    assert Undo("quicken", {"node": "pg-1"}) in moot
    assert [undo.arguments["process"] for undo in moot if undo.method == "thaw"] == [
        "patroni",
        "postgres",
        "walreceiver",
        "all",
    ]


def clone_of(driver: MemoryDriver) -> MemoryDriver:
    driver.clone("copy", Cluster(), RecoveryTarget("latest"))
    driver.seen.clear()
    (clone,) = driver.clones
    return clone


def test_what_was_slow_is_quickened(path: Path, driver: MemoryDriver) -> None:
    """By its own driver."""
    book = Journal(path)
    book.intend(Undo("quicken", {"node": "etcd-1"}))
    assert heal(book, driver) == ([], ["undone: quicken etcd-1"])
    assert driver.seen == [("quicken", "etcd-1")]
