"""The append workload: what it sends, when, and how it behaves when the cluster does not."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from random import Random

import pytest
from pydantic import ValidationError

from harness.clock import NS
from harness.history import Op
from harness.protocols import Job
from harness.workloads.append import ACTIVE_KEYS, Append, read_ops, write_ops
from tests.unit.virtual_stage import MemoryCluster, MemoryStage, job


def run(
    load: Append, cluster: MemoryCluster, *, until_s: float = 10.0, seed: int = 1
) -> MemoryStage:
    stage = MemoryStage(cluster, job("append", load.through, seed=seed), until_s=until_s)
    load.run(stage)
    return stage


def parts(txn: Op, *, of_value: bool = False) -> list[tuple[str, int, object]]:
    """Return the operations of a transaction as they were sent, or as they were answered."""
    ops = txn.value if of_value else txn.argument
    assert isinstance(ops, list)
    return [(verb, key, value) for verb, key, value in ops]


def appended(txns: Iterable[Op]) -> list[tuple[int, object]]:
    return [(key, value) for txn in txns for verb, key, value in parts(txn) if verb == "append"]


def test_rate_is_the_total_over_all_clients():
    """20/s over 8 clients is 20 transactions a second, not 160."""
    stage = run(Append(), MemoryCluster(), until_s=10)
    txns = stage.history.select("txn", "ok")
    assert 198 <= len(txns) <= 201
    assert len({str(op.process).partition(".")[0] for op in txns}) == 8


def test_each_second_gets_its_share():
    """The clients' turns interleave: no second is much fuller than another."""
    stage = run(Append(), MemoryCluster(), until_s=10)
    per_second = Counter(op.start // NS for op in stage.history.select("txn"))
    assert all(18 <= n <= 22 for n in per_second.values())


def test_elements_are_unique_over_jobs_too():
    """An element names one append of the run."""
    cluster = MemoryCluster()
    stages = [
        MemoryStage(cluster, job("append", "primary-elb", name=name), until_s=10)
        for name in ("append", "append-2")
    ]
    tasks = [cluster.clock.spawn(partial(Append().run, stage), "job") for stage in stages]
    for task in tasks:
        task.join()
    elements = [e for at in stages for _, e in appended(at.history.select("txn"))]
    assert len(elements) > 200
    assert len(set(elements)) == len(elements)


def test_usual_job_names_do_not_share_numbers():
    """First numbers come from the names; those in use keep apart, and fit JSON's integers."""
    names = ["append", "append-2", "append/replica", "writes"]
    nodes = [f"pg-{n}" for n in range(1, 8)]
    names += [f"{kind}{sep}{n}" for kind in ("writes", "append") for sep in "/-" for n in nodes]
    first = [Job(name, "probes", "writes", {}, "pg-1", 0).first_number for name in names]
    assert len(set(first)) == len(names)
    assert max(first) + 10**10 < 2**53


def test_keys_are_few_at_a_time_and_rotate():
    """Ten keys are worked on at once, each takes about 20 appends, and none comes back."""
    load = Append.model_validate({"rate": "100/s"})
    stage = run(load, MemoryCluster(), until_s=20)
    counts = Counter(key for key, _ in appended(stage.history.select("txn")))
    assert len(counts) > 100
    assert max(counts.values()) <= 40
    assert sum(n > 32 for n in counts.values()) <= len(counts) // 50
    seen_at: dict[int, list[int]] = {}
    for turn, txn in enumerate(stage.history.select("txn")):
        for _, key, _ in parts(txn):
            seen_at.setdefault(key, []).append(turn)
    assert all(at[-1] - at[0] < 16 * (ACTIVE_KEYS + 1) for at in seen_at.values())


def test_a_transaction_has_one_to_four_operations_of_both_kinds():
    """Reads and appends mix, so that a transaction can see its own writes."""
    txns = [write_ops(turn, 0, Random(turn)) for turn in range(200)]
    assert {len(ops) for ops in txns} == {1, 2, 3, 4}
    kinds = {frozenset(str(op[0]) for op in ops) for ops in txns}
    assert kinds == {frozenset("r"), frozenset(["append"]), frozenset(["r", "append"])}


def test_same_seed_same_load():
    """A run can be repeated: operations and their times follow from the seed."""
    first, again = (run(Append(), MemoryCluster(), seed=7).events for _ in range(2))
    assert first == again
    assert run(Append(), MemoryCluster(), seed=8).events != first


@pytest.mark.parametrize("how", ["silent", "unsure"])
def test_process_retires_after_unknown_outcome(how):
    """What an unknown operation wrote may appear later, so nobody may go on under its name."""
    cluster = MemoryCluster()
    setattr(cluster, how, lambda now_s: 3 <= now_s < 4)
    stage = run(Append(), cluster)
    unknown = stage.history.select("txn", "info")
    assert unknown
    for op in unknown:
        later = [o for o in stage.history.ops if o.process == op.process and o.start > op.start]
        assert later == []
    assert len({op.process for op in stage.history.select("txn", "ok")}) > 8


def test_broken_connection_gets_a_new_process():
    """A transaction that failed with its connection ends the process; a mere error does not."""
    cluster = MemoryCluster(refusing=lambda now_s: 3 <= now_s < 5)
    stage = run(Append.model_validate({"session": "1h"}), cluster)
    broken = {op.process for op in stage.history.select("txn", "fail")}
    assert broken == {f"append/{n}.0" for n in range(8)}
    after = [op.process for op in stage.history.select("txn", "ok") if op.start > 5 * NS]
    assert set(after) == {f"append/{n}.1" for n in range(8)}


def test_refused_connections_are_recorded_and_spaced():
    """Each attempt is in the history, 250 to 500 ms after the one before."""
    cluster = MemoryCluster(refusing=lambda now_s: now_s < 5)
    stage = run(Append(clients=1), cluster)
    starts = [op.start for op in stage.history.select("open", "fail")]
    gaps = [(b - a) / NS for a, b in pairwise(starts)]
    assert 10 <= len(starts) <= 21
    assert 0.24 < min(gaps) <= max(gaps) < 0.51
    assert all(op.argument == {"through": "primary-elb"} for op in stage.history.select("open"))


def test_load_after_an_outage_is_not_a_burst():
    """A client makes up for one second at most: 20 s of outage are not 400 transactions at once."""
    cluster = MemoryCluster(refusing=lambda now_s: 5 <= now_s < 25)
    stage = run(Append(), cluster, until_s=30)
    starts = [op.start for op in stage.history.select("txn", "ok") if op.start >= 25 * NS]
    assert sum(at < 26 * NS for at in starts) <= 20 * 2 + 8
    assert 95 <= len(starts) <= 130


def test_slow_answers_are_caught_up_with():
    """An answer of 0.9 s delays what follows and drops nothing: the loop is open."""
    cluster = MemoryCluster(silent=lambda now_s: 3 <= now_s < 3.05)
    load = Append.model_validate({"deadline": "900ms"})
    stage = run(load, cluster)
    assert len(stage.history.select("txn")) >= 198


def test_every_node_spreads_the_clients():
    """Each node gets its clients, whatever its role."""
    load = Append.model_validate({"through": "every-node", "session": "1h"})
    stage = run(load, MemoryCluster())
    places = Counter(stage.history.through.values())
    assert places == {"pg-1": 3, "pg-2": 3, "pg-3": 2}


def test_clients_in_several_places_do_what_they_would_do_in_one():
    """Each place has those beside their node; together they send what one would have sent."""
    load = Append.model_validate({"through": "every-node", "session": "1h"})
    whole = run(load, MemoryCluster(), until_s=3)
    parts_of: dict[str, MemoryStage] = {}
    for nodes in (("pg-1", "pg-3"), ("pg-2",), ("pg-9",)):
        told = replace(job("append", "every-node"), beside=nodes)
        parts_of["".join(nodes)] = stage = MemoryStage(MemoryCluster(), told, until_s=3)
        load.run(stage)

    def sent(*stages: MemoryStage) -> list[tuple[object, ...]]:
        ops = [op for stage in stages for op in stage.history.select("txn")]
        return sorted((str(op.process), op.start, str(op.argument)) for op in ops)

    assert sent(*parts_of.values()) == sent(whole)
    assert set(parts_of["pg-2"].history.through.values()) == {"pg-2"}
    assert sent(parts_of["pg-9"]) == []


def test_sessions_are_renewed_at_their_own_times():
    """A session lives about as long as asked, and the clients do not all reconnect at once."""
    stage = run(Append.model_validate({"session": "2s"}), MemoryCluster(), until_s=20)
    opened = [op.start for op in stage.history.select("open", "ok", process="append/3.")]
    lives_s = [(after - before) / NS for before, after in pairwise(opened)]
    assert 0.9 < min(lives_s) <= max(lives_s) < 3.6  # a turn comes each 0.4 s
    per_tenth = Counter(op.start * 10 // NS for op in stage.history.select("open") if op.start > NS)
    assert max(per_tenth.values()) <= 4
    assert len({op.process for op in stage.history.select("open")}) == len(
        stage.history.select("open")
    )


@pytest.mark.parametrize("level", ["read-committed", "serializable"])
def test_a_standby_that_refuses_is_left(level):
    """Whoever was sent to a standby connects again, to be sent to the primary next time."""
    load = Append.model_validate({"through": "replica-elb", "isolation": level, "session": "1h"})
    stage = run(load, MemoryCluster())
    refused = stage.history.select("txn", "fail")
    assert len(refused) > 100
    assert len({op.process for op in refused}) == len(refused)


def test_appends_are_sent_where_they_are_asked_to_go():
    """Through the replica ELB no append gets through: a workload that cannot write shows it."""
    load = Append.model_validate({"through": "replica-elb"})
    stage = run(load, MemoryCluster())
    assert len(appended(stage.history.select("txn", "fail"))) > 100
    assert appended(stage.history.select("txn", "ok")) == []


def test_readers_follow_what_writers_write():
    """A job that only reads finds the active keys by itself."""
    cluster = MemoryCluster()
    writer = MemoryStage(cluster, job("append", "primary-elb"), until_s=30)
    reader = MemoryStage(cluster, job("append", "replica-elb", name="reader"), until_s=30)
    reads = Append.model_validate({"through": "replica-elb", "reads_only": True})
    tasks = [
        cluster.clock.spawn(lambda: Append().run(writer), "writer"),
        cluster.clock.spawn(lambda: reads.run(reader), "reader"),
    ]
    for task in tasks:
        task.join()
    assert appended(reader.history.select("txn")) == []
    read = [op for txn in reader.history.select("txn", "ok") for op in parts(txn, of_value=True)]
    newest = max(key for key, _ in appended(writer.history.select("txn", "ok")))
    assert max(key for _, key, _ in read[-20:]) >= newest - 1
    assert sum(bool(found) for _, _, found in read) > len(read) / 2


def test_readers_ask_for_a_level_that_replicas_have():
    """A hot standby refuses serializable transactions."""
    assert Append().level == "serializable"
    assert Append(reads_only=True).level == "repeatable-read"
    assert Append(reads_only=True, isolation="read-committed").level == "read-committed"
    assert all(op[0] == "r" for op in read_ops(3, Random(1)))


def test_sessions_end_with_the_job():
    """Nothing is left connected, and each session carried its process's name."""
    stage = run(Append(), MemoryCluster(), until_s=2)
    assert [process for process, _ in stage.sessions] == [f"append/{n}.0" for n in range(8)]
    assert not any(session.is_open for _, session in stage.sessions)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"rate": 20}, "expected a rate like 20/s"),
        ({"through": "primary_elb"}, "expected primary-elb, replica-elb, every-node"),
        ({"through": {"node": 1}}, "expected primary-elb"),
        ({"through": {"nodes": "pg-1"}}, "expected primary-elb"),
        ({"isolation": "snapshot"}, "read-committed"),
        ({"clients": 0}, "greater than or equal to 1"),
        ({"client": 8}, "Extra inputs"),
        ({"deadline": 5}, "expected a duration"),
    ],
)
def test_mistakes_are_refused(parameters, said):
    """What could only be a mistake does not run."""
    with pytest.raises(ValidationError, match=said):
        Append.model_validate(parameters)


def test_one_node_can_be_named():
    """`through: {node: pg-2}` goes straight to that node."""
    assert Append.model_validate({"through": {"node": "pg-2"}}).through == "pg-2"
    assert "anyOf" in Append.model_json_schema()["properties"]["through"]
