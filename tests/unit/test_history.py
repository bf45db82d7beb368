"""Tests for harness.history."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.history import Event, History, Log, merge_logs, read_events


def event(process: str | int, kind: str, f: str, time: int, value: object = None) -> Event:
    return Event(process, kind, f, time, value)  # type: ignore[arg-type]


def history(*events: Event) -> History:
    return History(events)


# --- operations -----------------------------------------------------------------------------------


def test_an_invocation_and_its_completion_are_one_operation() -> None:
    """Argument from the one, value, node and timeline from the other."""
    done = Event("a", "ok", "write", 5, 8, node="pg-1", tli=1)
    (op,) = history(event("a", "invoke", "write", 1, 7), done).ops
    assert (op.argument, op.value, op.outcome, op.start, op.end) == (7, 8, "ok", 1, 5)
    assert (op.node, op.tli) == ("pg-1", 1)


def test_an_invocation_without_completion_is_unknown_without_an_end() -> None:
    """The client died: what it asked for may still take effect."""
    (op,) = history(event("a", "invoke", "write", 1, 7)).ops
    assert (op.outcome, op.end, op.value) == ("info", None, 7)


def test_operations_come_in_the_order_of_invocation() -> None:
    """Not in that of completion."""
    ops = history(
        event("a", "invoke", "write", 1, "a"),
        event("b", "invoke", "write", 2, "b"),
        event("b", "ok", "write", 3),
        event("a", "ok", "write", 4),
    ).ops
    assert [op.process for op in ops] == ["a", "b"]


def test_a_process_may_not_be_completed_twice() -> None:
    """Whatever comes after the completion belongs to no operation."""
    (op,) = history(
        event("a", "invoke", "write", 1),
        event("a", "info", "write", 2),
        event("a", "ok", "write", 3),
    ).ops
    assert (op.outcome, op.end) == ("info", 2)


def test_a_second_invocation_leaves_the_first_unknown() -> None:
    """A process that was not retired as it should have been."""
    first, second = history(
        event("a", "invoke", "write", 1),
        event("a", "invoke", "write", 2),
        event("a", "ok", "write", 3),
    ).ops
    assert (first.outcome, first.end) == ("info", None)
    assert (second.outcome, second.end) == ("ok", 3)


def test_an_observation_does_not_complete_what_its_process_has_open() -> None:
    """A note made while a call is under way is beside it."""
    (op,) = history(
        event("nemesis", "invoke", "kill", 1, {"as": "crash"}),
        event("nemesis", "info", "phase", 2, "steps"),
        event("nemesis", "ok", "kill", 3, {"as": "crash"}),
    ).ops
    assert (op.outcome, op.end) == ("ok", 3)


def test_select_by_function_outcome_and_process() -> None:
    """The three may be combined."""
    told = history(
        event("probe/pg-1/held.0", "invoke", "write", 1),
        event("probe/pg-1/held.0", "ok", "write", 2),
        event("probe/pg-2/held.0", "invoke", "write", 3),
        event("probe/pg-2/held.0", "fail", "write", 4),
        event("a/0", "invoke", "txn", 5),
    )
    assert len(told.select("write")) == 2
    assert [op.start for op in told.select("write", "ok")] == [1]
    assert [op.start for op in told.select("write", process="probe/pg-2/")] == [3]
    assert told.select("read") == ()


# --- what the run says of itself ------------------------------------------------------------------


def test_steps_are_found_by_name_with_the_instant_of_their_effect() -> None:
    """The verb knows better than its invocation when it took effect; not every verb does."""
    told = history(
        event("nemesis", "invoke", "kill", 10, {"as": "crash"}),
        event("nemesis", "ok", "kill", 30, {"as": "crash", "nodes": ["pg-1"], "at": 20}),
        event("nemesis/3", "invoke", "wait", 40, {"as": "back"}),
    )
    crash = told.moment("crash")
    assert crash is not None
    assert crash.value == {"as": "crash", "nodes": ["pg-1"], "at": 20}
    assert told.instant("crash") == 20
    assert told.instant("back") == 40
    assert told.moment("other") is None
    assert told.instant("other") is None


def test_what_a_workload_writes_is_no_step() -> None:
    """Only the nemesis names steps."""
    told = history(event("a/0", "invoke", "txn", 1, {"as": "crash"}))
    assert told.moment("crash") is None


def test_phases_count_from_when_they_were_first_entered() -> None:
    """A cluster may be steady twice: before the steps and after them."""
    told = history(
        event("nemesis", "info", "phase", 1_000_000_000, "steady"),
        event("nemesis", "info", "phase", 2_000_000_000, "steps"),
        event("nemesis", "info", "phase", 5_000_000_000, "steady"),
    )
    assert told.phase("steady") == 1_000_000_000
    assert told.phase("settled") is None
    assert told.finish == 5_000_000_000
    assert told.seconds(3_500_000_000) == 1.5


def test_an_empty_history_has_no_facts_and_no_end() -> None:
    """And is no error."""
    empty = history()
    assert (empty.facts, empty.finish, empty.deeds, empty.ops) == ({}, 0, (), ())


def test_faults_that_ended_by_themselves_are_deeds() -> None:
    """They are recorded when undone, without an invocation."""
    told = history(event("nemesis/heal-1", "info", "heal", 9, {"nodes": ["pg-1"]}))
    (heal,) = told.deeds
    assert (heal.f, heal.start, heal.value) == ("heal", 9, {"nodes": ["pg-1"]})


def test_sessions_know_where_they_were_sent() -> None:
    """Also when the connection failed."""
    told = history(event("a/0.1", "invoke", "open", 1, {"through": "primary-elb"}))
    assert told.through == {"a/0.1": "primary-elb"}


# --- files ----------------------------------------------------------------------------------------


def test_events_survive_the_file(tmp_path: Path) -> None:
    """What is written is read, field by field."""
    told = [
        Event("a/0", "invoke", "txn", 1, [["append", 1, 2]], "t"),
        Event(7, "ok", "txn", 2, None, "t", "pg-1", 3, 44, ["0/10", "0/20"], "01000: odd", 5),
    ]
    log = Log(tmp_path / "deep" / "a.jsonl")
    for one in told:
        log.append(one)
    log.close()
    assert [*read_events(tmp_path / "deep" / "a.jsonl")] == told


def test_a_torn_tail_is_left_out_where_the_writer_may_have_died(tmp_path: Path) -> None:
    """And is a mistake in a file that was written whole."""
    path = tmp_path / "a.jsonl"
    path.write_text(event("a", "invoke", "write", 1).to_json() + '\n{"process":"a","ty')
    assert len([*read_events(path, torn_tail=True)]) == 1
    with pytest.raises(ScenarioError, match=r"a\.jsonl:2:1: "):
        History.load(path)


def test_a_new_writer_does_not_write_behind_half_a_line(tmp_path: Path) -> None:
    """A client that starts again after its death must not spoil its own log."""
    path = tmp_path / "a.jsonl"
    first, second = event("a", "invoke", "write", 1), event("b", "invoke", "write", 2)
    path.write_text(first.to_json() + "\n" + "x" * 70_000)
    log = Log(path)
    log.append(second)
    log.close()
    assert [*read_events(path)] == [first, second]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "expected one JSON object"),
        (b"[1]", "expected a JSON object"),
        (b"7", "expected a JSON object"),
        (b'{"process":"a","type":"invoke"}', "no f, time; expected"),
        (b'{"process":"a","type":"done","f":"r","time":1}', "type 'done'; expected one of invoke"),
        (b'{"process":"a","type":["ok"],"f":"r","time":1}', r"type \['ok'\]"),
        (b'{"process":"a","type":"ok","f":"r","time":1.5}', "time 1.5; expected nanoseconds"),
        (b'{"process":"a","type":"ok","f":"r","time":true}', "time True; expected nanoseconds"),
        (b'{"process":["a"],"type":"ok","f":"r","time":1}', "process .* a name or a number"),
        (b'{"process":"a","type":"ok","f":1,"time":1}', "f 1; expected a name"),
        (b'{"process":"a","type":"ok","f":"r","time":1,"tli":"1"}', "tli '1'; expected a timeline"),
        (b'{"process":"a","type":"ok","f":"r","time":1,"node":2}', "node 2; expected a name"),
        (b'{"process":"\xff"}', "utf-8"),
        (b"[" * 100_000, "expected one JSON object"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes, says: str) -> None:
    """With its file and number."""
    path = tmp_path / "h.jsonl"
    good = event("a", "invoke", "write", 1).to_json().encode()
    path.write_bytes(good + b"\n" + line + b"\n")
    with pytest.raises(ScenarioError, match=rf"h\.jsonl:2:1: .*{says}"):
        History.load(path)


def test_unknown_members_are_left_out(tmp_path: Path) -> None:
    """A later format may say more."""
    path = tmp_path / "h.jsonl"
    members = {"process": "a", "type": "ok", "f": "r", "time": 1, "value": 1, "new": 2}
    path.write_text(json.dumps(members) + "\n")
    assert History.load(path).events == (Event("a", "ok", "r", 1, 1),)


def written(folder: Path, name: str, *events: Event) -> None:
    log = Log(folder / name)
    for one in events:
        log.append(one)
    log.close()


def test_logs_merge_by_time_then_process(tmp_path: Path) -> None:
    """Each event then knows its position, and merging again changes nothing."""
    logs = tmp_path / "clients"
    written(logs, "a.jsonl", event("a", "invoke", "w", 3), event("z", "invoke", "w", 1))
    written(logs, "b.jsonl", event("b", "invoke", "w", 2), event("b", "ok", "w", 3))
    target = tmp_path / "history.jsonl"
    for _ in range(2):
        merge_logs(logs, target)
        told = History.load(target).events
        assert [(e.time, e.process, e.index) for e in told] == [
            (1, "z", 0), (2, "b", 1), (3, "a", 2), (3, "b", 3),
        ]  # fmt: skip


def test_a_process_keeps_its_own_order_when_its_events_tie(tmp_path: Path) -> None:
    """In virtual time a completion and the next invocation share their instant."""
    logs = tmp_path / "clients"
    written(
        logs,
        "a.jsonl",
        event("a", "invoke", "w", 1, "first"),
        event("a", "ok", "w", 2, "first"),
        event("a", "invoke", "w", 2, "second"),
        event("a", "ok", "w", 2, "second"),
    )
    merge_logs(logs, tmp_path / "history.jsonl")
    ops = History.load(tmp_path / "history.jsonl").ops
    assert [(op.value, op.outcome) for op in ops] == [("first", "ok"), ("second", "ok")]


def test_a_run_that_died_is_merged_too(tmp_path: Path) -> None:
    """Half a last line in one log loses that line alone."""
    logs = tmp_path / "clients"
    written(logs, "a.jsonl", event("a", "invoke", "w", 1))
    (logs / "b.jsonl").write_text('{"process":"b","type":"inv')
    merge_logs(logs, tmp_path / "history.jsonl")
    assert len(History.load(tmp_path / "history.jsonl").events) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=12))
def test_merging_keeps_each_process_whole(steps: list[tuple[int, int]]) -> None:
    """Whatever the ties, each process completes what it invoked."""
    now, events = 0, []
    for number, (passed, client) in enumerate(steps):
        events.append(event(client, "invoke", "w", now, number))
        now += passed
        events.append(event(client, "ok", "w", now, number))
    ops = history(*sorted(events, key=lambda e: (e.time, str(e.process)))).ops
    assert sorted((op.argument, op.value) for op in ops) == [(n, n) for n in range(len(steps))]
