"""`freeze`: a program, or a whole machine, stops running but keeps its sockets and memory."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from harness import conditions
from harness.clock import NS
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Process, Undo, World
from harness.registry import register
from harness.scenario import Duration, Target

_DEADLINE_S = 5.0
# How long WAL may take to a standby that receives it: the leader's WAL writer flushes it within
# 200 ms (wal_writer_delay).
_WAL_S = 1.0
_WRITE = "SELECT pg_logical_emit_message(false, 'drill', '')::text"
_MISSES = "SELECT pg_last_wal_receive_lsn() < '{end}'"


@register
class Freeze(Target):
    """Freeze a program (SIGSTOP) or, without `process`, the whole machine.

    Of a machine that is no node only the whole can be frozen. Each is shown to be silent; a
    walreceiver, by WAL that the leader writes and the standby does not get.

    A frozen Patroni cannot renew the leader key, so a replica may be promoted once the key's
    TTL runs out, while the old primary, still running, has not been told to demote.

    Attributes:
        process: what to freeze; `all` is the whole machine.
        for: thaw by itself after this long; without it, `thaw` or the end of the run does.

    Source: Patroni documentation, "Watchdog support".
    """

    name: ClassVar[str] = "freeze"

    process: Process = "all"
    for_: Duration | None = Field(None, alias="for")

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes = world.resolve(self)
        strange = set(nodes) - {one.name for one in world.driver.nodes}
        if strange and self.process != "all":
            found = f"freeze: {', '.join(sorted(strange))} is no node and runs no {self.process}"
            raise DriverError(f"{found}; expected nodes, or no process")
        undos = [Undo("thaw", {"node": node, "process": self.process}) for node in nodes]
        at = world.clock.now_ns()
        for node, undo in zip(nodes, undos, strict=True):
            world.undo_later(undo)
            world.driver.freeze(node, self.process)
        done = world.clock.now_ns()
        for node in nodes:
            self._show(world, node)
        if self.for_ is not None:
            world.heal_after(undos, self.for_ - (world.clock.now_ns() - done) / NS)
        return {"nodes": list(nodes), "at": at, "process": self.process}

    def _show(self, world: World, node: str) -> None:
        """Raise unless what was frozen is silent."""
        if node not in (one.name for one in world.driver.nodes):
            # The kernel of an ELB accepts connections all the same; there is no more to see of it.
            if node in world.driver.machines("dcs") and conditions.answers(world.driver, node):
                raise DriverError(f"freeze: {node} still answers")
            return
        if self.process in ("patroni", "all"):
            reply = world.driver.patroni(node, "/liveness", deadline_s=1.5)
            if reply.status:
                raise DriverError(f"freeze: Patroni on {node} still answers {reply.status}")
        if self.process == "walreceiver":
            _expect_no_wal(world, node)
        if self.process in ("postgres", "all"):
            try:
                world.driver.query(node, "SELECT 1", deadline_s=1.5)
            except DriverError:
                return
            raise DriverError(f"freeze: PostgreSQL on {node} still answers")


def _expect_no_wal(world: World, node: str) -> None:
    """Show that a standby gets nothing of what the leader writes from now on.

    Raises:
        DriverError: when it does, or the leader does not write.
    """
    leader = world.driver.dcs(deadline_s=_DEADLINE_S).get("leader")
    if leader is None:
        raise DriverError(f"freeze: nobody leads whose WAL {node} could miss; expected a leader")
    # Not in a transaction: whoever commits would wait for a synchronous standby.
    [(end,)] = world.driver.query(leader, _WRITE, deadline_s=_DEADLINE_S)
    world.clock.sleep(_WAL_S)
    [(missing,)] = world.driver.query(node, _MISSES.format(end=end), deadline_s=_DEADLINE_S)
    if not missing:
        raise DriverError(f"freeze: {node} still receives WAL; expected a walreceiver that rests")
