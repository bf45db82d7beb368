"""`kill`: a machine loses power, or a program dies."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from harness import power
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Process, Signal, Undo, World
from harness.registry import register
from harness.scenario import Target


@register
class Kill(Target):
    """Kill machines (`power-off`) or one program on them (`process`).

    A power-off is shown by a connection that was open and sees neither EOF nor RST, and by a
    machine that answers nothing any more. A killed program is shown by its process ids, which
    are gone (a supervisor may have started others).

    Attributes:
        how: `power-off` takes the power of the whole machine: its peers see silence, not a closed
            connection. `process` kills a program.
        process: which program; `postgres` with all its children, `all` everything on the machine.
        signal: `TERM` lets the program shut down in order.
    """

    name: ClassVar[str] = "kill"

    how: Literal["power-off", "process"] = "process"
    process: Process = "all"
    signal: Signal = "KILL"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.how == "power-off" and self.model_fields_set & {"process", "signal"}:
            raise ValueError(
                "found how: power-off with a process or signal; expected one of the two"
            )
        return self

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes = world.resolve(self)
        if self.how == "power-off":
            at = power.take(world, self.name, nodes)
            return {"nodes": list(nodes), "at": at, "how": self.how}
        at = world.clock.now_ns()
        for node in nodes:
            self._kill(world, node)
        return {"nodes": list(nodes), "at": at, "how": self.how, "process": self.process}

    def _kill(self, world: World, node: str) -> None:
        before = set(world.driver.pids(node, self.process))
        if not before:
            raise DriverError(f"kill: no {self.process} runs on {node}; nothing could be killed")
        if self.process == "all":
            world.undo_later(Undo("start", {"node": node}))
        world.driver.kill(node, self.process, self.signal)
        world.clock.wait_for(
            lambda: not before & set(world.driver.pids(node, self.process)),
            timeout_s=10 if self.signal == "KILL" else 60,
            what=f"the end of {self.process} on {node} after SIG{self.signal}",
        )
