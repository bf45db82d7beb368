"""`wait`: until the cluster is in a named state."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness import conditions
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration, Model

Condition = Literal["new-leader", "new-primary", "healthy", "streaming", "dcs-quorum"]


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
    - `healthy`: the steady state.
    - `streaming`: the same without the synchronous part.
    - `dcs-quorum`: the DCS answers a quorum read.
    - `{old-leader: read-only}`: the node that led before the last fault takes no writes.

    Attributes:
        until: the condition.
        timeout: how long it may take.
    """

    name: ClassVar[str] = "wait"

    until: Condition | OldLeader
    timeout: Duration

    def perform(self, world: World) -> Mapping[str, Json]:
        lacks: list[str] = []

        def holds() -> str | None:
            wish = self._wish(world)
            lacks[:] = wish.lacks
            return "yes" if wish else None

        try:
            world.clock.wait_for(
                holds, timeout_s=self.timeout, what=f"{self._words()!r}", every_s=0.25
            )
        except DriverError as error:
            raise type(error)(f"{error}: {'; '.join(lacks)}" if lacks else str(error)) from None
        return {"nodes": [], "until": self._words()}

    def _words(self) -> str:
        return "old leader read-only" if isinstance(self.until, OldLeader) else self.until

    def _wish(self, world: World) -> conditions.Wish:
        before = world.leader_before()
        if isinstance(self.until, OldLeader):
            return _read_only(world, before)
        if self.until == "dcs-quorum":
            return _dcs_quorum(world)
        if self.until == "new-primary":
            return _new_primary(world, before)
        if self.until == "new-leader":
            return _new_leader(world, before)
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
