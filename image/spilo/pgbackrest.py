"""pgBackRest as this image calls it, and what it says of a repository.

Source: pgBackRest user guide, "Information" and "Restore"; command/info in its source, 2.55.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from storage import lsn_as_number


class _Lsns(TypedDict):
    start: str
    stop: str


class _Segments(TypedDict):
    start: str
    stop: str


class _Status(TypedDict):
    code: int
    message: str


class _Backup(TypedDict):
    label: str
    type: str
    archive: _Segments
    error: NotRequired[bool]
    timestamp: dict[str, int]
    lsn: _Lsns
    info: dict[str, int]
    database: dict[str, int]


class _Archive(TypedDict):
    max: str | None
    database: dict[str, int]


class _Repo(TypedDict):
    status: _Status


class _Stanza(TypedDict):
    status: _Status
    repo: NotRequired[list[_Repo]]
    db: NotRequired[list[dict[str, int | str]]]
    archive: NotRequired[list[_Archive]]
    backup: NotRequired[list[_Backup]]


class BackupError(Exception):
    """pgBackRest, or S3 behind it, refused; carries its own words."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One base backup.

    Attributes:
        label: pgBackRest's name of it: `20261123-100000F`, of an incremental `..F_...I`.
        timeline: that it was made on.
        stopped_at: seconds since 1970, when the last of its files was copied.
        stop_lsn: in bytes; only from here on the restored data is consistent.
        size: of the database when it was made, in bytes.
    """

    label: str
    kind: str
    timeline: int
    stopped_at: int
    start_lsn: int
    stop_lsn: int
    size: int


@dataclass(frozen=True, slots=True)
class Repository:
    """What S3 holds of one cluster; an empty place has no system identifier and no backup.

    Attributes:
        archived_to: the newest segment in the archive, of the newest timeline.
    """

    system_identifier: int | None
    pgversion: str | None
    backups: Sequence[Backup]
    archived_to: str | None = None


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """Commands for the cluster that a configuration file describes."""

    config: Path
    stanza: str

    def run(self, command: str, *options: str) -> str:
        """Run one command and return what it printed.

        Raises:
            BackupError: with its own words.
        """
        words = ["pgbackrest", command, f"--config={self.config}", f"--stanza={self.stanza}"]
        done = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackupError(_words(done.stdout + done.stderr) or f"exit {done.returncode}")
        return done.stdout

    def repository(self) -> Repository:
        """Return what S3 holds of the cluster.

        Raises:
            BackupError: when S3 does not answer, or refuses.
        """
        return repository_in(self.run("info", "--output=json"))


def repository_in(document: str) -> Repository:
    """Return what `info --output=json` says of one stanza.

    Raises:
        BackupError: when S3 did not answer, or refused.
    """
    [stanza] = cast("list[_Stanza]", json.loads(document))
    # 0 ok, 1 missing path, 2 no backups, 3 missing data, 4 and 5 are of several repositories'
    # differences, 6 no such backup, 99 other: S3 does not answer, refuses, or is not readable.
    code, message = stanza["status"]["code"], stanza["status"]["message"]
    if code not in (0, 1, 2):
        broken = [r["status"]["message"] for r in stanza.get("repo", ()) if r["status"]["code"]]
        raise BackupError("; ".join([message, *map(one_line, broken)]))
    databases = stanza.get("db") or []
    if not databases:
        return Repository(None, None, ())
    newest = databases[-1]
    return Repository(
        system_identifier=int(newest["system-id"]),
        pgversion=str(newest["version"]),
        backups=[
            _backup(found)
            for found in stanza.get("backup", ())
            if not found.get("error") and found["database"]["id"] == newest["id"]
        ],
        archived_to=next(
            (
                found["max"]
                for found in stanza.get("archive", ())
                if found["database"]["id"] == newest["id"]
            ),
            None,
        ),
    )


def _backup(found: _Backup) -> Backup:
    return Backup(
        label=found["label"],
        kind=found["type"],
        timeline=int(found["archive"]["start"][:8], 16),
        stopped_at=found["timestamp"]["stop"],
        start_lsn=lsn_as_number(found["lsn"]["start"]),
        stop_lsn=lsn_as_number(found["lsn"]["stop"]),
        size=found["info"]["size"],
    )


def _words(output: str) -> str:
    """Return pgBackRest's complaint without its times and levels."""
    kept: list[str] = []
    for line in output.splitlines():
        _, found, text = line.partition("ERROR: ")
        if found or (kept and line.startswith(" ")):
            kept.append(text.strip() if found else line.strip())
    return one_line("\n".join(kept))[:1000]


def one_line(said: str) -> str:
    """Return pgBackRest's words on one line; where S3 refused a request, S3's instead of both's.

    pgBackRest shows the whole of the two, line by line, each header of it.
    """
    if answer := re.search("<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", said, re.DOTALL):
        return f"{said.splitlines()[0].rstrip(':')}: {answer[1]}: {answer[2]}"
    return " ".join(said.split())


def own() -> PgBackRest:
    """Return the way to this cluster's own backups."""
    return PgBackRest(Path("/run/spilo/pgbackrest.conf"), os.environ["SCOPE"])


def log(who: str, line: str) -> None:
    """Tell the container's log."""
    print(f"{who}: {line}", file=sys.stderr, flush=True)
