"""A client container's program: runs workloads and probes from where it stands.

The driver starts `python -m harness.client` in the container and speaks with it in JSON lines:
a request has an `id` and says what to `do`, its answer carries the same `id` with `ok` or
`error`. Each request is worked on beside the others. What the jobs see goes to a log of their
own, stamped here, so that a pause of the driver's process cannot look like an outage. The
program ends when its input does, after the last event of every job is written.
"""

import json
import sys
import threading
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, TextIO, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness import registry
from harness.clock import NS, Task, WallClock
from harness.errors import HarnessError
from harness.history import Event, Json, Log
from harness.protocols import Answer, Job, Probe, Workload
from harness.scenario import DcsKind
from harness.wire.dcs import dcs_of
from harness.wire.http import trusting
from harness.wire.postgres import Database
from harness.wire.s3 import S3, Keys
from harness.wire.stage import Cluster, JobStage
from harness.wire.tcp import HeldConnection, reach

T = TypeVar("T")
FINAL_READ_S = 30.0
NAP_S = 0.05
READMIT_TRY_S = 2.0
DELAY_WORTH_TELLING_S = 0.02


class Request(BaseModel):
    """What is asked for. Each request reads only the fields that it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    do: str
    deadline_s: float = 5.0
    job: Job | None = None
    name: str = ""
    through: str = ""  # prepare: `primary-elb` or a node
    node: str = ""
    address: str = ""  # instead of `node`: any machine
    port: int = 0
    sql: str = ""
    path: str = "/patroni"
    method: str = "GET"
    body: Json = None
    handle: int = 0
    seconds: float = 5.0
    reader: str = "final"  # final_read: the process of the read
    prefix: str = ""  # objects: of their keys
    key: str = ""  # s3_get, s3_put, s3_remove: the object's
    content: str = ""  # s3_put: base64
    kms_key: str = ""  # s3_put: encrypt by this key


class DcsPlace(BaseModel):
    """Where the DCS is, and below which prefix the cluster's keys are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: DcsKind
    members: Mapping[str, str]
    prefix: str
    port: int | None = None  # None is its usual one


class S3Place(BaseModel):
    """Where the cluster's bucket is, and the files with the keys to it.

    Attributes:
        host: as its certificate names it; it must resolve here.
        access_key_file, secret_key_file: the nodes' own.
        admin_access_key_file, admin_secret_key_file: of a MinIO's root; None where there is none.
        ca_file: of the CA whose certificate the server must show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    port: int = 9000
    region: str
    bucket: str
    access_key_file: Path
    secret_key_file: Path
    admin_access_key_file: Path | None = None
    admin_secret_key_file: Path | None = None
    ca_file: Path

    def s3(self) -> S3:
        """Return the bucket that this describes.

        Raises:
            OSError: when a file with a key cannot be read.
        """
        admin = None
        if self.admin_access_key_file is not None and self.admin_secret_key_file is not None:
            admin = Keys(_secret(self.admin_access_key_file), _secret(self.admin_secret_key_file))
        return S3(
            host=self.host,
            port=self.port,
            region=self.region,
            bucket=self.bucket,
            keys=Keys(_secret(self.access_key_file), _secret(self.secret_key_file)),
            ca_file=self.ca_file,
            admin=admin,
        )


class Hello(BaseModel):
    """The first request: where this client stands, and what it needs to find the cluster.

    Attributes:
        vantage: the AZ, or `region` for outside all of them.
        log: the file that this client's events go to.
        nodes, elbs: addresses by name.
        ca_file: of the CA whose certificates PostgreSQL and Patroni must show; None is no TLS.
        s3: where the backups are; None where none are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    do: Literal["hello"]
    vantage: str
    log: Path
    nodes: Mapping[str, str]
    elbs: Mapping[str, str] = {}
    dcs: DcsPlace
    port: int = 5432
    api_port: int = 8008
    user: str = "postgres"
    password_file: Path
    ca_file: Path | None = None
    database: str = "postgres"
    rest_user: str | None = None
    rest_password_file: Path | None = None
    s3: S3Place | None = None

    def cluster(self) -> Cluster:
        """Return the cluster that this describes.

        Raises:
            OSError: when a password file cannot be read.
            HarnessError: when there is no CA in its file.
        """
        database = Database(
            user=self.user,
            password=_secret(self.password_file),
            nodes=self.nodes,
            name=self.database,
            port=self.port,
            ca_file=self.ca_file,
        )
        tls = trusting(self.ca_file) if self.ca_file else None
        dcs = dcs_of(self.dcs.kind, self.dcs.members, self.dcs.prefix, self.dcs.port)
        login = None
        if self.rest_user is not None and self.rest_password_file is not None:
            login = self.rest_user, _secret(self.rest_password_file)
        s3 = self.s3.s3() if self.s3 else None
        return Cluster(database, dcs, self.elbs, self.api_port, login, tls, s3)


