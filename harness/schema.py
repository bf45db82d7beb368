"""The JSON Schema of a scenario file, for editors: the models, and every plug-in's parameters.

Looser than the loader where it must be: a `${x}` may stand for any scalar in what the matrix can
fill in, and what only shows in a cell is not seen.
"""

from collections.abc import Mapping

from pydantic import BaseModel

from harness import registry
from harness.history import Json
from harness.places import is_list
from harness.scenario import EXPECTED, ExpectationModifiers, Scenario, Step
from harness.units import (
    DURATION_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_rate,
    format_size,
)
from harness.validation import Schema, schema_of

_VARIABLE: Schema = {
    "type": "string",
    "pattern": r"\$\{[^{}]+\}",
    EXPECTED: "a variable like ${x}",
}
_SCALARS = ("integer", "number", "boolean", "string")
_SHORT_FORM: Schema = {"type": ["string", "number", "boolean"]}


def scenario_schema() -> Schema:
    """Return the schema (draft 2020-12), with all plug-ins that are installed."""
    definitions: dict[str, Json] = {}
    top = _lifted(Scenario, definitions)
    properties = dict(_mapping(top["properties"]))
    properties["workload"] = _workload(definitions)
    properties["expect"] = {
        **_by_name(registry.checkers(), "expect", definitions, ExpectationModifiers),
        "minProperties": 1,
    }
    properties["steps"] = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}}
    backend = dict(_mapping(definitions["BackendOverride"]))
    override = _by_name(registry.checkers(), "override", definitions, ExpectationModifiers)
    for name in registry.checkers():  # it is put over the file's own, so it need not be whole
        whole = _mapping(definitions[f"override.{name}"])
        definitions[f"override.{name}"] = {k: v for k, v in whole.items() if k != "required"}
    backend["properties"] = {**_mapping(backend["properties"]), "expect": override}
    definitions["BackendOverride"] = backend
    definitions["step"] = _step(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario",
        **{key: value for key, value in top.items() if key not in ("$defs", "title")},
        "properties": properties,
        "$defs": definitions,
    }


def _workload(definitions: dict[str, Json]) -> Schema:
    """Return the schema of the workloads: by their own names, or by any with a `kind`."""
    named = _by_name(registry.workloads(), "workload", definitions)
    others: list[Json] = []
    for kind in registry.workloads():
        plain = _mapping(definitions[f"workload.{kind}"])
        properties = {"kind": {"const": kind}, **_mapping(plain["properties"])}
        required = plain.get("required", [])
        assert is_list(required)
        definitions[f"workload.kind.{kind}"] = {
            **plain,
            "properties": properties,
            "required": ["kind", *required],
        }
        others.append({"$ref": f"#/$defs/workload.kind.{kind}"})
    return {**named, "additionalProperties": {"anyOf": others}}


def _step(definitions: dict[str, Json]) -> Schema:
    """Return the schema of one step: its modifiers and exactly one of the verbs."""
    own = dict(_mapping(_lifted(Step, definitions)["properties"]))
    for name in ("verb", "parameters", "path"):
        del own[name]
    definitions.pop("Step", None)
    verbs = _by_name(registry.verbs(), "verb", definitions)
    return {
        "type": "object",
        "properties": {**_mapping(verbs["properties"]), **_mapping(_open(own))},
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in registry.verbs()],
    }


def _by_name(
    classes: Mapping[str, type],
    kind: str,
    definitions: dict[str, Json],
    beside: type[BaseModel] | None = None,
) -> Schema:
    """Return the schema of a mapping from plug-ins' names to their parameters."""
    more = _mapping(_lifted(beside, definitions)["properties"]) if beside else {}
    properties: dict[str, Json] = {}
    for name, cls in classes.items():
        assert issubclass(cls, BaseModel), f"{cls.__name__} is no pydantic model"
        own = dict(_lifted(cls, definitions))
        own["properties"] = {**_mapping(_open(own.get("properties", {}))), **more}
        definitions[f"{kind}.{name}"] = own
        properties[name] = {"$ref": f"#/$defs/{kind}.{name}"}
        if _has_short_form(cls):
            properties[name] = {"anyOf": [properties[name], _SHORT_FORM]}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _has_short_form(cls: type[BaseModel]) -> bool:
    """Say whether the plug-in also reads something else than a mapping: `sleep: 60s`."""
    validators = cls.__pydantic_decorators__.model_validators.values()
    return any(validator.info.mode == "before" for validator in validators)


def _lifted(cls: type[BaseModel], definitions: dict[str, Json]) -> Schema:
    """Return a model's schema with its definitions moved to the top, defaults as written."""
    schema = _mapping(_as_written(schema_of(cls)))
    definitions.update(_mapping(schema.get("$defs", {})))
    return {key: value for key, value in schema.items() if key != "$defs"}


def _as_written(schema: Json) -> Json:
    """Return the schema with numbers that are written with a unit shown so."""
    if is_list(schema):
        return [_as_written(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    written = {key: _as_written(value) for key, value in schema.items()}
    default = written.get("default")
    text = str(_pattern_of(written))
    if isinstance(default, int | float) and not isinstance(default, bool):
        if text == DURATION_PATTERN:
            written["default"] = format_duration(default)
        elif text == RATE_PATTERN:
            written["default"] = format_rate(default)
        elif text == SIZE_PATTERN:
            written["default"] = format_size(int(default))
    elif isinstance(default, Mapping | list | tuple):
        del written["default"]  # a part of it may be a number with a unit
    return written


def _pattern_of(schema: Schema) -> Json:
    options = schema.get("anyOf")
    for option in (schema, *(options if is_list(options) else ())):
        if isinstance(option, Mapping) and "pattern" in option:
            return option["pattern"]
    return None


def _open(properties: Json) -> Json:
    """Return properties of which each scalar may also be a variable of the matrix."""
    return {name: _opened(_mapping(value)) for name, value in _mapping(properties).items()}


def _opened(schema: Schema) -> Schema:
    scalar = schema.get("type") in _SCALARS or "enum" in schema or "const" in schema
    if scalar:
        return {"anyOf": [schema, _VARIABLE]}
    options = schema.get("anyOf")
    return {**schema, "anyOf": [*options, _VARIABLE]} if is_list(options) else schema


def _mapping(value: Json) -> Schema:
    assert isinstance(value, Mapping), f"{value!r} is no part of a schema"
    return value
