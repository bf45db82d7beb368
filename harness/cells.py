"""The matrix: a scenario file as it reads in each of its cells, still as plain data.

A cell's tree is the file's, with the backend's overrides and the matrix's choices put in. Each
part remembers where it came from, so that a mistake points at `matrix.cluster.nodes[1]`.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.history import Json
from harness.places import Document, Problem, TreePath, at, is_list, show, show_path
from harness.scenario import Backend
from harness.validation import nearest, one_of, unknown

# Sections of which a path in the matrix may speak, and those in which `${x}` is put in.
SECTIONS = ("cluster", "workload", "steady", "steps", "expect")
VARIABLE_SECTIONS = ("workload", "steps", "expect")
MAX_CELLS = 512

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_FREE_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Axis:
    """One variable of the matrix.

    Attributes:
        key: as written. target: the path that it sets, or None for a free variable.
        origin: where its list of values stands.
    """

    key: str
    target: TreePath | None
    origin: TreePath
    values: Sequence[Json]


@dataclass(slots=True)
class Tree:
    """The file as one cell reads it.

    Attributes:
        id: the text in brackets; empty without a matrix.
        choices: value by axis.
        root: the sections that a cell can change.
        origins: for what was put in from elsewhere in the file, where that is.
        secrets: values from the environment, and how the file names each.
        masked: the text of the file wherever a secret was put in.
        problems: what is wrong in this cell, by paths in its tree.
        unfilled: where a variable stands that has no value, as its axis is wrong itself.
    """

    id: str
    choices: Mapping[str, Json]
    root: dict[str, Json]
    origins: dict[TreePath, TreePath] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    masked: dict[TreePath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unfilled: set[TreePath] = field(default_factory=set)

    def add(self, path: TreePath, text: str, *, at_key: bool = False) -> None:
        """Note a mistake at this path of the cell's tree."""
        self.problems.append(Problem(path, text, at_key))

    def in_file(self, problem: Problem, document: Document) -> Problem:
        """Return the problem where the file has it, with no secret in its words."""
        text, path = self._redacted(problem), problem.path
        # A key that the file itself holds is wrong there, wherever its value came from.
        longest = len(path) - (problem.at_key and path in document.keys)
        for end in range(longest, 0, -1):
            origin = self.origins.get(path[:end])
            if origin is not None:
                if problem.at_key and end == len(path) and isinstance(origin[-1], int):
                    origin = origin[:-1]  # the axis names the key; its values are not to blame
                return Problem((*origin, *path[end:]), text, problem.at_key)
        return Problem(path, text, problem.at_key)

    def _redacted(self, problem: Problem) -> str:
        text = problem.text
        if problem.path in self.masked:  # whatever was found there may be a part of a secret
            _, separator, expected = text.partition("; expected")
            text = f"found {show(self.masked[problem.path])}{separator}{expected}"
        return self.hide(text)

    def hide(self, text: str) -> str:
        """Return a text with the file's name in place of each secret."""
        for secret, name in self.secrets.items():
            text = text.replace(repr(secret)[1:-1], name).replace(secret, name)
        return text


def axes(document: Document, backend: Backend) -> tuple[Sequence[Axis], Sequence[Problem]]:
    """Return the variables of the matrix for one backend, an override replacing whole axes."""
    problems: list[Problem] = []
    found: dict[str, Axis] = {}
    for prefix in (("matrix",), ("backends", backend, "matrix")):
        matrix = at(document.root, prefix)
        if not isinstance(matrix, Mapping):
            continue
        for key, values in matrix.items():
            origin = (*prefix, key)
            wrong = list(_wrong_axis(key, values, origin, document))
            problems += wrong
            if not wrong and is_list(values):
                found[key] = Axis(key, _target(key), origin, values)
    count = 1
    for axis in found.values():
        count *= len(axis.values)
    if count > MAX_CELLS:
        problems.append(Problem(("matrix",), f"{count} cells; expected at most {MAX_CELLS}"))
        return [replace(axis, values=axis.values[:1]) for axis in found.values()], problems
    return list(found.values()), problems


