"""Tests for harness.engines.adya (that it agrees with ours: tests/differential)."""

import gzip
from pathlib import Path

import orjson
import pytest

from harness.answer import UNKNOWN
from harness.checks.elle import Elle
from harness.engines import adya
from harness.errors import HarnessError, ScenarioError
from harness.history import Json

Event = dict[str, Json]


def event(process: int | str, kind: str, value: Json, **more: Json) -> Event:
    return {"process": process, "type": kind, "f": "txn", "value": value, **more}


def save(path: Path, events: list[Event]) -> Path:
    text = b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in events)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def prepared(folder: Path, events: list[Event], *, registers: bool = False) -> list[Event]:
    path = folder / "prepared.jsonl"
    adya.prepare(save(folder / "history.jsonl.gz", events), path, registers=registers)
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, report: str, code: int = 0) -> None:
    """Put a program into the cache that says what adya would say."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("platform.machine", lambda: "x")
    place = folder / "drill" / "adya" / f"{adya.VERSION}-x" / "bin" / "adya"
    place.parent.mkdir(parents=True)
    place.write_text(f"#!/bin/sh\nprintf '%s' '{report}'\nexit {code}\n")
    place.chmod(0o755)


ONE = [event(0, "invoke", [["append", 1, 1]]), event(0, "ok", [["append", 1, 1]])]


def test_names_of_processes_become_numbers(tmp_path: Path) -> None:
    """Adya passes over a process that is no number; ours are named after their zone."""
    events = [event("a-1", "invoke", [["r", 1, None]]), event("a-1", "ok", [["r", 1, []]])]
    assert [one["process"] for one in prepared(tmp_path, events)] == [0, 0]


def test_what_never_completed_is_of_unknown_outcome(tmp_path: Path) -> None:
    """Adya leaves an open invocation out; the contract has it take effect at any later time."""
    found = prepared(tmp_path, [event(0, "invoke", [["append", 1, 1]]), *ONE[:0]])
    assert [one["type"] for one in found] == ["invoke", "info"]
    assert found[0]["process"] == found[1]["process"]


def test_a_process_that_goes_on_after_an_unknown_outcome_is_another_one(tmp_path: Path) -> None:
    """The end of the unknown one comes last, so its name must not be taken again."""
    doubt = [event(0, "invoke", [["append", 1, 1]]), event(0, "info", None)]
    found = prepared(tmp_path, [*doubt, *ONE])
    assert [(one["type"], one["process"]) for one in found] == [
        ("invoke", -1), ("invoke", 0), ("ok", 0), ("info", -1),
    ]  # fmt: skip


def test_what_is_no_transaction_is_left_out(tmp_path: Path) -> None:
    """Faults stand in the same file."""
    fault: Event = {"process": "nemesis", "type": "info", "f": "kill", "value": "node a"}
    assert len(prepared(tmp_path, [fault, *ONE])) == 2


def test_tables_keep_their_keys_apart(tmp_path: Path) -> None:
    """An operation that names a table has the keys of that table."""
    events = [one | {"key": "t1", "process": 1} for one in ONE]
    assert prepared(tmp_path, events)[1]["value"] == [["append", "t1/1", 1]]


def test_scalars_that_it_cannot_read_become_texts(tmp_path: Path) -> None:
    """It knows integers of 64 bits and texts, and no others."""
    values: list[Json] = [1.5, True, 1 << 63, "x"]
    micros: Json = [["w", 1, value] for value in values]
    (_, done) = prepared(tmp_path, [event(0, "invoke", micros), event(0, "ok", micros)])
    said = done["value"]
    assert isinstance(said, list)
    assert all(isinstance(micro, list) and isinstance(micro[2], str) for micro in said)


def test_the_empty_list_is_null_to_a_register(tmp_path: Path) -> None:
    """The contract lets a read of the initial null be either."""
    events = [event(0, "invoke", [["r", 1, None]]), event(0, "ok", [["r", 1, []]])]
    assert prepared(tmp_path, events, registers=True)[1]["value"] == [["r", 1, None]]
    assert prepared(tmp_path, events)[1]["value"] == [["r", 1, []]]


def test_the_report_becomes_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is ruled out, directly or by a weaker model, is false; all else is true."""
    report = (
        '{"valid": false, "anomaly_types": [], "not": ["repeatable-read"],'
        ' "also_not": ["serializable"], "anomalies": {"G2-item": [{"explanation": "because"}],'
        ' "PL-3-cycle-exists": [{"explanation": "somewhere"}]}}'
    )
    pretend(tmp_path, monkeypatch, report, 1)
    answer = adya.judge(save(tmp_path / "h.jsonl", ONE), Elle(consistency="snapshot-isolation"))
    assert answer.models["repeatable-read"] is answer.models["serializable"] is False
    assert answer.models["snapshot-isolation"] is answer.valid is True
    assert answer.anomalies == ["G2-item"]
    assert answer.detail["explanations"] == {"G2-item": "because"}


