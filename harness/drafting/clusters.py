"""The marks and clusters that the steps of a cell make, and what later steps may say of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness import rules
from harness.drafting.sheet import Sheet
from harness.faults.destroy import Destroy
from harness.faults.s3 import S3
from harness.history import Json
from harness.places import TreePath, show_path
from harness.protocols import Verb
from harness.scenario import Cluster, Step
from harness.steps.mark import Mark
from harness.steps.restore import OWN, Restore
from harness.steps.sleep import Sleep
from harness.steps.wait import Wait


def mark_of(step: Mapping[str, Json]) -> str | None:
    """Return the name of the mark that a step makes, as it is written, or None."""
    raw = step.get(Mark.name)
    name = raw.get("point") if isinstance(raw, Mapping) else raw
    return name if isinstance(name, str) else None


def cluster_of(step: Mapping[str, Json]) -> str | None:
    """Return the name of the cluster that a step makes, as it is written, or None."""
    raw = step.get(Restore.name)
    name = raw.get("as_cluster") if isinstance(raw, Mapping) else None
    return name if isinstance(name, str) else None


def _in_place(step: Mapping[str, Json]) -> bool:
    raw = step.get(Restore.name)
    return isinstance(raw, Mapping) and "as_cluster" not in raw


@dataclass
class Clusters:
    """What the steps so far have made and destroyed, one after another.

    Attributes:
        sheet: of the cell; every mistake is noted there.
        steps: those of the cell, as they are written.
        off: those that their `when` leaves out.
        made: the clusters that were restored under a name of their own; None where the cell's
            own has a mistake.
        marks: names of the marks.
        destroyed: what destroyed a cluster; None is the scenario's own.
        unsure: a step that makes or destroys a cluster has a mistake.
    """

    sheet: Sheet
    steps: Sequence[Mapping[str, Json]]
    off: Sequence[Mapping[str, Json]]
    made: dict[str, Cluster | None] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    destroyed: dict[str | None, TreePath] = field(default_factory=dict)
    unsure: bool = False

    def of(self, step: Step, path: TreePath) -> tuple[Cluster | None, str]:
        """Return the cluster that a step acts on, if it is known, and what its nodes are called."""
        name = step.cluster
        if name is None:
            return self.sheet.cluster, rules.NODE
        every = [made for other in self.steps if (made := cluster_of(other))]
        self.sheet.note(
            rules.reference_rule(
                name,
                (*path, "cluster"),
                earlier=[*self.made],
                later=[made for made in every if made not in self.made],
                off=[made for other in self.off if (made := cluster_of(other))],
                kind=rules.CLUSTER,
            )
        )
        return self.made.get(name), f"{name}-{rules.NODE}"

    def take(self, verb: Verb, step: Step, path: TreePath) -> None:
        """Hold a step against those before it, and remember what it makes."""
        here = (*path, step.verb)
        if isinstance(verb, S3) and step.cluster is not None:
            text = f"found {step.cluster!r} for s3; expected no cluster, for all share S3"
            self.sheet.tree.add((*path, "cluster"), text)
        self._check_existence(verb, step, here)
        if isinstance(verb, Wait) and verb.until == "served":
            self._check_served(step, here)
        if isinstance(verb, Mark):
            self._mark(verb.point, step, here)
        elif isinstance(verb, Restore):
            self._restore(verb, step, here)
        elif isinstance(verb, Destroy) and verb.ends_cluster:
            self.destroyed[step.cluster] = here

    def take_broken(self, step: Mapping[str, Json]) -> None:
        """Remember what a step with a mistake was to make: what refers to it is right."""
        self.unsure |= bool({Restore.name, Destroy.name} & step.keys())
        if (mark := mark_of(step)) is not None:
            self.marks.append(mark)
        if (cluster := cluster_of(step)) is not None:
            self.made.setdefault(cluster, None)

    def close(self) -> None:
        """Tell the sheet what was made, and refuse steps that leave no cluster.

        It could not be steady after the last one.
        """
        in_place = [OWN] if any(_in_place(step) for step in self.steps) else []
        self.sheet.clusters, self.sheet.marks = [*self.made, *in_place], [*self.marks]
        self.sheet.restored = [cluster for cluster in self.made.values() if cluster is not None]
        every: list[str | None] = [None, *self.made]
        if not self.unsure and all(name in self.destroyed for name in every):
            text = "no cluster is left after it; expected a later step that restores one"
            self.sheet.tree.add([*self.destroyed.values()][-1], text, at_key=True)

    def _check_existence(self, verb: Verb, step: Step, here: TreePath) -> None:
        """Refuse to do something to a cluster that is no more."""
        needs_none = isinstance(verb, Sleep | S3 | Restore) or (
            isinstance(verb, Wait) and verb.until == "backup-done"
        )
        by = self.destroyed.get(step.cluster)
        if by is not None and not needs_none and not self.unsure:
            text = f"found {step.verb} of a cluster that {show_path(by[:2])} destroyed"
            expected = "expected `cluster:` with one that was restored since, or a restore in place"
            self.sheet.tree.add(here, f"{text}; {expected}", at_key=True)

    def _check_served(self, step: Step, here: TreePath) -> None:
        """Refuse to wait for what nobody asks for: it would hold at once."""
        if step.cluster is not None:
            text = (
                f"found 'served' of {step.cluster!r}, which no workload uses; expected no cluster"
            )
            self.sheet.tree.add((*here, "until"), text)
        elif not self.sheet.workloads:
            text = "found 'served' in a scenario without a workload; expected one, or healthy"
            self.sheet.tree.add((*here, "until"), text)

    def _mark(self, name: str, step: Step, here: TreePath) -> None:
        if name in self.marks:
            place = (*here, "point") if isinstance(step.parameters, Mapping) else here
            text = f"found {name!r} again; expected a name that no other mark has"
            self.sheet.tree.add(place, text)
        self.marks.append(name)

    def _restore(self, verb: Restore, step: Step, here: TreePath) -> None:
        if verb.to.mark is not None:
            self._check_mark(verb.to.mark, (*here, "to", "mark"))
        if verb.as_cluster is not None:
            self._join(verb, verb.as_cluster, step, here)
        elif self.destroyed.pop(step.cluster, None) is None and not self.unsure:
            text = "a restore in place of a cluster that no earlier step destroys; expected "
            self.sheet.tree.add(here, text + "as_cluster, or a destroy before", at_key=True)

    def _check_mark(self, name: str, path: TreePath) -> None:
        every = [made for other in self.steps if (made := mark_of(other))]
        self.sheet.note(
            rules.reference_rule(
                name,
                path,
                earlier=self.marks,
                later=[made for made in every if made not in self.marks],
                off=[made for other in self.off if (made := mark_of(other))],
                kind=rules.MARK,
            )
        )

    def _join(self, verb: Restore, name: str, step: Step, here: TreePath) -> None:
        scenario = self.sheet.document.root.get("scenario")
        path = (*here, "as_cluster")
        self.sheet.note(rules.cluster_name_rules(name, path, scenario, [*self.made]))
        source = self.sheet.cluster if step.cluster is None else self.made.get(step.cluster)
        nodes = {} if verb.nodes is None else {"nodes": verb.nodes}
        self.made[name] = source and source.model_copy(update=nodes)
        restored = self.made[name]
        if verb.nodes is not None and restored is not None:
            self.sheet.note(rules.size_rules(restored, (*here, "nodes")))
