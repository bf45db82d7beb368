"""What could only be a mistake, though each word of it is allowed.

Pure functions of what one cell is made of; each yields a path in the cell's tree and what is
wrong there.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import BaseModel

from harness.history import Json
from harness.places import Problem, TreePath, show
from harness.protocols import Checker
from harness.scenario import Cluster, Steady, Step, Target
from harness.steps.restore import OWN
from harness.units import format_duration
from harness.validation import one_of, unknown
from harness.verdict import RUNS_NEEDED, Statistic

Rule: TypeAlias = Iterator[Problem]

_SELECTORS = ("role", "az", "service", "node", "ref", "random")
_TIMES = ("ttl", "loop_wait", "retry_timeout")
# From the smallest to the largest: a bound may not lie above one that comes after it.
_ASCENDING: tuple[Statistic, ...] = ("min", "p50", "p90", "p95", "p99", "max")
# What the nodes of the scenario's own cluster are called; those of another carry its name.
NODE = "pg"
# A cluster of such a name would have machines that the run's own cluster has.
_TAKEN = (OWN, NODE, "etcd", "zookeeper", "client", "minio", "nemesis")
# A machine's name is also its host's, which has at most 63 characters: RFC 1035.
_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be referred to by a name.

    Attributes:
        word: what it is. where: what names it, in the words of a message.
    """

    word: str
    where: str


STEP = Kind("step", "a name that an earlier `as` gives")
MARK = Kind("mark", "one that an earlier step makes")
CLUSTER = Kind("cluster", "one that a step restores")
WORKLOAD = Kind("workload", "one of the scenario's workloads")


def node_names(cluster: Cluster, name: str = NODE) -> Sequence[str]:
    """Return what every driver calls the nodes of a cluster."""
    return [f"{name}-{number}" for number in range(1, cluster.nodes + 1)]


def cluster_rules(cluster: Cluster) -> Rule:
    """A cluster that Patroni would refuse, or silently run with other settings."""
    patroni = cluster.patroni
    needed = patroni.loop_wait + 2 * patroni.retry_timeout
    if needed > patroni.ttl:  # Patroni documentation, "Dynamic Configuration Settings"
        found = f"found ttl {patroni.ttl} with loop_wait {patroni.loop_wait}"
        text = f"{found} and retry_timeout {patroni.retry_timeout}"
        expected = f"expected loop_wait + 2 * retry_timeout (here {needed}) of at most ttl"
        written = [name for name in _TIMES if name in patroni.model_fields_set]
        yield Problem(("cluster", "patroni", [*written, "ttl"][0]), f"{text}; {expected}")
    yield from size_rules(cluster, ("cluster", "nodes"))
    for i, az in enumerate(cluster.azs):
        if az in cluster.azs[:i]:
            yield Problem(("cluster", "azs", i), f"found {az!r} again; expected each AZ once")


def size_rules(cluster: Cluster, path: TreePath) -> Rule:
    """A cluster too small for its replication."""
    if cluster.sync != "async" and cluster.nodes < 2:
        text = f"found {cluster.nodes} node with sync {cluster.sync}; expected at least 2"
        yield Problem(path, text)


def cluster_name_rules(name: str, path: TreePath, scenario: Json, made: Sequence[str]) -> Rule:
    """A restored cluster whose name, or whose machines' names, others have.

    Args:
        name: of the cluster.
        path: where it stands.
        scenario: the scenario's own name.
        made: those of the clusters that earlier steps restore.
    """
    if name in made:
        text = f"found {name!r} again; expected a name that no other cluster has"
        yield Problem(path, text)
    elif name == scenario or name in _TAKEN:
        text = f"found {name!r}, which the scenario's own cluster has; expected another name"
        yield Problem(path, text)
    elif len(name) > _NAME_LENGTH:
        text = f"found {len(name)} characters; expected at most {_NAME_LENGTH}"
        yield Problem(path, text)


def steady_rules(steady: Steady, cluster: Cluster) -> Rule:
    """A steady state that this cluster can never reach."""
    streaming = steady.replicas.streaming
    if isinstance(streaming, int) and streaming >= cluster.nodes:
        path = ("steady", "replicas", "streaming")
        yield Problem(path, f"found {streaming} of {cluster.nodes} nodes; expected fewer than all")


