"""The protocols. Read this file first: everything else implements or calls them.

A *driver* is the only door to the world. A *verb* (a fault, or a step such as `wait`) acts
through it. A *workload* and a *probe* use the cluster through a `Session` and record what came
of each call. A *checker* reads the history and measures; `verdict.judge` decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar, Literal, Protocol, TypeAlias, runtime_checkable
from zlib import crc32

from harness.clock import Clock
from harness.history import History, Json, Outcome
from harness.scenario import Cluster, Steady, Target
from harness.verdict import Measurement, Statistic

Process: TypeAlias = Literal["patroni", "postgres", "walreceiver", "all"]
Signal: TypeAlias = Literal["KILL", "TERM"]


# --- the world ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster. `address` is what it answers to, and how clients know it."""

    name: str
    az: str
    address: str


Drop: TypeAlias = Literal["blackhole", "reject"]


@dataclass(frozen=True, slots=True)
class Link:
    """Packets from one machine to another, and whether their loss is felt.

    Attributes:
        source, destination: names of machines (nodes, DCS members, ELBs, clients).
        port: the destination's TCP port; None is every packet.
        drop: `blackhole` loses packets in silence, `reject` answers with an error.
    """

    source: str
    destination: str
    port: int | None = None
    drop: Drop = "blackhole"


S3State: TypeAlias = Literal["well", "outage", "deny", "slow"]


@dataclass(frozen=True, slots=True)
class RecoveryTarget:
    """Which state a restore is to bring back; PostgreSQL's recovery target.

    Attributes:
        kind: what `value` is; `latest` is all that the archive holds, and has none.
        value: as PostgreSQL reads it: a time with its zone, an LSN `X/Y`, a transaction id, or
            the name of a restore point.
        inclusive: stop after the target, not before it; of `time`, `lsn` and `xid` only.

    Source: PostgreSQL documentation, "Recovery Target".
    """

    kind: Literal["time", "lsn", "xid", "name", "latest"]
    value: str = ""
    inclusive: bool = True


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in S3, as a listing and a HEAD of it show it.

    Attributes:
        key: the whole key: `spilo/drill/archive/...`.
        size: in bytes.
        sse: the encryption that S3 itself reports: `aws:kms`, `AES256`, or None.
        kms_key: the key's name, where `sse` is `aws:kms`.
    """

    key: str
    size: int
    etag: str
    sse: str | None = None
    kms_key: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call, and who answered (docs/reference/history.md, outcomes)."""

    outcome: Outcome
    value: Json = None
    node: str | None = None
    tli: int | None = None
    xid: int | None = None
    lsn: Json = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; status 0 when none came within the deadline."""

    status: int
    body: Json


# Where a job is sent that ignores routing: clients of each node, straight to its address.
EVERY_NODE = "every-node"


@dataclass(frozen=True, slots=True)
class Job:
    """Work for a client: a workload or a probe, with the YAML's parameters.

    Attributes:
        name: unique in the run; a workload's processes carry it.
        through: `primary-elb`, `replica-elb`, `every-node`, or the name of a node or DCS member.
        beside: of `every-node`: the nodes in the AZ of the client that is told of the job, which
            leaves the others to the clients beside them; empty where one client does all of it.
    """

    name: str
    kind: Literal["workloads", "probes"]
    plugin: str
    parameters: Mapping[str, Json]
    through: str
    seed: int
    beside: Sequence[str] = ()

    @property
    def first_number(self) -> int:
        """Return where the numbers that only this job writes begin; 10**10 are its own.

        Taken from the name, because clients do not know of each other. Below 2**53, so that any
        reader of JSON keeps them exact.
        """
        return crc32(self.name.encode()) % 900_000 * 10**10


class Client(Protocol):
    """A place from which the cluster is used; what it does is recorded where it is done."""

    def prepare(self, through: str) -> None:
        """Create the tables of workloads and probes there; it must accept writes."""
        ...

    def start(self, job: Job) -> None:
        """Begin; return when the job runs."""
        ...

    def stop(self, name: str) -> None:
        """End the job and wait until its last operation is recorded."""
        ...

    def hold(self, name: str) -> None:
        """Let no new operation of the job begin; return when the last one has ended."""
        ...

    def release(self, name: str) -> None:
        """Let a job that is held go on."""
        ...

    def final_read(self, job: Job, *, reader: str = "final") -> None:
        """Record everything that the job's table holds on `job.through`, as process `reader`."""
        ...


