"""`partition`: packets between two groups of machines are lost."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from harness import cuts
from harness.clock import NS
from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration


@register
class Partition(cuts.Cut):
    """Cut one group of machines off another, both ways or only what the first one sends.

    All links are cut at once. Each is tried before (it must be open, or the cut would prove
    nothing) and after.

    Attributes:
        for: mend by itself after this long; without it, at the end of the run.

    Example:
        partition: {from: [{az: {of: leader}}, {role: replica}], to: [{service: cluster}]}
    """

    name: ClassVar[str] = "partition"

    for_: Duration | None = Field(None, alias="for")

    def perform(self, world: World) -> Mapping[str, Json]:
        scene = self.scene(world)
        undo = cuts.undo_of(scene.links, scene.ours)
        world.undo_later(undo)
        at = world.clock.now_ns()
        world.driver.cut(scene.links)
        done = world.clock.now_ns()
        cuts.expect_dead(world, self.name, scene.links)
        if self.for_ is not None:
            world.heal_after([undo], self.for_ - (world.clock.now_ns() - done) / NS)
        return {
            "nodes": list(scene.ours),
            "to": list(scene.theirs),
            "at": at,
            "links": len(scene.links),
        }
