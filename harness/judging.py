"""`drill check`: bare histories, one or a file full of cases, judged by us or by somebody else."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import orjson

from harness import registry
from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.clock import NS, WallClock
from harness.errors import Mistake, ScenarioError
from harness.history import Json, no_garbage
from harness.operations import Operation, read
from harness.places import show, show_path
from harness.validation import check as validate
from harness.validation import one_of, unknown

EngineName: TypeAlias = Literal["python", "adya", "porcupine"]

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)
# What each second opinion can judge; its module has `judge(path, check) -> Answer`.
_ENGINES: Final[Mapping[str, str]] = {"adya": "elle", "porcupine": "linearizable"}
_CASE_KEYS = ("file", "check", "engine")
LABELS = ("id", "name", "note", "expect")  # what people write beside a case; nothing reads it


@dataclass(frozen=True, slots=True)
class Case:
    """One question to one file.

    Attributes:
        file: as the case names it. path: where it is.
        engine: who answers.
    """

    file: str
    path: Path
    check: Check
    engine: EngineName = "python"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One case, answered.

    Attributes:
        ops: operations in the history, whatever became of them.
        seconds: from the first byte read to the answer.
        error: why the history could not be read; the answer is then unknown.
    """

    case: Case
    answer: Answer
    ops: int
    seconds: float
    error: ScenarioError | None = None

    def to_json(self) -> Mapping[str, Json]:
        """Return what `drill check --cases` prints."""
        answer = self.answer
        return {
            "file": self.case.file,
            "check": self.case.check.name,
            "valid": answer.valid,
            "models": dict(answer.models),
            "anomalies": list(answer.anomalies),
            "detail": dict(answer.detail),
            "ops": self.ops,
            "seconds": round(self.seconds, 3),
            **({"reason": answer.reason} if answer.reason else {}),
            **({"error": str(self.error)} if self.error else {}),
        }


def judge(case: Case, clock: WallClock) -> Judgement:
    """Answer one case. A history that cannot be read is no verdict: the error comes beside it."""
    operations = _Counted(case.path)
    begun = clock.now_ns()
    answer, failed = Answer(UNKNOWN, "the history cannot be read"), None
    try:
        with no_garbage():
            answer = _answer(case, operations)
            operations.finish()
    except ScenarioError as error:
        # A check knows the line of what it cannot take, not the file.
        mistakes = [m if m.file else replace(m, file=str(case.path)) for m in error.mistakes]
        answer, failed = Answer(UNKNOWN, "the history cannot be read"), ScenarioError(mistakes)
    return Judgement(case, answer, operations.count, (clock.now_ns() - begun) / NS, failed)


def _answer(case: Case, operations: "_Counted") -> Answer:
    if case.engine == "python":
        return case.check.judge(operations)
    module = importlib.import_module(f"harness.engines.{case.engine}")
    answer = module.judge(case.path, case.check)
    assert isinstance(answer, Answer)
    return answer


class _Counted:
    """The operations of a file, counted as they pass."""

    def __init__(self, path: Path) -> None:
        self._operations = read(path)
        self.count = 0

    def __iter__(self) -> Iterator[Operation]:
        for operation in self._operations:
            self.count += 1
            yield operation

    def finish(self) -> None:
        """Read what the check left: a line that is broken there is broken, too."""
        for _ in self:
            pass


# --- what is asked -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """The words of one `drill check`."""

    path: Path | None
    cases: Path | None
    checker: str | None
    model: str | None
    fields: Sequence[str]
    engine: EngineName | None


def cases_asked(asked: Asked) -> Sequence[Case]:
    """Return the cases of `--cases FILE`; what belongs to one case stands in its line."""
    words = {
        str(asked.path): asked.path,
        "--checker": asked.checker,
        "--model": asked.model,
        "--with": asked.fields,
    }
    if beside := [word for word, value in words.items() if value]:
        raise _misused(
            f"{', '.join(beside)} beside --cases; expected them in the lines of its file"
        )
    found = cases(asked.cases or Path())
    return found if asked.engine is None else [_by(asked.engine, case) for case in found]


def _by(engine: EngineName, case: Case) -> Case:
    """Return the case for this engine; what that cannot judge stays with us."""
    able = engine == "python" or _ENGINES[engine] == case.check.name
    return replace(case, engine=engine) if able else case