class Driver(Protocol):
    """A place where a cluster can run: local Docker, the simulator, or an AWS account.

    It does what it is told to one machine and reports what that machine says; it never decides
    who is primary and never retries. Every verb returns when its effect holds, so that the
    caller may stamp the return.

    Raises:
        DriverError: from any method, when the world did not obey.
    """

    name: ClassVar[str]

    def room(
        self, cluster: Cluster, restored: Sequence[Cluster] = (), *, alone: bool = False
    ) -> AbstractContextManager["Start"]:
        """Hold room for a cluster, and for those restored beside it, while the block lasts.

        Beside too many others a cluster is late, and nothing can be measured; `alone` it has none
        beside it. Waits for as long as it takes, and says so; also makes what has to be made
        before any cluster (images). What the block is given is to be told how far the cluster's
        start is.
        """
        ...

    def up(self, cluster: Cluster) -> None:
        """Start the cluster; return when each machine runs (not yet when it is healthy).

        Outside of a `room` it waits for room for itself, until `down`.
        """
        ...

    def down(self) -> None:
        """Remove all that `up` made. Safe to call at any time, and twice."""
        ...

    @property
    def nodes(self) -> Sequence[Node]: ...

    @property
    def dcs_members(self) -> Sequence[Node]: ...

    def versions(self) -> Mapping[str, str]:
        """Return what runs: `patroni`, `postgres`, `dcs`."""
        ...

    def machines(self, service: str) -> Sequence[str]:
        """Return the names of the machines that serve `dcs`, `elb`, `s3`, `patroni`, `postgres`.

        None, where nothing serves it.
        """
        ...

    def client(self, vantage: str) -> Client:
        """Return the client that stands in this AZ, or outside all of them (`region`)."""
        ...

    # Reading. `deadline_s` bounds the whole call, whatever the machine's state.
    def query(self, node: str, sql: str, *, deadline_s: float) -> Sequence[Sequence[Json]]: ...
    def in_clear(self, node: str, *, deadline_s: float) -> str | None:
        """Ask for a session without TLS; return the SQLSTATE of the refusal, None for a welcome."""
        ...

    def patroni(
        self, node: str, path: str, *, deadline_s: float, method: str = "GET", body: Json = None
    ) -> Reply: ...
    def dcs(self, *, deadline_s: float, member: str | None = None) -> Mapping[str, str]:
        """Return the keys below the cluster's prefix, `leader`, `sync`, ..., with a quorum read.

        From whichever member answers first, or from this one alone.
        """
        ...

    def dcs_leader(self, *, deadline_s: float) -> str:
        """Return the member that leads the DCS itself."""
        ...

    def pids(self, node: str, process: Process) -> Sequence[int]:
        """Return the process ids of this program; a killed and restarted one has others."""
        ...

    # Acting. Opposites in pairs; `heal` calls them from the journal by name.
    def power_off(self, node: str) -> None: ...
    def start(self, node: str) -> None: ...
    def kill(self, node: str, process: Process, signal: Signal) -> None: ...
    def freeze(self, node: str, process: Process) -> None: ...
    def thaw(self, node: str, process: Process) -> None: ...
    def cut(self, links: Sequence[Link]) -> None:
        """Lose the packets of all these links at once; of a machine that is down from its start."""
        ...

    def mend(self, links: Sequence[Link]) -> None: ...
    def slow(self, machine: str, *, rate: int | None, loss: float) -> None:
        """Let at most `rate` bytes a second leave a machine, and lose this share of its packets."""
        ...

    def quicken(self, machine: str) -> None: ...
    def dead(self, links: Sequence[Link]) -> Sequence[Link]:
        """Try each link from its source, all at once; return those where no connection opens."""
        ...

    def is_silent(self, node: str) -> AbstractContextManager["Silence"]:
        """Hold a connection to the node; what happens to it shows how the node went away."""
        ...

    def idle_s(self) -> float | None:
        """Return for how long cores have been idle, all together, on the machine of all nodes.

        None, where each node has a machine of its own: then nobody takes its cores from it.
        """
        ...

    def logs(self, folder: Path) -> None:
        """Save each machine's log as `<folder>/<machine>.log`."""
        ...


