"""Makes the first node of a cluster from S3; Patroni runs it where no cluster is known yet.

With CLONE_SCOPE from another cluster's backups, at the state that CLONE_TARGET_* names. With
BOOTSTRAP_FROM_S3=true from this cluster's own, when all machines and the DCS were lost; where S3
holds nothing of it either, it is a new one. The recovery runs here, to its end: what Patroni takes
over has reached its target, or nothing is there to take over.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import yaml
from archive import SEGMENT_BYTES, forks, hole, segment_number
from configure import CONFIG, SOURCE_STORE
from pgbackrest import Backup, BackupError, PgBackRest, Repository, log, own
from settings import Settings, judged
from storage import Clone, lsn_as_number

WHO = "found"
LOG = Path("/run/spilo/recovery.log")
LOOK_EVERY_S = 0.05
# From another backup the target may be reached all the same.
NOT_FROM_THIS_BACKUP = (
    "recovery ended before configured recovery target was reached",  # the backup is newer, too
    "requested recovery stop point is before consistent recovery point",  # within the backup
    "is not a child of this server's history",  # the backup is of another branch
)


class FoundingError(Exception):
    """No cluster can be made; says why."""


def candidates(clone: Clone, found: Repository) -> Sequence[Backup]:
    """Return the backups from which the target can be reached, the best first.

    A time and an LSN tell which one ended before them; of a time, what ended in the same second is
    in doubt, so the one before it comes second. A transaction or a restore point may lie before or
    behind any backup, so all are tried, the newest first: from one that is too new, PostgreSQL 13
    and later end without a cluster rather than with a longer one.

    Raises:
        FoundingError: when there is none.
    """
    newest_first = sorted(found.backups, key=lambda backup: backup.stop_lsn, reverse=True)
    if clone.timeline.isdigit():
        # Branches have higher numbers than what they part from.
        newest_first = [one for one in newest_first if one.timeline <= int(clone.timeline)]
    if not newest_first:
        on = f" on timeline {clone.timeline} or below" if clone.timeline.isdigit() else ""
        raise FoundingError(f"no base backup of {clone.source.scope!r} in {_where(clone)}{on}")
    if clone.kind == "time":
        until = datetime.fromisoformat(clone.target).timestamp()
        fitting = [one for one in newest_first if one.stopped_at < until]
        doubtful = sum(until < one.stopped_at + 1 for one in fitting)
        fitting = fitting[: doubtful + 1]
    elif clone.kind == "lsn":
        fitting = [one for one in newest_first if one.stop_lsn <= lsn_as_number(clone.target)][:1]
    elif clone.kind == "latest":
        fitting = newest_first[:1]
    else:
        fitting = newest_first
    if not fitting:
        first = newest_first[-1]
        raise FoundingError(
            f"target {clone.kind} {clone.target}: before the first backup, {first.label}, ended"
        )
    return fitting


def target_options(clone: Clone) -> Sequence[str]:
    """Return pgBackRest's options for a recovery target."""
    options = [f"--target-timeline={clone.timeline}"]
    if clone.kind == "latest":
        return options
    options += [f"--type={clone.kind}", f"--target={clone.target}", "--target-action=promote"]
    return options if clone.inclusive else [*options, "--target-exclusive"]


def clone_cluster(settings: Settings, clone: Clone) -> None:
    """Restore another cluster's backup, to its target.

    Raises:
        FoundingError, BackupError: when that cannot be done; nothing is left.
    """
    source = PgBackRest(SOURCE_STORE, clone.source.scope)
    try:
        found = source.repository()
    except BackupError as error:
        place = f"{clone.source.scope!r} in {_where(clone)}"
        raise BackupError(f"{place}: {error}; expected backups that this node may read") from None
    _refuse_foreign(own().repository(), settings, but=found.system_identifier)
    _refuse_version(found, settings, f"{clone.source.scope!r} in {_where(clone)}")
    to_the_end = clone.kind == "latest" and clone.timeline == "latest"
    for backup in candidates(clone, found):
        if to_the_end:
            _refuse_hole(source, found, backup)
        log(WHO, f"restoring {backup.label} of {clone.source.scope} to {clone.kind} {clone.target}")
        source.run("restore", f"--set={backup.label}", *target_options(clone))
        if recovered(settings, source):
            if to_the_end:
                refuse_shorter(found, Path(settings.pgdata))
            return
        log(WHO, f"{clone.kind} {clone.target} was not reached from {backup.label}")
        _clear(Path(settings.pgdata))
    raise FoundingError(
        f"target {clone.kind} {clone.target} was never reached: the archive of "
        f"{clone.source.scope!r} in {_where(clone)} ends before it, or never held it"
    )


