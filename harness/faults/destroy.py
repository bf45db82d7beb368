"""`destroy`: machines and their disks are gone for good."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness import conditions, storage
from harness.errors import DriverError
from harness.history import Json
from harness.journal import moot
from harness.protocols import World
from harness.registry import register
from harness.scenario import Target
from harness.together import together


@register
class Destroy(Target):
    """Remove machines with their disks, all at once and without a word to their peers.

    `{service: cluster}` means the DCS members and ELBs of the cluster, too. Where no node is
    left, the clients of the cluster end first. It cannot be undone; `restore` brings a cluster
    back.

    Attributes:
        keep: what is left alone: S3 always is, for without it nothing could come back; with
            `dcs`, so are the DCS members.

    Example:
        destroy: {service: cluster, keep: [s3]}
    """

    name: ClassVar[str] = "destroy"

    keep: tuple[Literal["s3", "dcs"], ...] = Field(("s3",), min_length=1)

    @model_validator(mode="after")
    def _something_comes_back(self) -> Self:
        if "s3" not in self.keep:
            raise ValueError(
                f"keep {', '.join(self.keep)} without s3; "
                "expected s3 in it, or nothing could come back"
            )
        return self

    @property
    def ends_cluster(self) -> bool:
        """Say whether it surely leaves no node."""
        every = self.pick == "all" or "pick" not in self.model_fields_set
        return every and self.service in ("cluster", "patroni", "postgres")

    def perform(self, world: World) -> Mapping[str, Json]:
        keeper = storage.keeper(world.driver, self.name)
        machines = self._machines(world)
        if not machines:
            raise DriverError("destroy: everything is kept; nothing could be destroyed")
        if {node.name for node in world.driver.nodes} <= set(machines):
            world.stop_traffic()
        at = world.clock.now_ns()
        together(world.clock, (partial(keeper.destroy, name) for name in machines), self.name)
        left = conditions.running(world.driver, world.clock, machines)
        if left:
            raise DriverError(f"destroy: {', '.join(left)} still runs; expected no process")
        for name in machines:
            for undo in moot(name):
                world.undone(undo)
        return {"nodes": list(machines), "at": at, "kept": list(self.keep)}

    def _machines(self, world: World) -> Sequence[str]:
        driver = world.driver
        members = [member.name for member in driver.dcs_members]
        found = list(world.resolve(self))
        if self.service == "cluster" and self.ends_cluster:
            found += [*members, *driver.machines("elb")]
        return [name for name in found if "dcs" not in self.keep or name not in members]
