"""A cluster in memory behind `protocols.Driver`, and a `protocols.World` around it.

It does what it is told and tells what it is, like a real one: a machine without power answers
nothing, a frozen program keeps its process ids, a key that nobody renews goes to a replica. Told
to misbehave (`idle`, `refusing`, `noisy`), it lets tests see whether its lies are noticed.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar

from harness import conditions, journal, targets
from harness.clock import NS, Clock, Task
from harness.errors import DriverError
from harness.history import Event, EventType, Json, Log
from harness.protocols import Job, Link, Node, Process, Reply, Signal, Undo
from harness.scenario import Cluster, Steady, Target
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


class MemoryDriver:
    """Implements `protocols.Driver`.

    Attributes:
        seen: each acting verb in the order of arrival, `("cut", Link(...))`, also of idle ones.
        idle: acting verbs that return with nothing done.
        refusing: methods that raise DriverError with this text.
        bugs: methods that raise this, which nobody foresaw.
        noisy: what peers see of a power-off that is none.
        failover_s: from the leader's loss to the next one.
        pace: how much of a wait for silence is really waited; 0 is nothing.
        before_act: called with each acting verb before it acts.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, clock: Clock, folder: Path | None = None, *, pace: float = 1.0) -> None:
        self.clock = clock
        self.folder = folder
        self.pace = pace
        self.failover_s = 5.0
        self.seen: list[tuple[str, object]] = []
        self.idle: set[str] = set()
        self.refusing: dict[str, str] = {}
        self.bugs: dict[str, Exception] = {}
        self.noisy: str | None = None
        self.quorum = True
        self.keys: dict[str, str] = {}
        self.cuts: list[Link] = []
        self.inside: dict[str, Machine] = {}
        self.ups = 0
        self.downs = 0
        self.switchover_to: str | None = None
        self.switchover_status = 200
        self.before_act: Callable[[str, object], None] = lambda _verb, _what: None
        self.clients: dict[str, MemoryClient] = {}
        self._cluster = Cluster()
        self._lost_at: int | None = None
        self._pid = 100
        self._lock = threading.RLock()

    # --- life ------------------------------------------------------------------------------

    def up(self, cluster: Cluster) -> None:
        self._obey("up")
        self.ups += 1
        self._cluster = cluster
        for number in range(cluster.nodes):
            self.inside[f"pg-{number + 1}"] = machine = Machine()
            self._boot(machine)
        self.lead("pg-1")

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
        return [Node(f"etcd-{i + 1}", azs[i % len(azs)], f"10.0.1.{i + 1}") for i in range(3)]

    def versions(self) -> Mapping[str, str]:
        self._obey("versions")
        return {"patroni": "4.1", "postgres": "17.5", "dcs": "memory"}

    def machines(self, service: str) -> Sequence[str]:
        if service in ("patroni", "postgres"):
            return [node.name for node in self.nodes]
        elbs = ["primary-elb", "replica-elb"]
        return elbs if service == "elb" else [member.name for member in self.dcs_members]

    def client(self, vantage: str) -> "MemoryClient":
        self._obey("client")
        if vantage not in self.clients:
            self.clients[vantage] = MemoryClient(self, vantage)
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
        return [[machine.in_recovery if "pg_is_in_recovery" in sql else 1]]

    def patroni(
        self, node: str, path: str, *, deadline_s: float, method: str = "GET", body: Json = None
    ) -> Reply:
        self._obey("patroni")
        machine = self.inside[node]
        if not machine.runs("patroni"):
            self.clock.sleep(deadline_s * self.pace)
            return Reply(0, "timed out")
        self._elect()
        if method == "POST" and path == "/switchover":
            return self._switch_over(body)
        if path == "/primary":
            return Reply(503 if machine.in_recovery else 200, None)
        return Reply(200, self._body(node, machine))

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
            if machine.runs("walreceiver") and machine.runs("postgres"):
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

    def dcs(self, *, deadline_s: float) -> Mapping[str, str]:
        self._obey("dcs")
        if not self.quorum:
            raise DriverError(f"no quorum within {deadline_s:g} s")
        self._elect()
        return dict(self.keys)

    def _elect(self) -> None:
        """Move the leader key as time demands: lost at once, won after `failover_s`."""
        with self._lock:
            leader = self.keys.get("leader")
            if leader is not None and self.inside[leader].runs("patroni"):
                return
            if self._lost_at is None:
                self._lost_at = self.clock.now_ns()
            ready = [n for n, m in self.inside.items() if n != leader and m.runs("patroni")]
            if ready and (self.clock.now_ns() - self._lost_at) / NS >= self.failover_s:
                self.lead(ready[0])

    def pids(self, node: str, process: Process) -> Sequence[int]:
        self._obey("pids")
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
            self.inside[node].powered = False
            self.inside[node].frozen.clear()

    def start(self, node: str) -> None:
        if self._act("start", node) and not self.inside[node].powered:
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
            self.inside[node].frozen.add(process)

    def thaw(self, node: str, process: Process) -> None:
        if self._act("thaw", (node, process)):
            self.inside[node].frozen.discard(process)

    def cut(self, link: Link) -> None:
        if self._act("cut", link):
            self.cuts.append(link)

    def mend(self, link: Link) -> None:
        if self._act("mend", link) and link in self.cuts:
            self.cuts.remove(link)

    def is_cut(self, link: Link) -> bool:
        """A connection needs both ways: the answers of a cut peer are lost too."""
        self._obey("is_cut")
        ends = {(link.source, link.destination), (link.destination, link.source)}
        return any((cut.source, cut.destination) in ends for cut in self.cuts)

    @contextmanager
    def is_silent(self, node: str) -> Iterator["MemorySilence"]:
        if not self.inside[node].powered:
            raise DriverError(f"{node}: refused")
        yield MemorySilence(self)

    def logs(self, folder: Path) -> None:
        self._obey("logs")
        folder.mkdir(parents=True, exist_ok=True)
        for node in self.inside:
            (folder / f"{node}.log").write_text("log\n")


