"""`result.json` is a contract: its keys, and that it can be read back."""

import json
from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.report import result_json
from harness.verdict import Verdict


def _full(result, cell, finding, folder: Path):
    parts = [{"detect": 24.1, "promote": 1.0}, {}]
    failed = finding(
        verdict=Verdict.FAIL, values=(25.1, None), parts=parts, evidence=({"node": "pg-1"}, 3)
    )
    return result(
        cell(
            Verdict.FAIL,
            findings=[failed, finding("writers", unit="count", values=(1.0, 1.0))],
            repeats=2,
            note="run 2: aborted",
            figures={"failover_s": [25.1, None], "phases": {"detect": 24.1}},
            histories=[folder / "run-1" / "history.jsonl"],
            seconds=99.5,
        )
    )


def test_document_has_the_keys_of_the_contract(result, cell, finding, tmp_path) -> None:
    """Other programs read these."""
    document = json.loads(result_json.to_json(_full(result, cell, finding, tmp_path), tmp_path))
    assert {
        "scenario", "title", "backend", "seed", "verdict", "started", "cells", "versions", "replay"
    } <= set(document)  # fmt: skip
    (first,) = document["cells"]
    assert {"id", "verdict", "repeats", "expectations", "figures", "evidence"} <= set(first)
    expectation = first["expectations"][0]
    assert {"name", "verdict", "bound", "value", "n", "note"} <= set(expectation)
    assert document["verdict"] == "fail"
    assert (expectation["value"], expectation["n"]) == (25.1, 1)
    assert first["histories"] == ["run-1/history.jsonl"]


def test_document_reads_back_as_it_was(result, cell, finding, tmp_path) -> None:
    """`drill report` draws the same page again."""
    written = _full(result, cell, finding, tmp_path)
    (tmp_path / "result.json").write_text(result_json.to_json(written, tmp_path))
    again = result_json.load(tmp_path)
    assert result_json.to_json(again, tmp_path) == result_json.to_json(written, tmp_path)
    assert again.cells[0].histories == [tmp_path / "run-1" / "history.jsonl"]
    assert list(again.cells[0].findings[0].evidence) == [{"node": "pg-1"}, 3]
    assert again.verdict is Verdict.FAIL


def test_secrets_are_not_written(result, cell, tmp_path) -> None:
    """Not in notes, not in figures, not in the title."""
    broken = cell(Verdict.ERROR, findings=(), note="login s3cret failed", figures={"x": ["s3cret"]})
    text = result_json.to_json(result(broken, title="s3cret"), tmp_path, secrets={"s3cret"})
    assert "s3cret" not in text
    assert "login *** failed" in text


def test_infinity_is_no_json_number(result, cell, finding, tmp_path) -> None:
    """JSON has no infinity; the document stays readable everywhere."""
    endless = finding(values=(float("inf"),))
    text = result_json.to_json(result(cell(findings=[endless])), tmp_path)
    assert "Infinity" not in text
    json.loads(text)


def test_hostile_text_is_carried_unharmed(result, tmp_path) -> None:
    """JSON escapes what others must not see raw."""
    text = result_json.to_json(result(title='</script>"\x1b\ud800'), tmp_path)
    assert json.loads(text)["title"].startswith('</script>"\x1b')
    text.encode()


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "No such file"), ("{", "JSON"), ('{"scenario": 1}', "title"), ("[]", "document")],
)
def test_what_is_no_result_is_refused(content, found, tmp_path) -> None:
    """The user named the wrong folder: that is said, with what is missing."""
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(ScenarioError, match=found) as error:
        result_json.load(tmp_path)
    assert "result.json" in str(error.value)
