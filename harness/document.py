"""A YAML file as plain data, with the line and column of every key and every value.

Stricter than YAML where laxness hides mistakes: of the plain words only `true` and `false` are
booleans (`on` and `yes` are text), there are no dates, octal or base-60 numbers, no tags, no merge
keys (`<<` would override in silence and blur where a value stands), no duplicate keys.
Anchors and aliases work, within a bound on what they expand to.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from harness.errors import Mistake, ScenarioError
from harness.history import Json
from harness.places import Document, Place, TreePath, show, show_path

# Far above any scenario, far below what would hurt: a 30-step file has about 300 nodes.
MAX_BYTES = 256 << 10
MAX_NODES = 10_000
MAX_DEPTH = 24

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # PyYAML counts these
# YAML 1.2 core schema, without its octal and hexadecimal forms and without leading zeros: a
# number that two readers may read differently stays text, and the model says what it expected.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})?\.[0-9]{1,18}(?:[eE][-+]?[0-9]{1,2})?")
_WORDS: Mapping[str, Json] = {
    "true": True,
    "false": False,
    "null": None,
    "~": None,
    "": None,
}


def read(path: Path) -> tuple[Document, Sequence[Mistake]]:
    """Read one file; mistakes that leave the rest readable come beside it.

    Raises:
        ScenarioError: when there is no telling what the file says.
    """
    file = str(path)
    try:
        if path.is_dir():
            _refuse(file, "a directory; expected a YAML file")
        if path.exists() and not path.is_file():
            _refuse(file, "no regular file; expected a YAML file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _refuse(file, "no such file; expected a YAML file")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        _refuse(file, f"cannot be read ({reason}); expected a YAML file")
    return parse(data, file)


def parse(data: bytes, file: str) -> tuple[Document, Sequence[Mistake]]:
    """Read the content of one file, as `read` does."""
    text = _decode(data, file)
    try:
        node = _compose(text, file)
        return _Builder(file, text).build(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        _refuse(file, f"not YAML: {_say(error)}", place)


def _refuse(file: str, text: str, place: Place = Place(0, 0)) -> NoReturn:  # noqa: B008 - frozen
    raise ScenarioError([Mistake(file, place.line, place.column, text)]) from None


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        _refuse(file, f"larger than {MAX_BYTES >> 10} KiB; expected a scenario", Place(1, 1))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        found = f"found the byte 0x{data[error.start]:02x}; expected UTF-8 text"
        _refuse(file, found, _place_after(before))
    if odd := yaml.reader.Reader.NON_PRINTABLE.search(text):
        found = f"found the character {odd.group()!r}; expected printable text"
        _refuse(file, found, _place_after(text[: odd.start()]))
    return text


def _place_after(text: str) -> Place:
    lines = _LINE_BREAK.split(text)
    return Place(len(lines), len(lines[-1]) + 1)


def _say(error: yaml.MarkedYAMLError) -> str:
    """Return PyYAML's complaint as `found ...; expected ...` where it has that form."""
    problem = " ".join((error.problem or "unreadable").split())
    if match := re.fullmatch(r"(?:did not find )?expected (.+?),? but (?:got|found) (.+)", problem):
        return f"found {match[2]}; expected {match[1]}"
    return f"{error.context}, {problem}" if error.context else problem


# --- events to nodes ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """A scalar (`value`), a sequence (`items`) or a mapping (`pairs`) of the file."""

    place: Place
    tagged: bool
    value: Json = None
    items: "list[_Node] | None" = None
    pairs: "list[tuple[_Node, _Node]] | None" = None
    merge: bool = False


def _compose(text: str, file: str) -> _Node:
    """Return the one document as a graph; an alias is the node that it names, placed anew."""
    reader = _EventReader(yaml.parse(text, Loader=yaml.SafeLoader), file)
    try:
        return reader.document()
    except (ValueError, OverflowError):  # from an escape or a directive with an absurd number
        _refuse(file, "found a number out of range; expected YAML", reader.place)


