"""Which machines a target means, at the moment a step runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import get_args

from harness.conditions import View, sync_standbys
from harness.errors import DriverError
from harness.protocols import Driver, Node
from harness.scenario import Role, Target


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a target is looked for in."""

    driver: Driver
    view: View
    named: Mapping[str, Sequence[str]]
    random: Random


def resolve(
    target: Target,
    driver: Driver,
    view: View,
    named: Mapping[str, Sequence[str]],
    random: Random,
) -> Sequence[str]:
    """Return the names of the machines that a target means now, in the cluster's order.

    Args:
        view: a fresh look, for roles.
        named: the machines that earlier steps picked, by their `as:`.

    Raises:
        DriverError: when it means none.
    """
    found = _candidates(target, _Scene(driver, view, named, random))
    if not found:
        raise DriverError(f"target {describe(target)}: nothing is that now; expected a machine")
    return _pick(target, found, random)


def machines(driver: Driver) -> Sequence[str]:
    """Return the names of all machines of a cluster: nodes, DCS members and ELBs."""
    servers = (*driver.nodes, *driver.dcs_members)
    return [*(machine.name for machine in servers), *driver.machines("elb")]


def describe(target: Target) -> str:
    """Return the target in the words of the scenario file: `role=leader`."""
    parts = target.model_dump(
        include=set(Target.model_fields), exclude_defaults=True, exclude_none=True
    )
    return " ".join(f"{key}={value}" for key, value in parts.items()) or "(none)"


def _candidates(target: Target, scene: _Scene) -> Sequence[str]:
    nodes = [node.name for node in scene.driver.nodes]
    if target.ref is not None:
        ours = machines(scene.driver)  # a run may have other clusters beside this one
        return [name for name in scene.named.get(target.ref, ()) if name in ours]
    if target.node is not None:
        return [target.node] if target.node in nodes else ()
    if target.random is not None:
        return [scene.random.choice(nodes)]
    if target.service is not None:
        return nodes if target.service == "cluster" else scene.driver.machines(target.service)
    if target.az is not None:
        return _in_az(target.az, scene)
    return _of_role(target.role, nodes, scene)


def _of_role(role: str | None, nodes: Sequence[str], scene: _Scene) -> Sequence[str]:
    view = scene.view
    if role == "dcs-leader":
        return [scene.driver.dcs_leader(deadline_s=_DEADLINE_S)]
    if role == "leader":
        return [view.leader] if view.leader in nodes and view.leader else ()
    if role == "primary":
        return [node for node in nodes if view.role(node) == "primary"]
    if role == "sync-standby":
        return [node for node in sync_standbys(view.keys) if node in nodes]
    replicas = [node for node in nodes if node != view.leader and view.body(node)]
    return [node for node in replicas if view.role(node) != "primary"]


def _in_az(az: object, scene: _Scene) -> Sequence[str]:
    """Return all machines of one AZ: its nodes and its DCS member."""
    everything: Sequence[Node] = (*scene.driver.nodes, *scene.driver.dcs_members)
    if isinstance(az, str):
        return [machine.name for machine in everything if machine.az == az]
    assert isinstance(az, dict)
    role = az["of"]
    one = Target.model_validate({"role": role} if role in _ROLES else {"ref": role})
    chosen = _pick(one, _candidates(one, scene), scene.random)
    homes = {machine.az for machine in everything if machine.name in chosen}
    return [machine.name for machine in everything if machine.az in homes]


_ROLES = get_args(Role)
_DEADLINE_S = 5.0


def _pick(target: Target, found: Sequence[str], random: Random) -> Sequence[str]:
    """Return as many as `pick` says: one for a role unless told otherwise, all of a service."""
    wants_all = target.pick == "all" or (
        "pick" not in target.model_fields_set and (target.service or target.az or target.ref)
    )
    if wants_all:
        return list(found)
    if target.pick == "one":
        count = 1
    elif isinstance(target.pick, str):
        count = math.ceil(len(found) * float(target.pick.rstrip("%")) / 100)
    else:
        count = target.pick
    if count > len(found):
        raise DriverError(f"target {describe(target)}: {len(found)} found; expected {count}")
    chosen = set(random.sample(list(found), count))
    return [name for name in found if name in chosen]
