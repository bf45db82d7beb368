"""Tests for harness.judging: what is asked of which file, by whom, and what comes of it."""

import json
from pathlib import Path

import pytest

from harness.answer import Answer
from harness.clock import WallClock
from harness.errors import ScenarioError
from harness.history import Json
from harness.judging import Asked, case_asked, cases, cases_asked, folder_asked, judge, question

ADDED: list[dict[str, Json]] = [
    {"process": 0, "type": "invoke", "f": "add", "value": 1},
    {"process": 0, "type": "ok", "f": "add", "value": 1},
]


def reading(value: Json) -> list[dict[str, Json]]:
    return [
        {"process": 1, "type": "invoke", "f": "read", "value": None},
        {"process": 1, "type": "ok", "f": "read", "value": value},
    ]


def written(path: Path, events: list[dict[str, Json]]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def asking(folder: Path, *lines: object) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines))
    return path


def asked(
    path: Path | None = None,
    cases: Path | None = None,
    checker: str | None = None,
    model: str | None = None,
    *fields: str,
) -> Asked:
    return Asked(path, cases, checker, model, fields, None)


def mistakes(path: Path) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        cases(path)
    return [f"{one.line}: {one.text}" for one in caught.value.mistakes]


def test_each_case_has_its_answer(tmp_path: Path) -> None:
    """Its file is looked for beside the cases; what was found is told in the contract's keys."""
    written(tmp_path / "kept.jsonl", [*ADDED, *reading([1])])
    written(tmp_path / "lost.jsonl", [*ADDED, *reading([])])
    found = cases(
        asking(
            tmp_path,
            {"file": "kept.jsonl", "check": "set", "id": "a label"},
            "",
            {"file": "lost.jsonl", "check": "set"},
        )
    )
    told = [judge(case, WallClock()).to_json() for case in found]
    assert [(one["file"], one["check"], one["valid"], one["ops"]) for one in told] == [
        ("kept.jsonl", "set", True, 2),
        ("lost.jsonl", "set", False, 2),
    ]
    assert {"models", "anomalies", "detail", "seconds"} <= told[0].keys()


def test_a_history_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    """The case is answered with unknown, and the line is named beside it."""
    path = written(tmp_path / "broken.jsonl", [*ADDED, *reading([1])])
    path.write_text(path.read_text() + "{\n")
    (case,) = cases(asking(tmp_path, {"file": "broken.jsonl", "check": "set"}))
    found = judge(case, WallClock())
    assert found.answer.valid == "unknown"
    assert f"{path}:5:1: " in str(found.to_json()["error"])


def test_what_a_check_cannot_take_is_placed_in_the_file(tmp_path: Path) -> None:
    """A value that is none of its kind is the user's mistake, not a verdict."""
    written(tmp_path / "odd.jsonl", [*ADDED, *reading("no list")])
    (case,) = cases(asking(tmp_path, {"file": "odd.jsonl", "check": "set"}))
    error = judge(case, WallClock()).error
    assert error is not None
    assert str(error).startswith(f"{tmp_path / 'odd.jsonl'}:4:1: ")


def test_all_mistakes_of_all_cases_are_told_at_once(tmp_path: Path) -> None:
    """Each with its line, what was found and the nearest valid thing."""
    told = mistakes(
        asking(
            tmp_path,
            "{",
            "[]",
            {"check": "set"},
            {"file": "a", "check": "bnk"},
            {"file": "a", "check": "set", "acounts": []},
            {"file": "a", "check": "set", "engine": "elle"},
            {"file": "a", "check": "set", "engine": "adya"},
        )
    )
    expected = (
        "1: .*expected one JSON object a line",
        "2: found .*; expected a JSON object",
        "3: file: missing; expected a name",
        "4: unknown check 'bnk'; expected one of .*; did you mean bank",
        "5: set: .*unknown key 'acounts'",
        "6: engine: unknown engine 'elle'; expected one of python, adya, porcupine",
        "7: engine 'adya' for set; expected python",
    )
    assert len(told) == len(expected)
    for text, pattern in zip(told, expected, strict=True):
        assert __import__("re").match(pattern, text), text


def test_a_file_without_a_case_asks_nothing(tmp_path: Path) -> None:
    """That proved nothing, so it is a mistake."""
    assert mistakes(asking(tmp_path, "")) == ["0: no case in it; expected one a line"]
    assert "expected a file of cases" in mistakes(tmp_path / "missing")[0]


def test_the_words_of_the_command_line_make_a_case(tmp_path: Path) -> None:
    """`--model M` and `--with FIELD=VALUE`, JSON where it is JSON."""
    path = written(tmp_path / "history.jsonl", ADDED)
    case = case_asked(
        asked(path, None, "bank", None, "accounts=[0,1]", "total=10", "negative_allowed=true")
    )
    assert case.check.model_dump()["total"] == 10
    register = case_asked(asked(path, None, "linearizable", "register"))
    assert register.check.model_dump()["model"] == "register"
    # Of a run's folder, its history.
    assert case_asked(asked(tmp_path, None, "set")).path == path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (asked(), "nothing to judge"),
        (asked(Path("missing")), "missing: no such file or folder; expected --checker with one"),
        (asked(Path(__file__)), "a file, and no --checker"),
        (asked(Path(__file__).parent, None, None, "register"), "--model without --checker"),
    ],
)
def test_a_folder_is_asked_for_without_a_checker(words: Asked, found: str) -> None:
    """What is missing is named."""
    with pytest.raises(ScenarioError, match=found):
        folder_asked(words)


def test_words_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    """None of them is dropped in silence."""
    file = asking(tmp_path, {"file": "a", "check": "set"})
    with pytest.raises(ScenarioError, match="--checker, --with beside --cases"):
        cases_asked(asked(None, file, "set", None, "a=1"))
    with pytest.raises(ScenarioError, match="--checker set without a history"):
        case_asked(asked(None, None, "set"))
    with pytest.raises(ScenarioError, match="--with 'total'; expected FIELD=VALUE"):
        case_asked(asked(tmp_path, None, "bank", None, "total"))


def test_a_question_is_a_check_with_its_fields() -> None:
    """What is wrong with them has no place yet: the caller knows it."""
    assert question("long-fork", {"group_size": 2}).name == "long-fork"
    with pytest.raises(ScenarioError, match=r"bank: .*accounts"):
        question("bank", {"total": 3})


def test_an_answer_that_holds_needs_no_reason() -> None:
    """Only what is false or unknown is explained."""
    assert Answer(valid=True).reason == ""
