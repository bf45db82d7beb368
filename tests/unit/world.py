"""A cluster in memory behind `protocols.Driver`, and a `protocols.World` around it.

It does what it is told and tells what it is, like a real one: a machine without power answers
nothing, a frozen program keeps its process ids, a key that nobody renews goes to a replica. Told
to misbehave (`idle`, `refusing`, `noisy`), it lets tests see whether its lies are noticed.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

from harness import conditions, journal, targets
from harness.clock import NS, Clock, Task
from harness.errors import DriverError
from harness.history import Event, EventType, Json, Log
from harness.protocols import (
    Driver,
    Job,
    Link,
    Node,
    Process,
    RecoveryTarget,
    Reply,
    S3State,
    Signal,
    Start,
    StoredObject,
    Undo,
)
from harness.scenario import Cluster, Steady, Target
from tests.unit.memory_wal import MemoryWal
from tests.unit.virtual_stage import VirtualClock

PROGRAMS: tuple[Process, ...] = ("patroni", "postgres", "walreceiver")
WRITTEN = 50_000_000  # the leader's position in the WAL


@dataclass
class Machine:
    """One node from the inside."""

    powered: bool = True
    frozen: set[Process] = field(default_factory=set)
    pids: dict[Process, int] = field(default_factory=dict)
    in_recovery: bool = True
    timeline: int = 1
    received: int = WRITTEN

    def runs(self, program: Process) -> bool:
        return self.powered and not self.frozen & {program, "all"} and program in self.pids


class PlainDriver:
    """Implements `protocols.Driver`, and keeps nothing in S3.

    Attributes:
        scope: what its machines are called: `pg` unless it is a clone.
        wal: what was committed.
        busy: how often somebody commits before each query, unless held.
        held: nobody does.
        gone: machines that were destroyed.
        slowed: machines whose every answer takes a second longer.
        members: the DCS members from the inside; of them only the power and the frost count.
        seen: each acting verb in the order of arrival, `("cut", Link(...))`, also of idle ones.
        idle: acting verbs that return with nothing done.
        refusing: methods that raise DriverError with this text.
        bugs: methods that raise this, which nobody foresaw.
        noisy: what peers see of a power-off that is none.
        failover_s: from the leader's loss to the next one.
        room_s: how long it waits for room.
        rooms: each that it had: the clusters that it was for.
        rooms_end: of each that it gave back, how often it was down by then.
        in_the_clear: what each node says to a client without TLS: a SQLSTATE, None for a welcome.
        settings: the dynamic configuration that it obeys beside what the scenario asks for; None
            when nobody has it.
        spare: how many cores of the machine of all nodes are idle; None where each has its own.
        pace: how much of a wait for silence is really waited; 0 is nothing.
        before_act: called with each acting verb before it acts.
    """

    name: ClassVar[str] = "memory"

    def __init__(
        self, clock: Clock, folder: Path | None = None, *, pace: float = 1.0, scope: str = ""
    ) -> None:
        self.scope = scope
        self.wal = MemoryWal(clock)
        self.busy = 0
        self.held = False
        self.gone: set[str] = set()
        self.clock = clock
        self.folder = folder
        self.pace = pace
        self.failover_s = 5.0
        self.seen: list[tuple[str, object]] = []
        self.idle: set[str] = set()
        self.alone = False
        self.spare: float | None = None
        self.told: list[str] = []
        self.refusing: dict[str, str] = {}
        self.bugs: dict[str, Exception] = {}
        self.noisy: str | None = None
        self.quorum = True
        self.keys: dict[str, str] = {}
        self.cuts: list[Link] = []
        self.inside: dict[str, Machine] = {}
        self.room_s = 0.0
        self.rooms: list[Sequence[Cluster]] = []
        self.rooms_end: list[int] = []
        self.ups = 0
        self.downs = 0
        self.switchover_to: str | None = None
        self.switchover_status = 200
        self.in_the_clear: defaultdict[str, str | None] = defaultdict(lambda: "28000")
        self.settings: Mapping[str, Json] | None = {}
        self.before_act: Callable[[str, object], None] = lambda _verb, _what: None
        self.clients: dict[str, MemoryClient] = {}
        self._cluster = Cluster()
        self.members: dict[str, Machine] = {}
        self.slowed: dict[str, tuple[int | None, float]] = {}
        self._lost_at: int | None = None
        self._pid = 100
        self._lock = threading.RLock()

    # --- life ------------------------------------------------------------------------------

    @contextmanager
    def room(
        self, cluster: Cluster, restored: Sequence[Cluster] = (), *, alone: bool = False
    ) -> Iterator[Start]:
        self.clock.sleep(self.room_s)
        self._obey("room")
        self.rooms.append((cluster, *restored))
        self.alone = alone
        self.told = []
        try:
            yield MemoryStart(self.told)
        finally:
            self.rooms_end.append(self.downs)

    def up(self, cluster: Cluster) -> None:
        self._obey("up")
        self.ups += 1
        self._boot_all(cluster)
        self.lead("pg-1")

    def _boot_all(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.members = {member.name: Machine() for member in self.dcs_members}
        for number in range(cluster.nodes):
            self.inside[f"{self.scope or 'pg'}-{number + 1}"] = machine = Machine()
            self._boot(machine)

    def lead(self, node: str) -> None:
        """Make a node the leader and the primary, on a new timeline but for the first."""
        timeline = max(m.timeline for m in self.inside.values()) + ("sync" in self.keys)
        for name, machine in self.inside.items():
            if machine.powered or name == node:
                machine.in_recovery, machine.timeline = name != node, timeline
                if machine.runs("postgres"):
                    self._boot_receiver(machine)
        self.keys["leader"] = node
        others = [name for name, m in self.inside.items() if name != node and m.powered]
        named = others if self._cluster.sync == "quorum" else others[:1]
        self.keys["sync"] = json.dumps({"leader": node, "sync_standby": ",".join(named)})
        self._lost_at = None

    def _boot(self, machine: Machine) -> None:
        for program in ("patroni", "postgres"):
            self._pid += 1
            machine.pids[program] = self._pid
        self._boot_receiver(machine)

    def _boot_receiver(self, machine: Machine) -> None:
        machine.pids.pop("walreceiver", None)
        if machine.in_recovery:
            self._pid += 1
            machine.pids["walreceiver"] = self._pid

    def down(self) -> None:
        self.downs += 1
        for client in self.clients.values():
            client.end()
        self._obey("down")

    def _obey(self, method: str) -> None:
        if method in self.bugs:
            raise self.bugs[method]
        if method in self.refusing:
            raise DriverError(self.refusing[method])

    # --- facts -----------------------------------------------------------------------------

    @property
    def nodes(self) -> Sequence[Node]:
        azs = self._cluster.azs
        return [Node(n, azs[i % len(azs)], f"10.0.0.{i + 1}") for i, n in enumerate(self.inside)]

    @property
    def dcs_members(self) -> Sequence[Node]:
        azs = self._cluster.azs
        names = [f"{self._prefixed('etcd')}-{i + 1}" for i in range(3)]
        return [Node(n, azs[i % len(azs)], f"10.0.1.{i + 1}") for i, n in enumerate(names)]

    def _prefixed(self, name: str) -> str:
        return f"{self.scope}-{name}" if self.scope else name

    def versions(self) -> Mapping[str, str]:
        self._obey("versions")
        return {"patroni": "4.1", "postgres": "17.5", "dcs": "memory"}

    def machines(self, service: str) -> Sequence[str]:
        if service in ("patroni", "postgres"):
            return [node.name for node in self.nodes]
        if service == "s3":
            return ["s3"]
        elbs = [self._prefixed("primary-elb"), self._prefixed("replica-elb")]
        return elbs if service == "elb" else [member.name for member in self.dcs_members]

    def client(self, vantage: str) -> "MemoryClient":
        self._obey("client")
        if vantage not in self.clients:
            self.clients[vantage] = MemoryClient(self, self._prefixed(vantage))
        return self.clients[vantage]

    # --- reading ---------------------------------------------------------------------------

    def query(self, node: str, sql: str, *, deadline_s: float) -> Sequence[Sequence[Json]]:
        self._obey("query")
        self._elect()
        machine = self.inside[node]
        if not machine.runs("postgres"):
            raise DriverError(f"{node}: no answer within {deadline_s:g} s")
        if "nonsense" in sql:
            raise DriverError('42703: column "nonsense" does not exist')
        if "txid_current" in sql and machine.in_recovery:
            raise DriverError("55000: recovery is in progress")
        if "pg_promote" in sql:
            machine.in_recovery = False
            machine.timeline += 1
            return [[True]]
        if "pg_ls_waldir" in sql:
            parents = range(1, machine.timeline)
            text = "".join(f"{tli}\t0/{WRITTEN:X}\tno reason\n" for tli in parents)
            return [[f"{machine.timeline:08X}.history", text]] if parents else []
        if sql == "SELECT pg_is_in_recovery()":
            return [[machine.in_recovery]]
        if "pg_last_wal_receive_lsn()" in sql:
            return [[not machine.runs("walreceiver")]]
        for _ in range(0 if self.held else self.busy):
            self.wal.commit("drill.append", "busy")
        told = self.wal.answer(sql, machine.timeline)
        if told is not None and machine.in_recovery and "system_identifier" not in sql:
            raise DriverError("55000: recovery is in progress")
        return [[1]] if told is None else told

    def in_clear(self, node: str, *, deadline_s: float) -> str | None:
        if not self.inside[node].runs("postgres"):
            self.clock.sleep(deadline_s * self.pace)
            raise DriverError(f"{node}: no answer")
        return self.in_the_clear[node]

    def patroni(
        self, node: str, path: str, *, deadline_s: float, method: str = "GET", body: Json = None
    ) -> Reply:
        self._obey("patroni")
        machine = self.inside[node]
        if not machine.runs("patroni"):
            self.clock.sleep(deadline_s * self.pace)
            return Reply(0, "timed out")
        if node in self.slowed:
            self.clock.sleep(self.pace)
        self._elect()
        if method == "POST" and path == "/switchover":
            return self._switch_over(body)
        if path == "/config":
            return self._configuration(method, body)
        if path == "/primary":
            # As Patroni: the key decides, whether or not PostgreSQL is promoted yet.
            return Reply(200 if self.keys.get("leader") == node else 503, None)
        return Reply(200, self._body(node, machine))

    def _configuration(self, method: str, body: Json) -> Reply:
        if self.settings is None:
            return Reply(502, None)
        if method == "PATCH":  # as Patroni: null takes a setting away
            assert isinstance(body, Mapping)
            patched = {**self.settings, **body}
            self.settings = {key: value for key, value in patched.items() if value is not None}
        return Reply(200, {**self._cluster.dynamic_configuration, **self.settings})

    def _switch_over(self, body: Json) -> Reply:
        assert isinstance(body, Mapping)
        assert body["leader"] == self.keys.get("leader"), "asked of somebody who does not lead"
        self._act("switchover", body)
        others = [n for n, m in self.inside.items() if m.in_recovery and m.runs("patroni")]
        if self.switchover_status == 200 and "switchover" not in self.idle:
            self.lead(str(self.switchover_to or body.get("candidate") or others[0]))
        return Reply(self.switchover_status, "candidate is not ready")

    def _body(self, node: str, machine: Machine) -> Mapping[str, Json]:
        body: dict[str, Json] = {
            "state": "running" if machine.runs("postgres") else "starting",
            "role": "replica" if machine.in_recovery else "primary",
            "timeline": machine.timeline,
            "xlog": {"location": WRITTEN},
        }
        if machine.in_recovery:
            body["xlog"] = {"received_location": machine.received}
            # As Patroni: it may say so while it still takes PostgreSQL for starting.
            if machine.runs("walreceiver"):
                body["replication_state"] = "streaming"
            return body
        named = conditions.sync_standbys(self.keys)
        kind = "quorum" if self._cluster.sync == "quorum" else "sync"
        body["replication"] = [
            {"application_name": n, "sync_state": kind if n in named else "async"}
            for n, m in self.inside.items()
            if n != node and m.runs("walreceiver")
        ]
        return body

    def dcs(self, *, deadline_s: float, member: str | None = None) -> Mapping[str, str]:
        self._obey("dcs")
        if not self.quorum or 2 * len(self._serving) <= len(self.members):
            raise DriverError(f"no quorum within {deadline_s:g} s")
        if member is not None and member not in self._serving:
            raise DriverError(f"{member}: silence for {deadline_s:g} s")
        if member in self.slowed:
            self.clock.sleep(self.pace)
        self._elect()
        return dict(self.keys)

    def dcs_leader(self, *, deadline_s: float) -> str:
        self._obey("dcs_leader")
        if 2 * len(self._serving) <= len(self.members):
            raise DriverError(f"no leader within {deadline_s:g} s")
        return min(self._serving)

    @property
    def _serving(self) -> set[str]:
        """The DCS members that are there, have power and are not frozen."""
        up = {name for name, member in self.members.items() if member.powered}
        return {name for name in up - self.gone if not self.members[name].frozen}

    def _machine(self, name: str) -> Machine:
        """Return a node or a DCS member; ELBs live for ever."""
        return self.inside.get(name) or self.members.get(name) or Machine()

    def _elect(self) -> None:
        """Move the leader key as time demands: lost at once, won after `failover_s`."""
        with self._lock:
            leader = self.keys.get("leader")
            if not self.inside or (leader and self.inside[leader].runs("patroni")):
                return
            if self._lost_at is None:
                self._lost_at = self.clock.now_ns()
            ready = [n for n, m in self.inside.items() if n != leader and m.runs("patroni")]
            if ready and (self.clock.now_ns() - self._lost_at) / NS >= self.failover_s:
                self.lead(ready[0])

    def pids(self, node: str, process: Process) -> Sequence[int]:
        self._obey("pids")
        if node not in self.inside:
            return [] if node in self.gone or not self._machine(node).powered else [1]
        machine = self.inside[node]
        if not machine.powered:
            return []
        return [pid for program, pid in machine.pids.items() if process in (program, "all")]

    # --- acting ----------------------------------------------------------------------------

    def _act(self, verb: str, what: object) -> bool:
        """Note a verb; return whether it is to be done."""
        self.before_act(verb, what)
        self.seen.append((verb, what))
        self._obey(verb)
        return verb not in self.idle

    def power_off(self, node: str) -> None:
        if self._act("power_off", node):
            self._machine(node).powered = False
            self._machine(node).frozen.clear()

    def start(self, node: str) -> None:
        if not self._act("start", node):
            return
        if node not in self.inside:
            self._machine(node).powered = True
        elif not self.inside[node].powered:
            machine = self.inside[node]
            machine.powered = True
            leader = self.keys.get("leader")
            if leader != node and leader is not None:
                machine.in_recovery, machine.timeline = True, self.inside[leader].timeline
            self._boot(machine)

    def kill(self, node: str, process: Process, signal: Signal) -> None:
        if not self._act("kill", (node, process, signal)):
            return
        if process == "all":
            self.inside[node].powered = False
        for program in self.inside[node].pids:
            if process == program:  # whoever supervises it starts another
                self._pid += 1
                self.inside[node].pids[program] = self._pid

    def freeze(self, node: str, process: Process) -> None:
        if self._act("freeze", (node, process)):
            self._machine(node).frozen.add(process)

    def thaw(self, node: str, process: Process) -> None:
        if self._act("thaw", (node, process)):
            self._machine(node).frozen.discard(process)

    def cut(self, links: Sequence[Link]) -> None:
        if self._act("cut", tuple(links)):
            self.cuts += links

    def mend(self, links: Sequence[Link]) -> None:
        if self._act("mend", tuple(links)):
            self.cuts = [cut for cut in self.cuts if cut not in links]

    def slow(self, machine: str, *, rate: int | None, loss: float) -> None:
        if self._act("slow", (machine, rate, loss)):
            self.slowed[machine] = rate, loss

    def quicken(self, machine: str) -> None:
        if self._act("quicken", machine):
            self.slowed.pop(machine, None)

    def dead(self, links: Sequence[Link]) -> Sequence[Link]:
        """A connection needs both ways: the answers of a cut peer are lost too."""
        self._obey("dead")
        cut = {(one.source, one.destination) for one in self.cuts}
        cut |= {(there, here) for here, there in cut}
        return [
            link
            for link in links
            if (link.source, link.destination) in cut or not self.pids(link.destination, "all")
        ]

    @contextmanager
    def is_silent(self, node: str) -> Iterator["MemorySilence"]:
        if not self._machine(node).powered or node in self.gone:
            raise DriverError(f"{node}: refused")
        yield MemorySilence(self)

    def refuse_to_restore(self) -> None:
        """Never get so far: no node leaves recovery, and nobody leads."""
        for machine in self.inside.values():
            machine.pids = {"postgres": 1}

    def idle_s(self) -> float | None:
        return None if self.spare is None else self.clock.now_ns() / NS * self.spare

    def logs(self, folder: Path) -> None:
        self._obey("logs")
        folder.mkdir(parents=True, exist_ok=True)
        for node in self.inside:
            (folder / f"{node}.log").write_text("log\n")


@dataclass
class MemoryStart:
    """Remembers how far it was told that a cluster's start is."""

    told: list[str]

    def leads(self) -> None:
        self.told.append("leads")

    def steady(self) -> None:
        self.told.append("steady")


