"""`wait`: until the cluster is in a named state."""

import re
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness import conditions, contents, storage
from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.journal import words
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration, Model, Target

Condition = Literal[
    "new-leader",
    "new-primary",
    "no-leader",
    "mended",
    "healthy",
    "streaming",
    "served",
    "dcs-quorum",
    "archived",
    "backup-done",
]
# How often is asked. A look at the nodes takes a new session or request to each, which four times a
# second was a tenth of what a run cost; what the DCS or the run itself knows is cheap.
_EVERY_S, _LOOK_S = 0.25, 0.5
_LOOKS: frozenset[Condition] = frozenset({"new-primary", "healthy", "streaming"})
# Of a segment, or of the backup label that is archived right after it; a `.partial` is no segment.
_SEGMENT = re.compile(r"([0-9A-F]{24})(?:\.[0-9A-F]{8}\.backup)?")


class OldLeader(Model):
    """A state of the machine that led when the last fault was made.

    Attributes:
        old-leader: in recovery, or without a PostgreSQL that runs.
    """

    old_leader: Literal["read-only"] = Field(alias="old-leader")


@register
class Wait(Model):
    """Wait until a condition holds; past the timeout the run is an error: it never got there.

    - `new-leader`: another node than before the last fault holds the leader key.
    - `new-primary`: another node than then is out of recovery.
    - `no-leader`: the DCS has a quorum, and no leader key.
    - `mended`: no partition is in force, and no fault whose `for:` has not run out.
    - `healthy`: the steady state.
    - `streaming`: the same without the synchronous part.
    - `served`: each workload of the scenario was acknowledged since the wait began, one that ever
      wrote with a write. A load balancer follows a move later than the cluster does.
    - `dcs-quorum`: the DCS answers a quorum read.
    - `archived`: the WAL that the leader had written when the wait began is in S3; its segment is
      closed for that.
    - `backup-done`: S3 holds at least one finished base backup of the cluster.
    - `{old-leader: read-only}`: the node that led before the last fault takes no writes.

    Attributes:
        until: the condition.
        timeout: how long it may take.
    """

    name: ClassVar[str] = "wait"

    until: Condition | OldLeader
    timeout: Duration

    def perform(self, world: World) -> Mapping[str, Json]:
        if self.until in ("archived", "backup-done"):
            storage.keeper(world.driver, self.name)  # else it would be waited for in vain
        if self.until == "archived":
            leader = world.resolve(Target(role="leader"))[0]
            segment = _close_segment(world, leader)
            self._wait(world, lambda: _archived(world, leader, segment))
            held: dict[str, Json] = {"until": self.until, "archived": segment}
        elif self.until == "served":
            begun = world.clock.now_ns()
            self._wait(world, lambda: _served(world, begun))
            held = {"until": self.until}
        else:
            self._wait(world, lambda: self._wish(world))
            held = {"until": self._words()}
        # What is measured from here begins when it held, not when it was asked for first.
        return {"nodes": [], "at": world.clock.now_ns(), **held}

    def _wait(self, world: World, ask: Callable[[], conditions.Wish]) -> None:
        lacks: list[str] = []

        def holds() -> str | None:
            wish = ask()
            lacks[:] = wish.lacks
            return "yes" if wish else None

        every_s = _LOOK_S if isinstance(self.until, OldLeader) or self.until in _LOOKS else _EVERY_S
        try:
            world.clock.wait_for(
                holds, timeout_s=self.timeout, what=f"{self._words()!r}", every_s=every_s
            )
        except DriverError as error:
            # Of the kind that it was: only what did not come in time may be tried again.
            raise type(error)(f"{error}: {'; '.join(lacks)}" if lacks else str(error)) from None

    def _words(self) -> str:
        return "old leader read-only" if isinstance(self.until, OldLeader) else self.until

    def _wish(self, world: World) -> conditions.Wish:
        before = world.leader_before()
        if isinstance(self.until, OldLeader):
            return _read_only(world, before)
        if self.until == "dcs-quorum":
            return _dcs_quorum(world)
        if self.until == "backup-done":
            return _backup_done(world)
        if self.until == "new-primary":
            return _new_primary(world, before)
        if self.until == "new-leader":
            return _new_leader(world, before)
        if self.until == "no-leader":
            return _no_leader(world)
        if self.until == "mended":
            return _mended(world)
        view = conditions.look(world.driver, world.clock)
        cluster = world.cluster
        if self.until == "streaming":
            cluster = cluster.model_copy(update={"sync": "async"})
        return conditions.steady(view, cluster, world.steady)


