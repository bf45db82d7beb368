"""`check`: the cluster must be in a state right now."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from harness import conditions
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Model


@register
class Check(Model):
    """Ask for a state between steps; when it does not hold, the run is not what it claims to be.

    The run is then an error, never a fail: what must be judged belongs in `expect`.

    Attributes:
        leaders: how many nodes hold the leader key.
        writes: `accepted`: the leader commits a write now; `refused`: no node that answers is out
            of recovery.

    Example:
        check: {leaders: 1, writes: accepted}
    """

    name: ClassVar[str] = "check"

    leaders: Literal[0, 1] | None = None
    writes: Literal["accepted", "refused"] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.leaders is None and self.writes is None:
            raise ValueError("nothing to check; expected leaders or writes")
        return self

    def perform(self, world: World) -> Mapping[str, Json]:
        view = conditions.look(world.driver, world.clock)
        if not view.keys:
            raise DriverError("check: the DCS has no quorum; expected it to say who leads")
        found = int(view.leader is not None)
        if self.leaders is not None and found != self.leaders:
            raise DriverError(f"check: {found} leaders; expected {self.leaders}")
        if self.writes is not None:
            _check_writes(world, view, accepted=self.writes == "accepted")
        return {"nodes": [], "leader": view.leader}


def _check_writes(world: World, view: conditions.View, *, accepted: bool) -> None:
    if not accepted:
        # Both are asked: a hung Patroni is silent above a PostgreSQL that takes writes.
        writers = [
            node
            for node in view.members
            if view.role(node) == "primary" or conditions.recovering(world.driver, node) is False
        ]
        if writers:
            raise DriverError(f"check: {', '.join(writers)} is primary; expected no writes")
        return
    if view.leader is None:
        raise DriverError("check: nobody leads; expected writes to be accepted")
    world.driver.query(view.leader, "SELECT txid_current()", deadline_s=5)