class MemoryDriver(PlainDriver):
    """Implements `protocols.Keeps`, too.

    Attributes:
        stored: what S3 holds, by key; all clones share it.
        s3_state: how S3 is.
        labels: what the next backups are called; then they are numbered.
        restore_s: how long a clone takes until somebody leads it.
        sent: how many bytes each node has sent.
        copied: how many of them the leader sends to a machine that is made anew.
        clones: those that were made.
    """

    def __init__(
        self, clock: Clock, folder: Path | None = None, *, pace: float = 1.0, scope: str = ""
    ) -> None:
        super().__init__(clock, folder, pace=pace, scope=scope)
        self.stored: dict[str, StoredObject] = {}
        self.s3_state: S3State = "well"
        self.labels: list[str] = []
        self.restore_s = 3.0
        self.sent: dict[str, int] = {}
        self.copied = 1000
        self.clones: list[MemoryDriver] = []

    @property
    def prefix(self) -> str:
        return f"spilo/{self.scope or 'drill'}/"

    def objects(self, prefix: str) -> Sequence[StoredObject]:
        self._obey("objects")
        return [one for key, one in [*self.stored.items()] if key.startswith(prefix)]

    def store(self, key: str) -> None:
        self.stored[key] = StoredObject(key, 1, "e", "aws:kms", "key")

    def s3(self, state: S3State) -> None:
        if self._act("s3", state):
            self.s3_state = state

    def backup(self, node: str, kind: Literal["full", "incr"]) -> str:
        if not self._act("backup", (node, kind)):
            return ""
        stanza = f"{self.prefix}backup/drill/"
        label = self.labels.pop(0) if self.labels else f"2026{len(self.stored)}F"
        self.store(f"{stanza}{label}/backup.manifest")
        return label

    def destroy(self, machine: str) -> None:
        if not self._act("destroy", machine):
            return
        self.gone.add(machine)
        if machine in self.inside:
            self.inside[machine] = Machine(powered=False)
        elif machine in self.members:
            self.members[machine] = Machine()
            if self.gone >= self.members.keys():
                self.keys.clear()

    def renew(self, machine: str) -> None:
        if not self._act("renew", machine):
            return
        self.gone.discard(machine)
        if machine in self.inside:
            newest = max(one.timeline for one in self.inside.values())
            self.inside[machine] = made = Machine(timeline=newest)
            self._boot(made)
            if self.keys.get("leader") == machine:
                del self.keys["leader"]  # who finds its disk empty lets go of it
            leader = self.keys.get("leader", "")
            self.sent[leader] = self.sent.get(leader, 0) + self.copied
        elif machine in self.members:
            self.members[machine] = Machine()

    def clone(self, name: str, cluster: Cluster, target: RecoveryTarget) -> Driver:
        self._act("clone", (name, target))
        made = type(self)(self.clock, self.folder, pace=self.pace, scope=name)
        made.stored, made.failover_s = self.stored, self.restore_s
        made._boot_all(cluster)
        restored = self.wal.until(target)
        if restored is None:
            made.refuse_to_restore()
        else:
            made.wal = restored
            for machine in made.inside.values():  # promotion begins a timeline of its own
                machine.timeline = 1 + max(one.timeline for one in self.inside.values())
        self.clones.append(made)
        return made

    def down(self) -> None:
        for clone in self.clones:
            for client in clone.clients.values():
                client.end()
        super().down()

    def sent_bytes(self, node: str) -> int:
        self._obey("sent_bytes")
        return self.sent.get(node, 0)