def _read_only(world: World, node: str | None) -> conditions.Wish:
    if node is None:
        return conditions.Wish(("nobody led before",))
    if conditions.recovering(world.driver, node) or not world.driver.pids(node, "postgres"):
        return conditions.Wish()
    return conditions.Wish((f"{node} is not read-only",))


def _new_leader(world: World, before: str | None) -> conditions.Wish:
    """Ask the DCS alone: a look at all nodes would wait for the one that is silent."""
    try:
        now = world.driver.dcs(deadline_s=1.5).get("leader")
    except DriverError as error:
        return conditions.Wish((str(error),))
    return conditions.Wish(() if now and now != before else (f"the leader key: {now}",))


def _no_leader(world: World) -> conditions.Wish:
    try:
        now = world.driver.dcs(deadline_s=1.5).get("leader")
    except DriverError as error:
        return conditions.Wish((str(error),))
    return conditions.Wish((f"the leader key: {now}",) if now else ())


def _mended(world: World) -> conditions.Wish:
    due = world.due()
    left = [undo for undo in world.not_undone() if undo.method == "mend" or undo in due]
    return conditions.Wish(tuple(f"not undone: {words(undo)}" for undo in left))


def _served(world: World, since: int) -> conditions.Wish:
    left = ", ".join(world.unserved(since))
    return conditions.Wish((f"nothing of {left} was acknowledged",) if left else ())


def _new_primary(world: World, before: str | None) -> conditions.Wish:
    others = [node.name for node in world.driver.nodes if node.name != before]
    if any(conditions.recovering(world.driver, node) is False for node in others):
        return conditions.Wish()
    return conditions.Wish((f"none of {', '.join(others)} has left recovery",))


def _dcs_quorum(world: World) -> conditions.Wish:
    try:
        world.driver.dcs(deadline_s=1.5)
    except DriverError as error:
        return conditions.Wish((str(error),))
    return conditions.Wish()


def _backup_done(world: World) -> conditions.Wish:
    keeper = storage.keeper(world.driver, "wait")
    folder = f"{keeper.prefix}backup/"
    try:
        objects = keeper.objects(folder)
    except AbortedError:
        raise
    except DriverError as error:
        return conditions.Wish((str(error),))
    if storage.finished_backups(keeper.prefix, objects):
        return conditions.Wish()
    return conditions.Wish((f"no finished base backup below {folder}",))


def _close_segment(world: World, leader: str) -> str:
    """Let the leader begin another segment of the WAL; return the one that it wrote until then."""
    # A segment in which nothing stands is not closed, and would be waited for in vain.
    contents.write(world.driver, leader)
    [(segment,)] = world.driver.query(
        leader, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", deadline_s=5
    )
    world.driver.query(leader, "SELECT pg_switch_wal()", deadline_s=5)
    return str(segment)


def _archived(world: World, leader: str, segment: str) -> conditions.Wish:
    """Ask the leader what it archived last; it archives the segments of a timeline in order.

    Source: PostgreSQL, src/backend/postmaster/pgarch.c, ready_file_comparator.
    """
    sql = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    try:
        [(last,)] = world.driver.query(leader, sql, deadline_s=2)
    except AbortedError:
        raise
    except DriverError as error:
        return conditions.Wish((str(error),))
    found = _SEGMENT.fullmatch(str(last))
    if found and found[1][:8] == segment[:8] and found[1] >= segment:
        return conditions.Wish()
    return conditions.Wish((f"{leader} archived {last or 'nothing'} last, not yet {segment}",))
