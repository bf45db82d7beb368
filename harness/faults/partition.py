"""`partition`: packets between two groups of machines are lost."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from harness.clock import NS
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Link, Undo, World
from harness.registry import register
from harness.scenario import Duration, Model, Target


@register
class Partition(Model):
    """Cut one group of machines off another, both ways or only what the first one sends.

    Each cut is tried before (it must be open, or the cut would prove nothing) and after.

    Attributes:
        from: one group.
        to: the other; machines that are in both groups count as `from`.
        direction: `outgoing` loses only what `from` sends to `to`.
        drop: `blackhole` loses packets in silence; `reject` answers with an error.
        port: only this TCP port of the receiving machine; without it, every packet.
        for: mend by itself after this long; without it, at the end of the run.
    """

    name: ClassVar[str] = "partition"

    from_: Target = Field(alias="from")
    to: Target
    direction: Literal["both", "outgoing"] = "both"
    drop: Literal["blackhole", "reject"] = "blackhole"
    port: int | None = Field(None, ge=1, le=65535)
    for_: Duration | None = Field(None, alias="for")

    def perform(self, world: World) -> Mapping[str, Json]:
        ours = world.resolve(self.from_)
        theirs = [name for name in world.resolve(self.to) if name not in ours]
        if not theirs:
            raise DriverError(f"partition: {', '.join(ours)} on both sides; nothing to cut")
        links = self._links(ours, theirs)
        _expect(world, links, cut=False)
        undos = [Undo("mend", _as_json(link)) for link in links]
        for undo in undos:
            world.undo_later(undo)
        at = world.clock.now_ns()
        for link in links:
            world.driver.cut(link)
        done = world.clock.now_ns()
        _expect(world, links, cut=True)
        if self.for_ is not None:
            world.heal_after(undos, self.for_ - (world.clock.now_ns() - done) / NS)
        return {"nodes": list(ours), "to": theirs, "at": at, "links": len(links)}

    def _links(self, ours: Sequence[str], theirs: Sequence[str]) -> Sequence[Link]:
        out = [Link(a, b, self.port, self.drop) for a in ours for b in theirs]
        back = [Link(b, a, self.port, self.drop) for a in ours for b in theirs]
        return [*out, *back] if self.direction == "both" else out


def _as_json(link: Link) -> Mapping[str, Json]:
    return {
        "source": link.source,
        "destination": link.destination,
        "port": link.port,
        "drop": link.drop,
    }


def _expect(world: World, links: Sequence[Link], *, cut: bool) -> None:
    """Try all links at once: a lost packet takes its whole deadline to be known as lost."""
    found: dict[Link, bool] = {}

    def attempt(link: Link) -> None:
        found[link] = world.driver.is_cut(link)

    tasks = [world.clock.spawn(partial(attempt, link), f"try-{link.source}") for link in links]
    for task in tasks:
        task.join()
    wrong = [f"{link.source} to {link.destination}" for link in links if found[link] != cut]
    if wrong:
        words = "still open after the cut" if cut else "dead before the cut, which proves nothing"
        raise DriverError(f"partition: {', '.join(wrong)}: {words}")
