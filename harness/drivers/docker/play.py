"""Clusters to play with: `drill up`, `drill down` and `drill ps`.

Such a cluster is a run's cluster that outlives its maker, and one container more: the edge, which
lets programs on this machine in by ports of 127.0.0.1 (docs/adr/0006).
"""

import fcntl
import io
import json
import os
import re
import shlex
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import get_args

import docker
import jinja2
from psycopg2.extensions import make_dsn

from harness import conditions, reaper
from harness.clock import WallClock, wall_epoch_s
from harness.drivers.docker import images
from harness.drivers.docker.authority import LOOPBACK
from harness.drivers.docker.containers import LABEL_KIND
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.engine import (
    Thing,
    connect,
    containers_of,
    obeying,
    remove_run,
    things,
)
from harness.drivers.docker.leftovers import UNFINISHED, folder_of, is_needless
from harness.drivers.docker.machines import (
    CA,
    PREFIX,
    REGION,
    REST_SECRET,
    REST_USER,
    SUPERUSER_SECRET,
)
from harness.errors import DriverError, Mistake, ScenarioError
from harness.history import Json
from harness.protocols import Node
from harness.scenario import Cluster, DcsKind, Steady
from harness.units import format_duration

DEFAULT = "main"
EDGE = "edge"
HOST = "127.0.0.1"
USER = "postgres"
# Of every container of such a cluster; the doors as JSON.
LABEL_DOORS = "drill.doors"

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_NAME_LENGTH = 40
_EDGE_CONFIGURATION = "/run/elb/edge.cfg"
_ELB_UID = 7100
_POSTGRES = 5432
_PATRONI = 8008
# What a PostgreSQL server may be asked first, and its answers: it takes TLS, or it does not.
# Source: PostgreSQL documentation, "Message Formats", SSLRequest.
_SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
_ANSWERS = (b"S", b"N")


@dataclass(frozen=True, slots=True)
class Door:
    """A port of 127.0.0.1, and what it leads to.

    Attributes:
        name: `primary`, `replica`, a node's name (its PostgreSQL) or `<node>-rest` (its Patroni).
        inside: the machine's own port.
    """

    name: str
    port: int
    machine: str
    address: str
    inside: int


# --- names and places --------------------------------------------------------------------------


def _wrong(command: str, text: str) -> ScenarioError:
    return ScenarioError([Mistake(f"./drill {command}", 0, 0, text)])


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH:
        expected = f"lower-case words joined by '-', at most {_NAME_LENGTH} characters"
        raise _wrong("up", f"--name: found {name!r}; expected {expected}")


@contextmanager
def _alone(command: str, name: str) -> Iterator[Path]:
    """Hold a cluster's folder: two that make and remove the same one would undo each other."""
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"--name: another ./drill is making or removing {name!r}; expected none"
            raise _wrong(command, text) from None
        yield folder
    finally:
        os.close(held)


# --- up ----------------------------------------------------------------------------------------


def up(
    name: str, cluster: Cluster, clock: WallClock, says: Callable[[str], None]
) -> Mapping[str, Json]:
    """Make a cluster that stays; return how to use it when it is steady and can be reached.

    Raises:
        ScenarioError: when there is one of this name, or the name cannot be one.
        DriverError: when it cannot be made. Nothing of it is left then.
    """
    _check_name(name)
    with ExitStack() as held:
        engine = connect()
        held.callback(engine.close)
        _expect_none(engine, name)
        folder = held.enter_context(_alone("up", name))
        # Again, now that nobody else makes it; what is in the folder is then nobody's any more.
        _expect_none(engine, name)
        _empty(folder)
        for mark in (UNFINISHED, "journal.jsonl"):
            (folder / mark).touch()
        driver = DockerDriver(name, folder, clock, keep=True, says=says)
        try:
            facts = _make(driver, engine, folder, cluster, clock, says)
        except Exception:
            says(f"{name}: not made; removing what there is of it")
            with clock.shielded():
                driver.down()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / UNFINISHED).unlink()
        driver.detach()
        return facts


def _expect_none(engine: docker.DockerClient, name: str) -> None:
    if things(engine, name):
        words = f"expected a new name, or first: ./drill down --name {name}"
        raise _wrong("up", f"--name: found {name!r}, which is there already; {words}")