def _wrong_axis(key: str, values: Json, origin: TreePath, document: Document) -> Iterator[Problem]:
    target = _target(key)
    if target is None and not _FREE_NAME.fullmatch(key):
        text = f"found {key!r}; expected a path into {one_of(SECTIONS)}, or a variable's name"
        yield Problem(origin, text + nearest(key.split(".")[0], SECTIONS), at_key=True)
    if target and target[0] == "steps" and at(document.root, target[:2]) is None:
        text = f"{show_path(target)} is not in the file; expected a path that exists"
        yield Problem(origin, text, at_key=True)
    if not is_list(values) or not values:
        yield Problem(origin, f"found {show(values)}; expected a list with at least one value")
        return
    seen: set[str] = set()
    for i, value in enumerate(values):
        if not _is_simple(value):
            text = f"found {show(value)}; expected text, a number, true or false, or a list of them"
            yield Problem((*origin, i), text)
        elif (text := _show_choice(value)) in seen:
            yield Problem((*origin, i), f"found {show(value)} again; expected each value once")
        else:
            seen.add(text)


def _is_simple(value: Json) -> bool:
    if is_list(value):
        return bool(value) and not any(is_list(item) or not _is_simple(item) for item in value)
    return value is not None and not isinstance(value, Mapping)


def _target(key: str) -> TreePath | None:
    """Return the path that a dotted key sets: `steps[1].wait.timeout`; None for a free variable."""
    parts = re.sub(r"\[([0-9]{1,4})\]", r".\1", key).split(".")
    if len(parts) == 1 or parts[0] not in SECTIONS or not all(parts):
        return None
    return tuple(
        int(part) if parts[0] == "steps" and i == 1 and part.isdecimal() else part
        for i, part in enumerate(parts)
    )


def expand(
    document: Document, backend: Backend, environment: Mapping[str, str]
) -> tuple[Sequence[Tree], Sequence[Problem]]:
    """Return the file as each cell of the backend reads it, in the order of the matrix.

    What is wrong with one cell is in its tree; what is wrong with the matrix comes beside them.
    """
    found, problems = axes(document, backend)
    declared = _declared(document)
    names = _short_names([axis.key for axis in found])
    trees = []
    for picks in itertools.product(*(range(len(axis.values)) for axis in found)):
        chosen = [(axis, pick) for axis, pick in zip(found, picks, strict=True)]
        cell_id = "-".join(
            f"{names[axis.key]}={_show_choice(axis.values[pick])}" for axis, pick in chosen
        )
        choices = {axis.key: axis.values[pick] for axis, pick in chosen}
        tree = Tree(cell_id, choices, _copy_sections(document))
        _override(tree, document, backend)
        _put_choices(tree, chosen)
        _put_variables(tree, chosen, environment, declared)
        trees.append(tree)
    return trees, problems


def unused_variables(document: Document) -> Iterator[Problem]:
    """Yield each free variable that no `${x}`, `when` or `unless` speaks of."""
    used = set(_used(document.root))
    for path in _declared(document):
        key = str(path[-1])
        if _FREE_NAME.fullmatch(key) and key not in used:
            text = f"nothing uses this variable; expected ${{{key}}} in workload, steps or expect"
            yield Problem(path, text, at_key=True)


def cover_rules(document: Document) -> Iterator[Problem]:
    """Yield a `cover` that leaves nothing out: the matrix alone says so."""
    matrix, cover = at(document.root, ("matrix",)), document.root.get("cover")
    axes = len(matrix) if isinstance(matrix, Mapping) else 0
    if isinstance(cover, int) and not isinstance(cover, bool) and cover >= max(axes, 1):
        text = f"found {cover}, and the matrix has {axes} axes; expected fewer than it has, or none"
        yield Problem(("cover",), text)


def _declared(document: Document) -> Sequence[TreePath]:
    """Return the path of each axis in the file, right or wrong."""
    backends = at(document.root, ("backends",))
    prefixes: list[TreePath] = [("matrix",)]
    if isinstance(backends, Mapping):
        prefixes += [("backends", name, "matrix") for name in backends]
    matrices = [(prefix, at(document.root, prefix)) for prefix in prefixes]
    return [
        (*prefix, key)
        for prefix, matrix in matrices
        if isinstance(matrix, Mapping)
        for key in matrix
    ]


def declared_values(document: Document, key: str) -> Sequence[Json]:
    """Return all values that an axis has on any backend."""
    lists = [at(document.root, path) for path in _declared(document) if path[-1] == key]
    return [value for values in lists if is_list(values) for value in values]


def _used(tree: Json, path: TreePath = ()) -> Iterator[str]:
    if isinstance(tree, Mapping):
        if path[-1:] in (("when",), ("unless",)):
            yield from tree
        for key, value in tree.items():
            yield from _used(value, (*path, key))
    elif is_list(tree):
        for i, value in enumerate(tree):
            yield from _used(value, (*path, i))
    elif isinstance(tree, str):
        yield from _VARIABLE.findall(tree)


