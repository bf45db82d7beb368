"""image/spilo/inherited.py: what a lost primary finished and did not archive."""

from pathlib import Path

import pytest
from archive import forks
from inherited import archive_inherited, missing
from pgbackrest import BackupError, PgBackRest

HISTORY = (
    "1\t0/5000060\tno recovery target specified\n\n2\t0/9000000\tno recovery target specified\n"
)
LEFT = {1: 0x5000060, 2: 0x9000000}


def segment(number, timeline=1):
    return f"{timeline:08X}{number >> 8:08X}{number & 0xFF:08X}"


def segments(*numbers, timeline=1):
    return [segment(number, timeline) for number in numbers]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (HISTORY, LEFT),
        ("", {}),
        ("# a comment\n", {}),
        ("1\tA/0\tbefore 2026-11-23\n", {1: 10 << 32}),
    ],
)
def test_a_history_tells_where_each_timeline_was_left(text, left):
    assert forks(text) == left


@pytest.mark.parametrize(
    ("present", "archived", "lacking"),
    [
        (segments(2, 3, 4), segments(2), segments(3, 4)),
        (segments(4, 3, 2), segments(2), segments(3, 4)),  # the oldest first
        (segments(2, 3, 4), segments(2, 3, 4), []),
        (segments(2, 3, 4), segments(2, 4), segments(3)),  # a hole
        (segments(5), segments(2), []),  # the fork lies in it: the new timeline has it
        (segments(6, 7), segments(2), []),  # behind the fork, on no branch
        (segments(2, 3), segments(3), []),  # older than all: retention gave it up
        (segments(8, timeline=2), segments(2), segments(8, timeline=2)),  # left at a boundary
        (segments(9, timeline=2), segments(2), []),
        (segments(3, timeline=3), segments(2), []),  # the present one archives itself
        (["archive_status", "00000002.history", segment(3) + ".partial"], segments(2), []),
        (segments(255, 256), segments(2), []),
        (segments(2, 3), [], []),  # nothing is archived: no backup needs it
    ],
)
def test_what_is_missing(present, archived, lacking):
    assert missing(present, archived, LEFT) == lacking


def test_numbers_go_on_after_four_gigabytes():
    left = {1: 0x1_0200_0000}
    assert missing(segments(255, 256, 257, 258), segments(254), left) == segments(255, 256, 257)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return what makes a repository that lists these segments and takes what is pushed, or not."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(archived, takes=0):
        listed = "".join(f"17-1/0000000100000000/{name}-{'a' * 40}.zst\n" for name in archived)
        (tmp_path / "listed").write_text(listed)
        path = tmp_path / "pgbackrest"
        path.write_text(
            f'#!/bin/sh\necho "$*" >> {tmp_path}/told\n'
            f'[ "$1" = repo-ls ] && exec cat {tmp_path}/listed\n'
            f"echo 'ERROR: [049]: minio is away'; exit {takes}\n"
        )
        path.chmod(0o755)
        return PgBackRest(Path("/run/spilo/pgbackrest.conf"), "my-cluster")

    return make


@pytest.fixture
def pgdata(tmp_path):
    """A promoted standby's data directory, of its third timeline."""
    wal = tmp_path / "data" / "pg_wal"
    wal.mkdir(parents=True)
    for name in segments(2, 3, 4, 5):
        (wal / name).touch()
    (wal / "00000002.history").write_text("1\t0/5000060\t\n")
    (wal / "00000003.history").write_text(HISTORY)
    return tmp_path / "data"


def pushed(folder):
    lines = (folder / "told").read_text().splitlines() if (folder / "told").exists() else []
    return [
        line.split("pg_wal/")[1].split()[0] for line in lines if line.startswith("archive-push")
    ]


def test_what_is_missing_is_pushed_in_order(store, pgdata, tmp_path):
    assert archive_inherited(store(segments(2)), pgdata, 3) == segments(3, 4)
    assert pushed(tmp_path) == segments(3, 4)


def test_what_is_there_is_not_pushed_again(store, pgdata, tmp_path):
    assert archive_inherited(store(segments(2, 3, 4)), pgdata, 3) == []
    assert pushed(tmp_path) == []


def test_a_first_timeline_inherits_nothing(store, pgdata, tmp_path):
    for path in (pgdata / "pg_wal").glob("*.history"):
        path.unlink()
    assert archive_inherited(store(segments(2)), pgdata, 1) == []
    assert not (tmp_path / "told").exists()


def test_without_its_own_history_nothing_can_be_told(store, pgdata):
    """An older one says nothing of the timeline that was left last."""
    with pytest.raises(FileNotFoundError, match="00000004"):
        archive_inherited(store(segments(2)), pgdata, 4)


def test_s3_that_does_not_take_it_is_an_error(store, pgdata):
    with pytest.raises(BackupError, match="minio is away"):
        archive_inherited(store(segments(2), takes=49), pgdata, 3)
