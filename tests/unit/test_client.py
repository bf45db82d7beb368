"""The client program: requests in, answers and events out, whatever is asked of it."""

import json
import queue
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest

from harness import client as client_module
from harness.client import Hello, Vantage, serve
from harness.clock import WallClock
from harness.errors import HarnessError
from harness.history import History, Json, Log, read_events
from harness.protocols import Answer, Job, StoredObject
from harness.wire.etcd import Etcd
from harness.wire.postgres import Database
from harness.wire.stage import Cluster, JobStage
from tests.unit.bucket import BUCKET, HOST, NODES, ROOT, Kept, MemoryS3, serving
from tests.unit.trust import trust

REST: dict[str, Json] = {
    "name": "rest",
    "kind": "probes",
    "plugin": "rest",
    "parameters": {"every": "20ms"},
    "through": "",
    "seed": 1,
}


@pytest.fixture
def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def hello(tmp_path: Path, closed_port: int) -> dict[str, Json]:
    secret = tmp_path / "superuser"
    secret.write_text("geheim\n")
    return {
        "id": 0,
        "do": "hello",
        "vantage": "a",
        "log": str(tmp_path / "log" / "a.jsonl"),
        "nodes": {"pg-1": "127.0.0.1", "pg-2": "127.0.0.1"},
        "elbs": {"primary-elb": "127.0.0.1"},
        "dcs": {"kind": "etcd", "members": {"etcd-1": "127.0.0.1"}, "prefix": "/service/demo/"},
        "port": closed_port,
        "api_port": closed_port,
        "password_file": str(secret),
        "rest_user": None,
        "rest_password_file": None,
    }


class Conversation:
    """A client in this process, spoken to over its pipes' stand-ins."""

    def __init__(self, hello: dict[str, Json]) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[dict[str, Json]] = queue.SimpleQueue()
        self._log = Path(str(hello["log"]))
        self._thread = threading.Thread(target=serve, args=(self._requests(), self), daemon=True)
        self._thread.start()
        self._next_id = 1
        self.say(json.dumps(hello))
        assert self.hear() == {"id": 0, "ok": True}

    def _requests(self) -> Iterator[str]:
        while (line := self._lines.get()) is not None:
            yield line

    def write(self, line: str) -> None:
        self._answers.put(json.loads(line))

    def flush(self) -> None:
        pass

    def say(self, line: str) -> None:
        self._lines.put(line + "\n")

    def hear(self) -> dict[str, Json]:
        return self._answers.get(timeout=5)

    def ask(self, do: str, **fields: Json) -> dict[str, Json]:
        self._next_id += 1
        self.say(json.dumps({"id": self._next_id, "do": do, **fields}))
        answer = self.hear()
        assert answer.pop("id") == self._next_id
        return answer

    def end(self) -> History:
        self._lines.put(None)
        self._thread.join(5)
        assert not self._thread.is_alive()
        return History(tuple(read_events(self._log)))


def test_job_runs_until_stopped(hello):
    """Start answers when the job runs; stop when its last operation is recorded."""
    client = Conversation(hello)
    assert client.ask("start", job=REST) == {"ok": True}
    log = Path(str(hello["log"]))
    WallClock().wait_for(lambda: "pg-2" in log.read_text(), timeout_s=5, what="an operation")
    assert client.ask("stop", name="rest") == {"ok": 0}  # nobody answered it
    asked = client.end().select("patroni")
    assert {op.process for op in asked} == {"rest/pg-1", "rest/pg-2"}
    assert {op.outcome for op in asked} == {"fail"}
    assert all(op.end for op in asked)


def test_jobs_end_with_the_input(hello):
    """A client whose driver died finishes what it does and leaves whole operations."""
    client = Conversation(hello)
    client.ask("start", job=REST)
    log = Path(str(hello["log"]))
    WallClock().wait_for(lambda: "patroni" in log.read_text(), timeout_s=5, what="an operation")
    history = client.end()
    assert history.select("patroni")
    assert all(op.end for op in history.ops)


