"""The fields of a model as a table: what is written, its default, its meaning."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel

from harness.expectation import CountExpectation, TimeExpectation
from harness.places import is_list
from harness.reference.docstrings import prose_of, undocumented
from harness.reference.markdown import as_table, grouped, joined
from harness.reference.values import default_words, mapping, type_words
from harness.scenario import Target
from harness.validation import schema_of

_SHARED: Mapping[type[BaseModel], str] = {
    Target: "Takes a [target](scenario.md#target){more}.",
    TimeExpectation: "Takes [bounds](#bounds), which are durations{more}.",
    CountExpectation: "Takes [bounds](#bounds), which are whole numbers{more}.",
}


def fields_table(cls: type[BaseModel], hidden: Collection[str] = ()) -> str:
    """Return the table of what may be written for a model; empty when nothing may.

    Raises:
        HarnessError: when a field is not described.
    """
    schema = schema_of(cls)
    definitions = mapping(schema.get("$defs", {}))
    required = schema.get("required", ())
    meanings = prose_of(cls).fields
    rows: list[Sequence[str]] = []
    for name, raw in mapping(schema.get("properties", {})).items():
        if name in hidden:
            continue
        if not meanings.get(name):
            expected = f"`{name}: ...` under `Attributes:` of its docstring"
            raise undocumented(cls, f"no word about the field {name!r}", expected)
        member = mapping(raw)
        must = is_list(required) and name in required
        default = "required" if must else default_words(member)
        rows.append((f"`{name}`", type_words(member, definitions), default, meanings[name]))
    return as_table(("key", "value", "default", "meaning"), grouped(rows)) if rows else ""


def parameters_table(cls: type[BaseModel]) -> str:
    """Return a plug-in's fields; those that many share are told in one line."""
    for shared, sentence in _SHARED.items():
        if issubclass(cls, shared):
            table = fields_table(cls, hidden=set(mapping(schema_of(shared)["properties"])))
            return joined(sentence.format(more=", and" if table else "").replace("d.", "d:"), table)
    return fields_table(cls)
