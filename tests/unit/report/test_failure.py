"""The block that a failed cell prints."""

import pytest

from harness.report.failure import Place, block
from harness.verdict import Verdict

PLACE = Place(
    again="pytest scenarios/node-kill.yaml --seed 7",
    report="runs/x/index.html",
    lines={"failover": 20},
)


@pytest.fixture
def stored(history, tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text("".join(event.to_json() + "\n" for event in history.events))
    return path


def test_block_of_a_broken_bound(result, cell, finding, stored) -> None:
    """What broke at length, what held in a line, the blamed run's story, and how to repeat it."""
    broken = finding(
        verdict=Verdict.FAIL,
        values=(20.0, 21.0, 20.5, 71.3, 20.2),
        bound="p50 30.00 s, p95 42.00 s, max 60.00 s",
        note="max 71.30 s > 60.00 s; p50 20.50 s <= 30.00 s; p95 not established (n=5 < 59)",
    )
    writers = finding("writers", unit="count", values=(1.0,) * 5, note="max 1 <= 1")
    failed = cell(Verdict.FAIL, findings=[writers, broken], repeats=5, histories=[stored] * 5)
    lines = block(result(failed), failed, PLACE).splitlines()
    assert lines[:9] == [
        "failover: max 71.30 s > 60.00 s",
        "  backend docker · 5 runs · seed 7",
        "  scenarios/node-kill.yaml:20   failover p50 30.00 s, p95 42.00 s, max 60.00 s",
        "    ✗ max 71.30 s > 60.00 s   (run 4)",
        "    ✓ p50 20.50 s <= 30.00 s",
        "    \N{EN DASH} p95 not established (n=5 < 59)",
        "    █··············▃   20.0 s … 71.3 s",
        "  ✓ writers 1",
        "  run 4   T+0.0 last write acknowledged by pg-1   T+0.1 kill pg-1 power-off",
    ]
    assert lines[-2:] == [f"  again: {PLACE.again}", f"  report: {PLACE.report}"]
    assert max(map(len, lines)) <= 110


def test_block_of_a_run_that_proved_nothing(result, cell) -> None:
    """The note says why; there is no story where there is no history."""
    broken = cell(Verdict.ERROR, findings=(), note="not steady: no leader")
    assert block(result(broken), broken, PLACE).splitlines() == [
        "error: proved nothing: not steady: no leader",
        "  backend docker · 1 run · seed 7",
        f"  again: {PLACE.again}",
        f"  report: {PLACE.report}",
    ]


def test_hostile_words_stay_words(result, cell, finding) -> None:
    """A node's name or a server's error moves no cursor and forges no line."""
    bad = finding(verdict=Verdict.FAIL, note="x\x1b[2J\n  again: rm -rf /; y\u202e")
    failed = cell(Verdict.FAIL, findings=[bad], note="\x1b]0;title\x07")
    text = block(result(failed), failed, PLACE)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert sum(line.startswith("  again:") for line in text.splitlines()) == 1


def test_a_lost_history_is_said(result, cell, finding, tmp_path) -> None:
    """The block does not fail for want of a story."""
    bad = finding(verdict=Verdict.FAIL)
    failed = cell(Verdict.FAIL, findings=[bad], histories=[tmp_path / "gone.jsonl"])
    assert "its history cannot be read" in block(result(failed), failed, PLACE)
