"""image/spilo/found.py: which backup a new cluster is made from, and when it must not be."""

import json
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import found as program
import pytest
from found import (
    NOT_FROM_THIS_BACKUP,
    FoundingError,
    _forget_target,
    _refuse_foreign,
    _why_it_ended,
    bring_back,
    candidates,
    clone_cluster,
    refuse_shorter,
    restore_command,
    target_options,
)
from pgbackrest import BackupError, PgBackRest
from storage import Clone, Place

from tests.unit.image.backups import backup, repository
from tests.unit.image.node import CLONE, S3, settings

TEN = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp())
# As S3 might list them: in no order.
OLD = backup("old", TEN - 7200, 0x3000100)
MIDDLE = backup("middle", TEN - 3600, 0x5000100, kind="incr")
NEW = backup("new", TEN, 0x7000100, timeline=2)
FOUND = repository(MIDDLE, NEW, OLD)


def clone(kind="latest", target="", timeline="latest", *, inclusive=True):
    return Clone(Place("others", "source"), kind, target, timeline, inclusive)


def at(seconds):
    """Return a time that lies so many seconds after ten o'clock, as settings tell it."""
    moment = datetime.fromtimestamp(TEN + seconds, UTC)
    return clone("time", moment.isoformat(" ", "microseconds"))


def labels(wanted, found=FOUND):
    return [one.label for one in candidates(wanted, found)]


# --- which backup ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (clone(), ["new"]),
        (at(3600), ["new"]),
        (at(1), ["new"]),
        (at(0.5), ["new", "middle"]),  # `new` ended in that second: before it, or after
        (at(0.000001), ["new", "middle"]),
        (at(0), ["middle"]),
        (at(-1), ["middle"]),
        (at(-3599.5), ["middle", "old"]),
        (at(-3600), ["old"]),
        (at(-7199.5), ["old"]),
        (clone("lsn", "0/9000000"), ["new"]),
        (clone("lsn", "0/7000100"), ["new"]),
        (clone("lsn", "0/70000FF"), ["middle"]),
        (clone("lsn", "1/0"), ["new"]),
        (clone("lsn", "0/3000100"), ["old"]),
        (clone("xid", "744"), ["new", "middle", "old"]),
        (clone("name", "before-x"), ["new", "middle", "old"]),
        (clone(timeline="1"), ["middle"]),  # from timeline 2 nobody comes back to 1
        (clone(timeline="2"), ["new"]),
        (clone("xid", "744", "1"), ["middle", "old"]),
        (clone(timeline="current"), ["new"]),
    ],
)
def test_candidates(wanted, expected):
    assert labels(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "found", "why"),
    [
        (at(-7200), FOUND, "target time .* before the first backup, old, ended"),
        (at(-86400), FOUND, "target time .* before the first backup, old, ended"),
        (clone("lsn", "0/30000FF"), FOUND, "target lsn 0/30000FF: before the first backup, old"),
        (clone(), repository(), "no base backup of 'source' in s3://others/spilo/source$"),
        (clone("xid", "744"), repository(), "no base backup of 'source'"),
        (clone(), repository(system_identifier=None, pgversion=None), "no base backup of"),
        (clone(timeline="1"), repository(NEW), "'source' in .* on timeline 1 or below$"),
    ],
)
def test_a_target_that_no_backup_reaches_is_refused(wanted, found, why):
    """Never an empty cluster, never the nearest state."""
    with pytest.raises(FoundingError, match=why):
        candidates(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (clone(), ["--target-timeline=latest"]),
        (clone(timeline="3"), ["--target-timeline=3"]),
        (
            clone("time", "2026-11-23 10:00:00.000000+00:00"),
            [
                "--target-timeline=latest",
                "--type=time",
                "--target=2026-11-23 10:00:00.000000+00:00",
                "--target-action=promote",
            ],
        ),
        (
            clone("xid", "744", "current", inclusive=False),
            [
                "--target-timeline=current",
                "--type=xid",
                "--target=744",
                "--target-action=promote",
                "--target-exclusive",
            ],
        ),
        (
            clone("name", "before-x"),
            [
                "--target-timeline=latest",
                "--type=name",
                "--target=before-x",
                "--target-action=promote",
            ],
        ),
    ],
)
def test_target_options(wanted, options):
    assert target_options(wanted) == options


# --- how recovery ended ------------------------------------------------------------------------


