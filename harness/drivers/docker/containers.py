"""What one run has in the Docker engine: its network, its volumes, its containers."""

import io
import ipaddress
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from random import Random

# Before the first import of testcontainers: its own reaper cannot be pulled; ours takes its place.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"

from docker import DockerClient as Engine
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from harness import reaper
from harness.cache import cache_folder
from harness.drivers.docker import subnet
from harness.drivers.docker.engine import containers_of, obeying, remove_run
from harness.drivers.docker.machines import SECRETS, Machine, hosts, package_root
from harness.drivers.docker.vault import HOLDERS, Share
from harness.errors import DriverError

LABEL_AZ = "drill.az"
LABEL_KIND = "drill.kind"
NEMESIS = "nemesis"
# Shares of the CPU, when more is asked for than there is. First go who measures, who makes faults,
# and the DCS, whose silence is an election: they work little. Last go the nodes of a cluster that
# starts: at par with them, a neighbour's took 2.4 s, not 1, to see a key gone, and 3 to promote.
_FIRST, _USUAL, _LAST = 8192, 1024, 128
_GO_FIRST = frozenset({"client", "dcs"})


class Containers:
    """Makes and names the objects of one run. Which machine is what, is not known here."""

    def __init__(self, engine: Engine, run: str, labels: Mapping[str, str], folder: Path) -> None:
        """Start with nothing; `folder` is where the clients of the run write their logs."""
        self._docker = engine
        self._run = run
        self._labels = dict(labels)
        self._folder = folder
        self._network = ""
        self._made: dict[str, Container] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._made

    def __getitem__(self, name: str) -> Container:
        if name not in self._made:
            raise DriverError(f"no machine {name!r}; expected one of {', '.join(self._made)}")
        return self._made[name]

    def make_network(self, random: Random) -> ipaddress.IPv4Network:
        """Make the run's own network; return its /24."""
        with obeying("the list of networks"):
            taken = [
                config.get("Subnet", "")
                for network in self._docker.api.networks()
                for config in (network.get("IPAM", {}).get("Config") or ())
            ]
        for candidate in subnet.candidates(random, taken)[:20]:
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
            network.name = f"drill-{self._run}"
            try:
                network.create()
                network._docker.client.close()  # noqa: SLF001 - it offers no other way
            except APIError as error:
                if "overlap" in str(error).lower():
                    continue
                raise DriverError(f"network {network.name}: {error.explanation}") from None
            except OSError as error:  # what its HTTP client raises when the engine is gone
                raise DriverError(f"network {network.name}: {error}") from None
            self._network = network.name
            return candidate
        raise DriverError(f"no free /24 in {subnet.RANGE}; expected one of 512")

    def make(
        self, machine: Machine, image: str, known: Iterable[Machine], *, last: bool = False
    ) -> None:
        """Create and start one machine's container; it can name the machines it is to know.

        With `last` it has what others leave of the CPU, until `weigh_as_usual`.
        """
        share = _FIRST if machine.kind in _GO_FIRST else _LAST if last else _USUAL
        endpoint = EndpointConfig(self._docker.api.api_version, ipv4_address=machine.address)
        container = DockerContainer(image).with_kwargs(
            hostname=machine.name,
            labels={
                **self._labels,
                reaper.LABEL_MACHINE: machine.name,
                LABEL_AZ: machine.az,
                LABEL_KIND: machine.kind,
            },
            network=self._network,
            networking_config={self._network: endpoint},
            extra_hosts=dict(hosts(known)),
            # An unknown name must fail on this machine, and at once (traps 1).
            dns=["127.0.0.1"],
            dns_opt=["timeout:1", "attempts:1"],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            shm_size="256m",
            cpu_shares=share,
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
        self._made[machine.name] = self._start_new(container, machine.name)

    def weigh_as_usual(self, name: str) -> None:
        """Give one that was made to go last its usual share of the CPU."""
        with obeying(f"update {name}"):
            self[name].update(cpu_shares=_USUAL)

    def make_nemesis(self, image: str, shares: Mapping[str, Share]) -> None:
        """Start the container that makes the faults, and hand out the secrets by it."""
        container = DockerContainer(image).with_kwargs(
            labels={**self._labels, reaper.LABEL_MACHINE: NEMESIS},
            network_mode="none",
            # Sees every process of the host, to signal them and to enter their networks.
            pid_mode="host",
            # setns needs SYS_ADMIN, /proc/<pid>/ns needs SYS_PTRACE, iptables needs NET_ADMIN.
            # Not `privileged`: a host that lacks one capability cannot grant them all.
            cap_add=["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "KILL"],
            cpu_shares=_FIRST,
        )
        container.volumes = {
            self._volume(f"secrets-{holder}"): {"bind": f"/secrets/{holder}", "mode": "rw"}
            for holder in shares
        }
        self._made[NEMESIS] = self._start_new(container, NEMESIS)
        self.hand_out(shares)

    def hand_out(self, shares: Mapping[str, Share]) -> None:
        """Write each holder's files where its machines read them; other files stay as they are."""
        for holder, share in shares.items():
            with obeying("handing out the secrets"):
                self[NEMESIS].put_archive(f"/secrets/{holder}", _tar(share))

    def destroy(self, machine: Machine) -> None:
        """Remove a machine's container, and its disk with it."""
        with obeying(f"destroy {machine.name}"):
            self[machine.name].remove(force=True, v=True)
            del self._made[machine.name]
            if machine.data:
                self._docker.volumes.get(self._disk(machine)).remove()

    def adopt(self) -> Mapping[str, Container]:
        """Take over the containers that another process made for this run."""
        self._made.update(containers_of(self._docker, self._run))
        return self._made

    def remove(self, says: Callable[[str], None]) -> None:
        """Remove all that belongs to the run, whoever made it; `says` as `remove_run` has it."""
        remove_run(self._docker, self._run, says)
        self._made.clear()

    def logs(self, folder: Path) -> None:
        """Save each container's log."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, container in self._made.items():
            # One that is gone has no log; that must not cost the others theirs.
            with suppress(DriverError), obeying(f"log of {name}"):
                (folder / f"{name}.log").write_bytes(container.logs(timestamps=True))

    def pid(self, name: str) -> int | None:
        """Return the host's process id of a container's first process, None when it is down."""
        with obeying(name):
            try:
                state = self._docker.api.inspect_container(str(self[name].id))["State"]
            except NotFound:
                return None
        return int(state["Pid"]) or None

    def nemesis(self, script: str) -> str:
        """Run a script where every process and network of the run can be reached."""
        return self.exec(NEMESIS, ["bash", "-c", script])

    def exec(self, name: str, command: Sequence[str]) -> str:
        """Run a command in a container; return what it printed, or raise DriverError."""
        with obeying(name):
            code, output = self[name].exec_run(list(command))
        assert isinstance(output, bytes | None)  # neither streamed nor split
        text = (output or b"").decode(errors="replace")
        if code:
            raise DriverError(
                f"{name}: {' '.join(command)[:80]}: exit {code}: {text.strip()[-300:]}"
            )
        return str(text)

    def _start_new(self, container: DockerContainer, name: str) -> Container:
        """Start a container and return it as one of our own client, which outlives theirs."""
        try:
            container.with_name(f"drill-{self._run}-{name}").start()
            return self._docker.containers.get(container.get_container_id())
        except (DockerException, OSError) as error:
            raise DriverError(f"{name}: not started: {error}") from None
        finally:
            container.get_docker_client().client.close()

    def _disk(self, machine: Machine) -> str:
        return f"drill-{self._run}-{machine.name}-data"

    def _volume(self, name: str) -> str:
        full = f"drill-{self._run}-{name}"
        # Named here, so that it carries our labels; Docker returns the one that exists.
        with obeying(f"volume {full}"):
            self._docker.volumes.create(full, labels=self._labels)
        return full

    def _mounts(self, machine: Machine) -> Iterator[tuple[str, str, str]]:
        """Yield (source, target, mode) of what a machine sees besides its image."""
        if machine.kind in HOLDERS:
            yield self._volume(f"secrets-{HOLDERS[machine.kind]}"), SECRETS, "ro"
        if machine.data:
            yield self._volume(f"{machine.name}-data"), machine.data, "rw"
        if machine.kind == "client":
            logs = self._folder / "clients"
            logs.mkdir(parents=True, exist_ok=True)
            logs.chmod(0o777)  # the client's own user writes, whoever runs the harness reads
            yield str(package_root()), "/srv/harness", "ro"
            yield str(logs.resolve()), "/srv/log", "rw"
            bytecode = cache_folder() / "bytecode"
            bytecode.mkdir(exist_ok=True)
            bytecode.chmod(0o777)
            yield str(bytecode.resolve()), "/srv/bytecode", "rw"


def _tar(share: Share) -> bytes:
    """Return an archive of files that only this user may read, and of their folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folders = {str(folder) for name in share.files for folder in PurePosixPath(name).parents}
        for folder in sorted(folders - {"."}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o500, share.uid, share.uid
            archive.addfile(info)
        for name, text in share.files.items():
            content = text.encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(content), 0o400, share.uid, share.uid
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