def _secret(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def plugin_of(job: Job) -> Workload | Probe:
    """Return the workload or probe that the job names, with its parameters.

    Raises:
        HarnessError: when there is none of this name, or it has no such parameters.
    """
    found: Mapping[str, type[Workload] | type[Probe]] = (
        registry.workloads() if job.kind == "workloads" else registry.probes()
    )
    if job.plugin not in found:
        raise HarnessError(f"unknown {job.kind} {job.plugin!r}; expected one of {', '.join(found)}")
    return _checked(f"{job.kind}.{job.plugin}", lambda: found[job.plugin](**job.parameters))


def _checked(where: str, make: Callable[[], T]) -> T:
    """Return what is made, or raise all that was wrong with its fields in one line."""
    try:
        return make()
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, (where, *one['loc'])))}: {one['input']!r:.60}: {one['msg']}"
            for one in error.errors(include_url=False)
        ]
        raise HarnessError("; ".join(wrong)) from None


@dataclass(frozen=True, slots=True)
class _Running:
    stage: JobStage
    task: Task


_Handler: TypeAlias = "Callable[[Request], Json]"


class Vantage:
    """One client from its `hello` to its end."""

    def __init__(self, hello: Hello) -> None:
        self._cluster = hello.cluster()
        self._clock = WallClock()
        self._log = Log(hello.log)
        self._jobs: dict[str, _Running] = {}
        self._held: dict[int, HeldConnection] = {}
        self._handles = count(1)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sampler = self._clock.spawn(self._sample_delay(hello.vantage), "delay")

    def answer(self, request: Request) -> Json:
        """Do what is asked and return what came of it.

        Raises:
            HarnessError, OSError, ValueError: when it could not be done.
        """
        handlers: Mapping[str, _Handler] = {
            "start": self._start,
            "stop": self._stop,
            "hold_job": self._hold_job,
            "release_job": self._release_job,
            "prepare": self._prepare,
            "final_read": self._final_read,
            "sql": self._sql,
            "in_clear": self._in_clear,
            "patroni": self._patroni,
            "dcs": self._dcs,
            "dcs_leader": lambda asked: self._cluster.dcs.leader(deadline_s=asked.deadline_s),
            "dcs_readmit": self._dcs_readmit,
            "dcs_version": lambda asked: self._cluster.dcs.version(deadline_s=asked.deadline_s),
            "hold": self._hold,
            "held": lambda asked: self._held[asked.handle].broken_within(asked.seconds),
            "release": self._release,
            "reach": self._reach,
            "objects": self._objects,
            "s3_setup": self._s3_setup,
            "s3_deny": self._s3_deny,
            "s3_allow": self._s3_allow,
            "s3_get": self._s3_get,
            "s3_put": self._s3_put,
            "s3_remove": self._s3_remove,
        }
        if request.do not in handlers:
            raise HarnessError(f"do: {request.do!r}; expected one of {', '.join(handlers)}")
        return handlers[request.do](request)

    def close(self) -> None:
        """Stop all jobs and return when their last events are written."""
        self._closing.set()
        with self._lock:
            running = list(self._jobs.items())
        for _, job in running:
            job.stage.stop()
        for name, job in running:
            try:
                job.task.join()
            except Exception as error:  # noqa: BLE001 - the other jobs are still to be ended
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        self._sampler.join()
        for connection in self._held.values():
            connection.close()
        self._log.close()

    def _place(self, request: Request) -> str:
        return request.address or self._cluster.address(request.node)

    # --- jobs ----------------------------------------------------------------------------------

    def _start(self, request: Request) -> Json:
        job = _job(request)
        plugin = plugin_of(job)
        stage = JobStage(job, self._cluster, self._clock, self._log)
        with self._lock:
            if self._closing.is_set():
                raise HarnessError(f"{job.name}: not started; this client is ending")
            if job.name in self._jobs:
                raise HarnessError(f"{job.name}: runs already; expected another name")
            task = self._clock.spawn(lambda: plugin.run(stage), job.name)
            self._jobs[job.name] = _Running(stage, task)
        return True

    def _stop(self, request: Request) -> Json:
        with self._lock:
            running = self._jobs.pop(request.name, None)
        if running is None:
            raise HarnessError(f"no job {request.name!r}; running: {', '.join(self._jobs) or '-'}")
        running.stage.stop()
        running.task.join()
        return running.stage.done

    def _hold_job(self, request: Request) -> Json:
        self._running(request.name).stage.hold()
        return True

    def _release_job(self, request: Request) -> Json:
        self._running(request.name).stage.release()
        return True

    def _running(self, name: str) -> _Running:
        with self._lock:
            running = self._jobs.get(name)
        if running is None:
            raise HarnessError(f"no job {name!r}; running: {', '.join(self._jobs) or '-'}")
        return running

    def _prepare(self, request: Request) -> Json:
        address = self._cluster.address(request.through)
        self._cluster.database.prepare(address, deadline_s=request.deadline_s)
        return True

    def _final_read(self, request: Request) -> Json:
        job = _job(request)
        table = getattr(plugin_of(job), "table", None)
        if not isinstance(table, str):
            raise HarnessError(f"{job.name}: {job.plugin} writes to no table; nothing to read")
        stage = JobStage(job, self._cluster, self._clock, self._log)
        session = stage.connect(
            job.through, process=request.reader, open_s=request.deadline_s, call_s=FINAL_READ_S
        )

        def read() -> Answer:
            opened = session.open()
            return session.final_read(table) if opened.outcome == "ok" else opened

        answer = stage.record(request.reader, "read", read, key=table)
        session.close()
        if answer.outcome != "ok" or not isinstance(answer.value, Sequence):
            raise HarnessError(f"{job.name}: final read of {job.through} failed: {answer.error}")
        return len(answer.value)

    # --- looking at the cluster ----------------------------------------------------------------

    def _sql(self, request: Request) -> Json:
        database = self._cluster.database
        return database.query(self._place(request), request.sql, deadline_s=request.deadline_s)

    def _in_clear(self, request: Request) -> Json:
        database = self._cluster.database
        return database.in_clear(self._place(request), deadline_s=request.deadline_s)

    def _patroni(self, request: Request) -> Json:
        reply = self._cluster.patroni(request.node).call(
            request.path,
            deadline_s=request.deadline_s,
            method=request.method,
            body=request.body,
        )
        return {"status": reply.status, "body": reply.body}

    def _dcs(self, request: Request) -> Json:
        # Without a member, whichever answers first.
        dcs, member = self._cluster.dcs, request.node or None
        if member is not None and member not in dcs.members:
            raise HarnessError(
                f"{member!r} is no DCS member; expected one of {', '.join(dcs.members)}"
            )
        return dict(dcs.read(deadline_s=request.deadline_s, member=member))

    def _dcs_readmit(self, request: Request) -> Json:
        """Try until the other members, who must first notice that it is gone, take it in anew."""
        until_ns = self._clock.now_ns() + int(request.deadline_s * NS)
        while True:
            try:
                self._cluster.dcs.readmit(request.node, deadline_s=READMIT_TRY_S)
                break
            except HarnessError:
                if self._clock.now_ns() > until_ns:
                    raise
            self._clock.sleep(READMIT_TRY_S / 10)
        return True

    def _reach(self, request: Request) -> Json:
        return reach(self._place(request), request.port, deadline_s=request.deadline_s)

    def _hold(self, request: Request) -> Json:
        held = HeldConnection(self._place(request), request.port, deadline_s=request.deadline_s)
        handle = next(self._handles)
        self._held[handle] = held
        return handle

    def _release(self, request: Request) -> Json:
        held = self._held.pop(request.handle, None)
        if held is not None:
            held.close()
        return True

    # --- what is in S3, and who may use it -----------------------------------------------------

    def _objects(self, request: Request) -> Json:
        bucket = self._cluster.bucket()
        found = bucket.heads([each.key for each in bucket.listing(request.prefix)])
        return [asdict(each) for each in found.values()]

    def _s3_setup(self, request: Request) -> Json:
        """Make the bucket and the nodes' user as soon as S3, which may just start, answers."""
        bucket = self._cluster.bucket()
        until_ns = self._clock.now_ns() + int(request.deadline_s * NS)
        while True:
            try:
                bucket.make_bucket()
                break
            except HarnessError:
                if self._clock.now_ns() > until_ns:
                    raise
            self._clock.sleep(NAP_S)
        bucket.make_user(bucket.keys)
        return True

    def _s3_deny(self, _: Request) -> Json:
        bucket = self._cluster.bucket()
        bucket.deny(bucket.keys.access)
        return True

    def _s3_allow(self, _: Request) -> Json:
        bucket = self._cluster.bucket()
        bucket.allow(bucket.keys.access)
        return True

    def _s3_get(self, request: Request) -> Json:
        return b64encode(self._cluster.bucket().get(request.key)).decode()

    def _s3_put(self, request: Request) -> Json:
        content = b64decode(request.content, validate=True)
        self._cluster.bucket().put(request.key, content, request.kms_key or None)
        return True

    def _s3_remove(self, request: Request) -> Json:
        self._cluster.bucket().remove(request.key)
        return True

    # --- itself --------------------------------------------------------------------------------

    def _sample_delay(self, vantage: str) -> Callable[[], None]:
        """Return a task that notes how late this process is woken, each second it is late."""

        def sample() -> None:
            worst_s, since_ns = 0.0, self._clock.now_ns()
            while not self._closing.is_set():
                asleep_ns = self._clock.now_ns()
                self._clock.sleep(NAP_S)
                now_ns = self._clock.now_ns()
                worst_s = max(worst_s, (now_ns - asleep_ns) / NS - NAP_S)
                if now_ns - since_ns >= NS:
                    if worst_s > DELAY_WORTH_TELLING_S:
                        tell(worst_s)
                    worst_s, since_ns = 0.0, now_ns
            tell(worst_s)  # always once, so that a run without delays is not one without samples

        def tell(delay_s: float) -> None:
            now_ns = self._clock.now_ns()
            self._log.append(Event(f"client/{vantage}", "info", "delay", now_ns, round(delay_s, 4)))

        return sample