@dataclass
class MemorySilence:
    driver: PlainDriver

    def broken_within(self, seconds: float) -> str | None:
        self.driver.clock.sleep(seconds * self.driver.pace)
        return self.driver.noisy


class MemoryClient:
    """Implements `protocols.Client`: each job does an operation every 5 ms, and records it."""

    def __init__(self, driver: PlainDriver, vantage: str) -> None:
        assert driver.folder is not None
        self._driver = driver
        self._log = Log(driver.folder / "clients" / f"{vantage}.jsonl")
        self._jobs: dict[str, Job] = {}
        self._held: set[str] = set()
        self._objects: set[str] = set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._key_seen: str | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def prepare(self, through: str) -> None:
        self._driver._obey("prepare")
        assert not self._driver.inside[through].in_recovery, "tables are made on the primary"

    def start(self, job: Job) -> None:
        self._driver._obey("start_job")
        with self._lock:
            self._jobs[job.name] = job

    def stop(self, name: str) -> None:
        with self._lock:
            del self._jobs[name]
        self._driver._obey("stop_job")

    def hold(self, name: str) -> None:
        self._driver.before_act("hold", name)
        self._driver._obey("hold")
        with self._lock:
            self._held.add(name)

    def release(self, name: str) -> None:
        with self._lock:
            self._held.discard(name)
        self._driver.before_act("release", name)
        self._driver._obey("release")

    def final_read(self, job: Job, *, reader: str = "final") -> None:
        self._driver._obey("final_read")
        key = "probe" if job.kind == "probes" else job.plugin
        self._op(reader, "read", "ok", None, key, node=job.through, value=[])

    def end(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._log.close()

    def _work(self) -> None:
        while not self._ended.wait(0.005):
            with self._lock:
                for job in self._jobs.values():
                    if job.name not in self._held:
                        self._once(job)

    def _once(self, job: Job) -> None:
        inside = self._driver.inside
        writers = [n for n, m in inside.items() if m.runs("postgres") and not m.in_recovery]
        number = self._numbers[job.name] = self._numbers.get(job.name, 0) + 1
        if job.plugin == "dcs":
            key = self._driver.keys.get("leader")
            if key != self._key_seen:
                value: Json = {"key": "leader", "value": key, "revision": number}
                self._event(job.name, "info", "dcs", value)
            self._key_seen = key
        elif job.plugin == "rest":
            ok = inside[job.through].runs("patroni")
            self._op(job.name, "patroni", "ok" if ok else "fail", None, None)
        elif job.plugin == "objects":
            assert isinstance(self._driver, MemoryDriver)
            for key in self._driver.stored.keys() - self._objects:
                self._objects.add(key)
                self._event("s3/", "info", "object", {"key": key})
        elif job.plugin == "writes":
            ok = job.through in writers
            node = job.through if ok else None
            if ok:
                self._driver.wal.commit("drill.probe", str(number))
            self._op(f"{job.name}/held.0", "write", "ok" if ok else "fail", number, "probe", node)
        elif "workload" not in self._driver.idle:
            near = [node for node in writers if not job.beside or node in job.beside]
            node = near[0] if near else None
            index = [*inside].index(job.beside[0]) if job.beside else 0
            number += index * 1_000_000  # the clients in other AZs have numbers of their own
            if node:
                self._driver.wal.commit("drill.append", str(number))
            ops: Json = [["append", 1, number]]
            self._op(f"{job.name}/{index}.0", "txn", "ok" if node else "fail", ops, "append", node)

    def _op(
        self,
        process: str,
        f: str,
        outcome: EventType,
        argument: Json,
        key: Json,
        node: str | None = None,
        value: Json = None,
    ) -> None:
        tli = self._driver.inside[node].timeline if node else None
        self._event(process, "invoke", f, argument, key)
        self._event(process, outcome, f, value or argument, key, node, tli)

    def _event(
        self,
        process: str,
        kind: EventType,
        f: str,
        value: Json,
        key: Json = None,
        node: str | None = None,
        tli: int | None = None,
    ) -> None:
        now = self._driver.clock.now_ns()
        self._log.append(Event(process, kind, f, now, value, key, node, tli))


class MemoryWorld:
    """Implements `protocols.World` in virtual time; `driver.seen` tells the order of all things.

    Entries `("undo later", Undo)` and `("undone", Undo)` stand among the driver's own.
    """

    def __init__(
        self,
        cluster: Cluster | None = None,
        *,
        driver: PlainDriver | None = None,
        beside: "MemoryWorld | None" = None,
    ) -> None:
        self.clock: VirtualClock = beside.clock if beside else VirtualClock()
        self._driver = driver or MemoryDriver(self.clock)
        self.random = Random(7)
        self.cluster = cluster or Cluster()
        self.steady = Steady()
        if driver is None:
            self._driver.up(self.cluster)
        self.marks: dict[str, Mapping[str, Json]] = {}
        self.worlds: dict[str, MemoryWorld] = {}
        self.before: str | None = None
        self.named: dict[str, Sequence[str]] = {}
        self.tasks: list[Task] = []
        self.open: list[Undo] = []
        self.healing: list[Undo] = []
        self.served_at_s = 0.0  # from then on clients are acknowledged all the time

    @property
    def driver(self) -> MemoryDriver:
        """The driver; a plain one stands here, too, for verbs that must find out."""
        return self._driver  # type: ignore[return-value]

    @property
    def seen(self) -> list[tuple[str, object]]:
        return self.driver.seen

    @property
    def now_s(self) -> float:
        return self.clock.now_ns() / NS

    def inside(self, node: str) -> Machine:
        return self.driver.inside[node]

    def resolve(self, target: Target) -> Sequence[str]:
        view = conditions.look(self.driver, self.clock)
        return targets.resolve(target, self.driver, view, self.named, self.random)

    def undo_later(self, undo: Undo) -> None:
        self.seen.append(("undo later", undo))
        self.open.append(undo)

    def undone(self, undo: Undo) -> None:
        self.seen.append(("undone", undo))
        if undo in self.open:
            self.open.remove(undo)

    def not_undone(self) -> Sequence[Undo]:
        return self.open[::-1]

    def due(self) -> Sequence[Undo]:
        return [undo for undo in self.not_undone() if undo in self.healing]

    def heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        self.healing += undos

        def heal() -> None:
            self.clock.sleep(seconds)
            for one in reversed(undos):
                journal.undo(self.driver, one)
                if one in self.open:
                    self.open.remove(one)

        self.tasks.append(self.clock.spawn(heal, "heal"))

    def leader_before(self) -> str | None:
        return self.before

    @contextmanager
    def held(self) -> Iterator[None]:
        self.seen.append(("hold", None))
        self.driver.held = True
        try:
            yield
        finally:
            self.driver.held = False
            self.seen.append(("release", None))

    def unserved(self, since: int) -> Sequence[str]:
        last = self.clock.now_ns() if self.now_s >= self.served_at_s else -1
        return ["append"] if last < since else []

    def stop_traffic(self) -> None:
        self.seen.append(("stop traffic", None))

    def marked(self, name: str) -> Mapping[str, Json]:
        if name not in self.marks:
            raise DriverError(f"mark {name!r}: not made")
        return self.marks[name]

    def joined(self, name: str, driver: Driver, cluster: Cluster) -> "MemoryWorld":
        self.seen.append(("joined", name))
        if driver is self.driver:
            return self
        assert isinstance(driver, MemoryDriver)
        self.worlds[name] = MemoryWorld(cluster, driver=driver, beside=self)
        return self.worlds[name]

    def read_back(self, node: str, *, reader: str) -> None:
        self.seen.append(("read back", (node, reader)))

    def verbs(self) -> list[str]:
        """Return what was done, without to whom."""
        return [verb for verb, _ in self.seen]
