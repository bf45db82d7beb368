"""What each Patroni says of itself, once a second. Evidence for people; no verdict rests on it."""

from functools import partial
from typing import ClassVar

from harness.protocols import Stage
from harness.registry import register
from harness.scenario import Duration, Model


@register
class Rest(Model):
    """Asks every node, or the one that it is sent to, for GET /patroni.

    Attributes:
        every: how often.
    """

    name: ClassVar[str] = "rest"

    every: Duration = 1.0

    def run(self, stage: Stage) -> None:
        nodes = [stage.job.through] if stage.job.through in stage.nodes else stage.nodes
        # Each by itself: a frozen node must not hide what the others say.
        tasks = [stage.clock.spawn(partial(self._ask, stage, n), f"rest/{n}") for n in nodes]
        for task in tasks:
            task.join()

    def _ask(self, stage: Stage, node: str) -> None:
        while not stage.stopped:
            stage.record(f"rest/{node}", "patroni", partial(stage.patroni, node))
            stage.clock.sleep(self.every)