def _make(
    driver: DockerDriver,
    engine: docker.DockerClient,
    folder: Path,
    cluster: Cluster,
    clock: WallClock,
    says: Callable[[str], None],
) -> Mapping[str, Json]:
    shape = f"{cluster.nodes} nodes, {cluster.dcs}, {cluster.sync}"
    says(f"{driver.run}: starting {shape}")
    driver.up(cluster)
    leader = _wait_steady(driver, cluster, clock, says)
    doors = _open_doors(driver, engine, folder, clock, says)
    says("waiting for the ELBs to find their targets")
    for door in doors:
        if door.inside == _POSTGRES:
            clock.wait_for(
                partial(_is_willing, door), timeout_s=60, what=f"PostgreSQL at {door.name}"
            )
    files = _keep_secrets(engine, driver.run, folder)
    return {
        "name": driver.run,
        "host": HOST,
        "user": USER,
        "rest_user": REST_USER,
        # To the certificate's names belong those of this machine's own loopback.
        "sslmode": "verify-full",
        "leader": leader,
        "cluster": cluster.model_dump(mode="json", exclude={"patroni"}),
        "ports": {door.name: door.port for door in doors},
        "expires_in_s": round(_expiry(things(engine, driver.run))),
        **files,
    }


def _wait_steady(
    driver: DockerDriver, cluster: Cluster, clock: WallClock, says: Callable[[str], None]
) -> str:
    """Wait until one node leads and the others stream; return who leads."""
    wanted = Steady()
    told: Sequence[str] = ()

    def leader() -> str | None:
        nonlocal told
        view = conditions.look(driver, clock)
        lacks = conditions.steady(view, cluster, wanted).lacks
        if lacks and lacks != told:
            says(f"not steady yet: {'; '.join(lacks)}")
        told = lacks
        return None if lacks else view.leader

    try:
        return clock.wait_for(leader, timeout_s=wanted.timeout, what="steady", every_s=0.25)
    except DriverError as error:
        raise type(error)(f"not steady: {'; '.join(told) or error}") from None


# --- the edge ----------------------------------------------------------------------------------


def _open_doors(
    driver: DockerDriver,
    engine: docker.DockerClient,
    folder: Path,
    clock: WallClock,
    says: Callable[[str], None],
) -> Sequence[Door]:
    """Start the edge; return its doors when they are open."""
    image = images.ensure(engine, says, ["elb"])["elb"]
    wanted = list(_wanted(driver.nodes, _addresses(engine, driver.run)))
    marks = {
        **reaper.labels(driver.run, folder / "journal.jsonl", kept=True),
        reaper.LABEL_MACHINE: EDGE,
    }
    for _ in range(3):  # somebody may take a port between our choice and HAProxy's bind
        ports = _free_ports(len(wanted))
        doors = [replace(door, port=port) for door, port in zip(wanted, ports, strict=True)]
        if _start_edge(engine, image, driver.run, marks, doors, clock):
            return doors
    raise DriverError(f"{driver.run}: no free ports for the edge on {HOST}")


def _wanted(nodes: Sequence[Node], addresses: Mapping[str, str]) -> Iterator[Door]:
    """Yield each door, with no port yet."""
    for name in ("primary", "replica")[: len(nodes)]:
        yield Door(name, 0, f"{name}-elb", addresses[f"{name}-elb"], _POSTGRES)
    for node in nodes:
        yield Door(node.name, 0, node.name, node.address, _POSTGRES)
        yield Door(f"{node.name}-rest", 0, node.name, node.address, _PATRONI)


def _addresses(engine: docker.DockerClient, run: str) -> Mapping[str, str]:
    found = {}
    for machine, container in containers_of(engine, run).items():
        for network in container.attrs["NetworkSettings"]["Networks"].values():
            found[machine] = str(network["IPAddress"])
    return found


def _free_ports(count: int) -> Sequence[int]:
    """Return ports of 127.0.0.1 that nobody has now; all are held until the last is found."""
    with ExitStack() as held:
        doors = [held.enter_context(socket.socket()) for _ in range(count)]
        for door in doors:
            door.bind((HOST, 0))
        return [int(door.getsockname()[1]) for door in doors]


