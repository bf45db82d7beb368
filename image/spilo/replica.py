"""Makes a replica from S3 instead of from the leader; Patroni runs it first, basebackup after it.

Too much WAL since the last backup would take longer to fetch and replay than a copy of the leader:
past either threshold it leaves the work to the next method. Where nobody leads there is none to
compare with, and no other way.
"""

import sys
from pathlib import Path

from archive import hole
from pgbackrest import Backup, BackupError, log, own
from rest import leader_position
from settings import judged
from storage import Threshold

WHO = "replica"
MEGABYTE = 1 << 20


def why_not(backup: Backup, written: int | None, threshold: Threshold) -> str | None:
    """Return why a replica should not be made from this backup, or None.

    Args:
        backup: the newest.
        written: how far the leader has written; None when nobody leads.
        threshold: how much may be missing from the backup.
    """
    if written is None:
        return None
    behind = written - backup.start_lsn
    if behind > threshold.megabytes * MEGABYTE:
        return f"{behind >> 20} MB of WAL since; expected at most {threshold.megabytes}"
    if behind * 100 > threshold.percentage * backup.size:
        percent = behind * 100 // max(1, backup.size)
        return f"WAL since is {percent} % of its size; expected at most {threshold.percentage}"
    return None


def main() -> int:
    """Restore the newest backup; exit 1 where another method has to do it."""
    try:
        settings = judged()
        assert settings.storage is not None
        found = own().repository()
        if not found.backups:
            log(WHO, "no base backup in S3 yet")
            return 1
        newest = max(found.backups, key=lambda backup: backup.stop_lsn)
        written = leader_position(settings.apiport)
        if reason := why_not(newest, written, settings.storage.threshold):
            log(WHO, f"not from {newest.label}: {reason}")
            return 1
        if written is None and (missing := hole(own(), found, newest)):
            # Whoever is promoted then ends at the hole, and is the cluster from there on.
            log(WHO, f"refused: nobody leads, and {missing} is missing from the archive")
            return 1
        Path(settings.pgdata).mkdir(mode=0o700, parents=True, exist_ok=True)
        log(WHO, f"restoring {newest.label}")
        own().run("restore", f"--set={newest.label}", "--type=standby")
    except BackupError as error:
        log(WHO, f"refused: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
