"""`backup`: a base backup now, as an operator makes one by hand."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import model_validator

from harness import storage
from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.protocols import Driver, Keeps, World
from harness.registry import register
from harness.scenario import Target

# On a standby nothing is written; what it has replayed is as far as its backup can reach.
_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
    " ELSE pg_current_wal_insert_lsn() END::text"
)


@register
class Backup(Target):
    """Make a base backup from one node, the leader unless told otherwise.

    It holds when the image's own command has ended and named the backup.

    Attributes:
        kind: `full`, or `incr`: only what changed since the last backup.
        may_fail: record a backup that fails, and go on: of one that runs in the background while
            a fault is made.

    Example:
        backup: {kind: full}
    """

    name: ClassVar[str] = "backup"

    kind: Literal["full", "incr"] = "full"
    may_fail: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_the_leader(cls, value: object) -> object:
        if value is None:
            return {"role": "leader"}
        selectors = {"role", "az", "service", "node", "ref", "random"}
        if isinstance(value, Mapping) and not selectors & value.keys():
            return {**value, "role": "leader"}
        return value

    def perform(self, world: World) -> Mapping[str, Json]:
        keeper = storage.keeper(world.driver, self.name)
        nodes = world.resolve(self)
        if len(nodes) != 1:
            raise DriverError(f"backup: found {', '.join(nodes)}; expected one node")
        done: dict[str, Json] = {"nodes": list(nodes), "kind": self.kind}
        try:
            label = _backup(keeper, nodes[0], self.kind)
        except AbortedError:
            raise
        except DriverError as error:
            if not self.may_fail:
                raise
            return {**done, "at": world.clock.now_ns(), "label": None, "failed": str(error)}
        done |= {"at": world.clock.now_ns(), "label": label}
        return {**done, "stop_lsn": _position(world.driver, nodes[0])}


def _backup(keeper: Keeps, node: str, kind: Literal["full", "incr"]) -> str:
    label = keeper.backup(node, kind)
    if not label:
        raise DriverError(f"backup: {node} named no backup; expected a label")
    return label


def _position(driver: Driver, node: str) -> str | None:
    """Return a position in the WAL that the end of the backup does not lie behind, if known."""
    try:
        return str(driver.query(node, _POSITION, deadline_s=5)[0][0])
    except AbortedError:
        raise
    except DriverError:
        return None  # the node may have died since; its backup is as good
