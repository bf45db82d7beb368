"""`s3`: the place that keeps backups and WAL is away, refuses, or is slow."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness import storage
from harness.history import Json
from harness.protocols import Undo, World
from harness.registry import register
from harness.scenario import Duration, Model


@register
class S3(Model):
    """Disturb S3 for all nodes. It is a regional service: all clusters of a run share it.

    Attributes:
        how: `outage`: no node reaches it. `deny`: it refuses every request. `slow`: it answers
            late.
        for: it is well again after this long; without it, at the end of the run.

    Example:
        s3: {how: outage, for: 60s}
    """

    name: ClassVar[str] = "s3"

    how: Literal["outage", "deny", "slow"]
    for_: Duration | None = Field(None, alias="for")

    def perform(self, world: World) -> Mapping[str, Json]:
        keeper = storage.keeper(world.driver, self.name)
        undo = Undo("s3", {"state": "well"})
        world.undo_later(undo)
        at = world.clock.now_ns()
        keeper.s3(self.how)
        if self.for_ is not None:
            world.heal_after([undo], self.for_)
        return {"nodes": [], "at": at, "how": self.how}
