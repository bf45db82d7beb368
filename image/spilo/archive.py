"""The WAL archive of one cluster as S3 lists it, and whether replay can go through it to its end.

To PostgreSQL a segment that is missing, or a timeline's history, is the end of the archive: what
comes of it is shorter than what was archived, and says nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgbackrest import Backup, PgBackRest, Repository
from storage import lsn_as_number

SEGMENT_BYTES = 16 << 20  # initdb's default, which patroni.yml.j2 leaves alone
_SEGMENT = re.compile("([0-9A-F]{24})-[0-9a-f]{40}")
_HISTORY = re.compile(r"^(\S*([0-9A-F]{8})\.history)\S*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Archive:
    """What S3 lists.

    Attributes:
        segments: names of whole segments, 24 hexadecimal digits.
        histories: where the history of each timeline is, below the repository.
    """

    segments: frozenset[str]
    histories: Mapping[int, str]


def listed(store: PgBackRest) -> Archive:
    """Return what the archive holds.

    Raises:
        BackupError: when S3 does not answer, or refuses.
    """
    folder = f"archive/{store.stanza}"
    told = store.run("repo-ls", folder, "--recurse")
    return Archive(
        segments=frozenset(_SEGMENT.findall(told)),
        histories={int(tli, 16): f"{folder}/{path}" for path, tli in _HISTORY.findall(told)},
    )


def forks(history: str) -> dict[int, int]:
    """Return where each older timeline was left, in bytes, from the text of a `.history` file."""
    lines = (line.split() for line in history.splitlines() if line.strip() and line[0] != "#")
    return {int(words[0]): lsn_as_number(words[1]) for words in lines if len(words) > 1}


def segment_number(segment: str) -> int:
    """Return which segment it is, counted from the beginning of the WAL."""
    return int(segment[8:16], 16) << 8 | int(segment[16:24], 16)


def needed(first: int, newest: str, left: Mapping[int, int]) -> Iterator[str]:
    """Yield the segments from number `first` to `newest`, each on the timeline that has it whole.

    Args:
        first: of the backup's beginning.
        newest: the name of the last one; its timeline is the one to arrive at.
        left: where that timeline's ancestors were left (`forks`).
    """
    arrive = int(newest[:8], 16)
    for number in range(first, segment_number(newest) + 1):
        end = (number + 1) * SEGMENT_BYTES
        timeline = next((tli for tli in sorted(left) if left[tli] >= end), arrive)
        yield f"{timeline:08X}{number >> 8:08X}{number & 0xFF:08X}"


def hole(store: PgBackRest, found: Repository, backup: Backup) -> str | None:
    """Return what is missing between a backup and the end of the archive, or None.

    Raises:
        BackupError: when S3 does not answer, or refuses.
    """
    newest = found.archived_to
    if newest is None:
        return None  # without any WAL the backup itself cannot be recovered, and says so
    archive = listed(store)
    timeline = int(newest[:8], 16)
    left: Mapping[int, int] = {}
    if timeline > 1:
        if timeline not in archive.histories:
            return f"{timeline:08X}.history"
        left = forks(store.run("repo-get", archive.histories[timeline]))
    first = backup.start_lsn // SEGMENT_BYTES
    return next((one for one in needed(first, newest, left) if one not in archive.segments), None)
