"""The docker driver: one internal network a cluster, a container a machine."""

import io
import ipaddress
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from socket import SocketIO
from typing import ClassVar

# Before the first import of testcontainers: its own reaper cannot be pulled; ours takes its place.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"

from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from harness import reaper
from harness.clock import Clock
from harness.drivers.docker import images, packets, subnet
from harness.drivers.docker.console import Console
from harness.drivers.docker.engine import connect, containers_of, obeying, remove_run
from harness.drivers.docker.machines import (
    GATE,
    PREFIX,
    REGION,
    SECRETS,
    SUPERUSER_SECRET,
    Machine,
    client,
    hosts,
    machines,
    package_root,
)
from harness.drivers.docker.stack import Stack
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Job, Link, Node, Process, Reply, Signal, Silence
from harness.scenario import Cluster

_SPILO_UID = 5432
_CLIENT_UID = 7000
_SERVICE_PORT = {"node": 5432, "dcs": 2379, "elb": 5432}
_NEMESIS = "nemesis"


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
        self._folder = folder
        self._clock = clock
        self._stack = stack or Stack()
        self._random = random or Random(run)
        self._says = says
        self._labels = reaper.labels(run, folder / "journal.jsonl", kept=keep)
        self._docker = connect()
        self._machines: dict[str, Machine] = {}
        self._containers: dict[str, Container] = {}
        self._consoles: dict[str, Console] = {}
        self._cuts: dict[str, list[Link]] = {}
        self._images: Mapping[str, str] = {}
        self._network = ""
        self._cluster = Cluster()
        self._subnet = ipaddress.IPv4Network("198.18.0.0/24")

    # --- life ------------------------------------------------------------------------------

    def up(self, cluster: Cluster) -> None:
        self._images = images.ensure(self._docker, self._says)
        self._cluster = cluster
        # In this order: whoever lowers the shield looks for networks, not for intentions.
        self._make_network()
        subnet.shield(up=True)
        planned = machines(cluster, self._stack, self._subnet)
        self._machines = {machine.name: machine for machine in planned}
        self._start_nemesis(self._images[_NEMESIS])
        # The DCS and its first client before the nodes: a Patroni that finds no DCS sleeps 5 s.
        self._together(
            partial(self._create, machine, self._images[machine.image]) for machine in planned
        )
        self._console(REGION)
        self._clock.wait_for(
            self._dcs_answers, timeout_s=60, what="a quorum of the DCS", every_s=0.1
        )
        self._together(
            partial(self._open_gate, machine.name) for machine in planned if machine.kind == "node"
        )

    def down(self) -> None:
        try:
            self._hang_up()
            remove_run(self._docker, self.run)
            self._containers.clear()
        finally:
            self._docker.close()

    def detach(self) -> None:
        """Let go of the cluster and leave it running; the opposite of `attach`."""
        self._hang_up()
        self._docker.close()

    def _hang_up(self) -> None:
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

    def _make_network(self) -> None:
        with obeying("the list of networks"):
            taken = [
                config.get("Subnet", "")
                for network in self._docker.api.networks()
                for config in (network.get("IPAM", {}).get("Config") or ())
            ]
        for candidate in subnet.candidates(self._random, taken)[:20]:
            pool = IPAMPool(subnet=str(candidate))
            network = Network(
                docker_network_kw={
                    "driver": "bridge",
                    # No way out: a packet of a test never leaves this machine.
                    "internal": True,
                    "ipam": IPAMConfig(pool_configs=[pool]),
                    "labels": self._labels,
                }
            )
            network.name = f"drill-{self.run}"
            try:
                network.create()
                network._docker.client.close()  # noqa: SLF001 - it offers no other way
            except APIError as error:
                if "overlap" in str(error).lower():
                    continue
                raise DriverError(f"network {network.name}: {error.explanation}") from None
            except OSError as error:  # what its HTTP client raises when the engine is gone
                raise DriverError(f"network {network.name}: {error}") from None
            self._network, self._subnet = network.name, candidate
            return
        raise DriverError(f"no free /24 in {subnet.RANGE}; expected one of 512")

    def _create(self, machine: Machine, image: str) -> None:
        """Create and start one machine's container."""
        endpoint = EndpointConfig(self._docker.api.api_version, ipv4_address=machine.address)
        container = DockerContainer(image).with_kwargs(
            hostname=machine.name,
            labels={**self._labels, reaper.LABEL_MACHINE: machine.name, "drill.az": machine.az},
            network=self._network,
            networking_config={self._network: endpoint},
            extra_hosts=dict(hosts(list(self._machines.values()))),
            # An unknown name must fail on this machine, and at once (traps 1).
            dns=["127.0.0.1"],
            dns_opt=["timeout:1", "attempts:1"],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            shm_size="256m",
            # A connection tried into a cut link must not wait a minute after the mend: measured
            # 0.7 s with this, 52 s without, for a replica to stream again.
            sysctls={"net.ipv4.tcp_syn_retries": "2"},
        )
        container.tmpfs.update(machine.tmpfs)
        if machine.command:
            container.with_command(list(machine.command))
        for name, value in machine.environment.items():
            container.with_env(name, value)
        for source, target, mode in self._mounts(machine):
            container.with_volume_mapping(source, target, mode)
        self._containers[machine.name] = self._start_new(container, machine.name)

    def _mounts(self, machine: Machine) -> Iterator[tuple[str, str, str]]:
        """Yield (source, target, mode) of what a machine sees besides its image."""
        if machine.kind == "node":
            yield self._volume("secrets-spilo"), SECRETS, "ro"
        if machine.data:
            yield self._volume(f"{machine.name}-data"), machine.data, "rw"
        if machine.kind == "client":
            logs = self._folder / "clients"
            logs.mkdir(parents=True, exist_ok=True)
            logs.chmod(0o777)  # the client's own user writes, whoever runs the harness reads
            yield self._volume("secrets-client"), SECRETS, "ro"
            yield str(package_root()), "/srv/harness", "ro"
            yield str(logs.resolve()), "/srv/log", "rw"

    def _start_new(self, container: DockerContainer, name: str) -> Container:
        """Start a container and return it as one of our own client, which outlives theirs."""
        try:
            container.with_name(f"drill-{self.run}-{name}").start()
            return self._docker.containers.get(container.get_container_id())
        except (DockerException, OSError) as error:
            raise DriverError(f"{name}: not started: {error}") from None
        finally:
            container.get_docker_client().client.close()

    def _volume(self, name: str) -> str:
        full = f"drill-{self.run}-{name}"
        # Named here, so that it carries our labels; Docker returns the one that exists.
        with obeying(f"volume {full}"):
            self._docker.volumes.create(full, labels=self._labels)
        return full

    def _start_nemesis(self, image: str) -> None:
        """Start the container that makes the faults, and hand out the secrets."""
        container = DockerContainer(image).with_kwargs(
            labels={**self._labels, reaper.LABEL_MACHINE: _NEMESIS},
            network_mode="none",
            # Sees every process of the host, to signal them and to enter their networks.
            pid_mode="host",
            # setns needs SYS_ADMIN, /proc/<pid>/ns needs SYS_PTRACE, iptables needs NET_ADMIN.
            # Not `privileged`: a host that lacks one capability cannot grant them all.
            cap_add=["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "KILL"],
        )
        container.volumes = {
            self._volume("secrets-spilo"): {"bind": "/secrets/spilo", "mode": "rw"},
            self._volume("secrets-client"): {"bind": "/secrets/client", "mode": "rw"},
        }
        started = self._start_new(container, _NEMESIS)
        self._containers[_NEMESIS] = started
        passwords = {name: secrets.token_urlsafe(24) for name in ("superuser", "standby")}
        for folder, uid, names in (
            ("spilo", _SPILO_UID, ("superuser", "standby")),
            ("client", _CLIENT_UID, ("superuser",)),
        ):
            with obeying("handing out the secrets"):
                archive = _tar({n: passwords[n] for n in names}, uid)
                started.put_archive(f"/secrets/{folder}", archive)

    def _open_gate(self, name: str) -> None:
        self._exec(name, ["touch", GATE])

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
        first = self._exec(self.dcs_members[0].name, ["etcd", "--version"]).splitlines()[0]
        return {**found, "dcs": first.replace("etcd Version:", "etcd").strip()}

    # --- clients and reading ---------------------------------------------------------------

    def client(self, vantage: str) -> "DockerClient":
        return DockerClient(self._console(vantage))

    def _console(self, vantage: str) -> Console:
        if vantage not in self._consoles:
            machine = client(vantage, self._cluster, self._subnet)
            if machine.name not in self._containers:
                self._machines[machine.name] = machine
                self._create(machine, self._images[machine.image])
            self._consoles[vantage] = self._attach(machine, vantage)
        return self._consoles[vantage]

    def _attach(self, machine: Machine, vantage: str) -> Console:
        api = self._docker.api
        command = ["/opt/client/bin/python", "-m", "harness.client"]
        with obeying(f"client {vantage}"):
            made = api.exec_create(self._id(machine.name), command, stdin=True)
            stream = api.exec_start(made["Id"], socket=True)
        assert isinstance(stream, SocketIO)  # what a local engine gives
        console = Console(stream, vantage)
        of_kind = {
            kind: {n.name: n.address for n in self._of_kind(kind)}
            for kind in ("node", "elb", "dcs")
        }
        console.hello(
            vantage=vantage,
            log=f"/srv/log/{vantage}.jsonl",
            nodes=of_kind["node"],
            elbs=of_kind["elb"],
            dcs={"kind": self._cluster.dcs, "members": of_kind["dcs"], "prefix": PREFIX},
            port=5432,
            api_port=8008,
            user="postgres",
            password_file=SUPERUSER_SECRET,
            database="postgres",
            rest_user=None,
            rest_password_file=None,
        )
        return console

    def query(self, node: str, sql: str, *, deadline_s: float) -> Sequence[Sequence[Json]]:
        rows = self._console(REGION).call("sql", node=node, sql=sql, deadline_s=deadline_s)
        assert isinstance(rows, list)
        return rows

    def patroni(
        self, node: str, path: str, *, deadline_s: float, method: str = "GET", body: Json = None
    ) -> Reply:
        reply = self._console(REGION).call(
            "patroni", node=node, path=path, method=method, body=body, deadline_s=deadline_s
        )
        assert isinstance(reply, dict)
        return Reply(int(str(reply["status"])), reply["body"])

    def dcs(self, *, deadline_s: float) -> Mapping[str, str]:
        keys = self._console(REGION).call("dcs", deadline_s=deadline_s)
        assert isinstance(keys, dict)
        return {name: str(value) for name, value in keys.items()}

    @contextmanager
    def is_silent(self, node: str) -> Iterator[Silence]:
        console = self._console(REGION)
        handle = console.call("hold", node=node, port=8008, deadline_s=5)
        try:
            yield _Held(console, handle)
        finally:
            console.call("release", handle=handle)

    def logs(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, container in self._containers.items():
            # One that is gone has no log; that must not cost the others theirs.
            with suppress(DriverError), obeying(f"log of {name}"):
                (folder / f"{name}.log").write_bytes(container.logs(timestamps=True))

    # --- acting ----------------------------------------------------------------------------

    def pids(self, node: str, process: Process) -> Sequence[int]:
        return [pid for pid, words, _ in self._processes(node) if _is(process, words)]

    def _processes(self, node: str) -> Sequence[tuple[int, str, str]]:
        """Return (pid on the host, command line, state) of all that runs on a machine."""
        first = self._pid(node)
        if first is None:
            return []
        table = self._nemesis("ps -eo pid=,pidns=,stat=,args= --no-headers")
        rows = [line.split(None, 3) for line in table.splitlines()]
        space = next((row[1] for row in rows if int(row[0]) == first), None)
        return [(int(r[0]), r[3], r[2]) for r in rows if r[1] == space and not r[2].startswith("Z")]

    def _pid(self, name: str) -> int | None:
        """Return the host's process id of a container's first process, None when it is down."""
        with obeying(name):
            try:
                state = self._docker.api.inspect_container(self._id(name))["State"]
            except NotFound:
                return None
        return int(state["Pid"]) or None

    def _container(self, name: str) -> Container:
        if name not in self._containers:
            raise DriverError(f"no machine {name!r}; expected one of {', '.join(self._containers)}")
        return self._containers[name]

    def _id(self, name: str) -> str:
        return str(self._container(name).id)

    def power_off(self, node: str) -> None:
        self._filter(node, dark=True)
        with obeying(f"power off {node}"):
            self._container(node).kill("SIGKILL")
        self._clock.wait_for(
            lambda: self._pid(node) is None, timeout_s=10, what=f"the end of {node}", every_s=0.05
        )

    def start(self, node: str) -> None:
        with obeying(f"start {node}"):
            self._container(node).start()
        # Rules die with the machine (traps 4); it waits at its gate until they are back.
        if self._cuts.get(node):
            self._filter(node)
        if self._machines[node].kind == "node":
            self._open_gate(node)

    def kill(self, node: str, process: Process, signal: Signal) -> None:
        if process == "all":
            with obeying(f"kill {node}"):
                self._container(node).kill(f"SIG{signal}")
            return
        self._signal(node, process, signal)

    def freeze(self, node: str, process: Process) -> None:
        if process == "all":
            with obeying(f"freeze {node}"):
                self._container(node).pause()
            return
        self._signal(node, process, "STOP")
        self._clock.wait_for(
            lambda: self._frozen(node, process), timeout_s=5, what=f"{process} on {node} to stop"
        )

    def thaw(self, node: str, process: Process) -> None:
        if process == "all":
            with obeying(f"thaw {node}"):
                self._container(node).reload()
                if self._container(node).status == "paused":
                    self._container(node).unpause()
            return
        if any(_is(process, words) for _, words, _ in self._processes(node)):
            self._signal(node, process, "CONT")

    def _frozen(self, node: str, process: Process) -> bool:
        states = [state for _, words, state in self._processes(node) if _is(process, words)]
        return bool(states) and all(state.startswith("T") for state in states)

    def _signal(self, node: str, process: Process, signal: str) -> None:
        pids = " ".join(map(str, self.pids(node, process)))
        if not pids:
            raise DriverError(f"{signal} {process} on {node}: no such process")
        # A process may end by itself between the look and the signal.
        self._nemesis(f"kill -{signal} {pids} 2>/dev/null || true")

    def cut(self, link: Link) -> None:
        self._cuts.setdefault(link.source, []).append(link)
        self._filter(link.source)

    def mend(self, link: Link) -> None:
        wanted = self._cuts.get(link.source, [])
        self._cuts[link.source] = [one for one in wanted if one != link]
        if self._pid(link.source) is not None:
            self._filter(link.source)

    def is_cut(self, link: Link) -> bool:
        pid = self._pid(link.source)
        if pid is None:
            raise DriverError(f"{link.source} is down; nothing can be tried from it")
        where = self._machines[link.destination]
        port = link.port or _SERVICE_PORT[where.kind]
        attempt = f"timeout 1.5 bash -c '</dev/tcp/{where.address}/{port}'"
        answer = self._nemesis(
            f"nsenter -t {pid} -n {attempt} 2>/dev/null && echo open || echo cut"
        )
        return answer.strip() == "cut"

    def _filter(self, name: str, *, dark: bool = False) -> None:
        """Put the wanted packet rules of one machine in place, all at once."""
        pid = self._pid(name)
        if pid is None:
            raise DriverError(f"{name} is down; its packets cannot be filtered")
        addresses = {machine.name: machine.address for machine in self._machines.values()}
        script = packets.rules(self._cuts.get(name, []), addresses, dark=dark)
        inside = f"{packets.RESTORE} <<'RULES'\n{script}RULES\n{packets.HOOK}"
        self._nemesis(f"nsenter -t {pid} -n bash -ec {_quoted(inside)}")

    def _nemesis(self, script: str) -> str:
        return self._exec(_NEMESIS, ["bash", "-c", script])

    def _exec(self, name: str, command: Sequence[str]) -> str:
        with obeying(name):
            code, output = self._container(name).exec_run(list(command))
        assert isinstance(output, bytes | None)  # neither streamed nor split
        text = (output or b"").decode(errors="replace")
        if code:
            raise DriverError(
                f"{name}: {' '.join(command)[:80]}: exit {code}: {text.strip()[-300:]}"
            )
        return str(text)

    # --- after the death of whoever made it ------------------------------------------------

    @classmethod
    def attach(cls, run: str, folder: Path, clock: Clock) -> "DockerDriver":
        """Return a driver for a run that another process made, good for undoing its faults."""
        driver = cls(run, folder, clock)
        for name, container in containers_of(driver._docker, run).items():
            driver._containers[name] = container
            networks = container.attrs["NetworkSettings"]["Networks"].values()
            where = next((n.get("IPAMConfig") or {} for n in networks), {}).get("IPv4Address", "")
            kind = {"pg": "node", "etcd": "dcs"}.get(name.split("-")[0], name.split("-")[-1])
            driver._machines[name] = Machine(
                name, kind, "", container.labels.get("drill.az", ""), where
            )
        return driver


class DockerClient:
    """`protocols.Client` over the console of a client container."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def prepare(self, through: str) -> None:
        self._console.call("prepare", through=through, deadline_s=30)

    def start(self, job: Job) -> None:
        self._console.call("start", job=asdict(job))

    def stop(self, name: str) -> None:
        self._console.call("stop", name=name, deadline_s=60)

    def final_read(self, job: Job) -> None:
        self._console.call("final_read", job=asdict(job), deadline_s=60)


class _Held:
    def __init__(self, console: Console, handle: Json) -> None:
        self._console = console
        self._handle = handle

    def broken_within(self, seconds: float) -> str | None:
        seen = self._console.call(
            "held", handle=self._handle, seconds=seconds, deadline_s=seconds + 5
        )
        return None if seen is None else str(seen)


def _is(process: Process, words: str) -> bool:
    """Return whether a command line belongs to this program (image/spilo)."""
    if process == "patroni":
        return "/opt/patroni/bin/patroni" in words
    if process == "walreceiver":
        return words.startswith("postgres:") and "walreceiver" in words
    if process == "postgres":
        return words.startswith("postgres:") or "/bin/postgres " in words
    return True


def _tar(files: Mapping[str, str], uid: int) -> bytes:
    """Return an archive of files that only this user may read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(text), 0o400, uid, uid
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
