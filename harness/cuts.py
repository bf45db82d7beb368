"""Links that a fault cuts: which they are, that they were open before, and that they are dead."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness import conditions
from harness.clock import NS, Clock
from harness.errors import DriverError
from harness.protocols import Driver, Drop, Link, Undo, World
from harness.scenario import Model, Target

# A machine serves again within so long after it got its power back.
_MENDED_S = 20.0
# What a link is given to show that it is open, several tries of the driver's.
_OPEN_S = 4.0
_AGAIN_S = 0.25


@dataclass(frozen=True, slots=True)
class Scene:
    """Two groups of machines, and the links between them that are to be cut."""

    ours: Sequence[str]
    theirs: Sequence[str]
    links: Sequence[Link]


class Cut(Model):
    """Which links of which machines a verb cuts, and how.

    Attributes:
        from: one group: a target, or a list of targets that belong together.
        to: the other, likewise; machines that are in both groups count as `from`.
        direction: `outgoing` loses only what `from` sends to `to`.
        drop: `blackhole` loses packets in silence; `reject` answers with an error.
        port: only this TCP port of the receiving machine; without it, every packet.
    """

    name: ClassVar[str]

    from_: Target | Annotated[tuple[Target, ...], Field(min_length=1)] = Field(alias="from")
    to: Target | Annotated[tuple[Target, ...], Field(min_length=1)]
    direction: Literal["both", "outgoing"] = "both"
    drop: Drop = "blackhole"
    port: int | None = Field(None, ge=1, le=65535)

    def scene(self, world: World) -> Scene:
        """Return what is to be cut; each link is shown to be open.

        Raises:
            DriverError: when nothing is between the groups, or a link is dead already.
        """
        ours = group(world, self.from_)
        theirs = [name for name in group(world, self.to) if name not in ours]
        if not theirs:
            raise DriverError(f"{self.name}: {', '.join(ours)} on both sides; nothing to cut")
        links = between(ours, theirs, self.port, self.drop, both=self.direction == "both")
        expect_open(world, self.name, links)
        return Scene(ours, theirs, links)


def group(world: World, targets: Target | Sequence[Target]) -> Sequence[str]:
    """Return the machines that one target, or any of several, means now; each once.

    Raises:
        DriverError: when one of them means none.
    """
    several = [targets] if isinstance(targets, Target) else targets
    return list(dict.fromkeys(name for one in several for name in world.resolve(one)))


def between(
    ours: Sequence[str],
    theirs: Sequence[str],
    port: int | None = None,
    drop: Drop = "blackhole",
    *,
    both: bool,
) -> list[Link]:
    """Return the links from each of ours to each of theirs, and with `both` those back."""
    out = [Link(a, b, port, drop) for a in ours for b in theirs]
    back = [Link(b, a, port, drop) for a in ours for b in theirs]
    return [*out, *back] if both else out


def undo_of(links: Sequence[Link], hit: Sequence[str]) -> Undo:
    """Return what mends them all at once; it is recorded as the end of what these machines met."""
    return Undo("mend", {"nodes": list(hit), "links": [asdict(link) for link in links]})


def expect_open(world: World, verb: str, links: Sequence[Link]) -> None:
    """Show that each link is open; one that a busy machine was too slow to try is tried again.

    Raises:
        DriverError: with those that are not: a cut of them would prove nothing.
    """
    dead = _still_dead(world.driver, world.clock, links, within_s=_OPEN_S)
    if dead:
        raise DriverError(
            f"{verb}: {_told(dead)}: dead before the cut, which proves nothing; expected open links"
        )


def expect_dead(world: World, verb: str, links: Sequence[Link]) -> None:
    """Show that no link is open any more: neither of two tries opens it.

    One try of a busy machine may only be late, and where nothing else tells whether the cut bit,
    a run whose cut did nothing would pass.

    Raises:
        DriverError: with those that are.
    """
    dead = set(world.driver.dead(world.driver.dead(links)))
    alive = [link for link in links if link not in dead]
    if alive:
        raise DriverError(f"{verb}: {_told(alive)}: still open after the cut; expected dead links")


def expect_mended(driver: Driver, clock: Clock, links: Sequence[Link]) -> None:
    """Show that each of these links is open again, where both of its ends run.

    A machine that got its power back a moment ago is waited for.

    Raises:
        DriverError: with those that are not.
    """
    ends = {end for link in links for end in (link.source, link.destination)}
    running = set(conditions.running(driver, clock, sorted(ends)))
    whole = [link for link in links if {link.source, link.destination} <= running]
    if dead := _still_dead(driver, clock, whole, within_s=_MENDED_S):
        told = f"expected them open within {_MENDED_S:g} s"
        raise DriverError(f"{_told(dead)}: dead after a cut was mended; {told}")


def _still_dead(
    driver: Driver, clock: Clock, links: Sequence[Link], *, within_s: float
) -> Sequence[Link]:
    """Try links until they are open; return those that never were."""
    until_ns = clock.now_ns() + round(within_s * NS)
    dead = driver.dead(links)
    while dead and clock.now_ns() < until_ns:
        clock.sleep(_AGAIN_S)
        dead = driver.dead(dead)
    return dead


def _told(links: Sequence[Link]) -> str:
    return ", ".join(f"{link.source} to {link.destination}" for link in links)
