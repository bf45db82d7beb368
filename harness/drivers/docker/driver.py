"""The docker driver: one internal network a cluster, a container a machine."""

import ipaddress
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from socket import SocketIO
from typing import ClassVar, Literal

from harness import budget, reaper, turns
from harness.clock import NS, Clock
from harness.drivers.docker import images, packets, processes, subnet
from harness.drivers.docker.authority import Authority
from harness.drivers.docker.console import Console, DockerClient, Held
from harness.drivers.docker.containers import LABEL_AZ, LABEL_KIND, NEMESIS, Containers
from harness.drivers.docker.debian import PGVERSION
from harness.drivers.docker.engine import connect, obeying
from harness.drivers.docker.machines import (
    AWS_REGION,
    BUCKET,
    CA,
    GATE,
    KMS_KEY,
    OWN,
    REGION,
    REST_SECRET,
    REST_USER,
    S3,
    S3_PORT,
    SECRETS,
    SUPERUSER_SECRET,
    Machine,
    Site,
    client,
    machines,
    rejoining,
)
from harness.drivers.docker.processes import Running
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.vault import NODES, UIDS, Share, server_files, shares
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import (
    Link,
    Node,
    Process,
    RecoveryTarget,
    Reply,
    S3State,
    Signal,
    Silence,
    Start,
    StoredObject,
)
from harness.scenario import Cluster

_PATRONI_PORT = 8008
# Until etcd's members take in one anew that is gone: they may refuse until they have missed it, or
# have seen one another for 5 s.
_READMIT_S = 30.0
# /sys is the mount namespace's; /proc/net follows the network's.
_TX_BYTES = "awk '/eth0:/ {print $10}' /proc/net/dev"
# S3 at its worst that still answers. A qdisc shapes what a machine sends; what S3 receives is lost
# in part instead, and TCP slows down. The burst has to last a second.
_SLOW = "iptables -w -A INPUT -p tcp --dport 9000 -m hashlimit --hashlimit-above 16kb/s"
_SLOW += " --hashlimit-burst 16kb --hashlimit-name drill-slow -j DROP"
# An upload that takes this long then; what is stored is none of any cluster's.
_SAMPLE, _SAMPLE_KEY, _SLOW_S = 65536, "drill/sample", 2.0


