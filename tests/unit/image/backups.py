"""Backups as S3 lists them, for the tests of what is decided by them."""

from pgbackrest import Backup, Repository

GIGABYTE = 1 << 30


def backup(
    label: str,
    stopped_at: int,
    stop_lsn: int,
    *,
    kind: str = "full",
    timeline: int = 1,
    size: int = GIGABYTE,
) -> Backup:
    """Return a backup that began 100 bytes of WAL before it ended."""
    return Backup(label, kind, timeline, stopped_at, stop_lsn - 100, stop_lsn, size)


def repository(
    *backups: Backup, system_identifier: int | None = 7711, pgversion: str | None = "17"
) -> Repository:
    """Return what S3 holds of a cluster that has these backups."""
    return Repository(system_identifier, pgversion, backups)
