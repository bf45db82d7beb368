"""Archives what a lost primary had finished and not archived: its successor has it, too.

A standby marks each segment that it has streamed as archived, whoever archives it: with
`archive_mode` on, PostgreSQL leaves that to the primary. When that one dies before it has, nobody
does, and every backup from before the failover ends at the hole.

Source: PostgreSQL 17, src/backend/replication/walreceiver.c, XLogWalRcvClose.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from pgbackrest import PgBackRest
from storage import lsn_as_number

SEGMENT_BYTES = 16 << 20  # initdb's default, which patroni.yml.j2 leaves alone
_SEGMENT = re.compile("[0-9A-F]{24}")
_ARCHIVED = re.compile("([0-9A-F]{24})-[0-9a-f]{40}")


def forks(history: str) -> dict[int, int]:
    """Return where each older timeline was left, in bytes, from the text of a `.history` file."""
    lines = (line.split() for line in history.splitlines() if line.strip() and line[0] != "#")
    return {int(words[0]): lsn_as_number(words[1]) for words in lines if len(words) > 1}


def missing(present: Iterable[str], archived: Collection[str], left: dict[int, int]) -> list[str]:
    """Return the finished segments of older timelines that the archive lacks, oldest first.

    Args:
        present: names in pg_wal.
        archived: segments in S3. Those before the oldest one were given up on purpose.
        left: where each older timeline was left (`forks`); what lies behind is on no branch.
    """
    if not archived:
        return []
    oldest = min(segment_number(name) for name in archived)
    finished = [
        name
        for name in present
        if _SEGMENT.fullmatch(name)
        and int(name[:8], 16) in left
        and (segment_number(name) + 1) * SEGMENT_BYTES <= left[int(name[:8], 16)]
        and segment_number(name) > oldest
    ]
    return sorted(name for name in finished if name not in archived)


def segment_number(segment: str) -> int:
    """Return which segment it is, counted from the beginning of the WAL."""
    return int(segment[8:16], 16) << 8 | int(segment[16:24], 16)


def archive_inherited(store: PgBackRest, pgdata: Path) -> list[str]:
    """Archive what is missing, and return it.

    Raises:
        BackupError: when S3 does not answer, or refuses.
        OSError: when pg_wal cannot be read.
    """
    wal = pgdata / "pg_wal"
    histories = sorted(wal.glob("????????.history"))
    if not histories:
        return []  # the first timeline was left by nobody
    left = forks(histories[-1].read_text())
    listed = store.run("repo-ls", f"archive/{store.stanza}", "--recurse")
    archived = {match[1] for match in _ARCHIVED.finditer(listed)}
    lacking = missing((path.name for path in wal.iterdir()), archived, left)
    for name in lacking:
        store.run("archive-push", str(wal / name), "--no-archive-async")
    return lacking
