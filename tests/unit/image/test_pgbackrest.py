"""image/spilo/pgbackrest.py: what a repository says of itself, and pgBackRest of its failures."""

import copy
import json

import pytest
from pgbackrest import (
    Backup,
    BackupError,
    PgBackRest,
    Repository,
    _words,
    one_line,
    own,
    repository_in,
)

# As 2.55.1 prints it, of a cluster with one full backup in S3.
LISTED: dict[str, object] = {
    "archive": {
        "start": "000000010000000000000004",
        "stop": "000000010000000000000006",
    },
    "backrest": {"format": 5, "version": "2.55.1"},
    "database": {"id": 1, "repo-key": 1},
    "error": False,
    "info": {
        "delta": 23456965,
        "repository": {"delta": 2797800, "size": 2797800},
        "size": 23456965,
    },
    "label": "20261123-123027F",
    "lsn": {"start": "0/4000028", "stop": "0/6000050"},
    "prior": None,
    "reference": None,
    "timestamp": {"start": 1795437027, "stop": 1795437029},
    "type": "full",
}
DOCUMENT: dict[str, object] = {
    "archive": [
        {
            "database": {"id": 1, "repo-key": 1},
            "id": "17-1",
            "max": "000000010000000000000006",
            "min": "000000010000000000000001",
        }
    ],
    "backup": [LISTED],
    "cipher": "none",
    "db": [{"id": 1, "repo-key": 1, "system-id": 7711343309471346730, "version": "17"}],
    "name": "drill",
    "repo": [{"cipher": "none", "key": 1, "status": {"code": 0, "message": "ok"}}],
    "status": {"code": 0, "lock": {"backup": {"held": False}}, "message": "ok"},
}
FULL = Backup(
    label="20261123-123027F",
    kind="full",
    timeline=1,
    stopped_at=1795437029,
    start_lsn=0x4000028,
    stop_lsn=0x6000050,
    size=23456965,
)
INCREMENTAL = {
    **LISTED,
    "archive": {"start": "0000000A0000000000000008", "stop": "0000000A0000000000000008"},
    "label": "20261123-123027F_20261123-124500I",
    "lsn": {"start": "1/8000028", "stop": "1/8000138"},
    "prior": "20261123-123027F",
    "reference": ["20261123-123027F"],
    "timestamp": {"start": 1795437900, "stop": 1795437901},
    "type": "incr",
}
NEWEST = "000000010000000000000006"  # segment of the archive


def document(**changes):
    return json.dumps([{**copy.deepcopy(DOCUMENT), **changes}])


def status(code, message):
    return {"code": code, "lock": {"backup": {"held": False}}, "message": message}


def test_a_full_backup():
    assert repository_in(document()) == Repository(7711343309471346730, "17", [FULL], NEWEST)


def test_an_incremental_after_a_failover():
    """A tenth timeline, in hexadecimal; a position beyond 4 GiB."""
    found = repository_in(document(backup=[LISTED, INCREMENTAL]))
    assert found.backups[0] == FULL
    assert found.backups[1] == Backup(
        label="20261123-123027F_20261123-124500I",
        kind="incr",
        timeline=10,
        stopped_at=1795437901,
        start_lsn=0x1_0800_0028,
        stop_lsn=0x1_0800_0138,
        size=23456965,
    )


def test_an_empty_place_is_nobodys():
    """The stanza was never made: neither an identifier nor a backup."""
    missing = {"code": 1, "message": "missing stanza path"}
    empty = document(
        backup=[],
        db=[],
        archive=[],
        status=status(1, "missing stanza path"),
        repo=[{"cipher": "none", "key": 1, "status": missing}],
    )
    assert repository_in(empty) == Repository(None, None, ())
    bare = json.dumps([{"name": "drill", "status": missing}])
    assert repository_in(bare) == Repository(None, None, ())


def test_a_stanza_without_backups_has_an_owner():
    found = repository_in(document(backup=[], status=status(2, "no valid backups")))
    assert found == Repository(7711343309471346730, "17", [], NEWEST)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (99, "other"),
        (3, "missing stanza data"),
        (4, "different across repos"),
        (7, "not yet known"),
    ],
)
def test_a_broken_place_is_no_empty_one(code, message):
    """The planted trap: S3 refuses, and the cluster looks as if it had never been."""
    broken = {"code": code, "message": "[HostConnectError] cannot connect to minio:9000"}
    refused = document(
        backup=[], db=[], status=status(code, message),
        repo=[{"cipher": "none", "key": 1, "status": broken}],
    )  # fmt: skip
    with pytest.raises(BackupError) as caught:
        repository_in(refused)
    assert str(caught.value) == f"{message}; [HostConnectError] cannot connect to minio:9000"


