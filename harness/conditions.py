"""What a cluster looks like now, and the states that steps wait for.

Read from Patroni's REST interface and the DCS: evidence good enough to wait for, never to judge
by. A verdict rests on acknowledged operations (docs/adr/0002).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from harness.clock import Clock
from harness.errors import AbortedError, DriverError
from harness.history import Json
from harness.protocols import Driver, Reply
from harness.scenario import Cluster, Steady
from harness.together import together

_REST_DEADLINE_S = 1.5


@dataclass(frozen=True, slots=True)
class View:
    """One look at the whole cluster.

    Attributes:
        keys: the DCS below the cluster's prefix; empty when it has no quorum.
        members: each node's GET /patroni; status 0 when it did not answer.
    """

    keys: Mapping[str, str]
    members: Mapping[str, Reply]

    @property
    def leader(self) -> str | None:
        return self.keys.get("leader")

    def body(self, node: str) -> Mapping[str, Json]:
        body = self.members[node].body if node in self.members else None
        return body if isinstance(body, Mapping) else {}

    def role(self, node: str) -> str:
        """Return what the node says it is: `primary`, `replica` or, when silent, `unknown`."""
        role = self.body(node).get("role")
        return "primary" if role in ("primary", "master") else str(role or "unknown")


def look(driver: Driver, clock: Clock) -> View:
    """Ask the DCS and every node at once, so that one silent node does not delay the rest."""
    members: dict[str, Reply] = {}
    keys: dict[str, str] = {}

    def ask(node: str) -> None:
        try:
            members[node] = driver.patroni(node, "/patroni", deadline_s=_REST_DEADLINE_S)
        except DriverError as error:
            members[node] = Reply(0, str(error))

    def ask_dcs() -> None:
        try:
            keys.update(driver.dcs(deadline_s=_REST_DEADLINE_S))
        except DriverError:
            return  # no quorum is an answer: no keys

    tasks = [clock.spawn(ask_dcs, "look-dcs")]
    tasks += [clock.spawn(partial(ask, n.name), f"look-{n.name}") for n in driver.nodes]
    for task in tasks:
        task.join()
    return View(keys, {node.name: members[node.name] for node in driver.nodes})


def running(driver: Driver, clock: Clock, machines: Iterable[str]) -> Sequence[str]:
    """Return those of these machines on which a process runs, all asked at once."""
    names = list(machines)
    found: set[str] = set()

    def ask(name: str) -> None:
        if driver.pids(name, "all"):
            found.add(name)

    together(clock, (partial(ask, name) for name in names), "running")
    return [name for name in names if name in found]


def answers(driver: Driver, machine: str, *, deadline_s: float = 1.0) -> bool:
    """Return whether what a machine serves is served.

    Patroni answers on a node, whatever it says; a DCS member reads with a quorum; any other
    machine accepts a connection.
    """
    if not _is_member(driver, machine):
        return accepts(driver, machine, deadline_s=deadline_s)
    try:
        driver.dcs(deadline_s=deadline_s, member=machine)
    except AbortedError:
        raise
    except DriverError:
        return False
    return True


def accepts(driver: Driver, machine: str, *, deadline_s: float = 1.0) -> bool:
    """Return whether Patroni answers on a node, or any other machine accepts a connection."""
    if machine in (node.name for node in driver.nodes):
        return bool(driver.patroni(machine, "/liveness", deadline_s=deadline_s).status)
    try:
        with driver.is_silent(machine):
            return True
    except AbortedError:
        raise
    except DriverError:
        return False


def _is_member(driver: Driver, machine: str) -> bool:
    return machine in (member.name for member in driver.dcs_members)


def speaks(driver: Driver, node: str) -> bool:
    """Return whether PostgreSQL on this node answers a query."""
    return recovering(driver, node) is not None


def recovering(driver: Driver, node: str) -> bool | None:
    """Return whether PostgreSQL on this node is in recovery, or None when it does not say."""
    try:
        rows = driver.query(node, "SELECT pg_is_in_recovery()", deadline_s=_REST_DEADLINE_S)
    except DriverError:
        return None
    return bool(rows[0][0])


def hurry(driver: Driver, view: View) -> None:
    """Start Patroni's next round on every node now; without it a start takes several loop_waits.

    A PATCH that changes nothing does it: it wakes the round of the node that it is sent to. It
    takes away what was never there: one that sets a value might mend a wrong one, unseen.
    """
    if view.leader is None:
        return
    nothing: Json = {"drill": None}
    for node in driver.nodes:
        driver.patroni(node.name, "/config", deadline_s=2, method="PATCH", body=nothing)


def settings(driver: Driver, view: View) -> Mapping[str, Json] | None:
    """Return the dynamic configuration that the cluster obeys, as its primary has it from the DCS.

    None while there is no primary, or it does not say.
    """
    if view.leader is None or view.role(view.leader) != "primary":
        return None
    reply = driver.patroni(view.leader, "/config", deadline_s=_REST_DEADLINE_S)
    return reply.body if reply.status == 200 and isinstance(reply.body, Mapping) else None


def other_settings(found: Mapping[str, Json], cluster: Cluster) -> Sequence[str]:
    """Return the settings in which a dynamic configuration is not what the scenario asks for."""
    defaults = Cluster().dynamic_configuration
    return [
        f"{name} is {value!r} in Patroni's /config; expected {asked!r}"
        for name, asked in cluster.dynamic_configuration.items()
        if (value := found.get(name, defaults[name])) != asked
    ]


@dataclass(frozen=True, slots=True)
class Wish:
    """Why a state does not hold yet; true, in the sense of `if`, when it does."""

    lacks: Sequence[str] = field(default_factory=tuple)

    def __bool__(self) -> bool:
        return not self.lacks


def steady(view: View, cluster: Cluster, wanted: Steady) -> Wish:
    """Return what keeps the cluster from its steady state.

    It streams, and the synchronous state is established: `/sync` names the standbys and PostgreSQL
    agrees.
    """
    lacks = streaming(view, wanted).lacks
    leader = view.leader
    if leader is None or view.role(leader) != "primary":
        return Wish(lacks)
    return Wish((*lacks, *_sync_lacks(view, cluster, leader, _needed(view, leader, wanted))))


def streaming(view: View, wanted: Steady) -> Wish:
    """Return what keeps the nodes from one primary that leads, and the wanted replicas from it.

    They stream on its timeline, within the lag.
    """
    leader = view.leader
    if leader is None:
        return Wish(("no leader key in the DCS",))
    if view.role(leader) != "primary":
        return Wish((f"the leader {leader} is {view.role(leader)}, not primary",))
    strangers = [n for n in view.members if n != leader and view.role(n) == "primary"]
    lacks = [f"{node} says that it is primary, but {leader} leads" for node in strangers]
    replicas = [node for node in view.members if node != leader]
    missing = [w for n in replicas if (w := _not_streaming(view, n, leader, wanted.replicas.lag))]
    if len(replicas) - len(missing) < _needed(view, leader, wanted):
        lacks += missing
    return Wish(tuple(lacks))


def _needed(view: View, leader: str, wanted: Steady) -> int:
    """Return how many replicas are to stream."""
    replicas = [node for node in view.members if node != leader]
    return len(replicas) if wanted.replicas.streaming == "all" else wanted.replicas.streaming


def _not_streaming(
    view: View, node: str, leader: str, lag_bytes: Mapping[Literal["max"], int]
) -> str | None:
    body, first = view.body(node), view.body(leader)
    if not body:
        return f"{node} does not answer"
    if body.get("replication_state") != "streaming":
        return f"{node} is {body.get('role')}, {body.get('replication_state') or body.get('state')}"
    if body.get("state") not in ("running", "streaming"):
        return f"{node} streams, but its state is {body.get('state')}: no load balancer takes it"
    if body.get("timeline") != first.get("timeline"):
        return f"{node} is on timeline {body.get('timeline')}, not {first.get('timeline')}"
    written, received = _position(first, "location"), _position(body, "received_location")
    if written is None or received is None:
        return f"{leader if written is None else node} does not tell its position in the WAL"
    if "max" in lag_bytes and written - received > lag_bytes["max"]:
        return f"{node} is {written - received} bytes behind"
    return None


def _position(body: Mapping[str, Json], name: str) -> int | None:
    xlog = body.get("xlog")
    value = xlog.get(name) if isinstance(xlog, Mapping) else None
    return value if isinstance(value, int) else None


def sync_standbys(keys: Mapping[str, str]) -> Sequence[str]:
    """Return the standbys that the DCS key `sync` names."""
    try:
        sync = json.loads(keys.get("sync", "{}"))
    except ValueError:
        return ()
    names = sync.get("sync_standby") if isinstance(sync, dict) else None
    return tuple(sorted(str(names).split(","))) if names else ()


def _sync_lacks(view: View, cluster: Cluster, leader: str, replicas: int) -> Sequence[str]:
    """Return why the synchronous state is not established; a kill before it is elects nobody.

    Args:
        view: a look at the cluster.
        cluster: what was asked for.
        leader: who holds the leader key.
        replicas: how many must stream.
    """
    if cluster.sync == "async":
        return ()
    named = sync_standbys(view.keys)
    wanted = replicas if cluster.sync == "quorum" else min(1, replicas)
    if len(named) < wanted:
        return (f"the DCS names {len(named)} synchronous standbys of {wanted}",)
    replication = view.body(leader).get("replication")
    states = {
        str(row.get("application_name")): str(row.get("sync_state"))
        for row in (replication if isinstance(replication, Sequence) else ())
        if isinstance(row, Mapping)
    }
    kind = "quorum" if cluster.sync == "quorum" else "sync"
    return tuple(
        f"{name} is {states.get(name, 'not connected')}, not {kind}, in pg_stat_replication"
        for name in named
        if states.get(name) != kind
    )
