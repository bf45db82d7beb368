"""`flap`: a network that fails and returns, again and again."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from harness import cuts
from harness.clock import NS
from harness.history import Json
from harness.protocols import Link, World
from harness.registry import register
from harness.scenario import Duration

# Two tries of 1.5 s show that packets are lost, so a shorter cut could not be shown.
_SHOWN_S = 4.0


@register
class Flap(cuts.Cut):
    """Cut two groups of machines off each other and let them meet again, for a while.

    It begins with a cut and ends open. Each cut is shown to bite and each opening to be one; the
    step ends after the last.

    Attributes:
        cut: how long each cut lasts; at least 4 s, in which it is shown.
        open: how long the links are open between two cuts.
        for: how long all of it may last; no cut begins that would end later.

    Example:
        flap: {from: {role: leader}, to: {service: dcs}, cut: 5s, open: 10s, for: 1m}
    """

    name: ClassVar[str] = "flap"

    cut: Duration = 5.0
    open: Duration = 5.0
    for_: Duration = Field(60.0, alias="for")

    @model_validator(mode="after")
    def _several_that_show(self) -> Self:
        if self.cut < _SHOWN_S:
            raise ValueError(f"cut {self.cut:g}s; expected at least {_SHOWN_S:g}s, to be shown")
        if self.for_ < 2 * self.cut + self.open:
            raise ValueError(
                f"for {self.for_:g}s with cut {self.cut:g}s and open {self.open:g}s; "
                "expected time for at least two cuts"
            )
        return self

    def perform(self, world: World) -> Mapping[str, Json]:
        scene = self.scene(world)
        undo = cuts.undo_of(scene.links, scene.ours)
        world.undo_later(undo)
        begun = world.clock.now_ns()
        # As many as fit; counted, for the showing of each may cost some milliseconds more.
        flaps = 1 + int((self.for_ - self.cut) // (self.cut + self.open))
        dead: list[Json] = [[*self._flap(world, scene.links)] for _ in range(flaps)]
        world.undone(undo)
        return {"nodes": list(scene.ours), "to": list(scene.theirs), "at": begun, "cuts": dead}

    def _flap(self, world: World, links: Sequence[Link]) -> tuple[int, int]:
        """Cut the links for their time, then let them be open for theirs; return from when to when.

        They are dead in between.
        """
        cut_at = world.clock.now_ns()
        world.driver.cut(links)
        cuts.expect_dead(world, self.name, links)
        _rest(world, self.cut, cut_at)
        open_at = world.clock.now_ns()
        world.driver.mend(links)
        cuts.expect_mended(world.driver, world.clock, links)
        _rest(world, self.open, open_at)
        return cut_at, open_at


def _rest(world: World, seconds: float, since_ns: int) -> None:
    world.clock.sleep(max(0.0, seconds - (world.clock.now_ns() - since_ns) / NS))
