"""The probes: steady attempts whatever the cluster does, and no change told twice."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from harness.clock import NS
from harness.history import Json
from harness.probes.dcs import KEPT_CHARACTERS, Dcs
from harness.probes.objects import HEADS_AT_ONCE, Objects
from harness.probes.rest import Rest
from harness.probes.writes import Writes
from harness.protocols import Change, StoredObject
from tests.unit.virtual_stage import MemoryCluster, MemoryStage, job


def write_to(node: str, cluster: MemoryCluster, *, until_s: float = 10.0) -> MemoryStage:
    stage = MemoryStage(cluster, job("writes", node, name=f"writes/{node}"), until_s=until_s)
    Writes().run(stage)
    return stage


def gaps_s(starts: list[int]) -> list[float]:
    return [(b - a) / NS for a, b in pairwise(starts)]


def test_pace_of_a_healthy_node():
    """Ten writes a second over the held connection, one over a fresh one."""
    history = write_to("pg-1", MemoryCluster()).history
    held = history.select("write", "ok", process="probe/pg-1/held.0")
    fresh = history.select("write", "ok", process="probe/pg-1/fresh.0")
    assert 98 <= len(held) <= 101
    assert 10 <= len(fresh) <= 11
    assert len(history.select("open", process="probe/pg-1/held")) == 1
    assert len(history.select("open", process="probe/pg-1/fresh")) == len(fresh)


def test_no_number_is_written_twice():
    """A row in the final table names the write that made it, on any node."""
    cluster = MemoryCluster()
    numbers = [
        op.argument
        for node in cluster.nodes
        for op in write_to(node, MemoryCluster(primary=node)).history.select("write")
    ]
    assert len(numbers) > 300
    assert len(set(numbers)) == len(numbers)


def test_attempts_go_on_when_the_node_is_silent():
    """That nobody was acknowledged is a statement only if somebody kept asking."""
    history = write_to("pg-1", MemoryCluster(silent=lambda now_s: now_s >= 3), until_s=20).history
    for kind, most_s in (("held", 2.2), ("fresh", 2.2)):
        starts = [op.start for op in history.ops if f"/{kind}." in str(op.process)]
        assert max(gaps_s(starts)) <= most_s
    late = [op for op in history.select("open", "fail") if op.start > 5 * NS]
    assert len(late) > 20


def test_attempts_keep_their_pace_when_the_node_refuses():
    """A refusal costs nothing, so the held connection is asked for every 100 ms."""
    history = write_to("pg-1", MemoryCluster(refusing=lambda now_s: now_s >= 3)).history
    held = [op.start for op in history.select("open", "fail", process="probe/pg-1/held")]
    assert 65 <= len(held) <= 71
    assert max(gaps_s(held)) < 0.11


def test_one_that_hangs_does_not_silence_the_other():
    """While the held write waits for its answer, fresh connections are still tried."""
    cluster = MemoryCluster(silent=lambda now_s: 3.08 <= now_s < 3.12)
    history = write_to("pg-1", cluster).history
    (hung,) = history.select("write", "info")
    assert str(hung.process).startswith("probe/pg-1/held")
    assert hung.end
    others = history.select("write", "ok", process="probe/pg-1/fresh")
    assert any(hung.start < op.start < hung.end for op in others)


@pytest.mark.parametrize("how", ["silent", "unsure"])
def test_process_retires_after_unknown_write(how):
    """The unknown write stays open under its name for ever."""
    cluster = MemoryCluster()
    setattr(cluster, how, lambda now_s: 3 <= now_s < 4)
    history = write_to("pg-1", cluster).history
    assert history.select("write", "info")
    for op in history.select("write", "info"):
        assert [o for o in history.ops if o.process == op.process][-1] == op
    assert history.select("write", "ok", process="probe/pg-1/held.1")


def test_replica_refuses_over_one_connection():
    """25006 breaks nothing: the session is kept, and the next write is tried on it."""
    history = write_to("pg-2", MemoryCluster()).history
    assert history.select("write", "ok") == ()
    assert len(history.select("write", "fail", process="probe/pg-2/held.0")) >= 98


def test_role_is_noted_when_a_connection_opens():
    """What the node says of itself is kept as evidence, apart from what it accepts."""
    stage = write_to("pg-2", MemoryCluster())
    roles = [event for event in stage.events if event.f == "role"]
    assert len([e for e in roles if "/fresh." in str(e.process)]) >= 10
    assert all(event.value == {"in_recovery": True} for event in roles)
    assert all(event.type == "info" for event in roles)


def test_every_write_has_key_and_number():
    """The completion repeats the number, and the key tells it from a workload's write."""
    for op in write_to("pg-1", MemoryCluster(), until_s=2).history.select("write", "ok"):
        assert op.key == "probe"
        assert op.value == op.argument


