"""The WAL of a cluster in memory: what was committed, in order, and what a restore brings back."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import md5

from harness.clock import Clock
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import RecoveryTarget

TABLES = ("drill.append", "drill.mark", "drill.probe")
EPOCH_US = 1_795_431_600_000_000  # 2026-11-23 11:00:00 UTC
STEP = 0x40


@dataclass(frozen=True)
class Entry:
    """One record.

    Attributes:
        xid: None of a restore point.
        table: where a row was added; None: nothing was.
        point: the name of a restore point.
    """

    lsn: int
    time_us: int
    xid: int | None = None
    table: str | None = None
    row: str = ""
    point: str | None = None


def show_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def read_lsn(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def show_time(time_us: int) -> str:
    """Return a time as the mark writes it; only what lies within the hour after the epoch."""
    seconds, us = divmod(time_us - EPOCH_US, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    return f"2026-11-23 11:{minutes:02}:{seconds:02}.{us:06}+00"


def read_time(text: str) -> int:
    match = re.fullmatch(r"2026-11-23 11:(\d\d):(\d\d)\.(\d{6})\+00", text)
    assert match, text
    minutes, seconds, us = map(int, match.groups())
    return EPOCH_US + (minutes * 60 + seconds) * 1_000_000 + us


@dataclass
class MemoryWal:
    """What one cluster has written.

    Attributes:
        segment: the number of the one that is written.
        archived: the last that was archived.
        timed: commits have a time.
    """

    clock: Clock
    entries: list[Entry] = field(default_factory=list)
    segment: int = 3
    archived: str | None = None
    timed: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def end(self) -> int:
        return 0x3000028 + STEP * len(self.entries)

    @property
    def now_us(self) -> int:
        # Of the hour alone, however long the machine is up.
        return EPOCH_US + self.clock.now_ns() // 1000 % 3_600_000_000

    def commit(self, table: str | None = None, row: str = "") -> Entry:
        with self.lock:
            made = Entry(self.end, self.now_us, 700 + len(self.entries), table, row)
            self.entries.append(made)
            return made

    def point(self, name: str) -> Entry:
        with self.lock:
            self.entries.append(Entry(self.end, self.now_us, point=name))
            return self.entries[-1]

    def rows(self, table: str) -> Sequence[str]:
        return sorted(one.row for one in self.entries if one.table == table)

    def digest(self, table: str) -> str:
        return md5("".join(self.rows(table)).encode(), usedforsecurity=False).hexdigest()

    def until(self, target: RecoveryTarget) -> "MemoryWal | None":
        """Return what a restore to this target has; None when it never reaches it."""
        with self.lock:
            reached = self._reached(target)
            if reached is None:
                return None
            return replace(self, entries=self.entries[:reached], lock=threading.RLock())

    def _reached(self, target: RecoveryTarget) -> int | None:
        if target.kind == "latest":
            return len(self.entries)
        for i, one in enumerate(self.entries):
            if target.kind == "name" and one.point == target.value:
                return i + 1
            if target.kind == "xid" and one.xid == int(target.value):
                return i + target.inclusive
            if target.kind == "lsn" and one.lsn >= read_lsn(target.value):
                return i + target.inclusive
            if target.kind == "time" and one.xid is not None:
                late = one.time_us - read_time(target.value)
                if late > 0 or (late == 0 and not target.inclusive):
                    return i
        return None

    # --- SQL, as far as verbs speak it -------------------------------------------------------

    def answer(self, sql: str, timeline: int) -> Sequence[Sequence[Json]] | None:
        """Return what the primary answers, or None to what is none of the WAL's business."""
        with self.lock:
            return self._answer(sql, timeline)

    def _answer(self, sql: str, timeline: int) -> Sequence[Sequence[Json]] | None:
        if made := re.match(r"INSERT INTO drill\.mark \(name\) VALUES \('(.*?)'\)", sql):
            return [[str(self.commit("drill.mark", made[1]).xid)]]
        if "FROM pg_class" in sql:
            return [[name] for name in TABLES]
        if "md5(" in sql:
            return [[name, self.digest(name)] for name in re.findall(r"SELECT '([^']+)'", sql)]
        if made := re.search(r"pg_create_restore_point\('(.*?)'\)", sql):
            return [[show_lsn(self.point(made[1]).lsn + STEP)]]
        if made := re.search(r"pg_get_wal_records_info\('(.*?)'", sql):
            if "ABORT" in sql:
                return [["699", "0/3000010", self.now_us]]
            return self._records(read_lsn(made[1]), only_next="LIMIT 1" in sql)
        if "pg_logical_emit_message" in sql:
            self.commit()
            return [["0/0"]]
        return self._told(sql, timeline)

    def _told(self, sql: str, timeline: int) -> Sequence[Sequence[Json]] | None:
        if "clock_timestamp()" in sql:
            return [[show_time(self.now_us), self.now_us]]
        if "pg_sleep(0.002)" in sql:
            self.clock.sleep(0.002)
            return [[None]]
        if "pg_walfile_name" in sql:
            return [[self.segment_name(timeline)]]
        if "pg_switch_wal" in sql:
            self.segment += 1
            return [[show_lsn(self.end)]]
        if "pg_stat_archiver" in sql:
            return [[self.archived or ""]]
        if "pg_current_wal_insert_lsn" in sql:
            return [[show_lsn(self.end)]]
        return [["7300000000000000001"]] if "system_identifier" in sql else None

    def segment_name(self, timeline: int) -> str:
        return f"{timeline:08X}{0:08X}{self.segment:08X}"

    def _records(self, since: int, *, only_next: bool) -> Sequence[Sequence[Json]]:
        found = [one for one in self.entries if one.lsn >= since]
        if not found:
            raise DriverError("22023: WAL start LSN must be less than current LSN")
        if only_next:
            return [[show_lsn(found[0].lsn)]]
        return [
            [str(one.xid), show_lsn(one.lsn), one.time_us if self.timed else None]
            for one in found
            if one.xid is not None
        ]