@pytest.mark.parametrize("words", NOT_FROM_THIS_BACKUP)
def test_from_another_backup_it_may_be_reached(words, capsys):
    """The log says why, as nobody else will."""
    told = f"LOG:  starting archive recovery\nFATAL:  {words}\nLOG:  database system is shut down\n"
    assert _why_it_ended(told) is False
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (
            "LOG:  a\nFATAL:  could not locate a valid checkpoint record\n",
            "valid checkpoint record",
        ),
        ("PANIC:  WAL contains references to invalid pages\nLOG:  b\n", "PANIC:  WAL contains"),
        (
            "FATAL:  1\nFATAL:  2\nERROR:  3\nFATAL:  4\n",
            "failed: FATAL:  2; ERROR:  3; FATAL:  4$",
        ),
        ("killed in the middle", "failed: killed in the middle"),
        # Said by others than PostgreSQL's own end, say in a statement that is logged.
        ("LOG:  recovery ended before configured recovery target was reached\n", "recovery failed"),
        ("", "recovery failed: "),
    ],
)
def test_any_other_end_is_an_error_in_its_own_words(told, why):
    with pytest.raises(FoundingError, match=why):
        _why_it_ended(told)


def test_the_target_is_forgotten_and_nothing_else(tmp_path):
    """A later start would stop at it again."""
    path = tmp_path / "postgresql.auto.conf"
    kept = (
        "# Do not edit\nwork_mem = '8MB'\nrecovery_min_apply_delay = '5min'\n# recovery_target_x\n"
    )
    path.write_text(
        kept
        + "restore_command = 'pgbackrest archive-get %f \"%p\"'\n"
        + "recovery_target_time = '2026-11-23'\nrecovery_target_action = 'promote'\n"
        + "recovery_target_timeline = 'latest'\nrecovery_target_inclusive = 'false'\n"
    )
    _forget_target(path)
    assert path.read_text() == kept


@pytest.mark.parametrize(
    ("pgbackrests", "postgresqls"),
    [(0, 0), (1, 1), (25, 255), (49, 255), (124, 255), (137, 255)],
)
def test_recovery_ends_where_s3_fails(tmp_path, pgbackrests, postgresqls):
    """The planted trap: an outage looks like the end of the archive, and half a cluster is made."""
    (tmp_path / "pgbackrest").write_text(f'#!/bin/sh\necho "$*" >&2\nexit {pgbackrests}\n')
    (tmp_path / "pgbackrest").chmod(0o755)
    command = restore_command(PgBackRest(Path("/run/spilo/clone.conf"), "source"))
    ready = command.replace("%f", "000000010000000000000004").replace("%p", "pg_wal/RECOVERYXLOG")
    done = subprocess.run(
        ["/bin/sh", "-c", ready],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == postgresqls
    assert done.stderr == (
        "archive-get --config=/run/spilo/clone.conf --stanza=source "
        "000000010000000000000004 pg_wal/RECOVERYXLOG\n"
    )


# --- whose prefix it is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "source"),
    [
        (repository(system_identifier=None, pgversion=None), None),
        (repository(system_identifier=None, pgversion=None), 7711),
        (repository(system_identifier=7711), 7711),  # an attempt that failed left it there
    ],
)
def test_an_empty_prefix_or_a_failed_attempts_may_be_used(found, source):
    _refuse_foreign(found, settings(**S3), but=source)


@pytest.mark.parametrize(
    ("found", "source", "way_out"),
    [
        (repository(system_identifier=1), 7711, "no base backup is there to bring that"),
        (repository(system_identifier=1), None, "no base backup is there to bring that"),
        (repository(OLD, system_identifier=1), 7711, "BOOTSTRAP_FROM_S3=true, without a clone"),
        (repository(OLD, system_identifier=7711), 7711, "BOOTSTRAP_FROM_S3=true, without a clone"),
    ],
)
def test_anothers_prefix_is_refused(found, source, way_out):
    """Two histories would lie in one place; a clone that lived has the identifier of its source."""
    expected = f"'my-cluster' holds what cluster {found.system_identifier} archived; .*{way_out}"
    with pytest.raises(FoundingError, match=expected):
        _refuse_foreign(found, settings(**S3), but=source)


# --- the whole way, with programs that only play along -----------------------------------------

