"""The JSON Schema that editors get, held against files that the loader takes or refuses."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness import loader, registry
from harness.document import parse
from harness.history import Json
from harness.places import at, is_list

NODE_KILL = Path(__file__).resolve().parents[2] / "scenarios" / "node-kill.yaml"
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def faults(value: Json, schema: Json, root: Json) -> Iterator[str]:
    """Yield what breaks the schema: the keywords that ours uses, no more."""
    assert isinstance(schema, dict), f"{schema!r} is no schema"
    unknown = schema.keys() - KEYWORDS
    assert not unknown, f"the check does not know {unknown}"
    if "$ref" in schema:
        yield from faults(value, at(root, tuple(schema["$ref"][2:].split("/"))), root)
    if "type" in schema:
        names = schema["type"] if is_list(schema["type"]) else [schema["type"]]
        kinds = tuple(kind for name in names for kind in TYPES[str(name)])
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            yield f"{value!r} is no {names}"
            return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} not in {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{value!r} is not {schema['const']!r}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{value!r} does not match {schema['pattern']}"
    if "anyOf" in schema and all([*faults(value, s, root)] for s in schema["anyOf"]):
        yield f"{value!r} meets none of {schema['anyOf']}"
    if "oneOf" in schema and sum(not [*faults(value, s, root)] for s in schema["oneOf"]) != 1:
        yield f"{value!r} does not meet exactly one of {schema['oneOf']}"
    if isinstance(value, dict):
        yield from members(value, schema, root)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{value!r} is too short"
        for item in value:
            yield from faults(item, schema.get("items", {}), root)


def members(value: Mapping[str, Json], schema: Mapping[str, Json], root: Json) -> Iterator[str]:
    """Yield what breaks the schema of a mapping."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    assert isinstance(properties, dict)
    assert is_list(required)
    yield from (f"no {name}" for name in required if name not in value)
    for key, item in value.items():
        below = properties.get(key, schema.get("additionalProperties", {}))
        if "propertyNames" in schema:
            yield from faults(key, schema["propertyNames"], root)
        if below is False:
            yield f"unknown {key}"
        elif below is not True:
            yield from faults(item, below, root)


KEYWORDS = frozenset(
    {
        "$ref",
        "$defs",
        "$schema",
        "type",
        "enum",
        "const",
        "pattern",
        "anyOf",
        "oneOf",
        "properties",
        "required",
        "items",
        "minItems",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "title",
        "description",
        "default",
        "examples",
        "patternErrorMessage",
        "exclusiveMinimum",
    }
)


def judged(text: str) -> list[str]:
    """Return what the schema says of a file."""
    document, _ = parse(text.encode(), "x.yaml")
    schema = loader.schema()
    return list(faults(document.root, schema, schema))


def test_node_kill_meets_the_schema():
    """What the loader takes, an editor must not underline."""
    assert judged(NODE_KILL.read_text()) == []


def test_a_variable_meets_the_schema():
    """Wherever the matrix may fill in a scalar."""
    text = (
        NODE_KILL.read_text()
        .replace("clients: 8", 'clients: "${n}"')
        .replace("max: 40s", 'max: "${n}"')
    )
    assert judged(text) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nodes: 3,", 'nodes: "3",'),
        ("sync: quorum,", "sync: quorm,"),
        ("- kill:", "- kil:"),
        ("    as: crash", "    freeze: {role: leader}"),
        ("timeout: 90s", "timeout: 90"),
        (", timeout: 90s", ""),
        ("append:", "apend:"),
        ("writers:", "writer:"),
        ("max: 0, unless:", "max: 0, unles:"),
        ("title:", "titel:"),
        ("  docker:", "  dokcer:"),
        ("{failover: {max: 75s}}", "{failover: {max: 75}}"),
        ("lag: {max: 1MiB}", "lag: {most: 1MiB}"),
    ],
)
def test_mistakes_break_the_schema(old: str, new: str):
    """So that an editor shows them while they are made."""
    text = NODE_KILL.read_text()
    assert text.count(old) == 1
    assert judged(text.replace(old, new))


def test_the_schema_is_json_and_knows_every_plugin():
    """It is generated, so a new plug-in is in it without a line of work."""
    schema = loader.schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    names = [
        ("verb", registry.verbs()),
        ("expect", registry.checkers()),
        ("workload", registry.workloads()),
    ]
    assert {f"{kind}.{name}" for kind, found in names for name in found} <= definitions.keys()


def test_short_forms_are_in_the_schema():
    """`sleep: 60s` is as good as `sleep: {duration: 60s}`."""
    text = NODE_KILL.read_text()
    assert judged(text.replace("- start: {ref: crash}", "- sleep: 60s")) == []
    assert judged(text.replace("- start: {ref: crash}", "- sleep: {duration: 60s}")) == []


def test_defaults_are_shown_as_they_are_written():
    """An editor that offers `90.0` for a duration would offer a mistake."""
    timeout = at(loader.schema(), ("$defs", "Steady", "properties", "timeout", "default"))
    assert timeout == "1m30s"
