"""`partition`: packets between two groups of machines are lost."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness import cuts
from harness.clock import NS
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration, Model, Target


@register
class Partition(Model):
    """Cut one group of machines off another, both ways or only what the first one sends.

    All links are cut at once. Each is tried before (it must be open, or the cut would prove
    nothing) and after.

    Attributes:
        from: one group: a target, or a list of targets that belong together.
        to: the other, likewise; machines that are in both groups count as `from`.
        direction: `outgoing` loses only what `from` sends to `to`.
        drop: `blackhole` loses packets in silence; `reject` answers with an error.
        port: only this TCP port of the receiving machine; without it, every packet.
        for: mend by itself after this long; without it, at the end of the run.

    Example:
        partition: {from: [{az: {of: leader}}, {role: replica}], to: [{service: cluster}]}
    """

    name: ClassVar[str] = "partition"

    from_: Target | Annotated[tuple[Target, ...], Field(min_length=1)] = Field(alias="from")
    to: Target | Annotated[tuple[Target, ...], Field(min_length=1)]
    direction: Literal["both", "outgoing"] = "both"
    drop: Literal["blackhole", "reject"] = "blackhole"
    port: int | None = Field(None, ge=1, le=65535)
    for_: Duration | None = Field(None, alias="for")

    def perform(self, world: World) -> Mapping[str, Json]:
        ours = cuts.group(world, self.from_)
        theirs = [name for name in cuts.group(world, self.to) if name not in ours]
        if not theirs:
            raise DriverError(f"partition: {', '.join(ours)} on both sides; nothing to cut")
        links = cuts.between(ours, theirs, self.port, self.drop, both=self.direction == "both")
        cuts.expect_open(world, self.name, links)
        undo = cuts.undo_of(links, ours)
        world.undo_later(undo)
        at = world.clock.now_ns()
        world.driver.cut(links)
        done = world.clock.now_ns()
        cuts.expect_dead(world, self.name, links)
        if self.for_ is not None:
            world.heal_after([undo], self.for_ - (world.clock.now_ns() - done) / NS)
        return {"nodes": list(ours), "to": theirs, "at": at, "links": len(links)}