def bring_back(settings: Settings) -> None:
    """Restore this cluster's own newest state, or make it if S3 never heard of it.

    Raises:
        FoundingError, BackupError: when that cannot be done.
    """
    found = own().repository()
    if not found.backups:
        _refuse_foreign(found, settings, but=None)
        _initdb(settings)
        return
    _refuse_version(found, settings, repr(settings.scope))
    newest = max(found.backups, key=lambda backup: backup.stop_lsn)
    _refuse_hole(own(), found, newest)
    log(WHO, f"restoring {newest.label}, and all that was archived after it")
    own().run("restore", f"--set={newest.label}", "--target-timeline=latest")
    if not recovered(settings, own()):
        raise FoundingError(f"{newest.label} could not be recovered")
    refuse_shorter(found, Path(settings.pgdata))


def recovered(settings: Settings, source: PgBackRest) -> bool:
    """Recover what was restored, and promote it; return False if the target was never reached.

    Args:
        settings: of the new cluster; only its own archive is written to.
        source: whose archive is read.

    Raises:
        FoundingError: when PostgreSQL ends for another reason, with its own words.
    """
    settings_of_recovery = {
        "listen_addresses": "",
        "port": str(settings.pgport),
        "unix_socket_directories": "/run/spilo",
        # Nobody may look before the target, and no setting of the source's primary is needed then.
        "hot_standby": "off",
        "ssl": "off",
        "logging_collector": "off",
        "log_destination": "stderr",
        "lc_messages": "C",  # read below
        # What is to be archived is noted, and waits for Patroni and post_init: what is refused
        # after all leaves nothing in S3 that the next attempt could follow.
        "archive_mode": "on",
        "archive_command": "",
        "restore_command": restore_command(source),
    }
    options = [f"--{name}={value}" for name, value in settings_of_recovery.items()]
    with LOG.open("wb") as told:
        command = ["postgres", "-D", settings.pgdata, *options]
        # With what pgBackRest says to it.
        postgres = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
    # Not pg_ctl --wait: it takes a server that still recovers, and lets nobody in, for a ready one.
    while not _is_promoted(settings):
        if postgres.poll() is not None:
            return _why_it_ended(LOG.read_text(errors="replace"))
        time.sleep(LOOK_EVERY_S)
    postgres.send_signal(signal.SIGINT)  # a fast shutdown
    postgres.wait()
    _forget_target(Path(settings.pgdata) / "postgresql.auto.conf")
    return True


def _refuse_hole(store: PgBackRest, found: Repository, backup: Backup) -> None:
    """Refuse before anything is restored: what is promoted also archives, and is followed then."""
    if missing := hole(store, found, backup):
        raise FoundingError(
            f"between {backup.label} and the end of the archive, {found.archived_to}, {missing} is "
            "missing; name a target before it to do without the rest"
        )


def refuse_shorter(found: Repository, pgdata: Path) -> None:
    """Refuse what was recovered if the archive goes on behind it.

    To PostgreSQL a segment that is missing, or a timeline's history, is the end of the archive.

    Args:
        found: what S3 held before the recovery began.
        pgdata: of what was recovered; its newest timeline begins where replay ended.

    Raises:
        FoundingError: when something between is missing.
    """
    if found.archived_to is None:
        return
    newest = max((pgdata / "pg_wal").glob("????????.history"))
    timeline, ended = max(forks(newest.read_text()).items())
    goes_on = segment_number(found.archived_to) * SEGMENT_BYTES >= ended
    if goes_on or int(found.archived_to[:8], 16) != timeline:
        raise FoundingError(
            f"replay ended on timeline {timeline} at {ended >> 32:X}/{ended & 0xFFFFFFFF:X}, but "
            f"the archive goes on to segment {found.archived_to}: something between is missing; "
            "name a target before it to do without the rest"
        )