def test_rest_asks_each_node_by_itself():
    """A frozen node takes two seconds an answer; the others keep their second."""
    stage = MemoryStage(MemoryCluster(frozen=frozenset({"pg-2"})), job("rest", ""), until_s=12)
    Rest().run(stage)
    asked = {n: stage.history.select("patroni", process=f"rest/{n}") for n in stage.nodes}
    assert [len(asked[n]) for n in stage.nodes] == [12, 4, 12]
    assert {op.outcome for op in asked["pg-2"]} == {"fail"}
    assert asked["pg-1"][0].value == {"role": "replica", "status": 200}


def test_rest_can_be_aimed_at_one_node():
    """`through` names the node."""
    stage = MemoryStage(MemoryCluster(), job("rest", "pg-3"), until_s=3)
    Rest().run(stage)
    assert {op.process for op in stage.history.ops} == {"rest/pg-3"}


def watch(changes: dict[str, list[list[Change | None]]], through: str = "") -> MemoryStage:
    cluster = MemoryCluster(changes=changes)
    stage = MemoryStage(cluster, job("dcs", through), until_s=5)
    Dcs().run(stage)
    return stage


def test_a_change_is_told_once_by_the_first_member():
    """Three members tell the same; one line is recorded."""
    told = [Change("leader", "pg-1", 5), None, Change("leader", None, 9)]
    stage = watch({"etcd-1": [told[:1]], "etcd-2": [list(told)], "etcd-3": [[None, *told]]})
    assert [event.value for event in stage.events] == [
        {"key": "leader", "value": "pg-1", "revision": 5},
        {"key": "leader", "value": None, "revision": 9},
    ]
    assert [event.process for event in stage.events] == ["dcs/etcd-1", "dcs/etcd-2"]


def test_a_lost_member_is_asked_again_from_where_it_stopped():
    """A change while it was lost is not missed, and none before it is told again."""
    term = Change("term", "{}", 99)  # a term's number is no revision to go on from
    relisted = [Change("leader", "pg-1", 5), Change("leader", "pg-2", 7)]
    stage = watch({"etcd-1": [[Change("leader", "pg-1", 5), term], list(relisted)]})
    assert [since for _, since in stage.asked_since[:3]] == [None, 5, 7]
    assert [event.value for event in stage.events if event.f == "dcs"] == [
        {"key": "leader", "value": "pg-1", "revision": 5},
        {"key": "leader", "value": "pg-2", "revision": 7},
    ]


def test_terms_are_told_apart_from_keys():
    """A term's number is no revision, and each is told once."""
    term = Change("term", json.dumps({"term": 3, "leader": "etcd-2"}), 3)
    stage = watch({"etcd-1": [[Change("sync", "{}", 3), term]], "etcd-2": [[term]]})
    assert [(event.f, event.value) for event in stage.events if event.f == "dcs-term"] == [
        ("dcs-term", {"term": 3, "leader": "etcd-2"})
    ]
    assert [event.f for event in stage.events].count("dcs") == 1


