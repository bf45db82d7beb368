"""The lines of the scenarios that show how each plug-in is written."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Literal

import yaml

from harness.reference.docstrings import prose_of, undocumented


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
        raise undocumented(cls, "no scenario uses it", "one, or an `Example:` in its docstring")


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
