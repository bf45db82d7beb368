"""Tests for harness.traffic: where the clients of a run stand."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from harness import traffic
from harness.clock import WallClock
from harness.history import Event, Json, Log, read_events
from harness.protocols import Job, Node
from harness.scenario import Cluster
from harness.traffic import Traffic, places
from tests.unit.world import MemoryDriver

NODES = [Node(f"pg-{n + 1}", "abc"[n % 3], f"10.0.0.{n + 1}") for n in range(5)]


def load(through: str) -> Job:
    return Job("append", "workloads", "append", {}, through, 1)


@pytest.mark.parametrize("elb", ["primary-elb", "replica-elb"])
def test_clients_of_an_elb_stand_outside(elb: str) -> None:
    """It is regional, and so are they."""
    assert places(load(elb), NODES) == [(load(elb), "region")]


def test_clients_of_a_node_stand_in_its_az() -> None:
    """A cut around the AZ takes them with it."""
    assert places(load("pg-5"), NODES) == [(load("pg-5"), "b")]


def test_clients_of_every_node_stand_beside_their_own() -> None:
    """One part of the job for each AZ, and each node in one of them."""
    found = places(load("every-node"), NODES)
    assert [(job.beside, az) for job, az in found] == [
        (("pg-1", "pg-4"), "a"),
        (("pg-2", "pg-5"), "b"),
        (("pg-3",), "c"),
    ]
    assert {(job.name, job.seed, job.through) for job, _ in found} == {("append", 1, "every-node")}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryDriver]:
    monkeypatch.setattr(traffic, "_BASELINE", 3)
    made = MemoryDriver(WallClock(), tmp_path, pace=0)
    made.up(Cluster())
    yield made
    made.down()


def test_each_part_is_started_held_and_stopped(driver: MemoryDriver, tmp_path: Path) -> None:
    """Where it stands; what it did is in the log of its AZ."""
    clients = Traffic(driver, [load("every-node")], tmp_path / "clients", driver.clock, Random(1))
    clients.watch()
    clients.begin("pg-1")
    told: list[tuple[str, object]] = []
    driver.before_act = lambda verb, what: told.append((verb, what))
    with clients.held():
        assert told.count(("hold", "append")) == 3
    assert told.count(("release", "append")) == 3
    clients.end(None)
    logs = {path.stem: path for path in (tmp_path / "clients").glob("*.jsonl")}
    for az, index in (("a", 0), ("b", 1), ("c", 2)):
        seen = {event.process for event in read_events(logs[az]) if event.f == "txn"}
        assert seen == {f"append/{index}.0"}
    assert not [event for event in read_events(logs["region"]) if event.f == "txn"]


def ack(process: str, time: int, value: Json) -> Event:
    return Event(process, "ok", "write" if process.startswith("probe") else "txn", time, value)


@pytest.mark.parametrize(
    ("acks", "resumed"),
    [
        ([], False),
        ([ack("append/1.0", 9, [["append", 1, 1]])], False),
        ([ack("append/1.0", 9, [["append", 1, 1]]), ack("append/2.0", 11, [["r", 1, []]])], False),
        ([ack("append/2.0", 11, [["r", 1, []], ["append", 1, 2]])], True),
        ([ack("append/2.0", 9, [["r", 1, []]]), ack("append/2.0", 11, [["r", 1, []]])], True),
        ([ack("probe/pg-1", 11, 7)], False),
    ],
    ids=["silence", "before", "reads of a writer", "a write", "reads of a reader", "another's"],
)
def test_a_workload_that_wrote_resumes_when_it_writes(
    tmp_path: Path, acks: Sequence[Event], *, resumed: bool
) -> None:
    """An ELB that still leads to a replica lets its reads through, and nobody is served yet."""
    with closing(Log(tmp_path / "region.jsonl")) as log:
        for event in acks:
            log.append(event)
    assert traffic._Acknowledgements(tmp_path).resumed("append", 10) is resumed
