"""Where things stand in a file: line and column by path, free of any parser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeGuard

from harness.errors import Mistake
from harness.history import Json

TreePath: TypeAlias = tuple[str | int, ...]
# Characters of a value that a message shows.
SHOWN = 60


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake before its place in the file is looked up.

    Attributes:
        path: of the value; of the key that is missing; with `at_key`, of the key that is wrong.
        text: `<what was found>; expected <what>`.
    """

    path: TreePath
    text: str
    at_key: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its text, the mapping in it, and where each part of that stands."""

    file: str
    text: str = field(repr=False)
    root: Mapping[str, Json]
    values: Mapping[TreePath, Place] = field(repr=False)
    keys: Mapping[TreePath, Place] = field(repr=False)

    def place(self, path: TreePath, *, at_key: bool = False) -> Place:
        """Return where this stands; of what is not in the file, where its parent stands."""
        if at_key and path in self.keys:
            return self.keys[path]
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def mistake(self, problem: Problem) -> Mistake:
        """Return the problem as people see it."""
        place = self.place(problem.path, at_key=problem.at_key)
        where = f"{show_path(problem.path)}: " if problem.path else ""
        return Mistake(self.file, place.line, place.column, where + problem.text)


def show_path(path: TreePath) -> str:
    """Return `steps[2].wait.timeout` for `("steps", 2, "wait", "timeout")`."""
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return words.removeprefix(".")


def at(tree: Json, path: TreePath, default: Json = None) -> Json:
    """Return what stands at this path of a tree, or the default."""
    for part in path:
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[str(part)]
        elif is_list(tree) and isinstance(part, int) and 0 <= part < len(tree):
            tree = tree[part]
        else:
            return default
    return tree


def is_list(value: Json) -> TypeGuard[Sequence[Json]]:
    """Say whether this is a YAML sequence; text is none."""
    return isinstance(value, list | tuple)


def show(value: Json) -> str:
    """Return a value as a message shows it: short, and never a whole tree."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "{}"
    if is_list(value):
        return "a list" if value else "[]"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]}...{text[-1]}"
