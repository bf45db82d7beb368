"""`when` and `unless`: whether a part of the scenario belongs to a cell."""

from collections.abc import Iterable, Mapping, Sequence

from harness.cells import declared_values
from harness.drafting.sheet import Sheet
from harness.history import Json
from harness.places import Problem, TreePath, at, is_list, show
from harness.scenario import Cluster
from harness.validation import check, nearest, one_of, unknown


def holds(sheet: Sheet, conditions: Mapping[str, Json], path: TreePath) -> bool:
    """Say whether all conditions hold in this cell; one that is wrong counts as holding."""
    return all(_is(sheet, key, wanted, (*path, key)) for key, wanted in conditions.items())


def _is(sheet: Sheet, key: str, wanted: Json, path: TreePath) -> bool:
    options = list(wanted) if is_list(wanted) else [wanted]
    parts = key.split(".")
    if key in sheet.tree.choices:
        value = sheet.tree.choices[key]
    elif parts[0] == "cluster" and sheet.cluster is not None:
        value = at(sheet.cluster.model_dump(mode="json"), tuple(parts[1:]))
    else:
        value = None
    if value is None or isinstance(value, Mapping):
        declared = [*sheet.tree.choices, *_cluster_paths()]
        if sheet.cluster is not None and not declared_values(sheet.document, key):
            sheet.tree.add(path, unknown("variable", key, declared), at_key=True)
        return True
    known = declared_values(sheet.document, key)
    for i, option in enumerate(options):
        here = (*path, i) if is_list(wanted) else path
        if parts[0] == "cluster":
            sheet.note(_as_cluster_value(parts[1:], option, here))
        elif not any(_same(option, one) for one in known):
            texts = [str(one) for one in known]
            text = f"found {show(option)}; expected {one_of(texts)}"
            sheet.tree.add(here, text + nearest(option, texts))
    return any(_same(option, value) for option in options)


def _same(one: Json, other: Json) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _cluster_paths() -> Sequence[str]:
    """Return the dotted paths that a condition may ask about."""
    tree: Json = Cluster().model_dump(mode="json")
    assert isinstance(tree, Mapping), "a model dumps to a mapping"
    return [
        f"cluster.{key}.{below}" if below else f"cluster.{key}"
        for key, value in tree.items()
        for below in (value if isinstance(value, Mapping) else ("",))
    ]


def _as_cluster_value(parts: Sequence[str], value: Json, path: TreePath) -> Iterable[Problem]:
    """Yield what is wrong with a value that a condition compares a setting of the cluster with."""
    tree = value
    for part in reversed(parts):
        tree = {part: tree}
    return [Problem(path, p.text) for p in check(Cluster, tree)[1]]