def test_slow_request_does_not_block_others(hello):
    """While one waits on a silent connection, another is answered."""
    client = Conversation(hello)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = client.ask("hold", address="127.0.0.1", port=listener.getsockname()[1])
        client.say(json.dumps({"id": 900, "do": "held", "handle": held["ok"], "seconds": 0.2}))
        client.say(json.dumps({"id": 901, "do": "reach", "address": "127.0.0.1", "port": 1}))
        assert [client.hear(), client.hear()] == [
            {"id": 901, "ok": "refused"},
            {"id": 900, "ok": None},
        ]
        peer, _ = listener.accept()
        peer.close()
        assert client.ask("held", handle=held["ok"], seconds=1) == {"ok": "eof"}
    assert client.ask("release", handle=held["ok"]) == {"ok": True}
    assert "error" in client.ask("held", handle=held["ok"])
    client.end()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "dance"}, "do: 'dance'; expected one of start, stop"),
        ({"do": "start"}, "start: no job; expected a job as JSON"),
        ({"do": "start", "job": {**REST, "plugin": "rets"}}, "unknown probes 'rets'"),
        ({"do": "start", "job": {**REST, "parameters": {"every": 1}}}, "probes.rest.every: 1: "),
        ({"do": "start", "job": {**REST, "kind": "probe"}}, "request.job.kind: 'probe'"),
        ({"do": "stop", "name": "nobody"}, "no job 'nobody'; running: -"),
        ({"do": "final_read", "job": REST}, "rest writes to no table"),
        ({"do": "sql", "node": "pg-9", "sql": "SELECT 1"}, "'pg-9' is no machine; expected one of"),
        ({"do": "sql", "node": "pg-1", "sql": "SELECT 1"}, "pg-1: 'SELECT 1' failed: Operational"),
        ({"do": "prepare", "through": "primary-elb"}, "failed: OperationalError"),
        ({"do": "hold", "node": "pg-1", "port": 1}, "ConnectionRefusedError"),
        ({"do": "reach", "nod": "pg-1"}, "request.nod"),
    ],
)
def test_what_cannot_be_done_is_an_error(hello, request_, said):
    """Every request gets its answer, and the client lives on."""
    client = Conversation(hello)
    assert said in str(client.ask(**request_)["error"])
    assert client.ask("reach", address="127.0.0.1", port=1) == {"ok": "refused"}
    client.end()


def test_unreachable_patroni_is_status_zero(hello):
    """Silence is a result here, not an error: the driver asks to learn it."""
    client = Conversation(hello)
    answer = client.ask("patroni", node="pg-1", path="/patroni", deadline_s=1)
    assert answer["ok"]["status"] == 0  # type: ignore[index,call-overload]
    client.end()


def test_final_read_that_fails_is_recorded_and_told(hello):
    """A run without a final read must not look like one with an empty table."""
    client = Conversation(hello)
    job = {**REST, "kind": "workloads", "plugin": "append", "parameters": {}, "through": "pg-1"}
    assert "final read of pg-1 failed: OperationalError" in str(
        client.ask("final_read", job=job)["error"]
    )
    (read,) = client.end().select("read")
    assert (read.process, read.key, read.outcome) == ("final", "append", "fail")


def test_two_jobs_of_one_name_are_refused(hello):
    """Their processes would share names."""
    client = Conversation(hello)
    client.ask("start", job=REST)
    assert "rest: runs already" in str(client.ask("start", job=REST)["error"])
    client.end()


def test_delay_is_told_at_the_end_at_least(hello):
    """A run without a sample of its own delay has not shown that it was on time."""
    events = Conversation(hello).end().events
    delays = [event for event in events if event.f == "delay"]
    assert len(delays) == 1
    assert delays[0].process == "client/a"
    assert isinstance(delays[0].value, float)


def test_hello_comes_first():
    """Without it nothing can be found; the mistake is named, and a hello may follow."""
    out = StringIO()
    serve(['{"id": 4, "do": "reach"}\n', "no JSON\n"], out)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["id"] == 4
    assert "hello.do: 'reach'" in first["error"]
    assert second["id"] is None
    assert "hello" in second["error"]


def test_program_ends_with_its_input(hello):
    """The real program on real pipes: one answer a line, exit 0."""
    ran = subprocess.run(
        [sys.executable, "-m", "harness.client"],
        input=json.dumps(hello) + "\n",
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, '{"id":0,"ok":true}\n', "")


def test_client_needs_no_more_than_its_container_has():
    """The container has psycopg2 and pydantic; anything else would not import there."""
    listing = "import harness.client, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "minio" not in loaded, "a quarter of a second, for those who keep something in S3"
    assert not loaded & {"yaml", "typer", "rich", "docker", "testcontainers", "jinja2", "pytest"}
    assert not loaded & {"orjson", "numpy", "scipy"}, "histories are judged outside of it"


# --- the stage ---------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> JobStage:
    cluster = Cluster(Database("postgres", "", {"pg-1": "127.0.0.1"}), Etcd({}, "/"))
    job = Job("append", "workloads", "append", {}, "pg-1", 7)
    return JobStage(job, cluster, WallClock(), Log(tmp_path / "a.jsonl"))