class DockerDriver:
    """A cluster of real containers on one machine (docs/adr/0006)."""

    name: ClassVar[str] = "docker"

    def __init__(
        self,
        run: str,
        folder: Path,
        clock: Clock,
        *,
        stack: Stack | None = None,
        random: Random | None = None,
        keep: bool = False,
        says: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make a driver; nothing is started before `up`.

        Args:
            run: names every object of this cluster.
            folder: of this run: the clients' logs go to `<folder>/clients`.
            keep: the cluster outlives this process.
        """
        self.run = run
        self._clock = clock
        self._stack = stack or Stack()
        self._random = random or Random(run)
        self._says = says
        self._docker = connect()
        self._machines: dict[str, Machine] = {}
        labels = reaper.labels(run, folder / "journal.jsonl", kept=keep)
        self._containers = Containers(self._docker, run, labels, folder)
        self._consoles: dict[str, Console] = {}
        self._cuts: dict[str, list[Link]] = {}
        self._slowed: dict[str, tuple[int | None, float]] = {}  # bytes a second, share lost
        # A `for:` that ends in the background may meet the cut of a step.
        self._filtering = threading.Lock()
        self._images: Mapping[str, str] = {}
        self._cluster = Cluster()
        self._subnet = ipaddress.IPv4Network("198.18.0.0/24")
        self._authority = Authority()
        self._site = OWN
        self._beside: list[DockerDriver] = []
        # DCS members that are to be made when there is none: they found the DCS anew.
        self._founders: set[str] = set()
        self._turn: turns.Turn | None = None
        # It has not said yet that its cluster is steady, so its nodes go last.
        self._starts = False

    # --- life ------------------------------------------------------------------------------

    @contextmanager
    def room(
        self, cluster: Cluster, restored: Sequence[Cluster] = (), *, alone: bool = False
    ) -> Iterator[Start]:
        for one in (cluster, *restored):
            self._images_of(one)
        members = self._stack.dcs_members
        cost = budget.run_cost(cluster, restored, members=members)
        if alone:
            cost = budget.everything()
        turn = self._wait_for_room(cost, starts=True, patient=alone)
        self._starts = True
        try:
            yield _Start(turn.started, self._weigh_as_usual)
        finally:
            self._give_room_back()

    def _weigh_as_usual(self) -> None:
        if self._starts:
            self._starts = False
            self._together(partial(self._containers.weigh_as_usual, one.name) for one in self.nodes)

    def _wait_for_room(
        self,
        cost: budget.Cost,
        *,
        by_hand: bool = False,
        starts: bool = False,
        patient: bool = False,
    ) -> turns.Turn:
        self._turn = turns.of_user().take(
            cost, self._clock, self._says, by_hand=by_hand, starts=starts, patient=patient
        )
        return self._turn

    def _give_room_back(self) -> None:
        if self._turn is not None:
            self._turn.release()

    def up(self, cluster: Cluster) -> None:
        self._images = self._images_of(cluster)
        if self._turn is None:
            cost = budget.quiet_cost(cluster, members=self._stack.dcs_members)
            self._wait_for_room(cost, by_hand=True)
        self._cluster = cluster
        # In this order: whoever lowers the shield looks for networks, not for intentions.
        self._subnet = self._containers.make_network(self._random)
        subnet.shield(up=True)
        planned = machines(cluster, self._stack, self._subnet)
        self._machines = {machine.name: machine for machine in planned}
        self._containers.make_nemesis(self._images[NEMESIS], shares(self._authority, planned))
        self._begin(planned)

    def _images_of(self, cluster: Cluster) -> Mapping[str, str]:
        wanted = {PGVERSION: str(cluster.postgres)}
        # Whoever has room waits for nobody: somebody may wait for it to be given back.
        clock = self._clock if self._turn is None else None
        needed = images.needed(cluster.dcs)
        return images.ensure(self._docker, self._says, needed, wanted, clock=clock)

    def _begin(self, planned: Sequence[Machine]) -> None:
        """Make machines and let the nodes begin once what they need answers."""
        # The DCS and its first client before the nodes: a Patroni that finds no DCS sleeps 5 s.
        self._together(partial(self._make, machine) for machine in planned)
        self._console(REGION)
        if any(machine.kind == "s3" for machine in planned):
            self._console(REGION).call("s3_setup", deadline_s=30)
        self._clock.wait_for(
            self._dcs_answers, timeout_s=60, what="a quorum of the DCS", every_s=0.1
        )
        self._together(
            partial(self._open_gate, machine.name) for machine in planned if machine.kind == "node"
        )

    def down(self) -> None:
        try:
            self._hang_up()
            self._containers.remove(self._says)
        finally:
            self._give_room_back()
            self._docker.close()

    def detach(self) -> None:
        """Let go of the cluster and leave it running; the opposite of `attach`."""
        self._hang_up()
        self._give_room_back()
        self._docker.close()

    def _hang_up(self) -> None:
        for other in self._beside:
            other._hang_up()  # noqa: SLF001 - ours
        for console in self._consoles.values():
            console.close()
        self._consoles.clear()

    def _together(self, work: Iterator[Callable[[], None]]) -> None:
        tasks = [self._clock.spawn(one, "docker") for one in work]
        errors = []
        for task in tasks:
            try:
                task.join()
            except DriverError as error:
                errors.append(str(error))
        if errors:
            raise DriverError("; ".join(errors))

    def _make(self, machine: Machine) -> None:
        # A list: clients of several AZs may be made at once, and join the machines meanwhile.
        known = list(self._machines.values())
        last = self._starts and machine.kind == "node"
        self._containers.make(machine, self._images[machine.image], known, last=last)

    def _open_gate(self, name: str) -> None:
        self._containers.exec(name, ["touch", GATE])

    def _dcs_answers(self) -> bool:
        try:
            self.dcs(deadline_s=2)
        except DriverError:
            return False
        return True

    # --- facts -----------------------------------------------------------------------------

    @property
    def nodes(self) -> Sequence[Node]:
        return self._of_kind("node")

    @property
    def dcs_members(self) -> Sequence[Node]:
        return self._of_kind("dcs")

    def _of_kind(self, kind: str) -> Sequence[Node]:
        return [Node(m.name, m.az, m.address) for m in self._machines.values() if m.kind == kind]

    def machines(self, service: str) -> Sequence[str]:
        kind = {"patroni": "node", "postgres": "node"}.get(service, service)
        return [machine.name for machine in self._of_kind(kind)]

    def versions(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for node in self.nodes:
            body = self.patroni(node.name, "/patroni", deadline_s=2).body
            if not isinstance(body, Mapping):
                continue
            version = body.get("patroni")
            if isinstance(version, Mapping):
                found["patroni"] = str(version.get("version"))
            if isinstance(number := body.get("server_version"), int):
                found["postgres"] = f"{number // 10000}.{number % 10000}"
        return {**found, "dcs": str(self._console(REGION).call("dcs_version", deadline_s=5))}

    # --- clients and reading ---------------------------------------------------------------

    def client(self, vantage: str) -> DockerClient:
        return DockerClient(self._console(vantage))

    def _console(self, vantage: str) -> Console:
        if vantage not in self._consoles:
            machine = client(vantage, self._cluster, self._subnet)
            if machine.name not in self._containers:
                self._machines[machine.name] = machine
                self._make(machine)
            self._consoles[vantage] = self._attach(machine, vantage)
        return self._consoles[vantage]

    def _attach(self, machine: Machine, vantage: str) -> Console:
        api = self._docker.api
        command = ["/opt/client/bin/python", "-m", "harness.client"]
        with obeying(f"client {vantage}"):
            made = api.exec_create(str(self._containers[machine.name].id), command, stdin=True)
            stream = api.exec_start(made["Id"], socket=True)
        assert isinstance(stream, SocketIO)  # what a local engine gives
        console = Console(stream, vantage)
        of_kind = {
            kind: {n.name: n.address for n in self._of_kind(kind)}
            for kind in ("node", "elb", "dcs")
        }
        console.hello(
            vantage=vantage,
            log=f"/srv/log/{self._site.called(vantage)}.jsonl",
            nodes=of_kind["node"],
            elbs=of_kind["elb"],
            dcs={
                "kind": self._cluster.dcs,
                "members": of_kind["dcs"],
                "prefix": f"/service/{self._site.scope}/",
            },
            port=5432,
            api_port=_PATRONI_PORT,
            user="postgres",
            password_file=SUPERUSER_SECRET,
            database="postgres",
            ca_file=CA,
            rest_user=REST_USER,
            rest_password_file=REST_SECRET,
            s3={
                "host": S3,
                "port": S3_PORT,
                "region": AWS_REGION,
                "bucket": BUCKET,
                "access_key_file": f"{SECRETS}/s3-key",
                "secret_key_file": f"{SECRETS}/s3-secret",
                "admin_access_key_file": f"{SECRETS}/s3-admin-key",
                "admin_secret_key_file": f"{SECRETS}/s3-admin-secret",
                "ca_file": CA,
            },
        )
        return console

    def query(self, node: str, sql: str, *, deadline_s: float) -> Sequence[Sequence[Json]]:
        rows = self._console(REGION).call("sql", node=node, sql=sql, deadline_s=deadline_s)
        assert isinstance(rows, list)
        return rows

    def in_clear(self, node: str, *, deadline_s: float) -> str | None:
        sqlstate = self._console(REGION).call("in_clear", node=node, deadline_s=deadline_s)
        return None if sqlstate is None else str(sqlstate)

    def patroni(
        self, node: str, path: str, *, deadline_s: float, method: str = "GET", body: Json = None
    ) -> Reply:
        reply = self._console(REGION).call(
            "patroni", node=node, path=path, method=method, body=body, deadline_s=deadline_s
        )
        assert isinstance(reply, dict)
        return Reply(int(str(reply["status"])), reply["body"])

    def dcs(self, *, deadline_s: float, member: str | None = None) -> Mapping[str, str]:
        keys = self._console(REGION).call("dcs", node=member or "", deadline_s=deadline_s)
        assert isinstance(keys, dict)
        return {name: str(value) for name, value in keys.items()}

    def dcs_leader(self, *, deadline_s: float) -> str:
        return str(self._console(REGION).call("dcs_leader", deadline_s=deadline_s))

    @contextmanager
    def is_silent(self, node: str) -> Iterator[Silence]:
        console, machine = self._console(REGION), self._machines[node]
        port = _PATRONI_PORT if machine.kind == "node" else machine.port
        handle = console.call("hold", node=node, port=port, deadline_s=5)
        try:
            yield Held(console, handle)
        finally:
            console.call("release", handle=handle)

    def logs(self, folder: Path) -> None:
        self._containers.logs(folder)

    # --- acting ----------------------------------------------------------------------------

    def pids(self, node: str, process: Process) -> Sequence[int]:
        return [one.pid for one in self._running(node) if one.belongs_to(process)]

    def _running(self, node: str) -> Sequence[Running]:
        """Return all that runs on a machine."""
        first = self._first_pid(node)
        if first is None:
            return []
        return processes.parse(self._containers.nemesis(processes.table(first)))

    def _first_pid(self, machine: str) -> int | None:
        """Return the pid of a machine's first process; None when it is down, or was destroyed."""
        if machine in self._machines and machine not in self._containers:
            return None
        return self._containers.pid(machine)

    def power_off(self, node: str) -> None:
        self._filter(node, dark=True)
        with obeying(f"power off {node}"):
            self._containers[node].kill("SIGKILL")
        self._clock.wait_for(
            lambda: self._containers.pid(node) is None,
            timeout_s=10,
            what=f"the end of {node}",
            every_s=0.05,
        )

    def start(self, node: str) -> None:
        with obeying(f"start {node}"):
            self._containers[node].start()
        self._let_begin(node)

    def _let_begin(self, machine: str) -> None:
        """Let a machine that was just started go on, with the cuts that are to hold."""
        # Rules die with the machine (traps 4); it waits at its gate until they are back.
        if self._cuts.get(machine) or machine in self._slowed:
            self._filter(machine)
        if self._machines[machine].kind == "node":
            self._open_gate(machine)

    def kill(self, node: str, process: Process, signal: Signal) -> None:
        if process == "all":
            with obeying(f"kill {node}"):
                self._containers[node].kill(f"SIG{signal}")
            return
        self._signal(node, process, signal)

    def freeze(self, node: str, process: Process) -> None:
        if process == "all":
            with obeying(f"freeze {node}"):
                self._containers[node].pause()
            return
        self._signal(node, process, "STOP")
        self._clock.wait_for(
            lambda: self._frozen(node, process), timeout_s=5, what=f"{process} on {node} to stop"
        )

    def thaw(self, node: str, process: Process) -> None:
        if process == "all":
            with obeying(f"thaw {node}"):
                self._containers[node].reload()
                if self._containers[node].status == "paused":
                    self._containers[node].unpause()
            return
        if self.pids(node, process):
            self._signal(node, process, "CONT")

    def _frozen(self, node: str, process: Process) -> bool:
        states = [one.state for one in self._running(node) if one.belongs_to(process)]
        return bool(states) and all(state.startswith("T") for state in states)

    def _signal(self, node: str, process: Process, signal: str) -> None:
        first, pids = self._first_pid(node), self.pids(node, process)
        if first is None or not pids:
            raise DriverError(f"{signal} {process} on {node}: no such process")
        if processes.spreads(process, signal):
            self._containers.nemesis(processes.hit_all_of_postgres(first, signal))
            return
        # A process may end by itself between the look and the signal.
        self._containers.nemesis(f"kill -{signal} {' '.join(map(str, pids))} 2>/dev/null || true")

    def cut(self, links: Sequence[Link]) -> None:
        with self._filtering:
            for link in links:
                self._cuts.setdefault(link.source, []).append(link)
            self._filter_all(link.source for link in links)

    def mend(self, links: Sequence[Link]) -> None:
        with self._filtering:
            for link in links:
                wanted = self._cuts.get(link.source, [])
                self._cuts[link.source] = [one for one in wanted if one != link]
            self._filter_all(link.source for link in links)

    def slow(self, machine: str, *, rate: int | None, loss: float) -> None:
        with self._filtering:
            self._slowed[machine] = rate, loss
            self._filter(machine)

    def quicken(self, machine: str) -> None:
        with self._filtering:
            self._slowed.pop(machine, None)
            if self._first_pid(machine) is not None:
                self._filter(machine)
                self._inside(machine, packets.UNSHAPED)

    def dead(self, links: Sequence[Link]) -> Sequence[Link]:
        pids = {name: self._first_pid(name) for name in {link.source for link in links}}
        if down := [name for name, pid in pids.items() if pid is None]:
            raise DriverError(f"{', '.join(sorted(down))} is down; nothing can be tried from it")
        tries = []
        for number, link in enumerate(links):
            where = self._machines[link.destination]
            attempt = f"</dev/tcp/{where.address}/{link.port or where.port}"
            inside = f"nsenter -t {pids[link.source]} -n timeout 1.5 bash -c '{attempt}'"
            # The pipe orders nothing, but a line this short reaches it whole.
            tries.append(f"({inside} 2>/dev/null || echo {number}) &")
        found = self._containers.nemesis("\n".join([*tries, "wait"])).split()
        return [links[number] for number in sorted(map(int, found))]

    def _filter_all(self, names: Iterable[str]) -> None:
        """Filter every machine of these that runs; the rest is filtered when it starts."""
        running = [name for name in dict.fromkeys(names) if self._first_pid(name) is not None]
        # Side by side, so that no partition comes about machine by machine.
        begun = [f"{self._filtering_of(name)} & all+=($!)" for name in running]
        ended = 'for one in "${all[@]}"; do wait "$one"; done'
        if running:
            self._containers.nemesis("\n".join(["set -e; all=()", *begun, ended]))

    def _filter(self, name: str, *, dark: bool = False) -> None:
        """Put the wanted packet rules of one machine in place, all at once."""
        self._containers.nemesis(self._filtering_of(name, dark=dark))

    def _filtering_of(self, name: str, *, dark: bool = False) -> str:
        """Return the script that puts the wanted packet rules of one machine in place."""
        pid = self._first_pid(name)
        if pid is None:
            raise DriverError(f"{name} is down; its packets cannot be filtered")
        addresses = {machine.name: machine.address for machine in self._machines.values()}
        rate, loss = self._slowed.get(name, (None, 0.0))
        script = packets.rules(self._cuts.get(name, []), addresses, dark=dark, loss=loss)
        inside = f"{packets.RESTORE} <<'RULES'\n{script}RULES\n{packets.HOOK}"
        if rate is not None:
            inside += f"\n{packets.shaping(rate)}"
        return f"nsenter -t {pid} -n bash -ec {_quoted(inside)}"

    # --- S3, and what is made from it: `protocols.Keeps` --------------------------------------

    @property
    def prefix(self) -> str:
        return f"spilo/{self._site.scope}/"

    def objects(self, prefix: str) -> Sequence[StoredObject]:
        found = self._console(REGION).call("objects", prefix=prefix)
        assert isinstance(found, list)
        return [StoredObject(**one) for one in found]

    def s3(self, state: S3State) -> None:
        links = [Link(node.name, S3, S3_PORT) for node in self.nodes]
        if state == "outage":
            self.cut(links)
            running = [link for link in links if self._first_pid(link.source) is not None]
            # Twice, for one try of a busy machine may only be late.
            dead = self.dead(self.dead(running))
            if open_still := [link.source for link in running if link not in dead]:
                raise DriverError(f"s3 outage: {', '.join(open_still)} still reaches S3")
        elif state == "deny":
            if self._is_refused():
                raise DriverError("s3 deny: S3 refuses the nodes already, which proves nothing")
            self._console(REGION).call("s3_deny")
            if not self._is_refused():
                raise DriverError("s3 deny: the nodes' user may still read; expected a refusal")
        elif state == "slow":
            self._inside(S3, f"iptables -w -F INPUT; {_SLOW}")
            if (took_s := self._upload_s()) < _SLOW_S:
                raise DriverError(f"s3 slow: an upload took {took_s:.1f} s; expected {_SLOW_S} s")
        else:
            self.mend(links)
            self._inside(S3, "iptables -w -F INPUT")
            self._console(REGION).call("s3_allow")

    def _is_refused(self) -> bool:
        """Return whether S3 refuses what the nodes ask; it takes their word, not the listing's."""
        asked = ["pgbackrest", "--config=/run/spilo/pgbackrest.conf", "repo-ls", "--repo=1"]
        running = [node.name for node in self.nodes if self._first_pid(node.name) is not None]
        try:
            self._containers.exec(running[0], asked)
        except DriverError:
            return True
        return False

    def _upload_s(self) -> float:
        """Return how long a small upload takes; one that was given up counts as long as that."""
        content = b64encode(self._random.randbytes(_SAMPLE)).decode()
        begun = self._clock.now_ns()
        with suppress(DriverError):
            self._console(REGION).call("s3_put", key=_SAMPLE_KEY, content=content, kms_key=KMS_KEY)
        return (self._clock.now_ns() - begun) / NS

    def _inside(self, machine: str, command: str) -> str:
        """Run a command in a machine's network; return what it printed."""
        return self._containers.nemesis(
            f"nsenter -t {self._containers.pid(machine)} -n sh -c {_quoted(command)}"
        )

    def backup(self, node: str, kind: Literal["full", "incr"]) -> str:
        said = self._containers.exec(node, ["spilo-backup", kind]).split()
        return said[-1] if said else ""

    def destroy(self, machine: str) -> None:
        if machine not in self._containers:
            return
        if self._containers.pid(machine) is not None:
            self._filter(machine, dark=True)
        self._containers.destroy(self._machines[machine])
        self._slowed.pop(machine, None)
        members = {member.name for member in self.dcs_members}
        if machine in members and not any(member in self._containers for member in members):
            self._founders = members

    def renew(self, machine: str) -> None:
        spec = self._machines[machine]
        nodes = [node.name for node in self.nodes]
        if spec.kind == "node" and not any(node in self._containers for node in nodes):
            self._return_from_s3(nodes)
            spec = self._machines[machine]
        self.destroy(machine)
        if machine in self._founders:
            self._founders.discard(machine)
        elif spec.kind == "dcs":
            self._console(REGION).call("dcs_readmit", node=machine, deadline_s=_READMIT_S)
            spec = rejoining(spec)
        self._make(spec)
        self._let_begin(machine)

    def _return_from_s3(self, nodes: Sequence[str]) -> None:
        """Set what an operator sets who starts a cluster again that has lost all its machines."""
        for node in nodes:
            spec = self._machines[node]
            environment = {**spec.environment, "BOOTSTRAP_FROM_S3": "true"}
            self._machines[node] = replace(spec, environment=environment)

    def clone(self, name: str, cluster: Cluster, target: RecoveryTarget) -> "DockerDriver":
        number = len(self._beside) + 1
        if number >= subnet.SITES:
            raise DriverError(f"{name}: {number} clusters beside this one; no addresses are left")
        other = copy(self)  # the same run, network, S3 and images
        self._beside.append(other)
        other._found(Site(name, number, self._site.scope, target), cluster)  # noqa: SLF001 - ours
        return other

    def _found(self, site: Site, cluster: Cluster) -> None:
        """Start another cluster than the one that this is a copy of."""
        shared = [one for one in self._machines.values() if one.kind in ("s3", "client")]
        planned = machines(cluster, self._stack, self._subnet, site)
        made_of = cluster.postgres, cluster.dcs
        if made_of != (self._cluster.postgres, self._cluster.dcs):
            self._images = self._images_of(cluster)
        self._site, self._cluster = site, cluster
        self._consoles, self._cuts, self._slowed = {}, {}, {}
        self._beside, self._founders = [], set()
        self._machines = {machine.name: machine for machine in (*shared, *planned)}
        # All nodes of a run read the same volume; what they show has a folder for each cluster.
        files = server_files(self._authority, planned).items()
        own = {f"{site.name}/{file}": text for file, text in files}
        self._containers.hand_out({NODES: Share(UIDS[NODES], own)})
        self._begin(planned)

    def sent_bytes(self, node: str) -> int:
        return int(self._inside(node, _TX_BYTES))

    def idle_s(self) -> float | None:
        return budget.idle_s()

    # --- after the death of whoever made it ------------------------------------------------

    @classmethod
    def attach(cls, run: str, folder: Path, clock: Clock) -> "DockerDriver":
        """Return a driver for a run that another process made, good for undoing its faults."""
        driver = cls(run, folder, clock)
        for name, container in driver._containers.adopt().items():
            networks = container.attrs["NetworkSettings"]["Networks"].values()
            where = next((n.get("IPAMConfig") or {} for n in networks), {}).get("IPv4Address", "")
            kind = container.labels.get(LABEL_KIND, "")
            az = container.labels.get(LABEL_AZ, "")
            driver._machines[name] = Machine(name, kind, "", az, where)
        return driver


@dataclass(frozen=True, slots=True)
class _Start:
    """What is to be done when somebody leads the cluster that starts, and when it is steady."""

    leads: Callable[[], None]
    steady: Callable[[], None]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