class _EventReader:
    """Builds nodes from PyYAML's events. Its recursion is bounded by MAX_DEPTH."""

    def __init__(self, events: Iterator[yaml.Event], file: str) -> None:
        self._events = events
        self._file = file
        self._anchors: dict[str, _Node] = {}
        self.place = Place(1, 1)

    def document(self) -> _Node:
        self._next()  # the start of the stream
        if not isinstance(self._next(), yaml.DocumentStartEvent):
            _refuse(self._file, "empty; expected a YAML mapping", Place(1, 1))
        node = self._node(self._next(), 0)
        self._next()  # the end of the document
        if isinstance(self._next(), yaml.DocumentStartEvent):
            _refuse(self._file, "found a second document; expected one a file", self.place)
        return node

    def _next(self) -> yaml.Event:
        event = next(self._events)
        if event.start_mark is not None:
            self.place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        return event

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        place = self.place
        if depth > MAX_DEPTH:
            _refuse(self._file, f"nested deeper than {MAX_DEPTH}; expected less", place)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor))
        assert isinstance(event, yaml.NodeEvent), f"unforeseen YAML event {event}"
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style is None
            value = _resolve(event.value) if plain else event.value
            merge = plain and value == "<<"
            node = _Node(place, event.tag is not None, value, merge=merge)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _Node(place, event.tag is not None, items=list(self._children(depth)))
        else:
            node = _Node(place, event.tag is not None)  # type: ignore[attr-defined]
            children = self._children(depth)
            node.pairs = [(key, next(children)) for key in children]
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, name: str) -> _Node:
        if name not in self._anchors:  # or its anchor is still open: an alias inside itself
            _refuse(
                self._file, f"found the alias *{name}; expected an anchor before it", self.place
            )
        node = self._anchors[name]
        return _Node(self.place, node.tagged, node.value, node.items, node.pairs, node.merge)

    def _children(self, depth: int) -> Iterator[_Node]:
        while not isinstance(event := self._next(), yaml.CollectionEndEvent):
            yield self._node(event, depth + 1)


def _resolve(text: str) -> Json:
    """Return what a plain scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


# --- nodes to data -----------------------------------------------------------------------------


class _Builder:
    """Turns nodes into data, noting each place and each mistake."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._budget = MAX_NODES
        self._problems: list[tuple[Place, str]] = []
        self._values: dict[TreePath, Place] = {}
        self._keys: dict[TreePath, Place] = {}

    def build(self, node: _Node) -> tuple[Document, Sequence[Mistake]]:
        root = self._value(node, ())
        if not isinstance(root, Mapping):
            _refuse(self._file, f"found {show(root)}; expected a YAML mapping", node.place)
        mistakes = [Mistake(self._file, p.line, p.column, text) for p, text in self._problems]
        return Document(self._file, self._text, root, self._values, self._keys), mistakes

    def _value(self, node: _Node, path: TreePath) -> Json:
        self._budget -= 1
        if self._budget < 0:
            found = f"aliases expand to more than {MAX_NODES} nodes; expected fewer"
            _refuse(self._file, found, self._values[path[:1]])
        if len(path) > MAX_DEPTH:  # reached through aliases
            _refuse(self._file, f"nested deeper than {MAX_DEPTH}; expected less", node.place)
        self._values[path] = node.place
        if node.tagged:
            self._wrong(node, path, "found a tag; expected a plain value")
        if node.items is not None:
            return [self._value(item, (*path, i)) for i, item in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(node.pairs, path)
        if isinstance(node.value, str) and yaml.reader.Reader.NON_PRINTABLE.search(node.value):
            self._wrong(node, path, f"found {show(node.value)}; expected printable text")
        return node.value

    def _mapping(self, pairs: Sequence[tuple[_Node, _Node]], path: TreePath) -> Mapping[str, Json]:
        members: dict[str, Json] = {}
        for key, value in pairs:
            name = key.value
            if not isinstance(name, str) or key.items is not None or key.pairs is not None:
                self._wrong(key, path, f"found the key {_show_key(key)}; expected text")
            elif key.merge:
                self._wrong(key, path, "found a merge key '<<'; expected the keys written out")
            elif yaml.reader.Reader.NON_PRINTABLE.search(name):
                self._wrong(key, path, f"found the key {show(name)}; expected printable text")
            elif name in members:
                first = self._keys[*path, name].line
                self._wrong(key, (*path, name), f"duplicate key; expected one, as in line {first}")
            else:
                self._keys[*path, name] = key.place
                members[name] = self._value(value, (*path, name))
        return members

    def _wrong(self, node: _Node, path: TreePath, text: str) -> None:
        where = f"{show_path(path)}: " if path else ""
        self._problems.append((node.place, where + text))


def _show_key(key: _Node) -> str:
    if key.items is not None or key.pairs is not None:
        return "of several parts"
    return json.dumps(key.value)
