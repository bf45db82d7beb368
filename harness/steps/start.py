"""`start`: power a machine on again."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from harness import conditions
from harness.history import Json
from harness.protocols import Undo, World
from harness.registry import register
from harness.scenario import Target


@register
class Start(Target):
    """Start machines that were killed; holds when Patroni answers on each node.

    A DCS member, or an ELB, is up when it accepts connections: without a quorum it serves nobody.
    Cuts that were made before the restart hold again before the first process runs.
    """

    name: ClassVar[str] = "start"

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes = world.resolve(self)
        at = world.clock.now_ns()
        for node in nodes:
            world.driver.start(node)
            world.undone(Undo("start", {"node": node}))
        for node in nodes:
            world.clock.wait_for(
                partial(conditions.accepts, world.driver, node),
                timeout_s=60,
                what=f"an answer of {_what(world, node)}",
                every_s=0.25,
            )
        return {"nodes": list(nodes), "at": at}


def _what(world: World, machine: str) -> str:
    is_node = machine in (node.name for node in world.driver.nodes)
    return f"Patroni on {machine}" if is_node else machine