PGBACKREST = """#!/bin/sh
echo "$*" >> {told}
case "$*" in
info*clone.conf*) cat {here}/source.json ;;
info*) cat {here}/own.json ;;
restore*)
    [ -z "$(ls -A {data})" ] || {{ echo 'ERROR: [040]: not empty'; exit 40; }}
    echo "$*" | sed 's/.*--set=\\([a-z]*\\).*/\\1/' > {data}/label
    mkdir {data}/base
    touch {data}/recovery.signal
    echo "recovery_target = 'x'" > {data}/postgresql.auto.conf ;;
esac
"""
POSTGRES = """#!/bin/sh
echo "postgres $*" >> {told}
words=$(sed -n "s/^$(cat {data}/label) //p" {here}/ends)
[ -z "$words" ] || {{ echo "FATAL:  $words" >&2; exit 1; }}
rm {data}/recovery.signal
trap 'exit 0' INT
sleep 5 & wait
"""
CONTROLDATA = """#!/bin/sh
echo "Database cluster state:               in production"
"""
INITDB = """#!/bin/sh
echo "initdb $*" >> {told}
"""


def told_of(found, code=0):
    """Return what `info` prints of a repository."""
    backups = [
        {
            "label": one.label,
            "type": one.kind,
            "archive": {"start": f"{one.timeline:08X}" + "0" * 16, "stop": ""},
            "timestamp": {"stop": one.stopped_at},
            "lsn": {"start": f"0/{one.start_lsn:X}", "stop": f"0/{one.stop_lsn:X}"},
            "info": {"size": one.size},
            "database": {"id": 1},
        }
        for one in found.backups
    ]
    known = {"id": 1, "system-id": found.system_identifier, "version": found.pgversion}
    databases = [known] if found.system_identifier else []
    status = {"code": code, "message": "other" if code else "ok"}
    return json.dumps([{"status": status, "db": databases, "backup": backups}])


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Return what sets the stage: source, own prefix, and how recovery ends from each backup."""
    here, data, told = tmp_path, tmp_path / "data", tmp_path / "told"
    data.mkdir()
    (here / "bin").mkdir()
    for name, text in (
        ("pgbackrest", PGBACKREST),
        ("postgres", POSTGRES),
        ("pg_controldata", CONTROLDATA),
        ("initdb", INITDB),
    ):
        (here / "bin" / name).write_text(text.format(here=here, data=data, told=told))
        (here / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("SCOPE", "my-cluster")
    monkeypatch.setattr(program, "LOG", here / "recovery.log")
    monkeypatch.setattr(program, "LOOK_EVERY_S", 0.002)
    monkeypatch.setattr(program, "CONFIG", here / "patroni.yml")
    (here / "patroni.yml").write_text("bootstrap: {initdb: [{encoding: UTF8}, data-checksums]}")
    empty = repository(system_identifier=None, pgversion=None)

    def give(source=FOUND, own=empty, ends=""):
        (here / "source.json").write_text(told_of(source))
        (here / "own.json").write_text(told_of(own))
        (here / "ends").write_text(ends)
        return settings(**S3, **CLONE, PGDATA=str(data)), data, told

    return give


def restored(told):
    """Return the labels of what was restored, in order."""
    lines = told.read_text().splitlines() if told.exists() else []
    return [x.split("--set=")[1].split()[0] for x in lines if x.startswith("restore")]


def test_a_clone_archives_nothing_before_it_is_accepted(stage):
    """The source is only read: `info` and `restore`."""
    given, data, told = stage()
    clone_cluster(given, clone("xid", "744"))
    assert restored(told) == ["new"]
    lines = told.read_text().splitlines()
    (started,) = [x for x in lines if x.startswith("postgres")]
    assert {x.split()[0] for x in lines if x != started and "clone.conf" in x} == {
        "info",
        "restore",
    }
    fetch = (
        "--restore_command=pgbackrest archive-get --config=/run/spilo/clone.conf --stanza=source"
    )
    assert fetch in started
    assert started.count("clone.conf") == 1
    assert "--archive_mode=on --archive_command= " in started  # noted, and left to Patroni
    assert "--archive_mode=on" in started
    assert (data / "postgresql.auto.conf").read_text() == ""


def test_from_a_backup_that_is_too_new_it_goes_to_an_older_one(stage):
    """Both ways to be too new: after the target, and around it."""
    after, around, _ = NOT_FROM_THIS_BACKUP
    given, data, told = stage(ends=f"new {after}\nmiddle {around}\n")
    clone_cluster(given, clone("name", "before-x"))
    assert restored(told) == ["new", "middle", "old"]
    assert (data / "label").read_text() == "old\n"


def test_a_target_that_is_never_reached_leaves_nothing(stage):
    given, data, told = stage(
        ends="".join(f"{x} {NOT_FROM_THIS_BACKUP[0]}\n" for x in ("new", "middle", "old"))
    )
    with pytest.raises(FoundingError, match="target name before-x was never reached"):
        clone_cluster(given, clone("name", "before-x"))
    assert restored(told) == ["new", "middle", "old"]
    assert list(data.iterdir()) == []


def test_a_broken_recovery_is_told_and_not_tried_elsewhere(stage):
    """An older backup would only hide that the newer one is broken."""
    given, _, told = stage(ends="new could not locate a valid checkpoint record\n")
    with pytest.raises(FoundingError, match="recovery failed: FATAL:  could not locate"):
        clone_cluster(given, clone("name", "before-x"))
    assert restored(told) == ["new"]


@pytest.mark.parametrize(
    ("source", "own", "why"),
    [
        (repository(OLD, pgversion="15"), None, "is of PostgreSQL 15; expected 17"),
        (repository(system_identifier=None, pgversion=None), None, "no base backup of 'source'"),
        (FOUND, repository(OLD, system_identifier=1), "holds what cluster 1 archived"),
    ],
)
def test_a_clone_is_refused_before_anything_is_restored(stage, source, own, why):
    given, data, told = stage(source, **({} if own is None else {"own": own}))
    with pytest.raises(FoundingError, match=why):
        clone_cluster(given, clone())
    assert restored(told) == []
    assert list(data.iterdir()) == []


def test_a_source_that_does_not_answer_is_no_empty_one(stage, tmp_path):
    given, _, _ = stage()
    (tmp_path / "source.json").write_text(told_of(FOUND, code=99))
    with pytest.raises(BackupError, match="other"):
        clone_cluster(given, clone())


def test_a_lost_cluster_comes_back_from_its_newest(stage):
    given, data, told = stage(own=FOUND)
    bring_back(given)
    assert restored(told) == ["new"]
    assert not (data / "recovery.signal").exists()
    assert "clone.conf" not in told.read_text()


def test_a_cluster_that_s3_never_heard_of_is_made(stage):
    """By the options that Patroni would have used."""
    given, data, told = stage()
    bring_back(given)
    lines = told.read_text().splitlines()
    made = f"initdb --pgdata={data} --username=postgres --encoding=UTF8 --data-checksums"
    assert lines[1:] == [made]


@pytest.mark.parametrize(
    ("own", "ends", "why"),
    [
        (repository(), "", "holds what cluster 7711 archived; .*no base backup is there"),
        (repository(OLD, pgversion="15"), "", "'my-cluster' is of PostgreSQL 15; expected 17"),
        (FOUND, f"new {NOT_FROM_THIS_BACKUP[2]}\n", "new could not be recovered"),
        (FOUND, "new the database system is broken\n", "recovery failed: FATAL:  the database"),
    ],
)
def test_a_lost_cluster_that_cannot_come_back_is_not_made_anew(stage, own, ends, why):
    """An empty one in its place would be the loss of all data, made official."""
    given, _, told = stage(own=own, ends=ends)
    with pytest.raises(FoundingError, match=why):
        bring_back(given)
    assert "initdb" not in told.read_text()


ENDS = [
    # (what S3 lists as its newest segment, where replay ended, why it is refused)
    ("000000010000000000000008", "1\t0/8000110", None),
    ("000000020000000000000008", "1\t0/5000000\tx\n2\t0/8003A40", None),
    (None, "1\t0/8000110", None),
    ("000000010000000000000009", "1\t0/8000110", "on timeline 1 at 0/8000110"),
    ("000000010000000100000000", "1\t0/FF000110", "000000010000000100000000"),
    # Nothing of a segment was replayed that begins where replay ended.
    ("000000010000000000000009", "1\t0/9000000", "something between is missing"),
    # Without the second timeline's history, replay goes on where nobody lived.
    ("000000020000000000000005", "1\t0/8000110", "on timeline 1"),
]


@pytest.mark.parametrize(("newest", "line", "why"), ENDS)
def test_a_cluster_shorter_than_its_archive_is_refused(tmp_path, newest, line, why):
    """A hole, and a history that is missing, look like the end of the archive to PostgreSQL."""
    wal = tmp_path / "pg_wal"
    wal.mkdir()
    (wal / "00000002.history").write_text("1\t0/1000000\tan older one\n")
    (wal / "00000003.history").write_text(f"{line}\tno recovery target specified\n")
    held = replace(repository(), archived_to=newest)
    if why is None:
        refuse_shorter(held, tmp_path)
        return
    with pytest.raises(FoundingError, match=re.escape(why)):
        refuse_shorter(held, tmp_path)
