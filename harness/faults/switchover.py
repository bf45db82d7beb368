"""`switchover`: ask Patroni to hand the leadership over."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness import conditions
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration, Model, Target


@register
class Switchover(Model):
    """Move the leadership, as an operator does; holds when the new leader is primary.

    A node that is asked for and leads already goes on leading: so every node can be named in turn,
    whoever led first. One that is asked for in a synchronous cluster is waited for until the DCS
    names it a synchronous standby: Patroni hands over to nobody else, and drops a standby from
    them for a round or two after a move.

    Attributes:
        to: the node that shall lead; without it Patroni chooses.
        timeout: how long the candidate may take to be synchronous, and then the move.
    """

    name: ClassVar[str] = "switchover"

    to: Target | None = None
    timeout: Duration = 60.0

    def perform(self, world: World) -> Mapping[str, Json]:
        leader = world.resolve(Target(role="leader"))[0]
        candidate = world.resolve(self.to)[0] if self.to else None
        if candidate == leader:
            return _stays(world, leader, world.clock.now_ns())
        if candidate and world.cluster.sync != "async":
            world.clock.wait_for(
                lambda: candidate in _sync_standbys(world),
                timeout_s=self.timeout,
                what=f"{candidate} as a synchronous standby, which alone Patroni hands over to,",
            )
        at = world.clock.now_ns()
        body: dict[str, Json] = {"leader": leader}
        if candidate:
            body["candidate"] = candidate
        reply = world.driver.patroni(
            leader, "/switchover", deadline_s=self.timeout, method="POST", body=body
        )
        if reply.status != 200:
            raise DriverError(f"switchover: {leader} answered {reply.status}: {reply.body}")
        new = world.clock.wait_for(
            lambda: _primary_other_than(world, leader),
            timeout_s=self.timeout,
            what=f"a primary other than {leader}",
        )
        if candidate and new != candidate:
            raise DriverError(f"switchover: {new} leads; expected {candidate}")
        return {"nodes": [leader], "at": at, "to": new}


def _sync_standbys(world: World) -> Sequence[str]:
    return conditions.sync_standbys(conditions.look(world.driver, world.clock).keys)


def _stays(world: World, leader: str, at: int) -> Mapping[str, Json]:
    """Return what is recorded of a node that led already.

    Raises:
        DriverError: when it leads and takes no writes.
    """
    if conditions.look(world.driver, world.clock).role(leader) != "primary":
        raise DriverError(f"switchover: {leader} leads already; expected it to be primary")
    return {"nodes": [leader], "at": at, "to": leader}


def _primary_other_than(world: World, old: str) -> str | None:
    """Return who leads now and whose PostgreSQL accepts writes, if it is another than before."""
    view = conditions.look(world.driver, world.clock)
    leader = view.leader
    if leader is None or leader == old:
        return None
    # Not GET /primary: it answers 200 from the moment of the leader key, before the promotion.
    return leader if view.role(leader) == "primary" else None
