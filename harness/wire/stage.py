"""The `Stage` of a job that uses a real cluster: wall time, real servers, a log on disk."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from harness.clock import Clock
from harness.errors import HarnessError
from harness.history import Event, EventType, Json, Log
from harness.protocols import Answer, Change, Job
from harness.wire.etcd import Etcd
from harness.wire.patroni import Patroni
from harness.wire.postgres import Database, PostgresSession

REST_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster as this client reaches it, by the names that the history uses."""

    database: Database
    dcs: Etcd
    elbs: Mapping[str, str] = field(default_factory=dict)
    api_port: int = 8008
    rest_login: tuple[str, str] | None = None

    def address(self, machine: str) -> str:
        """Return where a node, an ELB or a DCS member is.

        Raises:
            HarnessError: when there is none of this name.
        """
        known = {**self.database.nodes, **self.elbs, **self.dcs.members}
        if machine not in known:
            raise HarnessError(f"{machine!r} is no machine; expected one of {', '.join(known)}")
        return known[machine]

    def patroni(self, node: str) -> Patroni:
        """Return the node's REST interface."""
        return Patroni(self.address(node), self.api_port, self.rest_login)

    def session(
        self, through: str, *, process: str, open_s: float, call_s: float
    ) -> PostgresSession:
        """Return a session, not yet open, with a node or through an ELB."""
        address = self.address(through)
        return PostgresSession(
            self.database, through, address, process=process, open_s=open_s, call_s=call_s
        )


class JobStage:
    """The `Stage` of one job: the real cluster, wall time, and this client's log."""

    def __init__(self, job: Job, cluster: Cluster, clock: Clock, log: Log) -> None:
        self.job = job
        self.clock: Clock = clock
        self.random = Random(job.seed)
        self._cluster = cluster
        self._log = log
        self._stopped = threading.Event()
        self._count = threading.Lock()
        self.done = 0  # operations that took effect; connecting is none

    @property
    def nodes(self) -> Sequence[str]:
        return tuple(self._cluster.database.nodes)

    @property
    def dcs_members(self) -> Sequence[str]:
        return tuple(self._cluster.dcs.members)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()

    def connect(
        self, through: str, *, process: str, open_s: float, call_s: float
    ) -> PostgresSession:
        return self._cluster.session(through, process=process, open_s=open_s, call_s=call_s)

    def patroni(self, node: str) -> Answer:
        return self._cluster.patroni(node).state(node, deadline_s=REST_DEADLINE_S)

    def dcs_changes(self, member: str, since: int | None = None) -> Iterator[Change | None]:
        return self._cluster.dcs.changes(member, since)

    def record(
        self,
        process: str,
        f: str,
        call: Callable[[], Answer],
        *,
        argument: Json = None,
        key: Json = None,
    ) -> Answer:
        self._write(process, "invoke", f, argument, key=key)
        try:
            answer = call()
        except BaseException as error:
            # Ours, and a bug; but what was asked of the cluster may have been done.
            oops = Answer("info", error=f"{type(error).__name__}: {error}")
            self._write(process, "info", f, None, key=key, answer=oops)
            raise
        self._write(process, answer.outcome, f, answer.value, key=key, answer=answer)
        if answer.outcome == "ok" and f != "open":
            with self._count:
                self.done += 1
        return answer

    def note(self, process: str, f: str, value: Json) -> None:
        self._write(process, "info", f, value)

    def _write(
        self,
        process: str,
        kind: EventType,
        f: str,
        value: Json,
        *,
        key: Json = None,
        answer: Answer | None = None,
    ) -> None:
        who = answer or Answer("info")
        self._log.append(
            Event(
                process=process,
                type=kind,
                f=f,
                time=self.clock.now_ns(),
                value=value,
                key=key,
                node=who.node,
                tli=who.tli,
                xid=who.xid,
                lsn=who.lsn,
                error=who.error,
            )
        )
