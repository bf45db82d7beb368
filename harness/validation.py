"""What was written, held against a pydantic model; mistakes in the words of the house.

Pydantic says where and of which kind a mistake is; what was expected is told by the model's JSON
Schema, so that messages, editors and validation agree. Beyond pydantic, a value of the wrong
YAML type is refused even where pydantic would convert it (`nodes: "3"`, `failsafe_mode: yes`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.history import Json
from harness.places import SHOWN, Problem, TreePath, at, is_list, show
from harness.scenario import EXPECTED

Schema: TypeAlias = Mapping[str, Json]
M = TypeVar("M", bound=BaseModel)

_SCALARS = frozenset({"integer", "number", "boolean", "string", "null"})


def check(
    cls: type[M], raw: Json, *, prefix: TreePath = (), beside: Iterable[str] = ()
) -> tuple[M | None, Sequence[Problem]]:
    """Return the model that the value makes, or what is wrong with it.

    Args:
        cls: the model.
        raw: what was written.
        prefix: where the value stands; put before the path of each problem.
        beside: keys that may stand among the model's own, for the message about a wrong one.
    """
    schema = schema_of(cls)
    problems = list(_mismatches(raw, schema, schema, ()))
    model: M | None = None
    try:
        model = cls.model_validate(raw)
    except ValidationError as error:
        problems += _translate(error.errors(include_url=False), raw, schema, tuple(beside))
    except (AttributeError, IndexError, KeyError, TypeError):
        # A plug-in's own validator met a shape that it was not written for.
        problems.append(Problem((), f"found {show(raw)}; expected {_words([schema])}"))
    found = [
        Problem((*prefix, *p.path), p.text, p.at_key) for p in without_echoes(_deepest(problems))
    ]
    return (None if problems else model), found


@cache
def schema_of(cls: type[BaseModel]) -> Schema:
    """Return the JSON Schema of what may be written for a model."""
    schema: Schema = cls.model_json_schema(by_alias=True, mode="validation")
    return schema


def nearest(word: object, options: Iterable[str]) -> str:
    """Return `; did you mean x?` for the option that the word is likely meant to be, if any."""
    if not isinstance(word, str):
        return ""
    plain = {option.lower().replace("_", "-"): option for option in options}
    close = get_close_matches(word.lower().replace("_", "-")[:SHOWN], plain, n=1)
    return f"; did you mean {plain[close[0]]}?" if close else ""


def one_of(options: Iterable[str]) -> str:
    """Return `one of a, b, c`, or the only option."""
    names = list(options)
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def unknown(what: str, word: str, options: Iterable[str]) -> str:
    """Return the message for a name that nothing has."""
    names = list(dict.fromkeys(options))
    expected = one_of(names) if names else "none"
    return f"unknown {what} {show(word)}; expected {expected}{nearest(word, names)}"


# --- pydantic's errors -------------------------------------------------------------------------


def _translate(
    errors: Sequence[ErrorDetails], raw: Json, schema: Schema, beside: Sequence[str]
) -> Iterator[Problem]:
    for error in errors:
        path, left = _descend(raw, error["loc"])
        if error["type"] == "extra_forbidden" or left[:1] == ("[key]",):
            yield _unknown_key(path, schema, beside if len(path) == 1 else ())
        elif error["type"] == "missing" and isinstance(at(raw, path), Mapping) and left:
            path = (*path, str(left[-1]))
            yield Problem(path, f"missing; expected {_words(_below(schema, path))}")
        else:
            text = _found(error, at(raw, path), _below(schema, path))
            # A validator of a whole that names one of its keys first means the value there.
            subject = text.split(" ", 1)[0]
            if isinstance(at(raw, (*path, subject)), str | int | float):
                path = (*path, subject)
            yield Problem(path, text)


def _descend(raw: Json, loc: Sequence[str | int]) -> tuple[TreePath, TreePath]:
    """Split pydantic's location into what exists in the tree and the rest.

    Pydantic puts the branch of a union in between (`until.OldLeader`); the tree has no such part.
    """
    path: TreePath = ()
    left: TreePath = ()
    for part in loc:
        here = at(raw, path)
        if (isinstance(here, Mapping) and part in here) or (
            is_list(here) and isinstance(part, int) and part < len(here)
        ):
            path, left = (*path, part), ()
        else:
            left = (*left, part)
    return path, left


def _unknown_key(path: TreePath, schema: Schema, beside: Sequence[str]) -> Problem:
    options = sorted({key for s in _below(schema, path[:-1]) for key in _keys(s)} | set(beside))
    return Problem(path, unknown("key", str(path[-1]), options), at_key=True)


def _found(error: ErrorDetails, value: Json, options: Sequence[Schema]) -> str:
    custom = str(error.get("ctx", {}).get("error", ""))
    if custom and not any(EXPECTED in option for option in options):
        if "; expected" not in custom:
            return f"found {show(value)}; {custom}"
        return f"found {custom}" if custom.startswith(repr(value)) else custom
    return _generic(value, options)


def _generic(value: Json, options: Sequence[Schema]) -> str:
    choices = [str(choice) for option in options for choice in _choices(option)]
    return f"found {show(value)}; expected {_words(options)}{nearest(value, choices)}"


def without_echoes(problems: Iterable[Problem]) -> Sequence[Problem]:
    """Drop the later of two problems in one place, and a missing key that is there misspelt."""
    first: dict[tuple[TreePath, bool], Problem] = {}
    for problem in problems:
        first.setdefault((problem.path, problem.at_key), problem)
    misspelt = {
        (*path[:-1], problem.text.rsplit("; did you mean ", 1)[-1].rstrip("?"))
        for (path, at_key), problem in first.items()
        if at_key and "; did you mean " in problem.text
    }
    return [
        problem
        for problem in first.values()
        if problem.path not in misspelt or not problem.text.startswith("missing;")
    ]


def _deepest(problems: Iterable[Problem]) -> Sequence[Problem]:
    """Drop what only repeats a problem, or says of a whole what is wrong in a part of it."""
    unique = {(p.path, p.text): p for p in problems}.values()
    first = {p.path: p for p in reversed(list(unique))}
    return [
        p
        for p in first.values()
        if not any(len(q) > len(p.path) and q[: len(p.path)] == p.path for q in first)
    ][::-1]


# --- JSON Schema -------------------------------------------------------------------------------


def _resolved(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the schemas of which a value must meet one, references followed."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = at(root, tuple(reference.removeprefix("#/").split("/")))
        assert isinstance(target, Mapping), f"{reference} is not in the schema"
        yield from _resolved(target, root)
        return
    branches = [schema[key] for key in ("anyOf", "oneOf", "allOf") if key in schema]
    if not branches:
        yield schema
    for branch in branches:
        assert is_list(branch), "a schema's anyOf is a list"
        for option in branch:
            assert isinstance(option, Mapping), "a schema is a mapping"
            yield from _resolved(option, root)


def _below(schema: Schema, path: TreePath) -> Sequence[Schema]:
    """Return the schemas that may apply to what stands at this path."""
    here = list(_resolved(schema, schema))
    for part in path:
        here = [
            option
            for parent in here
            for child in _children(parent, part)
            for option in _resolved(child, schema)
        ]
    return here


def _children(schema: Schema, part: str | int) -> Iterator[Schema]:
    if isinstance(part, int):
        children = [schema.get("items")]
        prefix = schema.get("prefixItems")
        if is_list(prefix) and part < len(prefix):
            children = [prefix[part]]
    else:
        children = [at(schema, ("properties", part), schema.get("additionalProperties"))]
    yield from (child for child in children if isinstance(child, Mapping))


def _keys(schema: Schema) -> Iterator[str]:
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from properties
    names = at(schema, ("propertyNames",))
    if isinstance(names, Mapping):
        yield from map(str, _choices(names))


def _choices(schema: Schema) -> Sequence[Json]:
    if "const" in schema:
        return [schema["const"]]
    options = schema.get("enum")
    return options if is_list(options) else ()


def _words(options: Sequence[Schema]) -> str:
    """Return what one of these schemas expects, for people: `a duration like 90s`."""
    choices = [_plain(choice) for option in options for choice in _choices(option)]
    words = [one_of(choices)] if choices else []
    words += [_kind(option) for option in options if not _choices(option)]
    known = list(dict.fromkeys(word for word in words if word))
    return " or ".join(known) or "something else"


def _plain(value: Json) -> str:
    return show(value) if isinstance(value, bool | None) else str(value)


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if EXPECTED in schema or "pattern" in schema:
        return str(schema.get(EXPECTED, f"text that matches {schema.get('pattern')}"))
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(schema)
    if kind == "string":
        return "text that is not empty" if schema.get("minLength") else "text"
    if kind == "array":
        return "a list with at least one entry" if schema.get("minItems") else "a list"
    if kind == "object":
        return "a mapping with at least one entry" if schema.get("minProperties") else "a mapping"
    return "true or false" if kind == "boolean" else ""


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    over = schema.get("exclusiveMinimum")
    return (
        f" of at most {high}" if high is not None else f" above {over}" if over is not None else ""
    )


# --- types that pydantic would convert ---------------------------------------------------------


def _mismatches(raw: Json, schema: Schema, root: Schema, path: TreePath) -> Iterator[Problem]:
    """Yield scalars of a type, and keys of a spelling, that the schema does not know."""
    options = list(_resolved(schema, root))
    if isinstance(raw, Mapping):
        yield from _mismatches_in_mapping(raw, options, root, path)
    elif is_list(raw):
        for i, item in enumerate(raw):
            children = [child for option in options for child in _children(option, i)]
            if children:
                yield from _mismatches(item, {"anyOf": children}, root, (*path, i))
    elif path and raw is not None:
        kinds = [_type_names(option) for option in options]
        allowed = {name for names in kinds for name in names}
        # An option without a type takes anything; an object may have a short form as a scalar.
        if all(kinds) and allowed <= _SCALARS and not any(_admits(o, raw) for o in options):
            yield Problem(path, _generic(raw, options))


def _admits(schema: Schema, value: Json) -> bool:
    """Say whether a scalar is of the type, and among the choices or of the form, of a schema."""
    choices = _choices(schema)
    if choices and not any(_types(value) & _types(c) and value == c for c in choices):
        return False
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and isinstance(value, str) and not re.search(pattern, value):
        return False
    return bool(_types(value) & _type_names(schema))


def _mismatches_in_mapping(
    raw: Mapping[str, Json], options: Sequence[Schema], root: Schema, path: TreePath
) -> Iterator[Problem]:
    objects = [option for option in options if "object" in _type_names(option)]
    known = {key for option in objects for key in _keys(option)}
    for key, value in raw.items():
        children = [child for option in objects for child in _children(option, key)]
        if children:
            yield from _mismatches(value, {"anyOf": children}, root, (*path, key))
        elif key not in known and {key.rstrip("_"), key.replace("_", "-")} & known:
            # Pydantic also takes the Python name of a field (`from_`), which is not ours to write.
            yield Problem((*path, key), unknown("key", key, sorted(known)), at_key=True)


def _type_names(schema: Schema) -> frozenset[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    if is_list(kind):
        return frozenset(map(str, kind))
    return frozenset(name for choice in _choices(schema) for name in _types(choice))


def _types(value: Json) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int):
        return frozenset({"integer", "number"})
    if isinstance(value, float):
        return frozenset({"number"})
    return frozenset({"null"} if value is None else {"string"})
