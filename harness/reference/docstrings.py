"""What the docstring of a class or a module tells a reader of the reference pages."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent

from pydantic import BaseModel

from harness.errors import HarnessError

_SECTION = re.compile(
    r"^(Args|Attributes|Example|Raises|Returns):\n((?:    .*\n|\n)*)", re.MULTILINE
)
_FIELD = re.compile(r"^([a-z][\w-]*(?:, [a-z][\w-]*)*): ", re.MULTILINE)


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
        raise undocumented(cls, "no docstring", "one that says what it does")
    told = prose(inspect.cleandoc(cls.__doc__ or ""))
    fields: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel and vars(base).get("__doc__"):
            fields |= prose(inspect.cleandoc(base.__doc__ or "")).fields
    return Prose(told.summary, told.body, told.caveat, fields or told.fields, told.example)


def undocumented(cls: type, found: str, expected: str) -> HarnessError:
    """Return the error of a class that does not say what a page must tell."""
    return HarnessError(f"{cls.__module__}.{cls.__name__}: {found}; expected {expected}")
