"""`replace`: a fresh machine takes the place of one that may live or be dead."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from harness import conditions, storage
from harness.clock import NS
from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.journal import moot
from harness.protocols import Keeps, World
from harness.registry import register
from harness.scenario import Duration, Target


@register
class Replace(Target):
    """Put a machine with an empty disk and the same configuration in the place of another.

    It holds when Patroni answers there and PostgreSQL answers a query, in recovery. How many
    bytes the leader sent meanwhile is recorded, unless another node came to lead. Of several DCS
    members each is replaced when the one before it reads with a quorum.

    Attributes:
        timeout: how long each machine may take.

    Example:
        replace: {role: replica}
    """

    name: ClassVar[str] = "replace"

    timeout: Duration = 120.0

    def perform(self, world: World) -> Mapping[str, Json]:
        keeper = storage.keeper(world.driver, self.name)
        nodes = world.resolve(self)
        before = _sent(world, keeper, nodes)
        at = world.clock.now_ns()
        ours = [node.name for node in world.driver.nodes]
        for name in nodes:
            keeper.renew(name)
            for undo in moot(name):
                world.undone(undo)
            if name not in ours:
                serves = partial(conditions.answers, world.driver, name)
                self._wait(world, serves, f"an answer of {name}")
        for name in nodes:
            if name in ours:
                self._wait(world, partial(_replicates, world, name), f"a standby on {name}")
        seconds = (world.clock.now_ns() - at) / NS
        return {
            "nodes": list(nodes),
            "at": at,
            "seconds": round(seconds, 3),
            "leader_sent_bytes": _more(before, _sent(world, keeper, nodes)),
        }

    def _wait(self, world: World, holds: Callable[[], bool], what: str) -> None:
        world.clock.wait_for(holds, timeout_s=self.timeout, what=what, every_s=0.25)


def _replicates(world: World, node: str) -> bool:
    return conditions.answers(world.driver, node) and bool(
        conditions.recovering(world.driver, node)
    )


def _sent(world: World, keeper: Keeps, replaced: Sequence[str]) -> tuple[str, int] | None:
    """Return who leads and how much it has sent so far; None when it is replaced, or nobody is."""
    try:
        leader = world.driver.dcs(deadline_s=5).get("leader")
    except AbortedError:
        raise
    except DriverError:
        return None
    if leader is None or leader in replaced:
        return None
    return leader, keeper.sent_bytes(leader)


def _more(before: tuple[str, int] | None, after: tuple[str, int] | None) -> int | None:
    if before is None or after is None or before[0] != after[0]:
        return None
    # A counter that went back is that of a machine that was started anew.
    return after[1] - before[1] if after[1] >= before[1] else None
