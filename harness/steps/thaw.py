"""`thaw`: let what was frozen go on."""

from collections.abc import Mapping
from typing import ClassVar

from harness.history import Json
from harness.protocols import Process, Undo, World
from harness.registry import register
from harness.scenario import Target


@register
class Thaw(Target):
    """Continue a frozen program, or the whole node."""

    name: ClassVar[str] = "thaw"

    process: Process = "all"

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes = world.resolve(self)
        at = world.clock.now_ns()
        for node in nodes:
            world.driver.thaw(node, self.process)
            world.undone(Undo("thaw", {"node": node, "process": self.process}))
        return {"nodes": list(nodes), "at": at, "process": self.process}
