"""The reference pages: what each word of a scenario means, made from the code that reads it.

`pages` returns the text of every page by its name. Prose comes from docstrings, types and defaults
from the models, examples from the scenarios. What has no words of its own is refused: a field is
described under `Attributes:` of its class's docstring, by the name it has in YAML.
"""

import inspect
import json
import re
import runpy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import dedent, fill
from typing import Literal, get_args

import yaml
from pydantic import BaseModel
from typer.core import TyperArgument, TyperGroup, TyperOption

from harness import history, registry
from harness.errors import HarnessError
from harness.expectation import CountExpectation, TimeExpectation
from harness.history import Json
from harness.places import is_list
from harness.scenario import (
    EXPECTED,
    BackendOverride,
    Cluster,
    ExpectationModifiers,
    PatroniSettings,
    ReplicaState,
    Requirements,
    Scenario,
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
from harness.validation import Schema, schema_of
from harness.verdict import RUNS_NEEDED
from harness.wire import postgres

FOLDER = "docs/reference"
MARK = "<!-- Made by `./drill docs` from the code; a change made here is lost. -->"
_WIDTH = 100
# Sections of scenario.md, by the model that each describes.
_SECTIONS: Mapping[type[BaseModel], str] = {
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
    **{cls.__name__: f"[{name}](scenario.md#{name})" for cls, name in _SECTIONS.items()},
    "Json": "any value",  # defined by itself, so it has no end of words
}
_SHARED: Mapping[type[BaseModel], str] = {
    Target: "Takes a [target](scenario.md#target){more}.",
    TimeExpectation: "Takes [bounds](#bounds), which are durations{more}.",
    CountExpectation: "Takes [bounds](#bounds), which are whole numbers{more}.",
}
# What a step's model holds that nobody writes.
_UNWRITTEN = ("verb", "parameters", "path")


def pages(root: Path, command: TyperGroup) -> Mapping[str, str]:
    """Return the text of each page by its file's name.

    Args:
        root: the checkout; examples and the image's variables are read from it.
        command: the whole command line, which this module lies below.

    Raises:
        HarnessError: when something that a page must tell is not documented.
    """
    examples = Examples.found_in(root)
    made = {
        "verbs.md": _verbs(examples),
        "expectations.md": _expectations(examples),
        "workloads.md": _workloads(examples),
        "probes.md": _probes(),
        "scenario.md": _scenario(),
        "history.md": _history(),
        "cli.md": _cli(command),
        "environment.md": _environment(root),
    }
    decisions = {path.name[:4]: path.name for path in (root / "docs" / "adr").glob("*.md")}

    def linked(text: str) -> str:
        return re.sub(
            r"docs/adr/(\d{4})", lambda m: f"[{m[0]}](../adr/{decisions.get(m[1], m[1])})", text
        )

    return {name: f"{MARK}\n\n{linked(text.strip())}\n" for name, text in made.items()}


def stale(root: Path, wanted: Mapping[str, str]) -> Sequence[str]:
    """Return the pages on disk that are not what they should be, missing and left-over ones too."""
    folder = root / FOLDER
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    left_over = {name for name, text in found.items() if text.startswith(MARK)} - set(wanted)
    wrong = {name for name, text in wanted.items() if found.get(name) != text}
    return [f"{FOLDER}/{name}" for name in sorted(left_over | wrong)]


def write(root: Path, wanted: Mapping[str, str]) -> Sequence[str]:
    """Bring the pages on disk up to date; return which were changed. No other page is touched."""
    changed = stale(root, wanted)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in map(root.joinpath, changed):
        if path.name in wanted:
            path.write_text(wanted[path.name], encoding="utf-8")
        else:
            path.unlink()
    return changed


# --- docstrings --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prose:
    """What a docstring says to those who write scenarios.

    Attributes:
        summary: its first paragraph.
        body: the other paragraphs, in Markdown.
        caveat: the paragraph that says what a pass does not show; empty if there is none.
        fields: meaning by the YAML name.
        example: YAML; empty if there is none.
    """

    summary: str
    body: Sequence[str]
    caveat: str
    fields: Mapping[str, str]
    example: str


_SECTION = re.compile(
    r"^(Args|Attributes|Example|Raises|Returns):\n((?:    .*\n|\n)*)", re.MULTILINE
)
_FIELD = re.compile(r"^([a-z][\w-]*(?:, [a-z][\w-]*)*): ", re.MULTILINE)


def prose(text: str) -> Prose:
    """Return the parts of a docstring (without its indentation)."""
    sections = {name: dedent(held).strip() for name, held in _SECTION.findall(text + "\n")}
    # How fast a checker is interests those who change it.
    plain = re.sub(r"^O\([^)]*\)[^.]*\.\s*", "", _SECTION.sub("", text + "\n"), flags=re.MULTILINE)
    summary, *rest = [part.strip("\n") for part in re.split(r"\n\s*\n", plain.strip())]
    return Prose(
        summary=" ".join(summary.split()),
        body=[part for part in rest if part.strip() and not part.startswith("A pass ")],
        caveat=next((part for part in rest if part.startswith("A pass ")), ""),
        fields=dict(_meanings(sections.get("Attributes", ""))),
        example=sections.get("Example", ""),
    )


def _meanings(section: str) -> Iterator[tuple[str, str]]:
    parts = _FIELD.split(section)[1:]
    for names, meaning in zip(parts[::2], parts[1::2], strict=True):
        for name in names.split(", "):
            yield name, " ".join(meaning.split())


def prose_of(cls: type) -> Prose:
    """Return what a class says; the fields that it inherits are described where they are declared.

    Raises:
        HarnessError: when it has no docstring of its own.
    """
    if not vars(cls).get("__doc__"):
        raise _undocumented(cls, "no docstring", "one that says what it does")
    told = prose(inspect.cleandoc(cls.__doc__ or ""))
    fields: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel and vars(base).get("__doc__"):
            fields |= prose(inspect.cleandoc(base.__doc__ or "")).fields
    return Prose(told.summary, told.body, told.caveat, fields or told.fields, told.example)


def _undocumented(cls: type, found: str, expected: str) -> HarnessError:
    return HarnessError(f"{cls.__module__}.{cls.__name__}: {found}; expected {expected}")


# --- types -------------------------------------------------------------------------------------


def type_words(schema: Schema, definitions: Schema) -> str:
    """Return what may be written for a value, in words, from its JSON Schema."""
    options = schema.get("anyOf")
    if is_list(options):
        kinds = [_mapping(one) for one in options]
        words = (type_words(one, definitions) for one in kinds if one.get("type") != "null")
        told = list(dict.fromkeys(words))
        return ("; or " if any("," in one for one in told) else " or ").join(told)
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        return _LINKS.get(name) or type_words(_mapping(definitions[name]), definitions)
    values = schema.get("enum")
    if is_list(values):
        return f"one of {', '.join(_code(one) for one in values)}"
    if "const" in schema:
        return _code(schema["const"])
    return _kind_words(schema, definitions)


_UNITS = {DURATION_PATTERN: "duration", RATE_PATTERN: "rate", SIZE_PATTERN: "size"}


def _kind_words(schema: Schema, definitions: Schema) -> str:
    match schema.get("type"):
        case "string":
            unit = _UNITS.get(str(schema.get("pattern")))
            return unit or str(schema.get(EXPECTED, "text"))
        case "integer" | "number":
            return _number_words(schema.get("minimum"), schema.get("maximum"))
        case "boolean":
            return "`true` or `false`"
        case "array":
            item = type_words(_mapping(schema["items"]), definitions)
            return "list" if item == _LINKS["Json"] else f"list of {item}"
        case "object":
            return _object_words(schema, definitions)
    return "any value"


def _number_words(low: object, high: object) -> str:
    if low is None:
        return "whole number"
    return f"whole number, {low} or more" if high is None else f"whole number, {low} to {high}"


def _object_words(schema: Schema, definitions: Schema) -> str:
    members = {**_mapping(schema.get("properties", {}))}
    inner = schema.get("additionalProperties")
    key = _mapping(schema.get("propertyNames", {}))
    if "const" in key:
        members[str(key["const"])] = inner
    if members:
        return "; ".join(_member(name, _mapping(m), definitions) for name, m in members.items())
    if not isinstance(inner, Mapping):
        return "mapping"
    keys = f"from {type_words(key, definitions)} " if key else ""
    values = type_words(inner, definitions)
    return "mapping" if not keys and values == _LINKS["Json"] else f"mapping {keys}to {values}"


def _member(name: str, schema: Schema, definitions: Schema) -> str:
    if "const" in schema:
        return f"`{{{name}: {schema['const']}}}`"
    return f"`{{{name}: ...}}` with {type_words(schema, definitions)}"


def _default_words(schema: Schema) -> str:
    """Return a default as it would be written; nothing for none, and for one made of others."""
    value = schema.get("default")
    if value is None or isinstance(value, Mapping) or value == []:
        return ""
    patterns = {_mapping(one).get("pattern") for one in (schema, *_options(schema))}
    if isinstance(value, float) and DURATION_PATTERN in patterns:
        return _code(format_duration(value))
    if isinstance(value, float) and RATE_PATTERN in patterns:
        return _code(format_rate(value))
    if isinstance(value, int) and SIZE_PATTERN in patterns:
        return _code(format_size(value))
    return _code(value)


def _options(schema: Schema) -> Sequence[Json]:
    options = schema.get("anyOf")
    return options if is_list(options) else ()


def _code(value: Json) -> str:
    if is_list(value):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _mapping(value: Json) -> Schema:
    assert isinstance(value, Mapping), f"{value!r} is no part of a schema"
    return value


# --- Markdown ----------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; columns that hold nothing are left out."""
    every = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    kept = [i for i in range(len(head)) if any(row[i] for row in every)]
    lines = [head, ["---"] * len(head), *every]
    return "\n".join(f"| {' | '.join(line[i] for i in kept)} |" for line in lines)


def _wrapped(part: str) -> str:
    """Return a paragraph or a list, its lines filled."""
    items = re.split(r"\n(?=- )", part) if part.startswith("- ") else [part]
    return "\n".join(
        fill(
            " ".join(item.split()),
            _WIDTH,
            subsequent_indent="  " if item.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in items
    )


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in _wrapped(text).splitlines())


def fields_table(cls: type[BaseModel], hidden: Collection[str] = ()) -> str:
    """Return the table of what may be written for a model; empty when nothing may.

    Raises:
        HarnessError: when a field is not described.
    """
    schema = schema_of(cls)
    definitions = _mapping(schema.get("$defs", {}))
    required = schema.get("required", ())
    meanings = prose_of(cls).fields
    rows: list[Sequence[str]] = []
    for name, raw in _mapping(schema.get("properties", {})).items():
        if name in hidden:
            continue
        if not meanings.get(name):
            expected = f"`{name}: ...` under `Attributes:` of its docstring"
            raise _undocumented(cls, f"no word about the field {name!r}", expected)
        member = _mapping(raw)
        must = is_list(required) and name in required
        default = "required" if must else _default_words(member)
        rows.append((f"`{name}`", type_words(member, definitions), default, meanings[name]))
    return _table(("key", "value", "default", "meaning"), _grouped(rows)) if rows else ""


def _grouped(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield the rows, those that differ in their first cell alone as one."""
    for rest, same in groupby(rows, key=lambda row: row[1:]):
        yield ", ".join(row[0] for row in same), *rest


def _parameters(cls: type[BaseModel]) -> str:
    """Return a plug-in's fields; those that many share are told in one line."""
    for shared, sentence in _SHARED.items():
        if issubclass(cls, shared):
            table = fields_table(cls, hidden=set(_mapping(schema_of(shared)["properties"])))
            return _joined(
                sentence.format(more=", and" if table else "").replace("d.", "d:"), table
            )
    return fields_table(cls)


def _overview(classes: Mapping[str, type]) -> str:
    rows = [(f"[`{name}`](#{name})", prose_of(cls).summary) for name, cls in classes.items()]
    return _table(("name", "in one sentence"), rows)


# --- examples ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Examples:
    """Where scenarios use a plug-in.

    Attributes:
        found: (file, YAML) by kind (`steps`, `expect`, `workload`) and name.
    """

    found: Mapping[tuple[str, str], tuple[str, str]]

    @classmethod
    def found_in(cls, root: Path) -> "Examples":
        """Read the scenarios, those at the top first, and the planted defects last."""
        files = sorted(
            (root / "scenarios").rglob("*.yaml"), key=lambda path: (len(path.parts), path)
        )
        found: dict[tuple[str, str], tuple[str, str]] = {}
        for path in [*files, *sorted((root / "tests" / "mutants").glob("*.yaml"))]:
            name = str(path.relative_to(root))
            for key, text in _uses(path.read_text(encoding="utf-8")):
                # What the matrix fills in is no example to copy.
                if "${" not in text:
                    found.setdefault(key, (name, text))
        return cls(found)

    def of(self, kind: Literal["steps", "expect", "workload"], cls: type, name: str) -> str:
        """Return the example as Markdown: a scenario's own, else the docstring's.

        Raises:
            HarnessError: when there is none.
        """
        if (kind, name) in self.found:
            file, text = self.found[kind, name]
            return f"From [{file}](../../{file}):\n\n```yaml\n{text}\n```"
        if own := prose_of(cls).example:
            return f"```yaml\n{'- ' if kind == 'steps' else ''}{own}\n```"
        raise _undocumented(cls, "no scenario uses it", "one, or an `Example:` in its docstring")


def _uses(text: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield kind and name of each plug-in that a scenario uses, and the lines that use it."""
    top = yaml.compose(text, yaml.SafeLoader)
    for section, held in top.value if isinstance(top, yaml.MappingNode) else ():
        if section.value == "steps" and isinstance(held, yaml.SequenceNode):
            for item in held.value:
                for key, _ in item.value if isinstance(item, yaml.MappingNode) else ():
                    lines = _lines(text, item, item)
                    yield ("steps", str(key.value)), "- " + lines.replace("\n", "\n  ")
        elif section.value in ("expect", "workload") and isinstance(held, yaml.MappingNode):
            for key, value in held.value:
                yield (section.value, str(key.value)), _lines(text, key, value)


def _lines(text: str, first: yaml.Node, last: yaml.Node) -> str:
    """Return what stands from one node to the end of another, without comments and indentation."""
    start = first.start_mark
    raw = " " * start.column + text[start.index : last.end_mark.index]
    return dedent(re.sub(r"[ ]*(?:(?<=\s)#.*)?$", "", raw, flags=re.MULTILINE)).strip()


# --- the pages ---------------------------------------------------------------------------------


def _plugin(name: str, cls: type[BaseModel], example: str, level: str = "##") -> str:
    told = prose_of(cls)
    return _joined(
        f"{level} {name}",
        _wrapped(told.summary),
        *(_wrapped(part) for part in told.body if not part.startswith("Source: ")),
        _quoted(told.caveat) if told.caveat else "",
        *(_wrapped(part) for part in told.body if part.startswith("Source: ")),
        _parameters(cls),
        example,
    )


def _models(classes: Mapping[str, type]) -> Mapping[str, type[BaseModel]]:
    assert all(issubclass(cls, BaseModel) for cls in classes.values())
    return classes


def _verbs(examples: Examples) -> str:
    faults = registry.faults()
    steps = {name: cls for name, cls in registry.verbs().items() if name not in faults}
    parts = [
        "# Verbs: what a step can do",
        _wrapped(
            "Each step holds one verb, and [what says when it runs](scenario.md#step). Every fault "
            "is undone at the end of the run, however it ends."
        ),
    ]
    for title, kind in (("Faults", _models(faults)), ("Other steps", _models(steps))):
        parts += [f"## {title}", _overview(kind)]
        for name, cls in kind.items():
            parts.append(_plugin(name, cls, examples.of("steps", cls, name), level="###"))
    return _joined(*parts)


def _expectations(examples: Examples) -> str:
    needed = ", ".join(f"`{name}` {runs}" for name, runs in RUNS_NEEDED.items())
    parts = [
        "# Expectations: what must hold",
        _wrapped(
            "Each measures one property of the [history](history.md) and holds it against its "
            "bounds. Where the history could not have shown a breach, the verdict is `error`, "
            "never `pass`."
        ),
        _overview(registry.checkers()),
        "Beside its own keys each expectation may have:",
        fields_table(ExpectationModifiers),
        "## bounds",
        fields_table(TimeExpectation),
        _wrapped(
            "Where the bounds are counts, they are whole numbers. A percentile pools the runs of "
            "one cell, and is judged from so many runs on that it can be claimed with 95 % "
            f"confidence: {needed}. With fewer only the other bounds are judged."
        ),
    ]
    for name, cls in _models(registry.checkers()).items():
        if not prose_of(cls).caveat:
            raise _undocumented(cls, "no paragraph 'A pass ...'", "what a pass does not show")
        parts.append(_plugin(name, cls, examples.of("expect", cls, name)))
    return _joined(*parts)


def _workloads(examples: Examples) -> str:
    parts = [
        "# Workloads: the load behind all steps",
        "Every call is recorded in the [history](history.md); verdicts rest on these records.",
    ]
    for name, cls in _models(registry.workloads()).items():
        parts.append(_plugin(name, cls, examples.of("workload", cls, name)))
    return _joined(*parts)


def _probes() -> str:
    parts = [
        "# Probes: who watches",
        _wrapped(
            "Every run starts them by itself; no scenario names them. Their settings are shown so "
            "that a history can be read."
        ),
        _overview(registry.probes()),
    ]
    for name, cls in _models(registry.probes()).items():
        parts.append(_plugin(name, cls, ""))
    return _joined(*parts)


def _scenario() -> str:
    parts = [
        "# The scenario file",
        _wrapped(
            "One YAML file asks one question of a cluster. Durations are written `250ms`, `30s`, "
            "`5m`, `1m30s`; rates `20/s`; sizes `1MiB`. Only `true` and `false` are booleans. "
            "Secrets come from the environment as `${env:NAME}` and are hidden in every report. "
            "`./drill validate FILE` lists every mistake with its line and column."
        ),
        fields_table(Scenario),
        _wrapped(
            "`steps` hold [verbs](verbs.md), `expect` [expectations](expectations.md), `workload` "
            "[workloads](workloads.md)."
        ),
    ]
    for cls, name in _SECTIONS.items():
        told = prose_of(cls)
        table = fields_table(cls, hidden=_UNWRITTEN)
        parts += [f"## {name}", _wrapped(told.summary), *map(_wrapped, told.body), table]
    return _joined(*parts)


def _history() -> str:
    told = prose(inspect.cleandoc(history.__doc__ or ""))
    before = [part for part in told.body if not part.startswith("- ")]
    functions = [part for part in told.body if part.startswith("- ")]
    rows = [_function(item) for part in functions for item in re.split(r"\n(?=- )", part)]
    meanings = prose_of(history.Event).fields.items()
    return _joined(
        "# The history",
        _wrapped(told.summary),
        _wrapped(before[0]),
        "## Fields of a line",
        _table(("field", "meaning"), _grouped([(f"`{name}`", text) for name, text in meanings])),
        "## Functions",
        _wrapped(before[1]),
        _table(("`f`", "process", "value"), rows),
        *map(_wrapped, before[2:]),
        "## Outcomes",
        "How a transaction ended that broke, by how far it had come:",
        _table(("it broke", "rolled back, says the server", "anything else"), _outcomes()),
        *_body(postgres.outcome_of),
        "And when COMMIT came back without an error:",
        _table(("`pg_xact_status` says", "outcome"), _commits()),
        *_body(postgres.committed),
    )


def _function(item: str) -> Sequence[str]:
    """Return function, process and value from `- f: process: value`."""
    parts = " ".join(item.removeprefix("- ").split()).split(": ", 2)
    if len(parts) != 3:
        raise HarnessError(f"harness.history: found {item!r}; expected '- f: process: value'")
    return parts


def _outcomes() -> Iterator[Sequence[str]]:
    """Yield what each error makes of a transaction: the code itself is asked."""
    moments: Mapping[postgres.Phase, str] = {
        "open": "while it connected",
        "read": "in a transaction that only reads",
        "body": "before COMMIT was sent",
        "commit": "after COMMIT was sent",
    }
    known = sorted(postgres.CERTAINLY_ROLLED_BACK)
    for phase in get_args(postgres.Phase):
        refused = {postgres.outcome_of(phase, state) for state in known}
        other = postgres.outcome_of(phase, None)
        told = " or ".join(f"`{one}`" for one in sorted(refused))
        codes = f" ({', '.join(known)})" if phase == "commit" else ""
        yield moments[phase], f"{told}{codes}", f"`{other}`"


def _commits() -> Iterator[Sequence[str]]:
    """Yield what each answer to COMMIT makes of a transaction: the code itself is asked."""
    answers: Sequence[tuple[str, str, Sequence[str]]] = [
        ("committed", "`committed`", ()),
        ("committed", "`committed`, but COMMIT came with a warning", ("a warning",)),
        ("aborted", "`aborted`", ()),
        ("in progress", "anything else", ()),
    ]
    for status, words, notices in answers:
        yield words, f"`{postgres.committed(status, notices)[0]}`"


def _body(function: object) -> Sequence[str]:
    return [_wrapped(part) for part in prose(inspect.getdoc(function) or "").body]


# --- the command line --------------------------------------------------------------------------


def _cli(command: TyperGroup) -> str:
    flat = list(_commands(command, "./drill"))
    rows = [(f"[`{path}`](#{_anchor(path)})", help_) for path, help_, _ in flat]
    parts = ["# The command line", command.epilog or "", _table(("command", "what it does"), rows)]
    for path, help_, table in flat:
        parts += [f"## {path.removeprefix('./')}", help_, table]
    return _joined(*parts)


def _anchor(path: str) -> str:
    return path.removeprefix("./").replace(" ", "-")


def _commands(group: TyperGroup, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield each command's words, what it does, and its options as a table."""
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if isinstance(command, TyperGroup):
            yield from _commands(command, full)
            continue
        rows = [_option(full, one) for one in command.params]
        table = _table(("option", "value", "default", "meaning"), rows) if rows else ""
        if not command.help:
            raise HarnessError(f"{full}: no docstring; expected one that says what it does")
        yield full, " ".join(command.help.split()), table


def _option(path: str, parameter: object) -> Sequence[str]:
    assert isinstance(parameter, TyperOption | TyperArgument)
    if not parameter.help:
        raise HarnessError(f"{path}: no help for {parameter.opts[0]!r}; expected a sentence")
    name = ", ".join(parameter.opts)
    if isinstance(parameter, TyperArgument):
        return f"`{parameter.metavar or name}`", "path", "required", parameter.help
    shown = parameter.show_default
    default = shown if isinstance(shown, str) else parameter.default
    written = "" if default in (None, False) else f"`{default}`"
    return f"`{name}`", _option_words(parameter), written, parameter.help


def _option_words(option: TyperOption) -> str:
    if option.is_flag:
        return ""
    kind: object = option.type_descriptor.annotation
    if words := get_args(kind):
        return f"one of {', '.join(_code(str(word)) for word in words)}"
    if kind is int:
        return _number_words(option.min, option.max)
    return f"`{option.metavar}`" if option.metavar else "text"


# --- the image ---------------------------------------------------------------------------------

REQUIRED = "required"
# Meaning and default. A test holds the names and the defaults against the image's own code.
VARIABLES: Mapping[str, tuple[str, str]] = {
    "SCOPE": ("The cluster's name.", REQUIRED),
    "NAMESPACE": ("The path in the DCS under which the cluster's keys lie.", "/service/"),
    "ETCD3_HOSTS": ("etcd's members, `host:port,host:port`. Exactly one DCS is given.", ""),
    "ZOOKEEPER_HOSTS": ("ZooKeeper's members, written the same way.", ""),
    "PGUSER_SUPERUSER": ("The superuser's name.", "postgres"),
    "PGPASSWORD_SUPERUSER_FILE": ("A file with the superuser's password.", REQUIRED),
    "PGUSER_STANDBY": ("The name under which replicas stream.", "standby"),
    "PGPASSWORD_STANDBY_FILE": ("A file with that role's password.", REQUIRED),
    "PGUSER_ADMIN": ("The administrator's name; takes a password file too.", "admin"),
    "PGPASSWORD_ADMIN_FILE": ("A file with the administrator's password; without it, none.", ""),
    "RESTAPI_USERNAME": ("Who may change things through Patroni's REST interface.", ""),
    "RESTAPI_PASSWORD_FILE": ("A file with that user's password; the two go together.", ""),
    "PGPORT": ("PostgreSQL's port, from 1024 on.", "5432"),
    "APIPORT": ("The port of Patroni's REST interface.", "8008"),
    "PG_CONNECT_ADDRESS": (
        "`host:port` under which others reach PostgreSQL; the container's own unless given.",
        "",
    ),
    "RESTAPI_CONNECT_ADDRESS": ("The same, of Patroni's REST interface.", ""),
    "PGROOT": ("The folder of all that PostgreSQL keeps.", "/home/postgres/pgdata/pgroot"),
    "PGDATA": ("The data directory; `data` in PGROOT unless given.", ""),
    "PGVERSION": ("The major version of PostgreSQL; the newest installed unless given.", ""),
    "PGHOST": ("The folder of the local socket. The image sets it; no other is taken.", ""),
    "SPILO_CONFIGURATION": ("YAML that is laid over Patroni's configuration.", ""),
    "WATCHDOG": (
        "`required` kills PostgreSQL when its Patroni hangs, before the leader key can expire.",
        "off",
    ),
    "SUPERVISE": ("`off`: a Patroni that died is not started again.", "on"),
    "START_GATE": ("A file to wait for before anything starts.", ""),
}


def _environment(root: Path) -> str:
    image = runpy.run_path(str(root / "image" / "spilo" / "configure.py"))
    if unknown := set(image["VARIABLES"]) ^ set(VARIABLES):
        raise HarnessError(
            f"harness.reference: {', '.join(sorted(unknown))}; expected in VARIABLES what the "
            "image knows, and nothing else"
        )
    rows = [
        (f"`{name}`", default if default == REQUIRED else default and f"`{default}`", meaning)
        for name, (meaning, default) in VARIABLES.items()
    ]
    refused = [(f"`{name}...`", str(why)) for name, why in image["REFUSALS"].items()]
    return _joined(
        "# The Spilo image's variables",
        _wrapped(
            "Names and meanings are Spilo's where it has one. All are checked before anything "
            "starts; a mistake ends the container with exit code 2 and a list of all of them. "
            f"Passwords come as files and have at least {image['SHORTEST_PASSWORD']} characters."
        ),
        _table(("variable", "default", "meaning"), rows),
        "## Refused",
        _wrapped(
            "A name that Spilo, Patroni or PostgreSQL would act upon, and that this image does not "
            "know, is refused, and so is one that is nearly right. In particular:"
        ),
        _table(("variable", "why"), refused),
    )