def _start_edge(
    engine: docker.DockerClient,
    image: str,
    run: str,
    marks: Mapping[str, str],
    doors: Sequence[Door],
    clock: WallClock,
) -> bool:
    """Start HAProxy; return whether it got all of its ports."""
    with obeying(f"the edge of {run}"):
        edge = engine.containers.create(
            image,
            name=f"drill-{run}-{EDGE}",
            entrypoint=["haproxy", "-db", "-q", "-f", _EDGE_CONFIGURATION],
            labels={**marks, LABEL_DOORS: json.dumps([asdict(door) for door in doors])},
            # The only container that sees the host's network: for its loopback, see edge.cfg.j2.
            network_mode="host",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        edge.put_archive("/", _archive(_EDGE_CONFIGURATION, _configuration(doors)))
        edge.start()

    def settled() -> str | None:
        with obeying(f"the edge of {run}"):
            edge.reload()
        if edge.status == "exited":
            return "exited"
        return "open" if all(map(_is_open, doors)) else None

    if clock.wait_for(settled, timeout_s=20, what=f"the edge of {run}", every_s=0.1) == "open":
        return True
    with obeying(f"the edge of {run}"):
        words = edge.logs(tail=5).decode(errors="replace")
        edge.remove(force=True)
    if "cannot bind" not in words:
        raise DriverError(f"the edge of {run} ended: {words.strip()}")
    return False


def _configuration(doors: Sequence[Door]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML, and no text of others
        keep_trailing_newline=True,
    )
    return environment.get_template("edge.cfg.j2").render(doors=doors)


def _archive(path: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode, info.uid, info.gid = len(text), 0o400, _ELB_UID, _ELB_UID
        archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _is_open(door: Door) -> bool:
    try:
        with socket.create_connection((HOST, door.port), 1):
            return True
    except OSError:
        return False


def _is_willing(door: Door) -> bool:
    """Return whether a PostgreSQL server answers behind the door."""
    try:
        with socket.create_connection((HOST, door.port), 2) as attempt:
            attempt.sendall(_SSL_REQUEST)
            return attempt.recv(1) in _ANSWERS
    except OSError:
        return False


# --- what the user is given --------------------------------------------------------------------


def _keep_secrets(engine: docker.DockerClient, run: str, folder: Path) -> Mapping[str, str]:
    """Write what a user needs to get in where only this user can read it; return the files."""
    keeper = containers_of(engine, run)[f"client-{REGION}"]

    def read(path: str) -> str:
        with obeying(f"{run}: {path}"):
            code, output = keeper.exec_run(["cat", path])
        if code or not isinstance(output, bytes):
            raise DriverError(f"{run}: {path} cannot be read")
        return output.decode().strip()

    return _files(folder, superuser=read(SUPERUSER_SECRET), rest=read(REST_SECRET), ca=read(CA))


def _files(folder: Path, *, superuser: str, rest: str, ca: str) -> Mapping[str, str]:
    """Write the files; return their paths by the names that `drill up --json` gives them."""
    # For libpq's PGPASSFILE: host:port:database:user:password.
    entries = "".join(f"{host}:*:*:{USER}:{superuser}\n" for host in LOOPBACK)
    files = {
        "password_file": _secret(folder / "password", superuser),
        "pgpass_file": _secret(folder / "pgpass", entries),
        "rest_password_file": _secret(folder / "rest-password", rest),
        "ca_file": _secret(folder / "ca.pem", f"{ca}\n"),
    }
    return {name: str(path) for name, path in files.items()}


def _secret(path: Path, text: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def lines(facts: Mapping[str, Json]) -> Iterator[str]:
    """Yield what `drill up` tells people."""
    ports = facts["ports"]
    assert isinstance(ports, Mapping)
    host, name = facts["host"], facts["name"]
    yield f"{name} is up; {facts['leader']} leads"
    yield f"  primary  {host}:{ports['primary']}  reads and writes, through the primary ELB"
    if "replica" in ports:
        yield f"  replica  {host}:{ports['replica']}  reads, through the replica ELB"
    for door, port in ports.items():
        if f"{door}-rest" in ports:
            rest = f"https://{host}:{ports[f'{door}-rest']}"
            yield f"  {door:<7}  {host}:{port}  straight to it; its Patroni: {rest}/cluster"
    yield f"  user {facts['user']}, password in {facts['password_file']}"
    yield (
        f"  Patroni: user {facts['rest_user']}, password in {facts['rest_password_file']},"
        " for what changes something"
    )
    yield f"  all of it by TLS alone; the CA to trust: {facts['ca_file']}"
    words = make_dsn(
        host=host,
        port=ports["primary"],
        user=facts["user"],
        sslmode=facts["sslmode"],
        sslrootcert=facts["ca_file"],
    )
    yield f"  PGPASSFILE={shlex.quote(str(facts['pgpass_file']))} psql {shlex.quote(words)}"
    yield f"  ./drill down{'' if name == DEFAULT else f' --name {name}'} removes it"


# --- down --------------------------------------------------------------------------------------


def down(name: str | None) -> int:
    """Remove a cluster that was kept, and its files; return how many objects of it there were.

    Args:
        name: None is the default one, and then it is no mistake when there is none.

    Raises:
        ScenarioError: for a name that nothing has, or a cluster whose run goes on.
    """
    chosen = name or DEFAULT
    engine = connect()
    try:
        found = things(engine, chosen)
        if not found and not (_NAME.fullmatch(chosen) and folder_of(chosen).is_dir()):
            if name is None:
                return 0
            raise _unknown(name, sorted({thing.run for thing in things(engine)}))
        if any(not _is_ours_to_remove(thing) for thing in found):
            text = f"--name: {chosen!r} is the cluster of a run that goes on; stop the run instead"
            raise _wrong("down", text)
        with _alone("down", chosen) as folder:
            count = remove_run(engine, chosen)
            shutil.rmtree(folder, ignore_errors=True)
        return count
    finally:
        engine.close()


def _unknown(name: str, known: Sequence[str]) -> ScenarioError:
    expected = f"expected {' or '.join(known)}" if known else "nothing is up"
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    nearest = f"; did you mean {close[0]!r}?" if close else ""
    return _wrong("down", f"--name: found {name!r}; {expected}{nearest}")


def _is_ours_to_remove(thing: Thing) -> bool:
    return reaper.LABEL_KEPT in thing.marks or reaper.is_abandoned(thing.marks)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# --- ps ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """One cluster on this engine.

    Attributes:
        owner: `kept`; `running`, when the run that made it goes on; `abandoned`, when it died.
        machines: each one's state, in Docker's words.
        leader: who holds the leader key; None when nobody does, or nobody can tell.
        ports: of 127.0.0.1, for a cluster that `drill up` made.
    """

    name: str
    owner: str
    machines: Mapping[str, str]
    leader: str | None
    age_s: float
    expires_in_s: float
    ports: Mapping[str, int]

    @property
    def shape(self) -> str:
        """Return `11/12 running, 1 exited`."""
        states = sorted(self.machines.values())
        others = [f"{states.count(s)} {s}" for s in dict.fromkeys(states) if s != "running"]
        running = f"{states.count('running')}/{len(states)} running"
        return ", ".join([running, *others])


def seen(only: str | None = None) -> Sequence[Seen]:
    """Return every cluster on this engine, the oldest first."""
    engine = connect()
    try:
        by_run: dict[str, list[Thing]] = {}
        for thing in things(engine, only):
            by_run.setdefault(thing.run, []).append(thing)
        found = [_seen(engine, run, of_run) for run, of_run in by_run.items()]
    finally:
        engine.close()
    return sorted(found, key=lambda one: (-one.age_s, one.name))


def _seen(engine: docker.DockerClient, run: str, of_run: Sequence[Thing]) -> Seen:
    containers = [thing for thing in of_run if thing.kind == "container"]
    doors = (json.loads(t.marks[LABEL_DOORS]) for t in containers if LABEL_DOORS in t.marks)
    oldest = min((thing.made_s for thing in containers), default=wall_epoch_s())
    return Seen(
        name=run,
        owner=_owner(of_run),
        machines={thing.machine: thing.state for thing in sorted(containers, key=_machine)},
        leader=_leader(engine, run, containers),
        age_s=wall_epoch_s() - oldest,
        expires_in_s=_expiry(of_run),
        ports={door["name"]: door["port"] for found in doors for door in found},
    )


def _machine(thing: Thing) -> str:
    return thing.machine


def _owner(of_run: Sequence[Thing]) -> str:
    if all(is_needless(thing.marks) for thing in of_run):
        return "abandoned"
    return "kept" if any(reaper.LABEL_KEPT in thing.marks for thing in of_run) else "running"


def _expiry(of_run: Sequence[Thing]) -> float:
    return min(reaper.expires_in_s(thing.marks) for thing in of_run)


def _leader(engine: docker.DockerClient, run: str, containers: Sequence[Thing]) -> str | None:
    """Ask the DCS, from the client outside all AZs; a quorum read, so that it is no old news."""
    asker = next((t for t in containers if t.machine == f"client-{REGION}"), None)
    members = {t.machine: t for t in containers if t.marks.get(LABEL_KIND) == "dcs"}
    # The run's own cluster: the names of others begin with the cluster's.
    own = sorted(name for name in members if name.rpartition("-")[0] in get_args(DcsKind))
    if asker is None or asker.state != "running" or not own:
        return None
    addresses = _addresses(engine, run)
    store = own[0].rpartition("-")[0]
    listed = [f"{name}={addresses[name]}" for name in own if name in addresses]
    words = ["/opt/client/bin/python", "-m", "harness.wire.dcs", store, PREFIX, *listed]
    try:
        with obeying(asker.machine):
            code, output = engine.containers.get(asker.id).exec_run(words, stderr=False)
    except DriverError:
        return None
    if code or not isinstance(output, bytes):
        return None
    return output.decode(errors="replace").strip() or None


def table(clusters: Sequence[Seen]) -> Iterator[str]:
    """Yield what `drill ps` tells people: a line a cluster."""
    rows = [("NAME", "OWNER", "MACHINES", "LEADER", "AGE", "EXPIRES IN", "PORTS")]
    rows += [
        (
            one.name,
            one.owner,
            one.shape,
            one.leader or "none",
            format_duration(round(one.age_s)),
            format_duration(round(one.expires_in_s)),
            " ".join(
                f"{door}={one.ports[door]}" for door in ("primary", "replica") if door in one.ports
            ),
        )
        for one in clusters
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
    if any(one.owner == "abandoned" for one in clusters):
        yield "abandoned: ./drill heal && ./drill reap removes them"
