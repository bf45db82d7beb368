"""`slow`: a machine whose network is thin, or loses packets."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from harness import conditions
from harness.clock import NS
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Undo, World
from harness.registry import register
from harness.scenario import EXPECTED, Duration, Size, Target
from harness.together import together

# A lost packet is sent again after 200 ms at the earliest: RFC 6298, and Linux's TCP_RTO_MIN.
_LATER_S = 0.2
_REQUESTS = 5  # before the fault, to know how long one takes
_DEADLINE_S = 5.0
_SHOWN_WITHIN_S = 20.0

Percent = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]?%$",
        json_schema_extra={EXPECTED: "a share from 1% to 99%", "examples": ["20%"]},
    ),
]


@register
class Slow(Target):
    """Slow down the network of nodes or DCS members: `rate`, `loss`, or both.

    It holds when a request to each machine, of Patroni's REST or a read of the DCS member itself,
    took 0.2 s longer than the slowest of five before, or was not answered.

    Attributes:
        rate: so many bytes a second leave the machine, others wait; 4KiB makes a read of etcd
            last about a second.
        loss: so many of its packets are lost, of those that it sends and of those that it gets.
        for: it is as fast as before after this long; without it, at the end of the run.

    Example:
        slow: {service: dcs, pick: 2, loss: 20%, for: 1m}
    """

    name: ClassVar[str] = "slow"

    rate: Annotated[Size, Field(ge=512)] | None = None
    loss: Percent | None = None
    for_: Duration | None = Field(None, alias="for")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.rate is None and self.loss is None:
            raise ValueError("nothing is slow; expected rate, loss or both")
        return self

    def perform(self, world: World) -> Mapping[str, Json]:
        machines = world.resolve(self)
        servers = {one.name for one in (*world.driver.nodes, *world.driver.dcs_members)}
        if strange := [name for name in machines if name not in servers]:
            found = f"slow: {', '.join(strange)} can be asked nothing"
            raise DriverError(f"{found}; expected nodes or DCS members")
        usual = {name: self._usual_s(world, name) for name in machines}
        loss = int(self.loss.rstrip("%")) / 100 if self.loss else 0.0
        undos = [Undo("quicken", {"node": name}) for name in machines]
        for undo in undos:
            world.undo_later(undo)
        at = world.clock.now_ns()
        for name in machines:
            world.driver.slow(name, rate=self.rate, loss=loss)
        done = world.clock.now_ns()
        took: dict[str, float] = {}

        def show(name: str) -> None:
            took[name] = self._slowed_s(world, name, usual[name])

        together(world.clock, [partial(show, name) for name in machines], self.name)
        if self.for_ is not None:
            world.heal_after(undos, self.for_ - (world.clock.now_ns() - done) / NS)
        seconds: Json = {
            name: {"before": round(usual[name], 3), "after": round(took[name], 3)}
            for name in machines
        }
        return {"nodes": list(machines), "at": at, "how": self._words(), "seconds": seconds}

    def _words(self) -> str:
        parts = [f"{self.rate} B/s" if self.rate else "", f"{self.loss} loss" if self.loss else ""]
        return " and ".join(part for part in parts if part)

    def _usual_s(self, world: World, machine: str) -> float:
        """Return how long the slowest of some requests took, before anything is done."""
        took = [_request_s(world, machine) for _ in range(_REQUESTS)]
        if None in took:
            raise DriverError(f"slow: {machine} does not answer; expected it to, before the fault")
        return max(one for one in took if one is not None)

    def _slowed_s(self, world: World, machine: str, usual_s: float) -> float:
        """Return how long a request took that was slower than usual."""
        slowest = 0.0

        def is_slow() -> bool:
            nonlocal slowest
            took = _request_s(world, machine)
            slowest = max(slowest, _DEADLINE_S if took is None else took)
            return slowest >= usual_s + _LATER_S

        try:
            world.clock.wait_for(
                is_slow, timeout_s=_SHOWN_WITHIN_S, what=f"slow: a slow answer of {machine}"
            )
        except DriverError as error:
            words = f"the slowest took {slowest:.2f} s, and {usual_s:.2f} s before"
            raise type(error)(f"{error}: {words}") from None
        return slowest


def _request_s(world: World, machine: str) -> float | None:
    """Return how long one request took, None when it was not answered."""
    begun = world.clock.now_ns()
    answered = conditions.answers(world.driver, machine, deadline_s=_DEADLINE_S)
    return (world.clock.now_ns() - begun) / NS if answered else None
