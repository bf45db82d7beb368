"""The steps of a cell, each with its verb in place."""

from collections.abc import Mapping, Sequence

from harness import registry, rules
from harness.drafting.clusters import Clusters
from harness.drafting.sheet import Sheet
from harness.drafting.skips import is_listed, lacks
from harness.drafting.when import holds
from harness.drafting.written_step import label, read_step
from harness.history import Json
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
    broken: list[Mapping[str, Json]] = []
    off: list[Mapping[str, Json]] = []
    for i, raw in enumerate(found if is_list(found) else ()):
        path: TreePath = ("steps", i)
        step, problems = read_step(raw, path)
        sheet.note(problems)
        written = raw if isinstance(raw, Mapping) else {}
        name = written.get("as")
        if step is None:
            broken.append(written)
            sheet.names.append((i, name if isinstance(name, str) else None))
        elif holds(sheet, step.when, (*path, "when")):
            steps.append((path, step))
            sheet.names.append((i, step.name))
        else:
            off.append(written)
            sheet.off += [step.name] if step.name is not None else []
    if is_list(found) and found and not steps and not broken:
        text = "`when` leaves every step out of a cell; expected at least one in each"
        sheet.tree.add(("steps",), text)
    sheet.note(rules.name_rules(steps))
    sheet.note(rules.time_rules(steps))
    clusters = Clusters(sheet, [_written(step) for _, step in steps], off)
    for one in broken:
        clusters.take_broken(one)
    planned = [_step(sheet, clusters, step, path) for path, step in steps]
    clusters.close()
    return [step for _, step in steps], [step for step in planned if step is not None]


def _written(step: Step) -> Mapping[str, Json]:
    return {step.verb: step.parameters}


def _step(sheet: Sheet, clusters: Clusters, step: Step, path: TreePath) -> PlannedStep | None:
    here = (*path, step.verb)
    if is_listed(sheet) and lacks(sheet, step.verb):
        text = f"the {sheet.backend} driver has no {step.verb}; expected a verb that it has"
        sheet.tree.add(here, text, at_key=True)
    cluster, name = clusters.of(step, path)
    verb = sheet.plugin(registry.verbs()[step.verb], step.parameters, here)
    if verb is None:
        clusters.take_broken(_written(step))
        return None
    clusters.take(verb, step, path)
    for place, target in rules.targets(verb, here):
        if cluster is not None:
            sheet.note(rules.target_rules(target, place, cluster, name))
        if target.ref is not None:
            sheet.check_reference(target.ref, (*place, "ref"), before=int(path[-1]))
    return PlannedStep(
        verb=verb,
        label=sheet.tree.hide(label(step.verb, step.parameters))[:LABEL_LENGTH],
        path=step.path,
        name=step.name,
        at_s=step.at,
        background=step.background,
        cluster=step.cluster,
    )
