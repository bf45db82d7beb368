"""`restore`: a cluster comes back from what S3 holds, as it was at a chosen moment."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness import conditions, contents, storage
from harness.clock import NS
from harness.errors import AbortedError, DriverError, OverdueError
from harness.history import Json
from harness.journal import moot
from harness.protocols import Driver, Keeps, RecoveryTarget, World
from harness.registry import register
from harness.scenario import Duration, Model, Name, Text
from harness.together import together
from harness.units import format_duration

# What a restore in place is called: it makes no cluster of another name.
OWN = "own"
Kind = Literal["time", "lsn", "xid", "name", "latest"]
# What a mark recorded of itself, by the kind of target.
_RECORDED: Mapping[str, str] = {
    "time": "time",
    "lsn": "lsn",
    "xid": "xid",
    "name": "restore_point",
}


class Goal(Model):
    """The moment that a restore goes to: PostgreSQL's recovery target.

    Attributes:
        by: what names it: a `time`, an `lsn`, a transaction (`xid`), the `name` of a restore
            point; `latest` is all that the archive holds.
        mark: the earlier `mark` that recorded it.
        value: it itself, as PostgreSQL reads it, instead of a mark.
        inclusive: stop after it, not before it; of `time`, `lsn` and `xid`.
    """

    by: Kind
    mark: Name | None = None
    value: Text | None = None
    inclusive: bool = True

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        if self.mark is not None and self.value is not None:
            raise ValueError("value beside a mark; expected one of the two")
        if self.by == "latest" and self.value is not None:
            raise ValueError("value beside by: latest; expected none: it is all that there is")
        if self.by != "latest" and self.mark is None and self.value is None:
            raise ValueError(f"by {self.by} without a moment; expected mark or value")
        if self.by in ("name", "latest") and "inclusive" in self.model_fields_set:
            raise ValueError("inclusive of no time, lsn or xid; expected it beside one of them")
        return self

    def target(self, marked: Mapping[str, Json]) -> RecoveryTarget:
        """Return the target, with what the mark recorded.

        Raises:
            DriverError: when the mark recorded no such thing.
        """
        if self.by == "latest":
            return RecoveryTarget("latest")
        value = self.value if self.value is not None else marked.get(_RECORDED[self.by])
        if value is None:
            raise DriverError(f"restore: the mark {self.mark!r} has no {_RECORDED[self.by]}")
        return RecoveryTarget(self.by, str(value), self.inclusive)


@register
class Restore(Model):
    """Restore a cluster from S3: beside the one that it comes from, or in its place.

    It holds when the restored cluster acknowledged a write. Then the digest of each of its tables
    is recorded, and everything that the tables of the workloads and probes hold. No workload runs
    on it; steps reach it by `cluster: <name>`.

    In place, each machine of the cluster that was destroyed is made anew, with the configuration
    that it had; it comes back with all that S3 holds (`by: latest`).

    Attributes:
        to: which moment to go back to.
        as_cluster: the name of a new cluster beside the old one, and of its machines:
            `restored-pg-1`. Without it, the destroyed cluster comes back in place, as `own`.
        nodes: of the new cluster; as many as the old one has unless given.
        timeout: how long it may take until it accepts writes.

    Example:
        restore: {to: {mark: before, by: time}, as_cluster: restored, nodes: 3}

    Source: PostgreSQL documentation, "Continuous Archiving and Point-in-Time Recovery".
    """

    name: ClassVar[str] = "restore"

    to: Goal
    as_cluster: Name | None = None
    nodes: int | None = Field(None, ge=1, le=7)
    timeout: Duration = 120.0

    @model_validator(mode="after")
    def _in_place_is_all(self) -> Self:
        if self.as_cluster is None and self.to.by != "latest":
            raise ValueError(
                f"to a moment by {self.to.by} in place; expected by: latest, or as_cluster"
            )
        if self.as_cluster is None and self.nodes is not None:
            raise ValueError("nodes without as_cluster; expected both: in place nothing is added")
        return self

    def perform(self, world: World) -> Mapping[str, Json]:
        keeper = storage.keeper(world.driver, self.name)
        marked = world.marked(self.to.mark) if self.to.mark else {}
        target = self.to.target(marked)
        source = marked.get("system_identifier") or _identifier(world)
        source_prefix = keeper.prefix
        at = world.clock.now_ns()
        until = at + int(self.timeout * NS)
        if self.as_cluster is None:
            restored = self._in_place(world, keeper, until)
        else:
            restored = self._beside(world, keeper, target, self.as_cluster)
        node, writable = self._writable(restored, until)
        driver = restored.driver
        cluster = self.as_cluster or OWN
        restored.read_back(node, reader=f"restored/{cluster}")
        return {
            "nodes": [one.name for one in driver.nodes],
            "at": at,
            "cluster": cluster,
            "mark": self.to.mark,
            "target": {
                "kind": target.kind,
                "value": target.value,
                "inclusive": target.inclusive,
            },
            "writable": writable,
            "primary": node,
            "tli": contents.timeline(driver, node),
            "system_identifier": contents.system_identifier(driver, node),
            "source_system_identifier": source,
            "digest": contents.digests(driver, node),
            "prefix": storage.keeper(driver, self.name).prefix,
            "source_prefix": source_prefix,
        }

    def _beside(self, world: World, keeper: Keeps, target: RecoveryTarget, name: str) -> World:
        cluster = world.cluster
        if self.nodes is not None:
            cluster = cluster.model_copy(update={"nodes": self.nodes})
        return world.joined(name, keeper.clone(name, cluster, target), cluster)

    def _in_place(self, world: World, keeper: Keeps, until: int) -> World:
        """Make what was destroyed anew: the DCS first, on which the nodes depend; the ELBs last."""
        driver = world.driver
        nodes = [node.name for node in driver.nodes]
        members = [member.name for member in driver.dcs_members]
        others = [*members, *driver.machines("elb")]
        runs = conditions.running(driver, world.clock, [*nodes, *others])
        if alive := [node for node in nodes if node in runs]:
            raise DriverError(
                f"restore: {', '.join(alive)} runs; expected a cluster that was destroyed"
            )
        gone = [name for name in others if name not in runs]
        _renew(world, keeper, [name for name in gone if name in members])
        world.clock.wait_for(
            lambda: _has_quorum(driver),
            timeout_s=_left_s(world, until),
            what="a quorum of the DCS",
        )
        # One alone first: it is who brings the data back; the others follow it.
        _renew(world, keeper, nodes[:1])
        _renew(world, keeper, nodes[1:])
        _renew(world, keeper, [name for name in gone if name not in members])
        return world.joined(OWN, driver, world.cluster)

    def _writable(self, world: World, until: int) -> tuple[str, int]:
        """Wait for a primary that acknowledges a write; return it and the instant.

        Raises:
            OverdueError: with what the nodes say of themselves, when there is none in time.
        """
        try:
            return world.clock.wait_for(
                partial(_acknowledged, world),
                timeout_s=_left_s(world, until),
                what="a write",
                every_s=0.1,
            )
        except OverdueError:
            took = format_duration(self.timeout)
            raise OverdueError(
                f"restore: no write was acknowledged within {took}: {_said(world)}"
            ) from None


def _identifier(world: World) -> str | None:
    """Return the system identifier of the source, if one of its nodes still tells it."""
    for node in world.driver.nodes:
        if not world.driver.pids(node.name, "postgres"):
            continue  # a machine that is gone would be waited for in vain
        try:
            return contents.system_identifier(world.driver, node.name)
        except AbortedError:
            raise
        except DriverError:
            continue
    return None


def _renew(world: World, keeper: Keeps, machines: Sequence[str]) -> None:
    together(world.clock, (partial(keeper.renew, name) for name in machines), "renew")
    for name in machines:
        for undo in moot(name):
            world.undone(undo)


def _has_quorum(driver: Driver) -> bool:
    try:
        driver.dcs(deadline_s=2)
    except AbortedError:
        raise
    except DriverError:
        return False
    return True


def _acknowledged(world: World) -> tuple[str, int] | None:
    """Return who acknowledged a write just now, and when; None while nobody does.

    It must hold the leader key: a node that left recovery without it is no primary yet.
    """
    driver = world.driver
    try:
        leader = driver.dcs(deadline_s=2).get("leader")
        if leader is None or leader not in {node.name for node in driver.nodes}:
            return None
        if conditions.recovering(driver, leader) is not False:
            return None
        contents.write(driver, leader)
    except AbortedError:
        raise
    except DriverError:
        return None
    return leader, world.clock.now_ns()


def _said(world: World) -> str:
    """Return what is known of a cluster that does not come up: each node in its own words.

    PostgreSQL's own reason stands in the node's log, which the run keeps.
    """
    view = conditions.look(world.driver, world.clock)
    leads = view.leader or "nobody"
    states = [
        f"{node} is {view.body(node).get('state') or 'silent'}, {view.role(node)}"
        for node in view.members
    ]
    return f"{leads} leads, {', '.join(states)}"


def _left_s(world: World, until: int) -> float:
    return max(0.0, (until - world.clock.now_ns()) / NS)