class Start(Protocol):
    """The start of a cluster that has room; each may be called twice."""

    def leads(self) -> None:
        """Tell that somebody leads: until then no other cluster starts."""
        ...

    def steady(self) -> None:
        """Tell that it is steady: until then it gives way to those that are measured."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """A driver whose clusters keep base backups and WAL in S3 (seed S13 to S16).

    Raises:
        DriverError: from any method, when the world did not obey.
    """

    @property
    def prefix(self) -> str:
        """Return where this cluster's objects are: `spilo/<scope>/`."""
        ...

    def objects(self, prefix: str) -> Sequence[StoredObject]:
        """List what S3 holds below a prefix, each with its encryption; asked outside all AZs."""
        ...

    def s3(self, state: S3State) -> None:
        """Make S3 unreachable for the nodes, refuse them, slow it down, or make it well again."""
        ...

    def backup(self, node: str, kind: Literal["full", "incr"]) -> str:
        """Make a base backup from this node by the image's own command; return its label."""
        ...

    def destroy(self, machine: str) -> None:
        """Remove a machine and its disk, without a word to its peers."""
        ...

    def renew(self, machine: str) -> None:
        """Make a machine that may be gone anew: its disk empty, its configuration unchanged.

        The other DCS members take one of theirs in anew; where there is none, it founds the DCS.
        """
        ...

    def clone(self, name: str, cluster: Cluster, target: RecoveryTarget) -> "Driver":
        """Start another cluster, restored from what this one has in S3, beside this one.

        Its machines, its scope and its prefix in S3 carry `name`; it has a DCS and ELBs of its
        own. Return when each machine runs. It ends with `down` of this driver.
        """
        ...

    def sent_bytes(self, node: str) -> int:
        """Return how many bytes the node has sent since it was started."""
        ...


class Silence(Protocol):
    """A held-open connection to a machine."""

    def broken_within(self, seconds: float) -> str | None:
        """Return `eof` or `reset` if the peer closed it within this time, None if it was silent."""
        ...


# --- what runs against it ----------------------------------------------------------------------


class Session(Protocol):
    """One connection to one address. Every call has a hard deadline and returns its outcome."""

    @property
    def is_open(self) -> bool:
        """Say whether another call can be made. An unknown outcome always closes the session."""
        ...

    def open(self) -> Answer:
        """Connect; `value` is `{"through": where it was sent, "in_recovery": bool}`."""
        ...

    def txn(self, table: str, ops: Sequence[Sequence[Json]], isolation: str) -> Answer:
        """Run one transaction of `["append", k, v]` and `["r", k, null]` on a table of lists."""
        ...

    def probe(self, number: int) -> Answer:
        """Write the row `number` in one transaction; `lsn` bounds its commit."""
        ...

    def final_read(self, table: str) -> Answer:
        """Read the whole table: `[["r", key, [elements]], ...]`, or the probe's numbers."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One change in the DCS.

    Attributes:
        key: below the cluster's prefix: `leader`, `sync`, `members/pg-1`; `term` when another
            member leads the DCS itself: `value` is then the JSON of `{"term", "leader"}`.
        value: None when the key is gone.
        revision: the DCS's own order of changes; of a `term`, its number.
    """

    key: str
    value: str | None
    revision: int


class Stage(Protocol):
    """What a workload or a probe is given to act on: the client's side of a job."""

    clock: Clock
    job: Job
    random: Random

    @property
    def nodes(self) -> Sequence[str]: ...

    @property
    def dcs_members(self) -> Sequence[str]: ...

    def connect(self, through: str, *, process: str, open_s: float, call_s: float) -> Session:
        """Return a session, not yet open, of this process, with the deadlines of its calls."""
        ...

    def patroni(self, node: str) -> Answer:
        """Ask the node's REST interface for /patroni; `ok` with the body and `"status"`."""
        ...

    def listing(self, prefix: str) -> Sequence[StoredObject]:
        """List what S3 holds below a prefix; a listing does not show how it is encrypted.

        Raises:
            HarnessError: when S3 does not answer.
        """
        ...

    def heads(self, keys: Sequence[str]) -> Mapping[str, StoredObject]:
        """Return those of the objects that are there, by key, each with its encryption.

        Raises:
            HarnessError: when S3 does not answer to each of them.
        """
        ...

    def dcs_changes(self, member: str, since: int | None = None) -> Iterator[Change | None]:
        """Yield what changes below the cluster's prefix, as this DCS member tells it.

        First comes each key as it is now, or, when `since` is the revision of a change already
        seen, what changed after it. Yields None when nothing else came for a second, so that
        the caller can look at `stopped`; ends (and may be called again) when the member is lost.
        """
        ...

    @property
    def stopped(self) -> bool: ...

    def record(
        self,
        process: str,
        f: str,
        call: Callable[[], Answer],
        *,
        argument: Json = None,
        key: Json = None,
    ) -> Answer:
        """Write the invoke, make the call, write its completion, and return the answer."""
        ...

    def note(self, process: str, f: str, value: Json) -> None:
        """Write an observation: a bare `info` event."""
        ...


