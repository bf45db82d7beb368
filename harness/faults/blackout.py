"""`blackout`: a whole availability zone loses power, or is cut off the rest of the region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness import conditions, cuts, power, targets
from harness.clock import NS
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Link, Undo, World
from harness.registry import register
from harness.scenario import Duration, Target


@register
class Blackout(Target):
    """Take an availability zone away: its nodes and its DCS member, all at once.

    `compute`: its machines lose power; they get it back at the end. `network`: they are cut off
    all machines outside, both ways: those of other AZs, the ELBs and S3, which stand in none. They
    go on, and still reach one another, and the clients that stand in their AZ still reach them.

    The clients in the AZ live on in either case: they see how it fails, and use nothing but what
    stands there. So does who watches the run from outside of all AZs, whom no cut concerns.

    A power-off is shown as `kill` shows it. Each link is shown to be open before and dead after;
    of a machine that was down before, nothing is asked.

    Attributes:
        az: which; `{of: leader}` is the one where the leader stands now.
        kinds: what is taken away.
        for: it is given back after this long; without it, at the end of the run.

    Example:
        blackout: {az: {of: leader}, kinds: [network], for: 2m}
    """

    name: ClassVar[str] = "blackout"

    kinds: tuple[Literal["compute", "network"], ...] = Field(("compute", "network"), min_length=1)
    for_: Duration | None = Field(None, alias="for")

    @model_validator(mode="after")
    def _a_whole_az(self) -> Self:
        others = self.model_fields_set & {"role", "pick", "service", "node", "ref", "random"}
        if others:
            raise ValueError(f"{min(others)} in a blackout; expected az, all of it")
        if self.az is None:
            raise ValueError("no az; expected one that goes dark, or {of: leader}")
        return self

    def perform(self, world: World) -> Mapping[str, Json]:
        scene = _scene(world, world.resolve(self))
        undos: list[Undo] = []
        at: int | None = None
        inner, across = (scene.inner, scene.across) if "network" in self.kinds else ((), ())
        if across:
            cuts.expect_open(world, self.name, [*inner, *across])
        if "compute" in self.kinds:
            # Before the network goes: through a cut nobody could see how they went away.
            at = power.take(world, self.name, scene.alive)
            undos += map(power.undo_of, scene.alive)
        if "network" in self.kinds:
            undo = cuts.undo_of(scene.every_link, scene.inside)
            world.undo_later(undo)
            undos.append(undo)
            at = world.clock.now_ns() if at is None else at
            world.driver.cut(scene.every_link)
            if "compute" not in self.kinds:
                cuts.expect_dead(world, self.name, across)
                _expect_whole(world, inner)
        assert at is not None, "there is at least one kind"
        if self.for_ is not None:
            world.heal_after(undos, self.for_ - (world.clock.now_ns() - at) / NS)
        return {
            "nodes": list(scene.inside),
            "at": at,
            "az": scene.az,
            "kinds": list(self.kinds),
            # What tells the report and the checkers that its nodes could acknowledge nothing.
            "how": "power-off" if "compute" in self.kinds else "network",
        }


@dataclass(frozen=True, slots=True)
class _Scene:
    """An AZ and what is around it.

    Attributes:
        az: its name.
        inside: its machines. alive: those of them that run.
        every_link: all links between the inside and the outside, both ways.
        across: those of them whose ends run; inner: those within the AZ whose ends run.
    """

    az: str
    inside: Sequence[str]
    alive: Sequence[str]
    every_link: Sequence[Link]
    across: Sequence[Link]
    inner: Sequence[Link]


def _scene(world: World, inside: Sequence[str]) -> _Scene:
    """Look at an AZ, before anything is done to it.

    Raises:
        DriverError: when nothing runs in it.
    """
    driver = world.driver
    everything = [*targets.machines(driver), *driver.machines("s3")]
    outside = [name for name in everything if name not in inside]
    running = set(conditions.running(driver, world.clock, everything))
    alive = [name for name in inside if name in running]
    if not alive:
        raise DriverError(f"blackout: none of {', '.join(inside)} runs; expected a living AZ")
    links = cuts.between(inside, outside, both=True)
    servers = (*driver.nodes, *driver.dcs_members)
    return _Scene(
        az=next(server.az for server in servers if server.name == inside[0]),
        inside=inside,
        alive=alive,
        every_link=links,
        across=[link for link in links if {link.source, link.destination} <= running],
        inner=[Link(a, b) for a in alive for b in alive if a != b],
    )


def _expect_whole(world: World, inner: Sequence[Link]) -> None:
    """Show that the machines of the AZ still reach one another.

    Raises:
        DriverError: with those that do not.
    """
    dead = world.driver.dead(inner)
    if dead:
        words = ", ".join(f"{link.source} to {link.destination}" for link in dead)
        raise DriverError(f"blackout: {words}: cut off within the AZ; expected its inside to live")