@dataclass
class MemorySilence:
    driver: MemoryDriver

    def broken_within(self, seconds: float) -> str | None:
        self.driver.clock.sleep(seconds * self.driver.pace)
        return self.driver.noisy


class MemoryClient:
    """Implements `protocols.Client`: each job does an operation every 5 ms, and records it."""

    def __init__(self, driver: MemoryDriver, vantage: str) -> None:
        assert driver.folder is not None
        self._driver = driver
        self._log = Log(driver.folder / "clients" / f"{vantage}.jsonl")
        self._jobs: dict[str, Job] = {}
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

    def final_read(self, job: Job) -> None:
        self._driver._obey("final_read")
        key = "probe" if job.kind == "probes" else job.plugin
        self._op("final", "read", "ok", None, key, node=job.through, value=[])

    def end(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._log.close()

    def _work(self) -> None:
        while not self._ended.wait(0.005):
            with self._lock:
                for job in self._jobs.values():
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
        elif job.plugin == "writes":
            ok = job.through in writers
            node = job.through if ok else None
            self._op(f"{job.name}/held.0", "write", "ok" if ok else "fail", number, "probe", node)
        elif "workload" not in self._driver.idle:
            node = writers[0] if writers else None
            ops: Json = [["append", 1, number]]
            self._op(f"{job.name}/0.0", "txn", "ok" if node else "fail", ops, "append", node)

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

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.clock: VirtualClock = VirtualClock()
        self.driver = MemoryDriver(self.clock)
        self.random = Random(7)
        self.cluster = cluster or Cluster()
        self.steady = Steady()
        self.driver.up(self.cluster)
        self.before: str | None = None
        self.named: dict[str, Sequence[str]] = {}
        self.tasks: list[Task] = []

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

    def undone(self, undo: Undo) -> None:
        self.seen.append(("undone", undo))

    def heal_after(self, undos: Sequence[Undo], seconds: float) -> None:
        def heal() -> None:
            self.clock.sleep(seconds)
            for one in undos:
                journal.undo(self.driver, one)

        self.tasks.append(self.clock.spawn(heal, "heal"))

    def leader_before(self) -> str | None:
        return self.before

    def verbs(self) -> list[str]:
        """Return what was done, without to whom."""
        return [verb for verb, _ in self.seen]