def test_giving_up_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adya calls a history valid that it could not judge, unless it is asked for the reason."""
    report = (
        '{"not": [], "also_not": [], "anomalies": {"duplicate-appends": [{"explanation": "1"}]}}'
    )
    pretend(tmp_path, monkeypatch, report, 1)
    answer = adya.judge(save(tmp_path / "h.jsonl", ONE), Elle())
    assert (answer.valid, list(answer.anomalies)) == (UNKNOWN, [])


def test_no_order_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing orders two transactions, nothing could have been seen."""
    report = (
        '{"not": [], "also_not": [],'
        ' "anomalies": {"empty-transaction-graph": [{"explanation": "no"}]}}'
    )
    pretend(tmp_path, monkeypatch, report, 2)
    answer = adya.judge(save(tmp_path / "h.jsonl", ONE), Elle())
    assert set(answer.models.values()) == {UNKNOWN}


def test_nothing_succeeded_is_unknown(tmp_path: Path) -> None:
    """Adya need not be asked, nor be there."""
    answer = adya.judge(save(tmp_path / "h.jsonl", ONE[:1]), Elle())
    assert answer.valid == UNKNOWN


def test_other_words_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report, no verdict."""
    pretend(tmp_path, monkeypatch, "out of memory", 101)
    with pytest.raises(HarnessError, match=r"it ended with 101.*expected a report"):
        adya.judge(save(tmp_path / "h.jsonl", ONE), Elle())


def test_a_malformed_history_is_the_users_mistake(tmp_path: Path) -> None:
    """As it is for our own check."""
    values: list[Json] = [None, [3], [["r", 1]], [["x", 1, 1]], [["r", {}, 1]]]
    for value in values:
        events = [event(0, "invoke", value), event(0, "ok", value)]
        with pytest.raises(ScenarioError, match="expected"):
            adya.judge(save(tmp_path / "h.jsonl", events), Elle())


def test_without_cargo_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the cache and no cargo: one sentence, and what to do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match="no `cargo` on the PATH; expected Rust"):
        adya.program()


def test_a_build_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of what cargo said, and nothing in the cache."""
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho 'error: no network'\nexit 101\n")
    cargo.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=r"ended with 101\nerror: no network"):
        adya.program()


def test_rustups_proxy_is_told_where_its_toolchains_are(tmp_path: Path) -> None:
    """A home of its own, as CI has, holds none; another cargo needs no word."""
    proxy = tmp_path / ".cargo" / "bin" / "rustup"
    proxy.parent.mkdir(parents=True)
    proxy.touch()
    cargo = proxy.with_name("cargo")
    cargo.symlink_to("rustup")
    assert adya._toolchain(str(cargo)) == {}
    (tmp_path / ".rustup").mkdir()
    assert adya._toolchain(str(cargo)) == {"RUSTUP_HOME": str(tmp_path / ".rustup")}
    assert adya._toolchain(str(tmp_path / "debian" / "cargo")) == {}
