"""Holding a job: nothing of it begins until it is released, and what had begun has ended."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.clock import NS, WallClock, monotonic_ns
from harness.errors import HarnessError
from harness.history import Event, Json, Log, read_events
from harness.protocols import Answer, Job
from harness.wire.etcd import Etcd
from harness.wire.postgres import Database
from harness.wire.stage import Cluster, JobStage
from tests.unit.test_client import REST, Conversation, closed_port, hello

__all__ = ["closed_port", "hello"]  # fixtures


@pytest.fixture
def stage(tmp_path: Path) -> JobStage:
    cluster = Cluster(Database("postgres", "", {"pg-1": "127.0.0.1"}), Etcd({}, "/"))
    job = Job("append", "workloads", "append", {}, "pg-1", 7)
    return JobStage(job, cluster, WallClock(), Log(tmp_path / "a.jsonl"))


@pytest.fixture
def events(tmp_path: Path) -> Callable[[], list[Event]]:
    return lambda: list(read_events(tmp_path / "a.jsonl"))


class Worker:
    """One operation in a thread of its own, which ends when it is told to."""

    def __init__(self, stage: JobStage) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.answers: list[Answer] = []
        self.thread = threading.Thread(target=self._work, args=(stage,), daemon=True)
        self.thread.start()

    def _work(self, stage: JobStage) -> None:
        self.answers.append(stage.record("append/0.0", "open", self._call))

    def _call(self) -> Answer:
        self.began.set()
        self.may_end.wait(5)
        return Answer("ok")

    def finish(self) -> Answer:
        self.may_end.set()
        self.thread.join(5)
        (answer,) = self.answers
        return answer


@pytest.fixture
def work(stage: JobStage) -> Iterator[Callable[[], Worker]]:
    made: list[Worker] = []

    def begin() -> Worker:
        made.append(Worker(stage))
        return made[-1]

    yield begin
    stage.stop()
    for worker in made:
        worker.may_end.set()


def test_nothing_begins_while_held(stage, work, events):
    """Not even the invocation is written; once released, it goes on as if nothing had been."""
    stage.hold()
    worker = work()
    assert not worker.began.wait(0.02)
    assert events() == []
    stage.release()
    assert worker.began.wait(5)
    assert worker.finish().outcome == "ok"
    assert [event.type for event in events()] == ["invoke", "ok"]


def test_hold_waits_for_what_has_begun(stage, work, events):
    """When it returns, the last completion is written."""
    worker = work()
    assert worker.began.wait(5)
    held = threading.Event()

    def hold() -> None:
        stage.hold()
        held.set()

    threading.Thread(target=hold, daemon=True).start()
    assert not held.wait(0.02)
    worker.finish()
    assert held.wait(5)
    assert [event.type for event in events()] == ["invoke", "ok"]


def test_an_operation_that_does_not_end_is_not_waited_for_for_ever(stage, work):
    """The job goes on, and why it was not held is told."""
    worker = work()
    assert worker.began.wait(5)
    with pytest.raises(
        HarnessError, match=r"append: not held: 1 operations under way after 0\.01 s"
    ):
        stage.hold(within_s=0.01)
    assert work().began.wait(5)
    worker.finish()


def test_a_job_that_is_stopped_while_held_begins_nothing(stage, work, events):
    """Whoever holds it relies on that; what never began has certainly no effect."""
    stage.hold()
    worker = work()
    stage.stop()
    answer = worker.finish()
    assert (answer.outcome, answer.error) == ("fail", "Stopped: while the job was held")
    assert not worker.began.is_set()
    assert events() == []


def test_an_operation_that_raises_is_under_way_no_more(stage):
    """A bug in one must not keep the others from being held."""

    def call() -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage.record("append/0.0", "txn", call)
    begun = monotonic_ns()
    stage.hold()
    assert (monotonic_ns() - begun) / NS < 1


def test_releasing_what_is_not_held_is_harmless(stage, work):
    """A failed hold of one job releases all."""
    stage.release()
    assert work().began.wait(5)


def test_a_client_holds_its_jobs_by_name(hello):
    """Over the wire; the requests that hold connections have other names."""
    client = Conversation(hello)
    log = Path(str(hello["log"]))
    client.ask("start", job=REST)
    WallClock().wait_for(lambda: "pg-2" in log.read_text(), timeout_s=5, what="an operation")
    assert client.ask("hold_job", name="rest") == {"ok": True}
    before = log.read_text().count("patroni")
    WallClock().sleep(0.05)
    assert log.read_text().count("patroni") == before
    assert client.ask("release_job", name="rest") == {"ok": True}
    WallClock().wait_for(
        lambda: log.read_text().count("patroni") > before, timeout_s=5, what="another"
    )
    assert client.ask("stop", name="rest")["ok"] == 0
    client.end()


def test_a_client_that_ends_lets_go_of_what_it_holds(hello):
    """Else it would wait for its own jobs for ever."""
    client = Conversation(hello)
    client.ask("start", job=REST)
    client.ask("hold_job", name="rest")
    assert all(op.end for op in client.end().ops)


@pytest.mark.parametrize("do", ["hold_job", "release_job"])
def test_a_job_that_does_not_run_cannot_be_held(hello, do):
    """A probe that died has not been silent on purpose."""
    client = Conversation(hello)
    assert client.ask(do, name="nobody") == {"error": "no job 'nobody'; running: -"}
    client.end()


def test_a_final_read_has_the_name_that_it_is_given(hello):
    """So that what a restored cluster holds is not taken for what the survivor does."""
    client = Conversation(hello)
    job: Json = json.loads(
        json.dumps({**REST, "kind": "workloads", "plugin": "append", "parameters": {}})
    )
    assert isinstance(job, dict)
    job["through"] = "pg-1"
    client.ask("final_read", job=job, reader="restored/copy")
    (read,) = client.end().select("read")
    assert (read.process, read.key, read.outcome) == ("restored/copy", "append", "fail")