def folder_asked(asked: Asked) -> Path:
    """Return the run's folder of `drill check RUN_DIR`."""
    if asked.path is None:
        raise _misused("nothing to judge; expected HISTORY --checker NAME, RUN_DIR or --cases FILE")
    if not asked.path.is_dir():
        known = ", ".join(registry.checks())
        what = "no such file or folder" if not asked.path.exists() else "a file, and no --checker"
        raise _misused(f"{asked.path}: {what}; expected --checker with one of {known}")
    words = {"--model": asked.model, "--with": asked.fields, "--engine": asked.engine}
    if beside := [word for word, value in words.items() if value]:
        raise _misused(f"{', '.join(beside)} without --checker; expected a history and a checker")
    return asked.path


def case_asked(asked: Asked) -> Case:
    """Return the case of `drill check HISTORY --checker NAME`; of a run's folder, its history."""
    if asked.path is None:
        raise _misused(f"--checker {asked.checker} without a history; expected one")
    path = asked.path / "history.jsonl" if asked.path.is_dir() else asked.path
    fields: dict[str, Json] = {} if asked.model is None else {"model": asked.model}
    for word in asked.fields:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise _misused(f"--with {word!r}; expected FIELD=VALUE")
        fields[name] = _value(value)
    check = question(asked.checker or "", fields, asked.engine or "python")
    return Case(str(asked.path), path, check, asked.engine or "python")


def _value(text: str) -> Json:
    """Return what a shell's word means: JSON where it is JSON, else itself."""
    try:
        value: Json = orjson.loads(text)
    except ValueError:
        return text
    return value


def _misused(text: str) -> ScenarioError:
    return ScenarioError([Mistake("drill check", 0, 0, text)])


def question(name: str, fields: Mapping[str, Json], engine: EngineName = "python") -> Check:
    """Return the check of this name with these fields.

    Raises:
        ScenarioError: with each mistake, without a place: the caller knows where it was written.
    """
    known = registry.checks()
    if name not in known:
        raise ScenarioError([_unplaced(unknown("check", name, known))])
    if engine != "python" and _ENGINES[engine] != name:
        able = [one for one in ENGINES if one == "python" or _ENGINES[one] == name]
        found = f"engine {engine!r} for {name}; expected {one_of(able)}"
        raise ScenarioError([_unplaced(found)])
    check, problems = validate(known[name], fields)
    if check is None or problems:
        texts = [f"{show_path(p.path)}: {p.text}" if p.path else p.text for p in problems]
        raise ScenarioError([_unplaced(f"{name}: {text}") for text in texts])
    return check


def cases(path: Path) -> Sequence[Case]:
    """Return what a file asks: one JSON object a line, `{"file", "check", ...its fields}`.

    Raises:
        ScenarioError: with each mistake of each line.
    """
    found: list[Case] = []
    mistakes: list[Mistake] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            found.append(_case(line, path.parent))
        except ScenarioError as error:
            mistakes += [replace(m, file=str(path), line=number, column=1) for m in error.mistakes]
    if mistakes:
        raise ScenarioError(mistakes)
    if not found:
        raise ScenarioError([Mistake(str(path), 0, 0, "no case in it; expected one a line")])
    return found


def _read_lines(path: Path) -> Sequence[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        found = f"{error.strerror}; expected a file of cases, one JSON object a line"
        raise ScenarioError([Mistake(str(path), 0, 0, found)]) from None


def _case(line: bytes, folder: Path) -> Case:
    try:
        written = orjson.loads(line)
    except ValueError as error:
        raise ScenarioError([_unplaced(f"{error}; expected one JSON object a line")]) from None
    if not isinstance(written, dict):
        raise ScenarioError([_unplaced(f"found {show(written)}; expected a JSON object")])
    for key in ("file", "check"):
        if not isinstance(written.get(key), str):
            found = show(written[key]) if key in written else "missing"
            raise ScenarioError([_unplaced(f"{key}: {found}; expected a name")])
    engine = written.get("engine", "python")
    if engine not in ENGINES:
        raise ScenarioError([_unplaced(f"engine: {unknown('engine', str(engine), ENGINES)}")])
    own = {key: value for key, value in written.items() if key not in (*_CASE_KEYS, *LABELS)}
    check = question(written["check"], own, engine)
    return Case(written["file"], folder / written["file"], check, engine)


def _unplaced(text: str) -> Mistake:
    return Mistake("", 0, 0, text)
