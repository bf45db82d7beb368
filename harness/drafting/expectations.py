"""The expectations that hold for a cell, each with its checker in place."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from harness import registry, rules
from harness.drafting.sheet import Sheet
from harness.drafting.when import holds
from harness.history import Json
from harness.places import Problem, TreePath
from harness.planned import PlannedExpectation
from harness.scenario import ExpectationModifiers
from harness.validation import check, unknown


def draft_expectations(sheet: Sheet) -> Sequence[PlannedExpectation]:
    """Return the expectations that apply to this cell; the names of its steps are known by now."""
    found = sheet.tree.root.get("expect")
    planned = []
    judged = 0
    before = len(sheet.tree.problems)
    for name, raw in found.items() if isinstance(found, Mapping) else ():
        expectation = _expectation(sheet, name, raw)
        if expectation is not None:
            planned.append(expectation)
            judged += not expectation.report_only
    if found and not judged and len(sheet.tree.problems) == before:
        text = "no expectation is judged in a cell; expected one that `when`, `unless` and "
        sheet.tree.add(("expect",), text + "`report` leave in each")
    return planned


def _expectation(sheet: Sheet, name: str, raw: Json) -> PlannedExpectation | None:
    path: TreePath = ("expect", name)
    cls = registry.checkers().get(name)
    if cls is None:
        sheet.tree.add(path, unknown("expectation", name, registry.checkers()), at_key=True)
        return None
    own, modifiers = _split(raw, ExpectationModifiers)
    common, problems = check(ExpectationModifiers, modifiers, prefix=path)
    sheet.note(problems)
    checker = sheet.plugin(cls, own, path, beside=_keys_of(ExpectationModifiers))
    if common is None or checker is None:
        return None
    sheet.check_cluster(common.cluster, path)
    applies = holds(sheet, common.when, (*path, "when"))
    if common.unless and holds(sheet, common.unless, (*path, "unless")):
        applies = False
    if not applies:
        return None
    sheet.note(rules.bound_rules(checker, path))
    if not checker.bounds and not common.report:
        sheet.tree.add(path, "no bound; expected max, min or a percentile, or `report: true`")
    for ref in dict.fromkeys(checker.refs):
        sheet.check_reference(ref, (*path, *_key_with(own, ref)))
    for kind, names, known in (
        (rules.CLUSTER, checker.clusters, sheet.clusters),
        (rules.MARK, checker.marks, sheet.marks),
        (rules.WORKLOAD, checker.workloads, sheet.workloads),
    ):
        for meant in names:
            place = (*path, *_key_with(own, meant))
            found = rules.reference_rule(meant, place, earlier=known, later=(), off=(), kind=kind)
            sheet.note(found)
    key = sheet.tree.in_file(Problem(path, "", at_key=True), sheet.document)
    line = sheet.document.mistake(key).line
    return PlannedExpectation(name, checker, common.report, line)


def _split(raw: Json, cls: type[BaseModel]) -> tuple[Json, Mapping[str, Json]]:
    """Return what is the plug-in's own, and what every one of its kind may have."""
    if not isinstance(raw, Mapping):
        return ({} if raw is None else raw), {}
    keys = _keys_of(cls)
    own = {key: value for key, value in raw.items() if key not in keys}
    return own, {key: value for key, value in raw.items() if key in keys}


def _keys_of(cls: type[BaseModel]) -> Sequence[str]:
    return [field.alias or name for name, field in cls.model_fields.items()]


def _key_with(raw: Json, value: str) -> TreePath:
    """Return the way to a value in what was written; nothing when it is not there."""
    if isinstance(raw, Mapping):
        for key, part in raw.items():
            below = _key_with(part, value)
            if part == value or below:
                return (key, *below)
    return ()