def _is_promoted(settings: Settings) -> bool:
    """Return whether recovery has ended in a new timeline that takes writes.

    PostgreSQL removes the request for recovery first, and changes the control file's state last;
    before both, a restored control file still has the state of the primary that it was copied from.
    """
    if (Path(settings.pgdata) / "recovery.signal").exists():
        return False
    told = subprocess.run(
        ["pg_controldata", settings.pgdata],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout
    return re.search(r"^Database cluster state:\s*in production$", told, re.MULTILINE) is not None


def _why_it_ended(told: str) -> bool:
    """Return False if the target cannot be reached from this backup; anything else is an error."""
    fatal = [line for line in told.splitlines() if re.search("FATAL|PANIC|ERROR", line)]
    for line in fatal:
        if any(words in line for words in NOT_FROM_THIS_BACKUP):
            log(WHO, line)
            return False
    raise FoundingError(f"recovery failed: {'; '.join(fatal[-3:]) or told[-500:]}")


def restore_command(source: PgBackRest) -> str:
    """Return what fetches a segment, and ends recovery where S3 fails, refuses or holds garbage.

    PostgreSQL takes any exit up to 125 for the end of the archive, and would promote what is only
    half recovered. pgBackRest's is 1 where the archive has no such file, another where it cannot
    tell. Source: PostgreSQL 17, xlogarchive.c, RestoreArchivedFile.
    """
    words = ["pgbackrest", "archive-get", f"--config={source.config}", f"--stanza={source.stanza}"]
    return " ".join([*words, '%f "%p"', "|| { test $? -eq 1 && exit 1; exit 255; }"])


def _forget_target(path: Path) -> None:
    """Drop pgBackRest's settings: as a replica, this node would stop at the same target again."""
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not re.match("recovery_target|restore_command", line)]
    path.write_text("".join(kept))


def _refuse_foreign(found: Repository, settings: Settings, *, but: int | None) -> None:
    """Refuse a prefix that another cluster archived to: two histories would lie in one place.

    `but` is the system identifier of a clone's source: an attempt that failed leaves it there.
    """
    ours = found.system_identifier == but and not found.backups
    if found.system_identifier is not None and not ours:
        way_back = "BOOTSTRAP_FROM_S3=true, without a clone, brings that cluster back"
        raise FoundingError(
            f"the prefix of {settings.scope!r} holds what cluster {found.system_identifier} "
            "archived; expected an empty one: choose another SCOPE; "
            + (way_back if found.backups else "no base backup is there to bring that cluster back")
        )


def _refuse_version(found: Repository, settings: Settings, where: str) -> None:
    if found.pgversion not in (None, settings.pgversion):
        raise FoundingError(
            f"{where} is of PostgreSQL {found.pgversion}; expected {settings.pgversion}"
        )


def _initdb(settings: Settings) -> None:
    """Make a new cluster as Patroni would, by the same options."""
    options = []
    for option in yaml.safe_load(CONFIG.read_text())["bootstrap"]["initdb"]:
        pairs = option.items() if isinstance(option, dict) else [(option, None)]
        options += [f"--{key}" if value is None else f"--{key}={value}" for key, value in pairs]
    words = ["initdb", f"--pgdata={settings.pgdata}", f"--username={settings.superuser.username}"]
    subprocess.run([*words, *options], check=True)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _where(clone: Clone) -> str:
    return f"s3://{clone.source.bucket}{clone.source.path}"


def main() -> int:
    """Make the cluster's first node; exit 1 when it cannot be.

    Patroni moves away what is left then, to `<data directory>.failed`.
    """
    try:
        settings = judged()
        assert settings.storage is not None
        Path(settings.pgdata).mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.storage.clone is not None:
            clone_cluster(settings, settings.storage.clone)
        else:
            bring_back(settings)
    except (FoundingError, BackupError) as error:
        log(WHO, f"refused: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
