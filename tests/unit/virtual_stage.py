"""A `Stage` in virtual time on a cluster in memory: what a simulator is to workloads and probes."""

import heapq
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import TypeVar

from harness.clock import NS, Clock, Task
from harness.errors import HarnessError, OverdueError
from harness.history import Event, History, Json
from harness.protocols import Answer, Change, Job, StoredObject

T = TypeVar("T")
CALL_S = 0.005


class _VirtualTask:
    def __init__(self, clock: "VirtualClock", work: Callable[[], None]) -> None:
        self._clock = clock
        self._work = work
        self._is_done = False
        self._error: BaseException | None = None
        self._joining: list[threading.Event] = []

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever joins
            self._error = error
        self._is_done = True
        for who in self._joining:
            self._clock.wake(who)

    def join(self) -> None:
        if not self._is_done:
            mine = threading.Event()
            self._joining.append(mine)
            self._clock.give_way(mine)
        if self._error:
            raise self._error


class VirtualClock:
    """Time that passes only in sleeps. One task runs at a time, so every run is the same."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._turns = count()
        self._waiting: list[tuple[int, int, threading.Event]] = []

    def now_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        mine = threading.Event()
        self.wake(mine, after_ns=round(max(0.0, seconds) * NS))
        self.give_way(mine)

    def spawn(self, work: Callable[[], None], name: str) -> Task:
        task, mine = _VirtualTask(self, work), threading.Event()

        def run() -> None:
            mine.wait()
            task.run()
            self._next().set()

        self.wake(mine)
        threading.Thread(target=run, name=name, daemon=True).start()
        return task

    def wait_for(
        self,
        condition: Callable[[], T | None],
        *,
        timeout_s: float,
        what: str,
        every_s: float = 0.1,
    ) -> T:
        until_ns = self._now_ns + int(timeout_s * NS)
        while self._now_ns < until_ns:
            if value := condition():
                return value
            self.sleep(every_s)
        raise OverdueError(f"{what} did not happen within {timeout_s:g} s")

    def wake(self, who: threading.Event, *, after_ns: int = 0) -> None:
        heapq.heappush(self._waiting, (self._now_ns + after_ns, next(self._turns), who))

    def give_way(self, mine: threading.Event) -> None:
        """Let the next task run until it is my turn again."""
        self._next().set()
        mine.wait()

    def _next(self) -> threading.Event:
        self._now_ns, _, who = heapq.heappop(self._waiting)
        return who


def never(_now_s: float) -> bool:
    return False


def nothing(_now_s: float) -> Sequence[StoredObject]:
    return ()


@dataclass
class MemoryCluster:
    """Nodes that share their tables, and how they misbehave.

    Attributes:
        silent, refusing: when (in seconds) no node answers, or each refuses at once.
        unsure: when they answer that they do not know the outcome, and keep the connection.
        frozen: nodes that never answer.
        changes: what each DCS member tells, one list for each time that it is asked.
        stored: what S3 holds at a time in seconds; s3_down: when it does not answer.
    """

    clock: VirtualClock = field(default_factory=VirtualClock)
    nodes: tuple[str, ...] = ("pg-1", "pg-2", "pg-3")
    primary: str = "pg-1"
    silent: Callable[[float], bool] = never
    refusing: Callable[[float], bool] = never
    unsure: Callable[[float], bool] = never
    frozen: frozenset[str] = frozenset()
    lists: dict[Json, list[Json]] = field(default_factory=lambda: defaultdict(list))
    rows: list[int] = field(default_factory=list)
    changes: dict[str, list[list[Change | None]]] = field(default_factory=dict)
    stored: Callable[[float], Sequence[StoredObject]] = nothing
    s3_down: Callable[[float], bool] = never

    @property
    def now_s(self) -> float:
        return self.clock.now_ns() / NS

    def node_behind(self, through: str) -> str:
        if through == "primary-elb":
            return self.primary
        if through == "replica-elb":
            return next(node for node in self.nodes if node != self.primary)
        return through


@dataclass
class MemorySession:
    cluster: MemoryCluster
    through: str
    open_s: float
    call_s: float
    is_open: bool = False

    @property
    def _node(self) -> str:
        return self.cluster.node_behind(self.through)

    def _broken(self, within_s: float) -> str | None:
        """Let a call take its time; return why it got no answer."""
        if self.cluster.refusing(self.cluster.now_s):
            return "OperationalError: Connection refused"
        if self.cluster.silent(self.cluster.now_s) or self._node in self.cluster.frozen:
            self.cluster.clock.sleep(within_s)
            return f"DeadlineError: no answer within {within_s:g} s"
        self.cluster.clock.sleep(CALL_S)
        return None

    def open(self) -> Answer:
        if error := self._broken(self.open_s):
            return Answer("fail", error=error)
        self.is_open = True
        in_recovery = self._node != self.cluster.primary
        return Answer("ok", {"through": self.through, "in_recovery": in_recovery}, node=self._node)

    def txn(self, table: str, ops: Sequence[Sequence[Json]], isolation: str) -> Answer:
        assert table == "append"
        if self._node != self.cluster.primary and isolation == "serializable":
            return Answer("fail", node=self._node, error="0A000: serializable in a hot standby")

        def apply() -> Json:
            done: list[Json] = []
            for verb, key, value in ops:
                if verb == "append":
                    self.cluster.lists[key].append(value)
                done.append([verb, key, value if verb == "append" else [*self.cluster.lists[key]]])
            return done

        return self._call(apply, writes=any(op[0] == "append" for op in ops))

    def probe(self, number: int) -> Answer:
        def apply() -> Json:
            self.cluster.rows.append(number)
            return number

        return self._call(apply, writes=True)

    def final_read(self, table: str) -> Answer:
        if table == "probe":
            return Answer("ok", sorted(self.cluster.rows), node=self._node)
        return Answer("ok", [["r", k, v] for k, v in self.cluster.lists.items()], node=self._node)

    def close(self) -> None:
        self.is_open = False

    def _call(self, apply: Callable[[], Json], *, writes: bool) -> Answer:
        if error := self._broken(self.call_s):
            self.close()
            refused = error.startswith("Operational")
            return Answer("fail" if refused else "info", node=self._node, error=error)
        if writes and self._node != self.cluster.primary:
            return Answer("fail", node=self._node, error="25006: read-only transaction")
        if self.cluster.unsure(self.cluster.now_s):
            return Answer("info", node=self._node, error="committed locally")
        return Answer("ok", apply(), node=self._node, tli=1)


class MemoryStage:
    """One job on a memory cluster; it is stopped at `until_s`."""

    def __init__(self, cluster: MemoryCluster, job: Job, *, until_s: float) -> None:
        self.cluster = cluster
        self.clock: Clock = cluster.clock
        self.job = job
        self.random = Random(job.seed)
        self.events: list[Event] = []
        self.sessions: list[tuple[str, MemorySession]] = []
        self.asked_since: list[tuple[str, int | None]] = []
        self.headed: list[str] = []
        self._until_ns = int(until_s * NS)

    @property
    def nodes(self) -> Sequence[str]:
        return self.cluster.nodes

    @property
    def dcs_members(self) -> Sequence[str]:
        return tuple(self.cluster.changes)

    @property
    def stopped(self) -> bool:
        return self.clock.now_ns() >= self._until_ns

    @property
    def history(self) -> History:
        return History(tuple(self.events))

    def connect(self, through: str, *, process: str, open_s: float, call_s: float) -> MemorySession:
        session = MemorySession(self.cluster, through, open_s, call_s)
        self.sessions.append((process, session))
        return session

    def patroni(self, node: str) -> Answer:
        if node in self.cluster.frozen:
            self.clock.sleep(2.0)
            return Answer("fail", error="TimeoutError: timed out")
        return Answer("ok", {"role": "replica", "status": 200}, node=node)

    def listing(self, prefix: str) -> Sequence[StoredObject]:
        found = [each for each in self._stored() if each.key.startswith(prefix)]
        return [replace(each, sse=None, kms_key=None) for each in found]

    def heads(self, keys: Sequence[str]) -> Mapping[str, StoredObject]:
        self.headed += keys
        return {each.key: each for each in self._stored() if each.key in keys}

    def _stored(self) -> Sequence[StoredObject]:
        """Take a call's time; return what S3 then holds."""
        self.clock.sleep(CALL_S)
        if self.cluster.s3_down(self.cluster.now_s):
            raise HarnessError("s3: nobody answers")
        return self.cluster.stored(self.cluster.now_s)

    def dcs_changes(self, member: str, since: int | None = None) -> Iterator[Change | None]:
        self.asked_since.append((member, since))
        told = self.cluster.changes[member]
        for change in told.pop(0) if told else []:
            self.clock.sleep(0.01)
            yield change

    def record(
        self,
        process: str,
        f: str,
        call: Callable[[], Answer],
        *,
        argument: Json = None,
        key: Json = None,
    ) -> Answer:
        self.events.append(Event(process, "invoke", f, self.clock.now_ns(), argument, key))
        got = call()
        self.events.append(
            Event(
                process, got.outcome, f, self.clock.now_ns(), got.value, key, got.node, got.tli,
                error=got.error,
            )
        )  # fmt: skip
        return got

    def note(self, process: str, f: str, value: Json) -> None:
        self.events.append(Event(process, "info", f, self.clock.now_ns(), value))


def job(plugin: str, through: str, *, name: str = "", seed: int = 1) -> Job:
    if plugin == "append":
        return Job(name or plugin, "workloads", plugin, {}, through, seed)
    return Job(name or plugin, "probes", plugin, {}, through, seed)