def test_long_values_are_trimmed():
    """`history` and `config` grow; the record keeps their beginning."""
    stage = watch({"etcd-1": [[Change("config", "x" * 9000, 4)]]}, through="etcd-1")
    assert stage.events[0].value["value"] == "x" * KEPT_CHARACTERS  # type: ignore[index,call-overload]


WAL = StoredObject("spilo/a/wal", 3, "1", "aws:kms", "drill-key")
PLAIN = StoredObject("spilo/b/plain", 4, "2")


def look(cluster: MemoryCluster, *, prefix: str = "", until_s: float = 5.0) -> MemoryStage:
    stage = MemoryStage(cluster, job("objects", "", name="s3/spilo"), until_s=until_s)
    Objects(prefix=prefix).run(stage)
    return stage


def told(stage: MemoryStage) -> list[tuple[int, Json, Json]]:
    """Return the second, the key, and what of the object was told."""
    notes: list[tuple[int, Json, Json]] = []
    for event in stage.events:
        assert (event.process, event.type, event.f) == ("s3/spilo", "info", "object")
        assert isinstance(event.value, dict)
        of = event.value
        what = True if "gone" in of else [of["size"], of["etag"], of["sse"]]
        notes.append((round(event.time / NS), of["key"], what))
    return notes


def test_objects_are_told_when_they_come_change_and_go():
    """Each once, with its encryption; an object that stays is asked about once."""

    def stored(now_s: float) -> list[StoredObject]:
        wal = [replace(WAL, etag="3")] if now_s > 2.5 else [WAL]
        return [*wal, PLAIN][: 1 if 1.5 < now_s < 3.5 else 2]

    stage = look(MemoryCluster(stored=stored))
    assert told(stage) == [
        (0, WAL.key, [3, "1", "aws:kms"]),
        (0, PLAIN.key, [4, "2", None]),
        (2, PLAIN.key, True),
        (3, WAL.key, [3, "3", "aws:kms"]),
        (4, PLAIN.key, [4, "2", None]),
    ]
    assert stage.events[0].value == {
        "key": WAL.key, "size": 3, "etag": "1", "sse": "aws:kms", "kms_key": "drill-key",
    }  # fmt: skip
    assert stage.headed == [WAL.key, PLAIN.key, WAL.key, PLAIN.key]


def test_nothing_has_gone_because_nobody_could_look():
    """An outage of S3 is not the loss of all that it holds; afterwards the looking goes on."""
    cluster = MemoryCluster(
        s3_down=lambda now_s: 1.5 < now_s < 3.5,
        stored=lambda now_s: [WAL, PLAIN] if now_s > 2.5 else [WAL],
    )
    assert [(at, key) for at, key, _ in told(look(cluster))] == [(0, WAL.key), (4, PLAIN.key)]


def test_what_was_told_before_s3_failed_is_not_told_again():
    """A thousand objects of a backup come at once; the HEADs that failed are made again."""
    many = [replace(PLAIN, key=f"{number:04}") for number in range(2 * HEADS_AT_ONCE + 1)]
    cluster = MemoryCluster(stored=lambda _: many, s3_down=lambda now_s: 0.012 < now_s < 0.9)
    stage = look(cluster)
    keys = [key for _, key, _ in told(stage)]
    assert keys == [each.key for each in many]
    assert [at for at, _, _ in told(stage)].count(0) == HEADS_AT_ONCE
    assert len(stage.headed) == len(many) + HEADS_AT_ONCE


def test_the_last_look_is_after_the_end():
    """What the run left in S3 belongs to its history."""
    cluster = MemoryCluster(stored=lambda now_s: [WAL] if now_s > 2 else [])
    assert [key for _, key, _ in told(look(cluster, until_s=1.9))] == [WAL.key]


def test_only_below_the_prefix_is_looked():
    cluster = MemoryCluster(stored=lambda _: [WAL, PLAIN])
    assert [key for _, key, _ in told(look(cluster, prefix="spilo/b/"))] == [PLAIN.key]