class Workload(Protocol):
    """Load that runs behind all steps. A pydantic model: its fields are the YAML parameters.

    Its table is what the final read of the survivor reads.
    """

    name: ClassVar[str]
    table: ClassVar[str]
    through: str
    rate: float

    def run(self, stage: Stage) -> None:
        """Work until `stage.stopped`."""
        ...


class Probe(Protocol):
    """Watches one node, or the DCS, through all faults. It changes nothing but its own rows."""

    name: ClassVar[str]

    def run(self, stage: Stage) -> None: ...


# --- what a scenario does to it ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undo:
    """How to undo a fault: one of the driver's methods, and its arguments as JSON."""

    method: Literal["start", "thaw", "mend", "quicken", "s3"]
    arguments: Mapping[str, Json] = field(default_factory=dict)


class World(Protocol):
    """What a verb is given: the driver, the run's clock and chance, and the way to be undone."""

    @property
    def driver(self) -> Driver: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def random(self) -> Random: ...

    @property
    def cluster(self) -> Cluster: ...

    @property
    def steady(self) -> Steady:
        """Return what `healthy` means in this scenario."""
        ...

    def resolve(self, target: Target) -> Sequence[str]:
        """Return the names of the machines that the target means now.

        Raises:
            DriverError: when it means none.
        """
        ...

    def undo_later(self, undo: Undo) -> None:
        """Journal how a fault is undone. Called before the fault is made."""
        ...

    def undone(self, undo: Undo) -> None:
        """Strike an entry of the journal: it was undone by a later step."""
        ...

    def not_undone(self) -> Sequence[Undo]:
        """Return how the faults that are still in force will be undone, the last one first."""
        ...

    def due(self) -> Sequence[Undo]:
        """Return those of them that undo themselves once their `for:` has run out."""
        ...

    def heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        """Undo these in the background once this time has passed (`for:`)."""
        ...

    def leader_before(self) -> str | None:
        """Return who led when the last fault was made, or last before it if nobody did then."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """Let no client operation run inside the block; those begun before have ended."""
        ...

    def unserved(self, since: int) -> Sequence[str]:
        """Return the workloads that are not acknowledged again since then, as they were before.

        One that ever wrote is when it writes: what became a replica may answer its reads.

        Raises:
            DriverError: of another cluster than the scenario's own, which no workload uses.
        """
        ...

    def stop_traffic(self) -> None:
        """End all clients of the scenario's own cluster for good: it is about to be destroyed."""
        ...

    def marked(self, name: str) -> Mapping[str, Json]:
        """Return what the earlier step `mark: <name>` recorded.

        Raises:
            DriverError: when there was none.
        """
        ...

    def joined(self, name: str, driver: "Driver", cluster: Cluster) -> "World":
        """Take another cluster into the run, under the name that `cluster:` uses; its World.

        With the driver of a cluster of the run that was destroyed, that one is there again.
        """
        ...

    def read_back(self, node: str, *, reader: str) -> None:
        """Record what the tables of workloads and probes hold on a node, as process `reader`.

        A table that cannot be read is recorded as that, and raises nothing.
        """
        ...


class Verb(Protocol):
    """One thing that a step does. A pydantic model: its fields are the YAML parameters."""

    name: ClassVar[str]

    def perform(self, world: World) -> Mapping[str, Json]:
        """Act; return, when the effect holds, what is recorded of it (`nodes` at least).

        Raises:
            DriverError: when the effect cannot be shown to hold.
        """
        ...


# --- what judges -------------------------------------------------------------------------------


class Checker(Protocol):
    """One property of a history. A pydantic model: its fields are the YAML parameters.

    Its docstring says what a pass does not show.
    """

    name: ClassVar[str]
    unit: ClassVar[Literal["s", "count"]]

    @property
    def bounds(self) -> Mapping[Statistic, float]: ...

    @property
    def refs(self) -> Sequence[str]:
        """Return the step names that this expectation leans on."""
        ...

    @property
    def clusters(self) -> Sequence[str]:
        """Return the restored clusters that it leans on."""
        ...

    @property
    def workloads(self) -> Sequence[str]:
        """Return the workloads that it leans on."""
        ...

    @property
    def marks(self) -> Sequence[str]:
        """Return the marks that it leans on."""
        ...

    def measure(self, history: History) -> Measurement:
        """Return what this history shows; `value` None when it could not have shown a breach."""
        ...