def events(tmp_path: Path) -> History:
    return History(tuple(read_events(tmp_path / "a.jsonl")))


def test_invoke_is_written_before_the_call(stage, tmp_path):
    """A client that dies in the call leaves an operation of unknown outcome."""

    def call() -> Answer:
        (pending,) = events(tmp_path).ops
        assert (pending.outcome, pending.end) == ("info", None)
        return Answer("ok", 5, node="pg-1", tli=3, xid=9, lsn=["0/1", "0/2"])

    stage.record("append/0.0", "write", call, argument=5, key="probe")
    (op,) = events(tmp_path).ops
    assert (op.outcome, op.value, op.argument, op.key) == ("ok", 5, 5, "probe")
    assert (op.node, op.tli, op.xid, op.lsn) == ("pg-1", 3, 9, ["0/1", "0/2"])
    assert op.end is not None
    assert op.end > op.start


def test_our_own_bug_is_an_unknown_outcome(stage, tmp_path):
    """The call may have reached the cluster before it raised; the bug is raised on."""

    def call() -> Answer:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError):
        stage.record("append/0.0", "write", call, argument=5)
    (op,) = events(tmp_path).ops
    assert (op.outcome, op.error) == ("info", "ZeroDivisionError: oops")


def test_only_effects_are_counted(stage):
    """Connecting is no effect, and a failure is none."""
    for f, outcome in (("open", "ok"), ("txn", "ok"), ("txn", "fail"), ("txn", "info")):
        stage.record("append/0.0", f, lambda outcome=outcome: Answer(outcome))
    assert stage.done == 1


def test_note_is_no_operation(stage, tmp_path):
    """An observation has no beginning and no outcome."""
    stage.note("dcs/etcd-1", "dcs", {"key": "leader"})
    assert events(tmp_path).ops == ()
    assert events(tmp_path).events[0].value == {"key": "leader"}


def test_unknown_machine_is_named(stage):
    """The mistake lists what there is."""
    with pytest.raises(HarnessError, match="'pg-7' is no machine; expected one of pg-1"):
        stage.connect("pg-7", process="p", open_s=1, call_s=1)


def test_missing_secret_is_an_error(hello):
    """The password's file is part of the greeting."""
    with pytest.raises(FileNotFoundError):
        Vantage(Hello.model_validate({**hello, "password_file": "/nowhere/superuser"}))


# --- TLS and credentials -----------------------------------------------------------------------


def test_a_ca_is_trusted_by_all_that_speak_tls(hello, tmp_path):
    """Sessions and REST, of nodes and through ELBs; the login goes to REST alone."""
    (tmp_path / "rest").write_text("geheim-auch\n")
    ca_file = trust(tmp_path).ca_file
    said = {
        **hello,
        "ca_file": str(ca_file),
        "rest_user": "patroni",
        "rest_password_file": str(tmp_path / "rest"),
    }
    cluster = Hello.model_validate(said).cluster()
    assert cluster.database.ca_file == ca_file
    patroni = [cluster.patroni(node) for node in ("pg-1", "pg-2")]
    assert cluster.tls is not None
    assert all(one.tls is cluster.tls for one in patroni), "made once: it takes milliseconds"
    assert patroni[0].login == ("patroni", "geheim-auch")


def test_without_a_ca_nothing_is_tls(hello):
    """As for a cluster without certificates."""
    cluster = Hello.model_validate(hello).cluster()
    assert (cluster.database.ca_file, cluster.tls, cluster.patroni("pg-1").tls) == (None,) * 3


def test_a_ca_that_is_none_is_told_at_once(hello, tmp_path):
    """The greeting fails, before anything is started with it."""
    (tmp_path / "ca.pem").write_text("oops")
    out = StringIO()
    serve([json.dumps({**hello, "ca_file": str(tmp_path / "ca.pem")}) + "\n"], out)
    answer = json.loads(out.getvalue())
    assert answer["id"] == 0
    assert "ca.pem': " in answer["error"]
    assert answer["error"].endswith("expected PEM of a CA")


# --- S3 ----------------------------------------------------------------------------------------


@pytest.fixture
def stored(hello, tmp_path):
    """An S3 that this client is told of, with its root's keys."""
    ours, memory = trust(tmp_path), MemoryS3()
    memory.has_bucket, memory.users = False, {ROOT.access: True}
    keys = {"access": NODES.access, "secret": NODES.secret}
    keys |= {"admin_access": ROOT.access, "admin_secret": ROOT.secret}
    for name, text in keys.items():
        (tmp_path / name).write_text(f"{text}\n")
    files = {f"{name}_key_file": str(tmp_path / name) for name in keys}
    with serving(memory, ours) as port:
        place = {"host": HOST, "port": port, "region": "eu-central-1", "bucket": BUCKET}
        hello["s3"] = {**place, **files, "ca_file": str(ours.ca_file)}
        yield memory


