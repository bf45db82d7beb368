"""Makes a base backup of this node now: `spilo-backup full|incr` for people, and for the keeper."""

import sys
from collections.abc import Sequence

from pgbackrest import Backup, BackupError, log, own
from rest import leads
from settings import Settings, judged

WHO = "backup"
KINDS = ("full", "incr")


def next_kind(backups: Sequence[Backup], incrementals: int) -> str:
    """Return `full` or `incr`: so many incrementals follow each full backup."""
    newest_first = sorted(backups, key=lambda backup: backup.stop_lsn, reverse=True)
    for since, backup in enumerate(newest_first):
        if backup.kind == "full":
            return "incr" if since < incrementals else "full"
    return "full"


def back_up(kind: str) -> Backup:
    """Make a backup, drop those that retention gives up, and return the new one.

    Raises:
        BackupError: when it was not made whole.
    """
    known = {backup.label for backup in own().repository().backups}
    own().run("backup", f"--type={kind}")
    made = [one for one in own().repository().backups if one.label not in known]
    if not made:
        raise BackupError("pgBackRest reports success, but S3 lists no new backup")
    return max(made, key=lambda backup: backup.stop_lsn)


def _refuse_elsewhere(settings: Settings) -> None:
    if settings.storage is None:
        raise BackupError("WAL_S3_BUCKET is not given; there is nowhere to back up to")
    if not leads(settings.apiport):
        raise BackupError("this node does not lead; expected the leader")


def main(arguments: Sequence[str]) -> int:
    """Make one backup; print its label; exit 1 when that cannot be done, 2 on a wrong word."""
    kind = arguments[0] if arguments else "full"
    if kind not in KINDS:
        log(WHO, f"{kind!r}; expected one of {', '.join(KINDS)}")
        return 2
    try:
        _refuse_elsewhere(judged())
        print(back_up(kind).label)
    except BackupError as error:
        log(WHO, f"refused: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
