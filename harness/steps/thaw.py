"""`thaw`: let what was frozen go on."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from harness import conditions
from harness.history import Json
from harness.protocols import Process, Undo, World
from harness.registry import register
from harness.scenario import Target


@register
class Thaw(Target):
    """Continue a frozen program, or the whole node; holds when it answers again.

    Of a whole node Patroni's answer is enough: PostgreSQL may have to be rewound first.

    Attributes:
        process: what was frozen.
    """

    name: ClassVar[str] = "thaw"

    process: Process = "all"

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes = world.resolve(self)
        at = world.clock.now_ns()
        for node in nodes:
            world.driver.thaw(node, self.process)
            world.undone(Undo("thaw", {"node": node, "process": self.process}))
        ask = conditions.speaks if self.process == "postgres" else conditions.answers
        for node in nodes if self.process != "walreceiver" else ():
            world.clock.wait_for(
                partial(ask, world.driver, node),
                timeout_s=60,
                what=f"an answer of {self.process} on {node}",
                every_s=0.25,
            )
        return {"nodes": list(nodes), "at": at, "process": self.process}