def test_bucket_is_set_up_as_soon_as_s3_answers(hello, stored):
    """It is started beside all others; who asks first waits for it, and no longer than told."""
    stored.failing = 2
    client = Conversation(hello)
    assert client.ask("s3_setup", deadline_s=5) == {"ok": True}
    assert stored.has_bucket
    assert stored.users == {ROOT.access: True, NODES.access: True}
    stored.failing = 1000
    assert "making of bucket 'drill': SlowDown" in str(client.ask("s3_setup", deadline_s=0))
    client.end()


def test_objects_are_planted_seen_and_removed(hello, stored):
    """As the driver sees them, through the pipes: content in base64, encryption included."""
    client = Conversation(hello)
    content = b64encode(b"\0wal").decode()
    assert client.ask("s3_put", key="a/1", content=content, kms_key="k") == {"ok": True}
    assert client.ask("s3_put", key="b/2", content="") == {"ok": True}
    assert client.ask("s3_get", key="a/1") == {"ok": content}
    etag = stored.objects["a/1"].etag
    assert client.ask("objects", prefix="a/") == {
        "ok": [asdict(StoredObject("a/1", 4, etag, "aws:kms", "k"))]
    }
    assert client.ask("s3_remove", key="a/1") == {"ok": True}
    assert client.ask("objects", prefix="a/") == {"ok": []}
    assert "GET of 'a/1': NoSuchKey" in str(client.ask("s3_get", key="a/1")["error"])
    assert "Error" in str(client.ask("s3_put", key="a/1", content="no base64")["error"])
    client.end()


def test_nodes_are_refused_and_the_probe_still_sees(hello, stored):
    """It is the nodes' user that is refused, not whoever watches."""
    stored.has_bucket, stored.users[NODES.access] = True, True
    stored.objects["a/1"] = Kept(b"")
    client = Conversation(hello)
    assert client.ask("s3_deny") == {"ok": True}
    assert stored.users[NODES.access] is False
    client.ask("start", job={**REST, "plugin": "objects", "name": "s3/spilo"})
    assert client.ask("stop", name="s3/spilo") == {"ok": 0}
    assert client.ask("s3_allow") == {"ok": True}
    assert stored.users[NODES.access] is True
    (seen,) = client.end().notes("object")
    assert (seen.process, seen.value["key"]) == ("s3/spilo", "a/1")  # type: ignore[index,call-overload]


def test_without_s3_nothing_of_it_can_be_asked(hello):
    client = Conversation(hello)
    for request in ("objects", "s3_setup", "s3_deny", "s3_allow", "s3_get", "s3_put", "s3_remove"):
        assert "this cluster keeps nothing in S3" in str(client.ask(request)["error"])
    client.end()


# --- the DCS ------------------------------------------------------------------------------------


def test_a_dcs_member_is_taken_in_as_soon_as_the_others_know(hello, monkeypatch):
    """They refuse until then; who asks waits for it, and no longer than told."""
    refusing = ["unhealthy", "unhealthy"]

    def readmit(_: Etcd, member: str, *, deadline_s: float) -> None:
        if refusing:
            raise HarnessError(f"{member}: {refusing.pop()} {deadline_s}")

    monkeypatch.setattr(Etcd, "readmit", readmit)
    monkeypatch.setattr(client_module, "READMIT_TRY_S", 0.01)
    client = Conversation(hello)
    assert client.ask("dcs_readmit", node="etcd-1") == {"ok": True}
    assert refusing == []
    refusing[:] = ["unhealthy"] * 9
    assert client.ask("dcs_readmit", node="etcd-1", deadline_s=0) == {
        "error": "etcd-1: unhealthy 0.01"
    }
    client.end()


def test_a_member_that_there_is_not_cannot_be_asked(hello):
    """Those that there are, are named."""
    client = Conversation(hello)
    answer = client.ask("dcs", node="etcd-9")
    assert answer == {"error": "'etcd-9' is no DCS member; expected one of etcd-1"}
    assert "etcd-1: Conn" in str(client.ask("dcs", node="etcd-1", deadline_s=1)["error"])
    assert "etcd-1: Conn" in str(client.ask("dcs_leader", deadline_s=1)["error"])
    client.end()