def _short_names(keys: Sequence[str]) -> Mapping[str, str]:
    """Return the last part of each dotted key; the whole key where two end alike."""
    last = {key: key.rsplit(".", 1)[-1] for key in keys}
    ends = list(last.values())
    return {key: end if ends.count(end) == 1 else key for key, end in last.items()}


def _show_choice(value: Json) -> str:
    if isinstance(value, str):
        return value
    if is_list(value):
        return "+".join(map(_show_choice, value))
    return json.dumps(value)


def _copy_sections(document: Document) -> dict[str, Json]:
    return {name: _copy(document.root[name]) for name in SECTIONS if name in document.root}


def _copy(tree: Json) -> Json:
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if is_list(tree) else tree


def _override(tree: Tree, document: Document, backend: Backend) -> None:
    """Put in what `backends.<name>` changes of the workload's rate and of expectations."""
    prefix: TreePath = ("backends", backend)
    rate = at(document.root, (*prefix, "rate"))
    workload = tree.root.get("workload")
    if rate is not None and isinstance(workload, Mapping):
        for name in workload:
            _put(tree, ("workload", name, "rate"), rate, (*prefix, "rate"))
    expect = at(document.root, (*prefix, "expect"))
    for name, value in expect.items() if isinstance(expect, Mapping) else ():
        here = (*prefix, "expect", name)
        if isinstance(value, Mapping) and isinstance(at(tree.root, ("expect", name)), Mapping):
            for key, part in value.items():
                _put(tree, ("expect", name, key), part, (*here, key))
        else:
            _put(tree, ("expect", name), value, here)


def _put_choices(tree: Tree, chosen: Sequence[tuple[Axis, int]]) -> None:
    for axis, pick in chosen:
        if axis.target is not None:
            _put(tree, axis.target, axis.values[pick], (*axis.origin, pick))


def _put(tree: Tree, path: TreePath, value: Json, origin: TreePath) -> None:
    """Set what stands at a path, making the mappings on the way to it."""
    here: Json = tree.root
    for part in path[:-1]:
        child = at(here, (part,))
        if not isinstance(child, dict | list):
            child = {}
            _set(here, part, child)
        here = child
    _set(here, path[-1], _copy(value))
    tree.origins = {p: o for p, o in tree.origins.items() if p[: len(path)] != path}
    tree.origins[path] = origin


def _set(parent: Json, part: str | int, value: Json) -> None:
    if isinstance(parent, dict):
        parent[str(part)] = value
    elif isinstance(parent, list) and isinstance(part, int) and part < len(parent):
        parent[part] = value


def _put_variables(
    tree: Tree,
    chosen: Sequence[tuple[Axis, int]],
    environment: Mapping[str, str],
    declared: Sequence[TreePath],
) -> None:
    """Replace each `${x}` and `${env:NAME}` in the sections that may hold them."""
    origins = {axis.key: (*axis.origin, pick) for axis, pick in chosen}
    known = {str(path[-1]) for path in declared}

    def replaced(value: Json, path: TreePath) -> Json:
        if isinstance(value, Mapping):
            return {key: replaced(part, (*path, key)) for key, part in value.items()}
        if is_list(value):
            return [replaced(part, (*path, i)) for i, part in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        whole = _VARIABLE.fullmatch(value)
        if whole and whole[1] in tree.choices:
            tree.origins[path] = origins[whole[1]]
            return tree.choices[whole[1]]
        if "${" in _VARIABLE.sub("", value):
            tree.add(path, f"found {show(value)}; expected each ${{ to be closed by }}")
        return _VARIABLE.sub(lambda match: text_of(match[1], value, path), value)

    def text_of(name: str, value: str, path: TreePath) -> str:
        kind, _, variable = name.partition(":")
        secret = environment.get(variable) if kind == "env" else None
        if name in tree.choices:
            return _show_choice(tree.choices[name])
        if secret:
            tree.secrets[secret] = f"${{{name}}}"
            tree.masked[path] = value
            return secret
        if kind == "env":  # an empty secret is a forgotten one
            tree.add(path, f"the environment has no {variable}; expected it to be set")
        elif name not in known:
            tree.add(path, unknown("variable", name, [*tree.choices, "env:NAME"]))
        else:
            tree.unfilled.add(path)
        return f"${{{name}}}"

    for name in VARIABLE_SECTIONS:
        if name in tree.root:
            tree.root[name] = replaced(tree.root[name], (name,))
