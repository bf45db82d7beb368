"""The pages of what a scenario can name: verbs, expectations, workloads, and the probes."""

from collections.abc import Mapping

from pydantic import BaseModel

from harness import registry
from harness.expectation import TimeExpectation
from harness.reference.docstrings import prose_of, undocumented
from harness.reference.examples import Examples
from harness.reference.fields import fields_table, parameters_table
from harness.reference.markdown import as_table, joined, quoted, wrapped
from harness.scenario import ExpectationModifiers
from harness.verdict import RUNS_NEEDED


def verbs_page(examples: Examples) -> str:
    """Return the page of what a step can do."""
    faults = registry.faults()
    steps = {name: cls for name, cls in registry.verbs().items() if name not in faults}
    parts = [
        "# Verbs: what a step can do",
        wrapped(
            "Each step holds one verb, and [what says when it runs](scenario.md#step). Every fault "
            "is undone at the end of the run, however it ends."
        ),
    ]
    for title, kind in (("Faults", _models(faults)), ("Other steps", _models(steps))):
        parts += [f"## {title}", _overview(kind)]
        for name, cls in kind.items():
            parts.append(_plugin(name, cls, examples.of("steps", cls, name), level="###"))
    return joined(*parts)


def expectations_page(examples: Examples) -> str:
    """Return the page of what must hold."""
    needed = ", ".join(f"`{name}` {runs}" for name, runs in RUNS_NEEDED.items())
    parts = [
        "# Expectations: what must hold",
        wrapped(
            "Each measures one property of the [history](history.md) and holds it against its "
            "bounds. Where the history could not have shown a breach, the verdict is `error`, "
            "never `pass`."
        ),
        _overview(registry.checkers()),
        "Beside its own keys each expectation may have:",
        fields_table(ExpectationModifiers),
        "## bounds",
        fields_table(TimeExpectation),
        wrapped(
            "Where the bounds are counts, they are whole numbers. A percentile pools the runs of "
            "one cell, and is judged from so many runs on that it can be claimed with 95 % "
            f"confidence: {needed}. With fewer only the other bounds are judged."
        ),
    ]
    for name, cls in _models(registry.checkers()).items():
        if not prose_of(cls).caveat:
            raise undocumented(cls, "no paragraph 'A pass ...'", "what a pass does not show")
        parts.append(_plugin(name, cls, examples.of("expect", cls, name)))
    return joined(*parts)


def checks_page() -> str:
    """Return the page of what a bare history can be asked."""
    kind = _models(registry.checks())
    parts = [
        "# Checks: what a history can be asked",
        wrapped(
            "`./drill check HISTORY --checker NAME` asks one question of one file, `--cases FILE` "
            "many: each line of FILE is one JSON object as in the examples. The file need not be "
            "of this project: JSON lines as [the history](history.md) has them, gzipped or not, of "
            "which `process`, `type`, `f` and `value` are read, and where a check says so `key`, "
            "`time`, `node`, `tli` and `lsn`. A file with a line that cannot be read is no verdict."
        ),
        wrapped(
            "The answer is true, false or unknown; a history in which nothing succeeded is "
            "unknown. Of one file the exit code says pass, fail or error; with `--cases` it is 0 "
            "when every case was judged. `python -m bench checks` times them."
        ),
        _overview(kind),
    ]
    for name, cls in kind.items():
        told = prose_of(cls)
        if not told.caveat:
            raise undocumented(cls, "no paragraph 'A pass ...'", "what a pass does not show")
        if not told.example:
            raise undocumented(cls, "no `Example:`", "one line of a file of cases")
        parts.append(_plugin(name, cls, f"```json\n{told.example}\n```"))
    return joined(*parts)


def workloads_page(examples: Examples) -> str:
    """Return the page of the loads."""
    parts = [
        "# Workloads: the load behind all steps",
        "Every call is recorded in the [history](history.md); verdicts rest on these records.",
    ]
    for name, cls in _models(registry.workloads()).items():
        parts.append(_plugin(name, cls, examples.of("workload", cls, name)))
    return joined(*parts)


def probes_page() -> str:
    """Return the page of the watchers."""
    parts = [
        "# Probes: who watches",
        wrapped(
            "Every run starts them by itself; no scenario names them. Their settings are shown so "
            "that a history can be read."
        ),
        _overview(registry.probes()),
    ]
    for name, cls in _models(registry.probes()).items():
        parts.append(_plugin(name, cls, ""))
    return joined(*parts)


def _plugin(name: str, cls: type[BaseModel], example: str, level: str = "##") -> str:
    told = prose_of(cls)
    return joined(
        f"{level} {name}",
        wrapped(told.summary),
        *(wrapped(part) for part in told.body if not part.startswith("Source: ")),
        quoted(told.caveat) if told.caveat else "",
        *(wrapped(part) for part in told.body if part.startswith("Source: ")),
        parameters_table(cls),
        example,
    )


def _models(classes: Mapping[str, type]) -> Mapping[str, type[BaseModel]]:
    assert all(issubclass(cls, BaseModel) for cls in classes.values())
    return classes


def _overview(classes: Mapping[str, type]) -> str:
    rows = [(f"[`{name}`](#{name})", prose_of(cls).summary) for name, cls in classes.items()]
    return as_table(("name", "in one sentence"), rows)
