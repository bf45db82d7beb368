"""What may be written for a value, in words: no reader meets a JSON Schema."""

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from harness.history import Json
from harness.places import is_list
from harness.scenario import (
    EXPECTED,
    BackendOverride,
    Cluster,
    PatroniSettings,
    ReplicaState,
    Requirements,
    Steady,
    Step,
    Target,
)
from harness.units import (
    DURATION_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_rate,
    format_size,
)
from harness.validation import Schema

# Sections of scenario.md, by the model that each describes.
SECTIONS: Mapping[type[BaseModel], str] = {
    Cluster: "cluster",
    PatroniSettings: "patroni",
    BackendOverride: "backends",
    Requirements: "requires",
    Steady: "steady",
    ReplicaState: "replicas",
    Step: "step",
    Target: "target",
}
_LINKS = {
    **{cls.__name__: f"[{name}](scenario.md#{name})" for cls, name in SECTIONS.items()},
    "Json": "any value",  # defined by itself, so it has no end of words
}
_UNITS = {DURATION_PATTERN: "duration", RATE_PATTERN: "rate", SIZE_PATTERN: "size"}


def type_words(schema: Schema, definitions: Schema) -> str:
    """Return what may be written for a value, in words, from its JSON Schema."""
    options = schema.get("anyOf")
    if is_list(options):
        kinds = [mapping(one) for one in options]
        words = (type_words(one, definitions) for one in kinds if one.get("type") != "null")
        told = list(dict.fromkeys(words))
        return ("; or " if any("," in one for one in told) else " or ").join(told)
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        return _LINKS.get(name) or type_words(mapping(definitions[name]), definitions)
    values = schema.get("enum")
    if is_list(values):
        return f"one of {', '.join(code(one) for one in values)}"
    if "const" in schema:
        return code(schema["const"])
    return _kind_words(schema, definitions)


def _kind_words(schema: Schema, definitions: Schema) -> str:
    match schema.get("type"):
        case "string":
            unit = _UNITS.get(str(schema.get("pattern")))
            return unit or str(schema.get(EXPECTED, "text"))
        case "integer" | "number":
            return number_words(schema.get("minimum"), schema.get("maximum"))
        case "boolean":
            return "`true` or `false`"
        case "array":
            item = type_words(mapping(schema["items"]), definitions)
            return "list" if item == _LINKS["Json"] else f"list of {item}"
        case "object":
            return _object_words(schema, definitions)
    return "any value"


def number_words(low: object, high: object) -> str:
    """Return what may be written for a number between two ends; None is no end."""
    if low is None:
        return "whole number"
    return f"whole number, {low} or more" if high is None else f"whole number, {low} to {high}"


def _object_words(schema: Schema, definitions: Schema) -> str:
    members = {**mapping(schema.get("properties", {}))}
    inner = schema.get("additionalProperties")
    key = mapping(schema.get("propertyNames", {}))
    if "const" in key:
        members[str(key["const"])] = inner
    if members:
        return "; ".join(_member(name, mapping(m), definitions) for name, m in members.items())
    if not isinstance(inner, Mapping):
        return "mapping"
    keys = f"from {type_words(key, definitions)} " if key else ""
    values = type_words(inner, definitions)
    return "mapping" if not keys and values == _LINKS["Json"] else f"mapping {keys}to {values}"


def _member(name: str, schema: Schema, definitions: Schema) -> str:
    if "const" in schema:
        return f"`{{{name}: {schema['const']}}}`"
    return f"`{{{name}: ...}}` with {type_words(schema, definitions)}"


def default_words(schema: Schema) -> str:
    """Return a default as it would be written; nothing for none, and for one made of others."""
    value = schema.get("default")
    if value is None or isinstance(value, Mapping) or value == []:
        return ""
    patterns = {mapping(one).get("pattern") for one in (schema, *_options(schema))}
    if isinstance(value, float) and DURATION_PATTERN in patterns:
        return code(format_duration(value))
    if isinstance(value, float) and RATE_PATTERN in patterns:
        return code(format_rate(value))
    if isinstance(value, int) and SIZE_PATTERN in patterns:
        return code(format_size(value))
    return code(value)


def _options(schema: Schema) -> Sequence[Json]:
    options = schema.get("anyOf")
    return options if is_list(options) else ()


def code(value: Json) -> str:
    """Return a value as YAML has it, set as code."""
    if is_list(value):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def mapping(value: Json) -> Schema:
    """Return a part of a JSON Schema that is known to be a mapping."""
    assert isinstance(value, Mapping), f"{value!r} is no part of a schema"
    return value