def test_a_backup_with_broken_pages_is_left_out():
    assert not repository_in(document(backup=[{**LISTED, "error": True}])).backups


def test_only_the_newest_databases_backups_count():
    """After pg_upgrade the old ones stay listed, of another version."""
    first = {"id": 1, "repo-key": 1, "system-id": 1, "version": "15"}
    second = {"id": 2, "repo-key": 1, "system-id": 2, "version": "17"}
    newer = {**INCREMENTAL, "database": {"id": 2, "repo-key": 1}}
    found = repository_in(document(db=[first, second], backup=[LISTED, newer]))
    assert (found.system_identifier, found.pgversion) == (2, "17")
    assert [one.label for one in found.backups] == ["20261123-123027F_20261123-124500I"]


@pytest.mark.parametrize("text", ["", "[]", "not json", '[{"name": "a"}]'])
def test_what_is_no_answer_is_no_empty_place(text):
    with pytest.raises((ValueError, KeyError)):
        repository_in(text)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", ""),
        ("P00   WARN: not this\n", ""),
        (
            "2026-11-23 12:30:27.123 P00  ERROR: [037]: backup command requires option: pg1-path\n",
            "[037]: backup command requires option: pg1-path",
        ),
        (
            "2026-11-23 12:30:27.123 P00   WARN: retrying\n"
            "P00  ERROR: [049]: unable to connect to\n"
            "                   minio:9000\n"
            "P00   INFO: archive-push command end: aborted\n",
            "[049]: unable to connect to minio:9000",
        ),
        ("P01  ERROR: [1]: a\nP00  ERROR: [2]: b\n", "[1]: a [2]: b"),
        ("    an orphan of no error\n", ""),
    ],
)
def test_its_complaint_without_times_and_levels(output, words):
    assert _words(output) == words


def test_its_complaint_has_an_end():
    assert len(_words("ERROR: [1]: " + "x" * 5000)) == 1000


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return what puts a pgbackrest on the PATH that tells how it was called and ends as asked."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "pgbackrest"

    def ends(code, says=""):
        path.write_text(f"#!/bin/sh\necho \"$*\"\nprintf '%s' '{says}'\nexit {code}\n")
        path.chmod(0o755)

    return ends


def test_commands_name_configuration_and_stanza(program, monkeypatch):
    program(0)
    monkeypatch.setenv("SCOPE", "my-cluster")
    words = "backup --config=/run/spilo/pgbackrest.conf --stanza=my-cluster --type=full\n"
    assert own().run("backup", "--type=full") == words


@pytest.mark.parametrize(
    ("says", "words"),
    [("P00  ERROR: [082]: WAL is away", r"\[082\]: WAL is away"), ("", "exit 82")],
)
def test_a_failure_carries_its_own_words(program, tmp_path, says, words):
    program(82, says)
    with pytest.raises(BackupError, match=f"^{words}$"):
        PgBackRest(tmp_path / "x.conf", "x").repository()


REFUSED = """[ProtocolError] HTTP request failed with 403 (Forbidden):
*** Path/Query ***:
GET /spilo/?delimiter=%2F&list-type=2&prefix=spilo%2Fdrill%2Fbackup%2F
*** Request Headers ***:
authorization: <redacted>
*** Response Content ***:
<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>Check your key.</Message></Error>"""


def test_a_refusal_of_s3_is_one_line_with_s3s_own_words():
    """Whoever looks for the line that says why gets the reason with it."""
    said = "[ProtocolError] HTTP request failed with 403 (Forbidden): SignatureDoesNotMatch: Check"
    assert one_line(REFUSED) == f"{said} your key."
    assert one_line("[E] no:\n    [E] on 9 retries: no") == "[E] no: [E] on 9 retries: no"
    broken = {"code": 99, "message": REFUSED}
    refused = document(backup=[], db=[], status=status(99, "other"), repo=[{"status": broken}])
    with pytest.raises(BackupError, match=r"^other; .*Check your key\.$"):
        repository_in(refused)
