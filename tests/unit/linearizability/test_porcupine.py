"""Tests for harness.engines.porcupine: what it does when it cannot be had."""

from pathlib import Path

import pytest

from harness.checks.linearizable import Linearizable
from harness.engines import porcupine
from harness.errors import HarnessError, ScenarioError


def test_without_go_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No traceback, and no verdict."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=r"no `go` on the PATH; expected Go 1\.21 or newer"):
        porcupine.program()


def test_what_is_malformed_is_the_same_mistake(tmp_path: Path):
    """Our reader reads for both, so a broken history reaches no engine."""
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"process": 0, "type": "invoke", "f": "cas", "value": 1}\n'
        '{"process": 0, "type": "ok", "f": "cas", "value": 1}\n'
    )
    with pytest.raises(ScenarioError, match=r"cas asks 1; expected \[from, to\]"):
        porcupine.judge(path, Linearizable(model="cas-register"))


def test_nothing_acknowledged_is_unknown(tmp_path: Path):
    """As for our own check, and without building anything."""
    path = tmp_path / "history.jsonl"
    path.write_text('{"process": 0, "type": "invoke", "f": "write", "value": 1}\n')
    assert porcupine.judge(path, Linearizable(model="register")).valid == "unknown"


def test_the_program_and_its_pinned_module_belong_together():
    """What is compiled is named by its sources; all of them are there."""
    assert all(path.is_file() for path in porcupine._source_files())
    pinned = (porcupine._SOURCES / "go.mod").read_text()
    assert "github.com/anishathalye/porcupine v1.3.1" in pinned
