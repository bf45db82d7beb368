"""`sql`: an operator runs a statement by hand: DROP TABLE, pg_promote(), CHECKPOINT."""

from collections.abc import Mapping
from typing import ClassVar

from harness.history import Json
from harness.protocols import World
from harness.registry import register
from harness.scenario import Duration, Target


@register
class Sql(Target):
    """Run one statement straight on the machines that the target means; an error ends the run.

    It bypasses the ELBs, and the verdict does not count it as a client's write.

    Attributes:
        run: the statement.
        timeout: how long each machine may take.

    Example:
        sql: {role: replica, run: "SELECT pg_promote()"}
    """

    name: ClassVar[str] = "sql"

    run: str
    timeout: Duration = 10.0

    def perform(self, world: World) -> Mapping[str, Json]:
        nodes = world.resolve(self)
        at = world.clock.now_ns()
        rows = {
            node: [list(row) for row in world.driver.query(node, self.run, deadline_s=self.timeout)]
            for node in nodes
        }
        return {"nodes": list(nodes), "at": at, "rows": rows}
