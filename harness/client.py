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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from harness.wire.etcd import Etcd
from harness.wire.postgres import Database
from harness.wire.stage import Cluster, JobStage
from harness.wire.tcp import HeldConnection, reach

T = TypeVar("T")
FINAL_READ_S = 30.0
NAP_S = 0.05
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


class DcsPlace(BaseModel):
    """Where the DCS is, and below which prefix the cluster's keys are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["etcd"] = "etcd"
    members: Mapping[str, str]
    prefix: str
    port: int = 2379


class Hello(BaseModel):
    """The first request: where this client stands, and what it needs to find the cluster.

    Attributes:
        vantage: the AZ, or `region` for outside all of them.
        log: the file that this client's events go to.
        nodes, elbs: addresses by name.
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
    database: str = "postgres"
    rest_user: str | None = None
    rest_password_file: Path | None = None

    def cluster(self) -> Cluster:
        """Return the cluster that this describes.

        Raises:
            OSError: when a password file cannot be read.
        """
        database = Database(
            user=self.user,
            password=_secret(self.password_file),
            nodes=self.nodes,
            name=self.database,
            port=self.port,
        )
        dcs = Etcd(self.dcs.members, self.dcs.prefix, self.dcs.port)
        login = None
        if self.rest_user is not None and self.rest_password_file is not None:
            login = self.rest_user, _secret(self.rest_password_file)
        return Cluster(database, dcs, self.elbs, self.api_port, login)


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
            "prepare": self._prepare,
            "final_read": self._final_read,
            "sql": self._sql,
            "patroni": self._patroni,
            "dcs": lambda asked: self._cluster.dcs.read(deadline_s=asked.deadline_s),
            "hold": self._hold,
            "held": lambda asked: self._held[asked.handle].broken_within(asked.seconds),
            "release": self._release,
            "reach": self._reach,
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
            job.through, process="final", open_s=request.deadline_s, call_s=FINAL_READ_S
        )

        def read() -> Answer:
            opened = session.open()
            return session.final_read(table) if opened.outcome == "ok" else opened

        answer = stage.record("final", "read", read, key=table)
        session.close()
        if answer.outcome != "ok" or not isinstance(answer.value, Sequence):
            raise HarnessError(f"{job.name}: final read of {job.through} failed: {answer.error}")
        return len(answer.value)

    # --- looking at the cluster ----------------------------------------------------------------

    def _sql(self, request: Request) -> Json:
        database = self._cluster.database
        return database.query(self._place(request), request.sql, deadline_s=request.deadline_s)

    def _patroni(self, request: Request) -> Json:
        reply = self._cluster.patroni(request.node).call(
            request.path,
            deadline_s=request.deadline_s,
            method=request.method,
            body=request.body,
        )
        return {"status": reply.status, "body": reply.body}

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
