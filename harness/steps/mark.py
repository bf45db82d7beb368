"""`mark`: a point in the WAL to which a cluster can be restored, and what it held there."""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from harness import contents
from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.protocols import Driver, World
from harness.registry import register
from harness.scenario import EXPECTED, Model, Target

# A restore point's name has at most 63 characters: PostgreSQL, MAXFNAMELEN.
_POINT = r"^(?=.{1,63}$)[a-z0-9]+(?:-[a-z0-9]+)*$"
_POINT_WORDS = "lower-case words joined by '-', at most 63 characters"


def _point(value: object) -> str:
    """Return the name of a mark; written alone, it is told here what is wrong with it."""
    if not isinstance(value, str) or not re.search(_POINT, value):
        raise ValueError(f"found {value!r}; expected {_POINT_WORDS}")
    return value


PointName: TypeAlias = Annotated[
    str,
    BeforeValidator(_point),
    Field(json_schema_extra={"pattern": _POINT, EXPECTED: _POINT_WORDS}),
]
_DEADLINE_S = 10.0
# Commits on either side of a mark under load, and how long they are waited for: without load
# there are none.
_COMMITS = 20
_COMMITS_S = 5.0

_ROW = "INSERT INTO drill.mark (name) VALUES ({name}) RETURNING pg_current_xact_id()::text"
_NOW = (
    "SELECT to_char(now.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00',"
    " (extract(epoch FROM now.at) * 1000000)::bigint FROM clock_timestamp() AS now (at)"
)
_COMMITTED = (
    "SELECT xid::text, start_lsn::text,"
    " (extract(epoch FROM pg_xact_commit_timestamp(xid)) * 1000000)::bigint"
    " FROM pg_get_wal_records_info({since}, pg_current_wal_flush_lsn())"
    " WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%' ORDER BY start_lsn"
)
# Replay by time stops at the end of an aborted transaction, too; only the WAL has its time.
_ABORTED = (
    "SET TimeZone TO 'UTC'; SELECT xid::text, start_lsn::text,"
    " (extract(epoch FROM substring(description FROM '[0-9]{{4}}-[0-9-]+ [0-9:.]+')::timestamp)"
    " * 1000000)::bigint FROM pg_get_wal_records_info({since}, pg_current_wal_flush_lsn())"
    " WHERE resource_manager = 'Transaction' AND record_type LIKE 'ABORT%' ORDER BY start_lsn"
)
_NEXT = (
    "SELECT start_lsn::text FROM pg_get_wal_records_info({since}, pg_current_wal_flush_lsn())"
    " ORDER BY start_lsn LIMIT 1"
)


@register
class Mark(Model):
    """Mark a moment in every way that a restore can name: time, LSN, transaction and restore point.

    While the clients are held, all four name the same state, of which a digest of each table is
    recorded. Under load (`held: false`) each names another moment; the ends of the transactions
    around it are recorded instead, in the order of the WAL, each with the time by which a restore
    goes.

    Attributes:
        point: what `restore` calls it, and the name of the restore point; written alone:
            `mark: before`.
        held: let no client write meanwhile.

    Example:
        mark: {point: under-load, held: false}
    """

    name: ClassVar[str] = "mark"

    point: PointName
    held: bool = True

    @model_validator(mode="before")
    @classmethod
    def _scalar(cls, value: object) -> object:
        return value if isinstance(value, Mapping) else {"point": value}

    def perform(self, world: World) -> Mapping[str, Json]:
        leader = world.resolve(Target(role="leader"))[0]
        server = _Server(world.driver, leader)
        facts: Mapping[str, Json] = {
            "nodes": [leader],
            "mark": self.point,
            "held": self.held,
            "tli": contents.timeline(world.driver, leader),
            "system_identifier": contents.system_identifier(world.driver, leader),
        }
        since = server.position()
        if not self.held:
            _await_commits(world, server, since)
        with world.held() if self.held else nullcontext():
            made = self._make(world, server)
        if not self.held:
            _await_commits(world, server, str(made["restore_lsn"]))
            made |= {
                "commits": _ends(server, _COMMITTED, since),
                "aborts": _ends(server, _ABORTED, since),
                "commits_from": since,
            }
        lsn = str(made["lsn"])
        [(following,)] = server.since(_NEXT, lsn)
        return {**facts, **made, "next_lsn": str(following)}

    def _make(self, world: World, server: "_Server") -> dict[str, Json]:
        """Make the four marks, one after the other; nothing else is committed while held."""
        name = contents.literal(self.point)
        xid = int(server.ask(_ROW.format(name=name)))
        digest = contents.digests(world.driver, server.node) if self.held else {}
        lsn = server.position()
        point = server.ask(f"SELECT pg_create_restore_point({name})::text")
        [(time, time_us)] = server.rows(_NOW)
        at = world.clock.now_ns()
        # Whatever is committed from here on has a later time, and so is not restored.
        server.rows("SELECT pg_sleep(0.002)")
        # And is there: a time that no commit follows is never reached. It also flushes the WAL.
        contents.write(world.driver, server.node)
        made: dict[str, Json] = {
            "at": at,
            "xid": xid,
            "lsn": lsn,
            "restore_point": self.point,
            "restore_lsn": point,
            "time": str(time),
            "time_us": int(str(time_us)),
        }
        return made | ({"digest": digest} if self.held else {})


@dataclass(frozen=True, slots=True)
class _Server:
    """The leader's PostgreSQL."""

    driver: Driver
    node: str

    def rows(self, sql: str) -> Sequence[Sequence[Json]]:
        return self.driver.query(self.node, sql, deadline_s=_DEADLINE_S)

    def ask(self, sql: str) -> str:
        """Return the only value of the only row."""
        rows = self.rows(sql)
        if len(rows) != 1:
            raise DriverError(f"mark: {self.node}: {len(rows)} rows from {sql[:60]!r}; expected 1")
        return str(rows[0][0])

    def position(self) -> str:
        """Return where the WAL is written now."""
        return self.ask("SELECT pg_current_wal_insert_lsn()::text")

    def since(self, sql: str, lsn: str) -> Sequence[Sequence[Json]]:
        """Return what a question about the WAL from there on is answered."""
        return self.rows(sql.format(since=contents.literal(lsn)))


def _await_commits(world: World, server: _Server, since: str) -> None:
    """Wait until enough was committed since, or for as long as it may take."""

    def enough() -> bool:
        try:
            return len(server.since(_COMMITTED, since)) >= _COMMITS
        except AbortedError:
            raise
        except DriverError:  # as long as nothing follows, there is nothing to read
            return False

    try:
        world.clock.wait_for(enough, timeout_s=_COMMITS_S, what="commits", every_s=0.1)
    except AbortedError:
        raise
    except DriverError:
        return  # there is no load; the mark is as good without it


def _ends(server: _Server, sql: str, since: str) -> Sequence[Sequence[Json]]:
    """Return `[xid, LSN, time in us]` of each commit, or abort, since, in the order of the WAL."""
    found = server.since(sql, since)
    untimed = [str(xid) for xid, _, time_us in found if time_us is None]
    if untimed:
        raise DriverError(
            f"mark: {server.node}: no commit time of {', '.join(untimed[:3])}; "
            "expected track_commit_timestamp to be on"
        )
    return [[int(str(xid)), str(lsn), int(str(us))] for xid, lsn, us in found]
