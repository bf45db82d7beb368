"""The working sheet of one cell: what all of its parts are checked against."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from harness import rules
from harness.cells import Tree
from harness.history import Json
from harness.places import Document, Problem, TreePath, is_list
from harness.planned import Supported
from harness.scenario import Backend, Cluster
from harness.validation import check, nearest

P = TypeVar("P")


@dataclass(slots=True)
class Sheet:
    """One cell while it is drafted: its tree, and what has become of it so far.

    Attributes:
        document: the whole file.
        tree: the file as this cell reads it; every mistake is noted there.
        seed: of the run.
        supported: what the driver can do here; None asks nothing of it.
        cluster: None when its section has a mistake.
        names: of each step that runs in this cell, its number and name.
        off: names of the steps that do not.
        clusters, marks: what those that run restore and mark.
        restored: the clusters that are made beside the cell's own.
        workloads: by their names in the file.
    """

    document: Document
    backend: Backend
    tree: Tree
    seed: int
    supported: Supported | None
    cluster: Cluster | None
    names: list[tuple[int, str | None]] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    restored: list[Cluster] = field(default_factory=list)
    workloads: list[str] = field(default_factory=list)

    def note(self, problems: Iterable[Problem]) -> None:
        """Add to what is wrong in this cell."""
        self.tree.problems.extend(problems)

    def plugin(
        self, cls: type[P], raw: Json, path: TreePath, *, beside: Iterable[str] = ()
    ) -> P | None:
        """Return what the plug-in makes of its parameters, or None and the problems noted."""
        assert issubclass(cls, BaseModel), f"{cls.__name__} is no pydantic model"
        model, problems = check(cls, raw, prefix=path, beside=beside)
        self.note(problems)
        return model

    def check_reference(self, name: str, path: TreePath, *, before: int | None = None) -> None:
        """Refuse a name that no step has, or none of those before the step with this number."""
        earlier = [n for i, n in self.names if n is not None and (before is None or i < before)]
        later = [n for _, n in self.names if n is not None and n not in earlier]
        if self.names:  # without any step, that is the mistake
            self.note(rules.reference_rule(name, path, earlier=earlier, later=later, off=self.off))

    def check_cluster(self, name: str | None, path: TreePath) -> None:
        """Refuse the name of a cluster that no step makes; None is the scenario's own."""
        known = [str(made) for made in _values_of(self.tree.root.get("steps"), "as_cluster")]
        if name is not None and name not in known:
            text = f"unknown cluster {name!r}; expected one that a step restores"
            self.tree.add((*path, "cluster"), text + nearest(name, known))


def _values_of(tree: Json, key: str) -> Iterable[Json]:
    if isinstance(tree, Mapping):
        if key in tree:
            yield tree[key]
        for part in tree.values():
            yield from _values_of(part, key)
    elif is_list(tree):
        for part in tree:
            yield from _values_of(part, key)
