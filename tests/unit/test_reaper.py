"""Who owns an object, and when nobody needs it: neither the living nor the kept are reaped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import reaper
from harness.clock import wall_epoch_s

JOURNAL = Path("journal.jsonl")


def marks_of(owner: str, *, kept: bool = False) -> dict[str, str]:
    """Return the labels of an object that somebody else made."""
    return {**reaper.labels("r", JOURNAL, kept=kept), reaper.LABEL_OWNER: owner}


def changed(owner: str, place: int, value: str) -> str:
    """Return an owner's name with one of its parts changed."""
    parts = owner.split(":")
    parts[place] = value
    return ":".join(parts)


def test_the_living_are_not_abandoned() -> None:
    """This process is alive, so what it made is needed."""
    marks = reaper.labels("r", JOURNAL)
    assert not reaper.is_orphan(marks)
    assert not reaper.is_abandoned(marks)


@pytest.mark.parametrize(("place", "value"), [(2, "another-boot"), (3, "4194305"), (4, "1")])
def test_the_dead_are_abandoned(place: int, value: str) -> None:
    """Another boot, a process that is gone, or one that got the same number later."""
    dead = changed(reaper.owner(), place, value)
    assert reaper.is_orphan(marks_of(dead))
    assert reaper.is_abandoned(marks_of(dead))
    assert not reaper.is_abandoned(marks_of(dead, kept=True))


def test_a_zombie_is_dead() -> None:
    """A killed process whose parent has not noticed runs no more."""
    with subprocess.Popen(["true"]) as child:
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        assert reaper._start_time(child.pid) is None


@pytest.mark.parametrize(("place", "value"), [(0, "elsewhere"), (1, "1")])
def test_whom_we_cannot_see_is_spared(place: int, value: str) -> None:
    """An owner on another machine, or in another namespace of process ids, may well live."""
    assert not reaper.is_abandoned(marks_of(changed(reaper.owner(), place, value)))


@pytest.mark.parametrize("kept", [False, True])
def test_what_has_expired_is_abandoned(monkeypatch, kept) -> None:
    """However alive its owner is, and also when it was to be kept."""
    marks = reaper.labels("r", JOURNAL, kept=kept)
    later = wall_epoch_s() + 6 * 3600 + 2
    monkeypatch.setattr("harness.reaper.wall_epoch_s", lambda: later)
    assert reaper.is_abandoned(marks)


def test_an_object_without_an_owner_is_abandoned() -> None:
    """Labels that say nothing protect nothing."""
    assert reaper.is_abandoned({reaper.LABEL_RUN: "r"})


def test_a_killed_process_is_dead_at_once() -> None:
    """Even while nobody has asked for its exit code."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        name = changed(reaper.owner(), 3, str(child.pid))
        name = changed(name, 4, str(reaper._start_time(child.pid)))
        assert reaper.is_alive(name)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # leaves the exit code where it is
        assert not reaper.is_alive(name)


@pytest.mark.parametrize(("place", "value"), [(3, ""), (3, "self"), (4, "None")])
def test_what_names_no_process_is_not_alive(place: int, value: str) -> None:
    """A mark that somebody else wrote protects nothing."""
    assert not reaper.is_alive(changed(reaper.owner(), place, value))
    assert not reaper.is_alive("")


def test_labels_say_all_that_a_stranger_needs(tmp_path: Path, monkeypatch) -> None:
    """Run, owner, expiry, and where the journal is, whatever folder it is asked from."""
    monkeypatch.chdir(tmp_path)
    marks = reaper.labels("cafe", JOURNAL)
    assert marks[reaper.LABEL_RUN] == "cafe"
    assert marks[reaper.LABEL_OWNER] == reaper.owner()
    assert marks[reaper.LABEL_JOURNAL] == str(tmp_path / "journal.jsonl")
    assert 0 < reaper.expires_in_s(marks) <= 6 * 3600
    assert reaper.LABEL_KEPT not in marks
    assert reaper.LABEL_KEPT in reaper.labels("cafe", JOURNAL, kept=True)


def test_an_expiry_that_is_no_number_is_over() -> None:
    """Broken labels are no reason to keep a machine full, nor to fail."""
    marks = {**reaper.labels("r", JOURNAL), reaper.LABEL_EXPIRES: "soon"}
    assert reaper.is_abandoned(marks)
