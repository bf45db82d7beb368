"""Tests for harness.operations: a file as a stream of operations, and every malformed line."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.history import Json
from harness.operations import Operation, read


def event(process: str | int, type_: str, value: Json = None, **more: Json) -> dict[str, Json]:
    return {"process": process, "type": type_, "f": "write", "value": value, **more}


def written(folder: Path, *events: dict[str, Json]) -> Path:
    path = folder / "history.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    return path


def operations(folder: Path, *events: dict[str, Json]) -> list[Operation]:
    return list(read(written(folder, *events)))


def mistake(path: Path) -> str:
    with pytest.raises(ScenarioError) as caught:
        list(read(path))
    (one,) = caught.value.mistakes
    return f"{one.line}: {one.text}"


def test_an_invocation_and_its_completion_are_one_operation(tmp_path: Path) -> None:
    """Positions are lines from 0; what the completion says of the commit is kept."""
    (only,) = operations(
        tmp_path,
        event(0, "invoke", 1, time=5, key="x"),
        event(0, "ok", 1, time=9, node="pg-1", tli=2, lsn="0/10", xid=7),
    )
    assert (only.process, only.f, only.outcome, only.key) == (0, "write", "ok", "x")
    assert (only.argument, only.value) == (1, 1)
    assert (only.invoked, only.completed, only.start, only.end) == (0, 1, 5, 9)
    assert (only.node, only.tli, only.lsn, only.xid) == ("pg-1", 2, "0/10", 7)


def test_completions_come_in_their_order_and_unknown_ones_last(tmp_path: Path) -> None:
    """What an `info`, or no completion at all, leaves open has no end, and its argument."""
    found = operations(
        tmp_path,
        event(0, "invoke", "lost"),
        event(1, "invoke", "slow"),
        event(2, "invoke", "quick"),
        event(2, "ok", "quick"),
        event(0, "info", None),
        event(1, "fail", None),
        event(3, "invoke", "never answered"),
    )
    assert [(op.argument, op.outcome) for op in found] == [
        ("quick", "ok"),
        ("slow", "fail"),
        ("lost", "info"),
        ("never answered", "info"),
    ]
    assert [op.completed for op in found] == [3, 5, None, None]
    assert found[1].value == "slow"


def test_a_process_may_go_on_after_an_unknown_outcome(tmp_path: Path) -> None:
    """Its first operation stays open for ever."""
    found = operations(
        tmp_path, event(0, "invoke", 1), event(0, "info"), event(0, "invoke", 2), event(0, "ok", 2)
    )
    assert [(op.argument, op.completed) for op in found] == [(2, 3), (1, None)]


def test_observations_are_no_operations(tmp_path: Path) -> None:
    """A bare `info`, or one of another function, completes nothing."""
    found = operations(
        tmp_path,
        event("dcs", "info", "a key changed"),
        event(0, "invoke", 1),
        {**event(0, "info"), "f": "delay"},
        event(0, "ok", 1),
    )
    assert [(op.process, op.outcome) for op in found] == [(0, "ok")]


def test_an_ok_of_null_is_null(tmp_path: Path) -> None:
    """A read that found nothing is not its argument."""
    (only,) = operations(tmp_path, event(0, "invoke", "asked"), event(0, "ok", None))
    assert only.value is None


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    """The first two bytes tell."""
    plain = written(tmp_path, event(0, "invoke", 1), event(0, "ok", 1))
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read(packed)) == list(read(plain))


def test_nothing_is_no_operation(tmp_path: Path) -> None:
    """An empty file is a history in which nothing happened."""
    assert operations(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"process": 0', "unexpected end"),
        ("", "one JSON object a line"),
        ("\udcff", "one JSON object a line"),
        ("[1]", "'[1]'; expected a JSON object"),
        ('{"type": "invoke", "f": "read"}', "no process"),
        ('{"process": 0, "type": "done", "f": "read"}', "type 'done'; expected one of invoke"),
        ('{"process": 0, "type": ["ok"], "f": "read"}', "type ['ok']"),
        ('{"process": true, "type": "ok", "f": "read"}', "process True; expected a name"),
        ('{"process": [0], "type": "ok", "f": "read"}', "process [0]; expected a name"),
        ('{"process": 0, "type": "ok", "f": null}', "f None; expected a name"),
        ('{"process": 0, "type": "ok", "f": "read", "time": "now"}', "time 'now'; expected nano"),
        ('{"process": 0, "type": "ok", "f": "read", "time": true}', "time True; expected nano"),
        ('{"process": 7, "type": "ok", "f": "read"}', "completes 'read' and has nothing open"),
        ('{"process": 0, "type": "ok", "f": "write"}', "and has 'read' open"),
        ('{"process": 0, "type": "invoke", "f": "cas"}', "while its 'read' of line 1 is open"),
        ('{"process": 0, "type": "ok", "f": "read", "value": NaN}', "one JSON object a line"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, found: str) -> None:
    """Its number, what was found and what was expected; never a verdict."""
    path = tmp_path / "history.jsonl"
    begin = b'{"process": 0, "type": "invoke", "f": "read"}\n'
    path.write_bytes(begin + line.encode(errors="surrogateescape") + b"\n" + begin)
    told = mistake(path)
    assert told.startswith("2: ")
    assert found in told


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or cut off in the middle of a gzip stream."""
    assert "no such file" in mistake(tmp_path / "nothing.jsonl")
    assert "a folder" in mistake(tmp_path)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(json.dumps(event(0, "invoke")).encode() * 99)[:-9])
    assert "perhaps gzipped" in mistake(cut)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "fail", "info", "open"]))))
def test_every_invocation_becomes_one_operation(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """None is lost and none comes twice, whatever the processes do."""
    busy: set[int] = set()
    events: list[dict[str, Json]] = []
    for number, (process, how) in enumerate(steps):
        if process not in busy:
            events.append(event(process, "invoke", number))
            busy.add(process)
        if how != "open":
            events.append(event(process, how))
            busy.discard(process)
    found = operations(tmp_path_factory.mktemp("history"), *events)
    invoked = [one["value"] for one in events if one["type"] == "invoke"]
    assert sorted(op.argument for op in found) == invoked  # type: ignore[type-var]
    ends = [op.completed for op in found if op.completed is not None]
    assert ends == sorted(ends)