def targets(value: object, path: TreePath) -> Iterator[tuple[TreePath, Target]]:
    """Yield each target in a verb's parameters, and where it is written."""
    if isinstance(value, Target):
        yield path, value
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from targets(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from targets(item, (*path, i))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from targets(item, (*path, str(key)))


def target_rules(target: Target, path: TreePath, cluster: Cluster, name: str = NODE) -> Rule:
    """A target that names nothing, two things, or what this cluster lacks.

    Args:
        target: as it is written.
        path: where.
        cluster: that it means a part of.
        name: what the cluster's nodes are called.
    """
    chosen = [name for name in _SELECTORS if getattr(target, name) is not None]
    if not chosen:
        yield Problem(path, f"no target; expected {one_of(_SELECTORS)}")
    elif len(chosen) > 1:
        text = f"found {' and '.join(chosen)}; expected one of them"
        yield Problem((*path, chosen[1]), text, at_key=True)
    if isinstance(target.az, str) and target.az not in cluster.azs:
        yield Problem((*path, "az"), unknown("AZ", target.az, cluster.azs))
    if target.node is not None and target.node not in node_names(cluster, name):
        yield Problem((*path, "node"), unknown("node", target.node, node_names(cluster, name)))
    if target.role is not None:
        yield from _role_rules(target, path, cluster)


def _role_rules(target: Target, path: TreePath, cluster: Cluster) -> Rule:
    if target.role == "sync-standby" and cluster.sync == "async":
        text = "found sync-standby with sync async; expected a role that some node plays"
        yield Problem((*path, "role"), text)
    most = 1 if target.role in ("leader", "primary", "dcs-leader") else cluster.nodes - 1
    if most == 0:
        text = f"found {target.role} with 1 node; expected a role that some node plays"
        yield Problem((*path, "role"), text)
    elif isinstance(target.pick, int) and target.pick > most:
        text = f"found {target.pick}; expected at most {most}, as many as can be {target.role}"
        yield Problem((*path, "pick"), text)


def time_rules(steps: Sequence[tuple[TreePath, Step]]) -> Rule:
    """An `at:` that goes back: it would be late before it began."""
    latest = 0.0
    for path, step in steps:
        if step.at is None:
            continue
        if step.at < latest:
            found = f"found {format_duration(step.at)} after {format_duration(latest)}"
            yield Problem((*path, "at"), f"{found}; expected a time that does not go back")
        latest = max(latest, step.at)


def name_rules(steps: Sequence[tuple[TreePath, Step]]) -> Rule:
    """Two steps of one name."""
    seen: set[str] = set()
    for path, step in steps:
        if step.name in seen:
            text = f"found {step.name!r} again; expected a name that no other step has"
            yield Problem((*path, "as"), text)
        if step.name is not None:
            seen.add(step.name)


def reference_rule(
    name: str,
    path: TreePath,
    *,
    earlier: Sequence[str],
    later: Sequence[str],
    off: Sequence[str],
    kind: Kind = STEP,
) -> Rule:
    """A name that nothing has, or that no step that has run by then gives.

    Args:
        name: what is referred to.
        path: where.
        earlier: the names that come before what refers to them.
        later: those that do not.
        off: those of steps that their `when` leaves out of this cell.
        kind: what it is the name of.
    """
    if name in earlier:
        return
    if name in later:
        text = f"found {name!r}, the name of a later {kind.word}; expected an earlier one"
    elif name in off:
        text = (
            f"found {name!r}, which `when` leaves out of a cell; expected the same condition here"
        )
    elif earlier:
        text = unknown(kind.word, name, earlier)
    else:
        text = f"unknown {kind.word} {show(name)}; expected {kind.where}"
    yield Problem(path, text)


def bound_rules(checker: Checker, path: TreePath) -> Rule:
    """A bound that can never hold, or that would decide nothing."""
    bounds = checker.bounds
    known = [(statistic, bounds[statistic]) for statistic in _ASCENDING if statistic in bounds]
    for statistic, bound in known:
        here = (*path, statistic)
        if bound < 0:
            yield Problem(here, f"found {bound:g}; expected a bound of at least 0")
        if checker.unit == "count" and statistic in RUNS_NEEDED:
            text = f"found {statistic} of a count; expected max or min"
            yield Problem(here, text, at_key=True)
    for (low, floor), (high, ceiling) in itertools.pairwise(known):
        if floor > ceiling:
            text = f"found {low} {floor:g} above {high} {ceiling:g}; expected a bound that can hold"
            yield Problem((*path, low), text)
