"""Keeps what Patroni does not: base backups on schedule, what a lost primary left, certificates.

Runs on every node beside Patroni. Backups are made by the one that leads when they are due; the
first one as soon as there is a leader and S3 holds none.
"""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from backup import back_up, next_kind
from certificates import SEAL, files_of, seal_of
from croniter import croniter
from inherited import archive_inherited
from pgbackrest import Backup, BackupError, log, own
from rest import leads, written_timeline
from settings import Settings, judged
from storage import Schedule

WHO = "keeper"
# Each look is a TLS handshake with Patroni, on every node: once a second it was 3 % of a small
# cluster's CPU time. What is due may be three seconds late.
PAUSE_S = 3.0
AGAIN_AFTER_S = 10.0
LOOK_AT_CERTIFICATES_S = 5.0
PATRONI_PID = Path("/run/spilo/patroni.pid")


@dataclass
class Diary:
    """When S3 is to be looked at, and whether it lacks a backup. Told the time, touches nothing.

    What is due stays due until this node leads or has seen it done: a tick that falls into a
    failover is the next leader's. Times are seconds since 1970, UTC.
    """

    schedule: Schedule
    due_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether the leader is to look now."""
        return now >= self.due_at

    def lacks(self, backups: Sequence[Backup], now: float) -> bool:
        """Return whether no backup has ended since the last tick, or none is there at all.

        A tick that came while one was made is not made up for.
        """
        # The next one before, so a microsecond lets one that is now be the last.
        tick: float = self._ticks(now + 1e-6).get_prev(float)
        return all(backup.stopped_at < tick for backup in backups)

    def done(self, now: float) -> None:
        """Note that there is a backup."""
        self.due_at = self._ticks(now).get_next(float)

    def failed(self, now: float) -> None:
        """Note that none could be made, or that S3 could not be asked."""
        self.due_at = now + AGAIN_AFTER_S

    def _ticks(self, now: float) -> croniter:
        return croniter(self.schedule.cron, datetime.fromtimestamp(now, UTC))


@dataclass
class Legacy:
    """Whether what the last primary left is still to be archived; once for each timeline."""

    seen_to: int = 0
    not_before: float = 0.0

    def is_due(self, now: float, timeline: int) -> bool:
        """Return whether to look at it now; `timeline` is the one that this node writes."""
        return timeline != self.seen_to and now >= self.not_before

    def done(self, timeline: int) -> None:
        """Note that nothing of what came before this timeline is missing any more."""
        self.seen_to = timeline

    def failed(self, now: float) -> None:
        """Note that S3 did not take it; it is tried again."""
        self.not_before = now + AGAIN_AFTER_S


@dataclass
class Seals:
    """Whether the certificates are still those that Patroni read.

    That is not those that the keeper found: it comes seconds after Patroni, on a busy machine many,
    and would take what was renewed meanwhile for what is shown. After a start of its own it may
    reload for nothing.

    Attributes:
        seen: the seal from before Patroni's start, then of each change.
    """

    files: tuple[Path, ...]
    seen: str

    def have_changed(self) -> bool:
        """Return whether a file has another content than at the last call.

        While one is being replaced it may be away for a moment; that is no new certificate yet.
        """
        now = seal_of(self.files)
        if now in {"", self.seen}:
            return False
        self.seen = now
        return True


def keep(settings: Settings) -> NoReturn:
    """Do what is due, for ever."""
    seals = Seals(files_of(settings.tls, settings.restapi_tls), SEAL.read_text())
    diary = Diary(settings.storage.schedule) if settings.storage else None
    legacy = Legacy()
    looked_at = 0.0
    while True:
        time.sleep(PAUSE_S)
        now = time.time()
        if now - looked_at >= LOOK_AT_CERTIFICATES_S:
            looked_at = now
            if seals.have_changed():
                _reload()
        if diary is None:
            continue
        timeline = written_timeline(settings.apiport)
        if timeline is None:
            continue
        if legacy.is_due(now, timeline):
            _take_over(legacy, settings, timeline)
        if diary.is_due(now) and leads(settings.apiport):
            _look_into(diary)


def _take_over(legacy: Legacy, settings: Settings, timeline: int) -> None:
    try:
        archived = archive_inherited(own(), Path(settings.pgdata), timeline)
    except (BackupError, OSError) as error:
        log(WHO, f"what the last primary left is not archived: {error}")
        legacy.failed(time.time())
        return
    if archived:
        log(WHO, f"archived what the last primary had not: {', '.join(archived)}")
    legacy.done(timeline)


def _look_into(diary: Diary) -> None:
    try:
        backups = own().repository().backups
        if diary.lacks(backups, time.time()):
            kind = next_kind(backups, diary.schedule.incrementals)
            log(WHO, f"making a backup, {kind}")
            made = back_up(kind)
            log(WHO, f"made {made.label}, {made.size >> 20} MB")
        diary.done(time.time())
    except BackupError as error:
        log(WHO, f"no backup: {error}")
        diary.failed(time.time())


def _reload() -> None:
    """Let Patroni read its certificate again, and PostgreSQL through it."""
    try:
        os.kill(int(PATRONI_PID.read_text()), signal.SIGHUP)
    except (OSError, ValueError):
        return  # it is not running, and reads them when it starts
    log(WHO, "the certificates have changed; reloading")


if __name__ == "__main__":
    keep(judged())