def _job(request: Request) -> Job:
    if request.job is None:
        raise HarnessError(f"{request.do}: no job; expected a job as JSON")
    return request.job


# --- the pipes ---------------------------------------------------------------------------------


class Answers:
    """The way back: whole lines, one at a time."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def give(self, request_id: Json, work: Callable[[], Json]) -> None:
        """Work, and send what came of it; whatever went wrong is an answer too."""
        try:
            self._send({"id": request_id, "ok": work()})
        except HarnessError as error:
            self._send({"id": request_id, "error": str(error)})
        except Exception as error:  # noqa: BLE001 - the driver learns of bugs too
            traceback.print_exc()
            self._send({"id": request_id, "error": f"{type(error).__name__}: {error}"})

    def _send(self, answer: Json) -> None:
        line = json.dumps(answer, separators=(",", ":")) + "\n"
        # Nobody may read any more: then the input ends too, and the jobs with it.
        with self._lock, suppress(BrokenPipeError):
            self._out.write(line)
            self._out.flush()


def serve(lines: Iterable[str], out: TextIO) -> None:
    """Answer the requests until there are no more, then end what they started."""
    answers = Answers(out)
    vantages: list[Vantage] = []  # one, once the hello has come

    def greet(line: str) -> Json:
        hello = _checked("hello", lambda: Hello.model_validate_json(line))
        vantages.append(Vantage(hello))
        return True

    def ask(line: str) -> Json:
        request = _checked("request", lambda: Request.model_validate_json(line))
        return vantages[0].answer(request)

    try:
        for line in lines:
            if not vantages:
                answers.give(_id_of(line), partial(greet, line))
                continue
            work = partial(answers.give, _id_of(line), partial(ask, line))
            threading.Thread(target=work, daemon=True).start()
    finally:
        for vantage in vantages:
            vantage.close()


def _id_of(line: str) -> Json:
    try:
        request: Json = json.loads(line)
    except ValueError:
        return None
    return request.get("id") if isinstance(request, Mapping) else None


if __name__ == "__main__":
    serve(iter(sys.stdin.readline, ""), sys.stdout)
