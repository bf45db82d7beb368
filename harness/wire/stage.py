"""The `Stage` of a job that uses a real cluster: wall time, real servers, a log on disk."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from harness.clock import Clock
from harness.errors import HarnessError
from harness.history import Event, EventType, Json, Log
from harness.protocols import Answer, Change, Job, StoredObject
from harness.wire.dcs import Dcs
from harness.wire.patroni import Patroni
from harness.wire.postgres import Database, PostgresSession
from harness.wire.s3 import S3

REST_DEADLINE_S = 2.0
# Longer than any operation's own deadline, the slowest being a transaction's 5 s.
HOLD_S = 15.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster as this client reaches it, by the names that the history uses.

    Attributes:
        tls: whom to trust at the REST interfaces; None where they speak plain HTTP.
        s3: the bucket of its backups; None where it keeps none.
    """

    database: Database
    dcs: Dcs
    elbs: Mapping[str, str] = field(default_factory=dict)
    api_port: int = 8008
    rest_login: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None
    s3: S3 | None = None

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
        return Patroni(self.address(node), self.api_port, self.rest_login, self.tls)

    def bucket(self) -> S3:
        """Return the bucket of the backups.

        Raises:
            HarnessError: when the cluster keeps nothing in S3.
        """
        if self.s3 is None:
            raise HarnessError("s3: this cluster keeps nothing in S3; expected a bucket")
        return self.s3

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
        self._turns = threading.Condition()
        self._held = False
        self._under_way = 0
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
        with self._turns:
            self._stopped.set()
            self._turns.notify_all()

    def hold(self, *, within_s: float = HOLD_S) -> None:
        """Let no operation begin from now on; return when those under way have ended.

        Raises:
            HarnessError: when one has not ended in time; the job then goes on.
        """
        with self._turns:
            self._held = True
            if self._turns.wait_for(lambda: not self._under_way, within_s):
                return
            left = self._under_way
        self.release()
        raise HarnessError(
            f"{self.job.name}: not held: {left} operations under way after {within_s:g} s; "
            "expected each to end by its own deadline"
        )

    def release(self) -> None:
        """Let operations begin again; harmless when they were not held."""
        with self._turns:
            self._held = False
            self._turns.notify_all()

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Wait until operations may begin, then count as one; False: the job was stopped first."""
        with self._turns:
            self._turns.wait_for(lambda: not self._held or self.stopped)
            begins = not self._held
            self._under_way += begins
        try:
            yield begins
        finally:
            with self._turns:
                self._under_way -= begins
                self._turns.notify_all()

    def connect(
        self, through: str, *, process: str, open_s: float, call_s: float
    ) -> PostgresSession:
        return self._cluster.session(through, process=process, open_s=open_s, call_s=call_s)

    def patroni(self, node: str) -> Answer:
        return self._cluster.patroni(node).state(node, deadline_s=REST_DEADLINE_S)

    def listing(self, prefix: str) -> Sequence[StoredObject]:
        return self._cluster.bucket().listing(prefix)

    def heads(self, keys: Sequence[str]) -> Mapping[str, StoredObject]:
        return self._cluster.bucket().heads(keys)

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
        with self._turn() as begins:
            if not begins:  # so there is nothing to record
                return Answer("fail", error="Stopped: while the job was held")
            return self._recorded(process, f, call, argument, key)

    def _recorded(
        self, process: str, f: str, call: Callable[[], Answer], argument: Json, key: Json
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
