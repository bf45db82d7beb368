"""Archives what a lost primary had finished and not archived: its successor has it, too.

A standby marks each segment that it has streamed as archived, whoever archives it: with
`archive_mode` on, PostgreSQL leaves that to the primary. When that one dies before it has, nobody
does, and every backup from before the failover ends at the hole.

Source: PostgreSQL 17, src/backend/replication/walreceiver.c, XLogWalRcvClose.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from archive import SEGMENT_BYTES, forks, listed, segment_number
from pgbackrest import PgBackRest

_SEGMENT = re.compile("[0-9A-F]{24}")


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


def archive_inherited(store: PgBackRest, pgdata: Path, timeline: int) -> list[str]:
    """Archive what is missing, and return it.

    Args:
        store: the cluster's own.
        pgdata: the data directory.
        timeline: the one that this node writes. The newest history in pg_wal is no sign of it:
            during a promotion it is still its predecessor's, which says nothing about the last
            timeline, and then nothing seems to be missing.

    Raises:
        BackupError: when S3 does not answer, or refuses.
        OSError: when pg_wal cannot be read.
    """
    wal = pgdata / "pg_wal"
    if timeline == 1:
        return []  # the first timeline was left by nobody
    left = forks((wal / f"{timeline:08X}.history").read_text())
    lacking = missing((path.name for path in wal.iterdir()), listed(store).segments, left)
    for name in lacking:
        store.run("archive-push", str(wal / name), "--no-archive-async")
    return lacking
