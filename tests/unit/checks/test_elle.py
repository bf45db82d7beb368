"""Tests for harness.checks.elle."""

import orjson
import pytest
from pydantic import ValidationError

from harness.answer import UNKNOWN, Answer
from harness.checks.elle import Elle, Options
from harness.history import Json
from harness.isolation.models import MODELS
from tests.unit.isolation.tape import Script, a, judge, r, tape, together

WRITE_SKEW = together([r("x"), a("y", 1)], [r("y"), a("x", 2)])
READ_SKEW = together([a("x", 1), a("y", 1)], [r("x", 1), r("y")])


def broken(answer: Answer) -> list[str]:
    assert list(answer.models) == list(MODELS)
    return [model for model in MODELS if answer.models[model] is False]


def test_a_sound_history_passes_every_model() -> None:
    """With nothing to tell."""
    answer = judge([("p", "0 1", "ok", [a("x", 1)]), ("q", "2 3", "ok", [r("x", 1)])])
    assert answer.valid is True
    assert set(answer.models.values()) == {True}
    assert not answer.anomalies
    assert answer.reason == ""
    assert answer.detail == {"transactions": 2, "dependencies": 1, "direct": {}, "cycles": []}


def test_write_skew_breaks_what_is_serializable_and_no_snapshot() -> None:
    """G2-item is what snapshot isolation allows."""
    answer = judge(WRITE_SKEW, "snapshot-isolation")
    assert answer.valid is True
    assert answer.anomalies == ["G2-item"]
    assert broken(answer) == [
        "repeatable-read", "serializable", "strong-session-serializable", "strict-serializable",
    ]  # fmt: skip
    refused = judge(WRITE_SKEW, "serializable")
    assert refused.valid is False
    assert refused.reason == "not serializable: G2-item"


def test_read_skew_breaks_snapshots() -> None:
    """But nothing of read committed."""
    answer = judge(READ_SKEW, "read-committed")
    assert answer.valid is True
    assert answer.anomalies == ["G-single-item"]
    assert broken(answer) == list(MODELS[2:])


def test_a_stale_read_breaks_only_what_is_strong() -> None:
    """Serializable says nothing of real time, nor of another session."""
    answer = judge([("p", "0 1", "ok", [a("x", 1)]), ("q", "2 3", "ok", [r("x")])])
    assert answer.anomalies == ["G-single-item-realtime"]
    assert broken(answer) == ["strong-snapshot-isolation", "strict-serializable"]
    own = judge([("p", "0 1", "ok", [a("x", 1)]), ("p", "2 3", "ok", [r("x")])])
    assert own.anomalies == ["G-single-item-process"]
    assert broken(own) == list(MODELS[5:])


def test_a_long_fork_breaks_snapshots() -> None:
    """Two readers see two writes in different orders."""
    answer = judge(together([a("x", 1)], [a("y", 1)], [r("x", 1), r("y")], [r("x"), r("y", 1)]))
    assert answer.anomalies == ["G-nonadjacent-item"]
    assert "snapshot-isolation" in broken(answer)
    assert "read-committed" not in broken(answer)


def test_direct_anomalies_and_cycles_are_told_together() -> None:
    """All names are there, sorted; the evidence is JSON."""
    failed: Script = [("p", "0 1", "fail", [a("z", 1)]), ("q", "2 3", "ok", [r("z", 1)])]
    answer = judge([*failed, *((f"s{p}", "10 20", o, m) for p, _, o, m in WRITE_SKEW)])
    assert answer.anomalies == ["G1a", "G2-item"]
    assert broken(answer) == list(MODELS[1:])
    assert orjson.loads(orjson.dumps(answer.detail)) == answer.detail


def test_nothing_succeeded_is_unknown() -> None:
    """Whatever was tried."""
    script: Script = [("p", "0 1", "fail", [a("x", 1)]), ("q", "2 3", "info", [a("x", 2)])]
    for answer in (judge(script), judge([]), judge([], "read-uncommitted")):
        assert answer.valid == UNKNOWN
        assert set(answer.models.values()) == {UNKNOWN}
        assert "no transaction succeeded" in answer.reason


def test_without_any_order_it_is_unknown() -> None:
    """One transaction, or several at once that share nothing, could not have shown a cycle."""
    for script in (together([a("x", 1)]), together([a("x", 1)], [a("y", 1)])):
        answer = judge(script)
        assert answer.valid == UNKNOWN
        assert "nothing orders" in answer.reason


def test_without_any_order_an_anomaly_is_one_all_the_same() -> None:
    """What contradicts itself does so alone; what it does not break stays unknown."""
    answer = judge(together([r("x"), r("x", 1)], [a("x", 1), a("x", 2)]), "read-uncommitted")
    assert "internal" in answer.anomalies
    assert answer.models["snapshot-isolation"] is False


def test_what_nobody_appended_leaves_no_model_true() -> None:
    """Unknown, with the element; what is broken is broken."""
    answer = judge([*READ_SKEW, ("z", "200 201", "ok", [r("w", 77)])], "read-committed")
    assert answer.valid == UNKNOWN
    assert "77" in answer.reason
    assert broken(answer) == list(MODELS[2:])


def test_an_element_appended_twice_is_unknown() -> None:
    """That is the workload's mistake, not the database's."""
    answer = judge(together([a("x", 1)], [a("x", 1)], [r("x", 1)]))
    assert answer.valid == UNKNOWN
    assert "more than once" in answer.reason


def test_registers_are_judged_by_their_own_rules() -> None:
    """Options have question marks, as in Elle."""
    case: Json = {"model": "rw-register", "options": {"linearizable-keys?": True}}
    check = Elle.model_validate(case)
    assert check.options == Options(linearizable_keys=True)
    script: Script = [("p", "0 1", "ok", [["w", "x", 1]]), ("q", "2 3", "ok", [["r", "x", None]])]
    assert check.judge(tape(script)).valid is False


@pytest.mark.parametrize(
    "case",
    [{"consistency": "acid"}, {"model": "queue"}, {"options": {"fast?": True}}, {"modle": "x"},
     {"options": {"wfr-keys?": "yes"}}],
)  # fmt: skip
def test_what_a_case_may_not_say(case: Json) -> None:
    """Unknown words are mistakes."""
    with pytest.raises(ValidationError):
        Elle.model_validate(case)
