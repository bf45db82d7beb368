"""The steps of a cell, each with its verb in place."""

from collections.abc import Mapping, Sequence

from harness import registry, rules
from harness.drafting.sheet import Sheet
from harness.drafting.skips import is_listed, lacks
from harness.drafting.when import holds
from harness.drafting.written_step import label, read_step
from harness.places import TreePath, is_list
from harness.planned import PlannedStep
from harness.scenario import Step

LABEL_LENGTH = 80


def draft_steps(sheet: Sheet) -> tuple[Sequence[Step], Sequence[PlannedStep]]:
    """Return the steps of this cell, as written and ready to run.

    One with a mistake is left out, but its name counts: what refers to it is right.
    """
    found = sheet.tree.root.get("steps")
    steps: list[tuple[TreePath, Step]] = []
    broken = 0
    for i, raw in enumerate(found if is_list(found) else ()):
        path: TreePath = ("steps", i)
        step, problems = read_step(raw, path)
        sheet.note(problems)
        name = raw.get("as") if isinstance(raw, Mapping) else None
        if step is None:
            broken += 1
            sheet.names.append((i, name if isinstance(name, str) else None))
        elif holds(sheet, step.when, (*path, "when")):
            steps.append((path, step))
            sheet.names.append((i, step.name))
        elif step.name is not None:
            sheet.off.append(step.name)
    if is_list(found) and found and not steps and not broken:
        text = "`when` leaves every step out of a cell; expected at least one in each"
        sheet.tree.add(("steps",), text)
    sheet.note(rules.name_rules(steps))
    sheet.note(rules.time_rules(steps))
    planned = [_step(sheet, step, path) for path, step in steps]
    return [step for _, step in steps], [step for step in planned if step is not None]


def _step(sheet: Sheet, step: Step, path: TreePath) -> PlannedStep | None:
    here = (*path, step.verb)
    if is_listed(sheet) and lacks(sheet, step.verb):
        text = f"the {sheet.backend} driver has no {step.verb}; expected a verb that it has"
        sheet.tree.add(here, text, at_key=True)
    sheet.check_cluster(step.cluster, path)
    verb = sheet.plugin(registry.verbs()[step.verb], step.parameters, here)
    if verb is None:
        return None
    for place, target in rules.targets(verb, here):
        if sheet.cluster is not None:
            sheet.note(rules.target_rules(target, place, sheet.cluster))
        if target.ref is not None:
            sheet.check_reference(target.ref, (*place, "ref"), before=int(path[-1]))
    return PlannedStep(
        verb=verb,
        label=sheet.tree.hide(label(step.verb, step.parameters))[:LABEL_LENGTH],
        path=step.path,
        name=step.name,
        at_s=step.at,
        background=step.background,
    )
