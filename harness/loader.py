"""Scenario files to scenarios. Every mistake of every file is found and told at once.

A file is read (`document`), held against the models (`validation`), and planned once for each
backend that it lists (`plan`), so that a mistake which shows only in one cell of the matrix is
known before anything starts.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.cells import cover_rules, unused_variables
from harness.document import read
from harness.drafting.cell import draft
from harness.drafting.written_step import MODIFIERS, read_step
from harness.errors import Mistake, ScenarioError
from harness.history import Json
from harness.places import Document, Problem, at, is_list
from harness.scenario import BACKENDS, Backend, Scenario
from harness.schema import scenario_schema
from harness.validation import check, unknown, without_echoes

SUFFIXES = (".yaml", ".yml")


def load(path: Path) -> Scenario:
    """Read one scenario file.

    Raises:
        ScenarioError: with every mistake in it.
    """
    scenario, mistakes = _examine(path)
    if scenario is None or mistakes:
        raise ScenarioError(mistakes)
    return scenario


def load_all(paths: Iterable[Path]) -> list[Scenario]:
    """Read files and, at any depth, all scenario files of folders; names are unique over all.

    Raises:
        ScenarioError: with every mistake of every file.
    """
    mistakes: list[Mistake] = []
    scenarios: list[Scenario] = []
    by_name: dict[str, Scenario] = {}
    for path in _files(paths, mistakes):
        scenario, wrong = _examine(path)
        mistakes += wrong
        if scenario is None:
            continue
        scenarios.append(scenario)
        first = by_name.setdefault(scenario.name, scenario)
        if first is not scenario:
            mistakes.append(name_taken(scenario, first.file))
    if mistakes:
        raise ScenarioError(mistakes)
    return scenarios


def name_taken(scenario: Scenario, by: str) -> Mistake:
    """Return the mistake of a scenario whose name another file has."""
    assert scenario.document is not None, "only a scenario that was read from a file has a place"
    text = f"found {scenario.name!r}, which {by} has; expected a name of its own"
    return scenario.document.mistake(Problem(("scenario",), text))


def schema() -> Mapping[str, Json]:
    """Return the JSON Schema (draft 2020-12) of a scenario file, plug-ins included, for editors."""
    return scenario_schema()


def _files(paths: Iterable[Path], mistakes: list[Mistake]) -> Iterator[Path]:
    """Yield each file once, in the order given, those of a folder by name."""
    seen: set[Path] = set()
    for path in paths:
        found = [path]
        if path.is_dir():
            found = sorted(p for p in _walk(path) if p.suffix in SUFFIXES)
            if not found:
                mistakes.append(Mistake(str(path), 0, 0, "no scenario in it; expected *.yaml"))
        for file in found:
            if (real := file.resolve()) not in seen:
                seen.add(real)
                yield file


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root) / name for name in files if not name.startswith("."))


def _examine(path: Path) -> tuple[Scenario | None, Sequence[Mistake]]:
    """Return the scenario, as far as it can be told, and every mistake."""
    try:
        document, mistakes = read(path)
    except ScenarioError as error:
        return None, error.mistakes
    scenario, problems = _scenario(document, path)
    found = list(problems)
    for backend in _backends(document):
        _, wrong = draft(document, backend, seed=0, supported=None, environment=os.environ)
        found += wrong
    # What cannot be read as it stands has been told; what it was read as is beside the point.
    told = {(mistake.line, mistake.column) for mistake in mistakes}
    others = map(document.mistake, without_echoes(found))
    return scenario, [*mistakes, *(m for m in others if (m.line, m.column) not in told)]


def _backends(document: Document) -> Sequence[Backend]:
    listed = at(document.root, ("backends",))
    known = [name for name in BACKENDS if isinstance(listed, Mapping) and name in listed]
    return known or BACKENDS


def _scenario(document: Document, path: Path) -> tuple[Scenario | None, Sequence[Problem]]:
    """Hold the whole file, as written, against the model; cells are not looked at."""
    root = document.root
    keys = _top_level_keys()
    problems = [
        Problem((key,), unknown("key", key, keys), at_key=True) for key in root if key not in keys
    ]
    known: dict[str, Json] = {key: value for key, value in root.items() if key in keys}
    if is_list(root.get("steps")):
        known["steps"] = _steps(root["steps"])
    scenario, wrong = check(Scenario, known)
    problems += [p for p in wrong if p.path[:1] != ("steps",) or len(p.path) == 1]
    problems += _name_rules(document, path)
    problems += unused_variables(document)
    problems += cover_rules(document)
    problems += _backend_rules(document)
    if scenario is None:
        return None, problems
    return scenario.model_copy(update={"file": document.file, "document": document}), problems


def _top_level_keys() -> Sequence[str]:
    hidden = ("file", "document")
    fields = Scenario.model_fields.items()
    return [field.alias or name for name, field in fields if name not in hidden]


def _steps(raw: Json) -> Json:
    """Return the steps in the shape of their model, as far as they stand without the matrix.

    What is wrong with a step is told by the cells; a placeholder keeps the rest readable here.
    """
    steps: list[Json] = []
    for i, step in enumerate(raw if is_list(raw) else ()):
        # A modifier that the matrix fills in has no value yet.
        literal = (
            {k: v for k, v in step.items() if k not in MODIFIERS or "${" not in str(v)}
            if isinstance(step, Mapping)
            else step
        )
        read_, _ = read_step(literal, ("steps", i))
        steps.append(
            {"verb": "unreadable", "parameters": None}
            if read_ is None
            else {
                "verb": read_.verb,
                "parameters": read_.parameters,
                "as": read_.name,
                "at": literal.get("at") if isinstance(literal, Mapping) else None,
                "background": read_.background,
                "when": read_.when,
                "cluster": read_.cluster,
                "path": read_.path,
            }
        )
    return steps


def _name_rules(document: Document, path: Path) -> Iterator[Problem]:
    name = document.root.get("scenario")
    if isinstance(name, str) and name != path.stem:
        text = f"found {name!r}; expected {path.stem!r}, the name of the file"
        yield Problem(("scenario",), text)


def _backend_rules(document: Document) -> Iterator[Problem]:
    """A rate for a workload that there is not."""
    backends = document.root.get("backends")
    for name in backends if isinstance(backends, Mapping) else ():
        path = ("backends", name, "rate")
        if at(document.root, path) is not None and not document.root.get("workload"):
            yield Problem(path, "found a rate, but no workload; expected a workload to set it for")
