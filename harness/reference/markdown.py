"""Tables, paragraphs and quotations as Markdown has them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from textwrap import fill

_WIDTH = 100


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; columns that hold nothing are left out."""
    every = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    kept = [i for i in range(len(head)) if any(row[i] for row in every)]
    lines = [head, ["---"] * len(head), *every]
    return "\n".join(f"| {' | '.join(line[i] for i in kept)} |" for line in lines)


def grouped(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield the rows, those that differ in their first cell alone as one."""
    for rest, same in groupby(rows, key=lambda row: row[1:]):
        yield ", ".join(row[0] for row in same), *rest


def wrapped(part: str) -> str:
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


def joined(*parts: str) -> str:
    """Return the parts as paragraphs, without the empty ones."""
    return "\n\n".join(part for part in parts if part)


def quoted(text: str) -> str:
    """Return a paragraph set apart as a quotation."""
    return "\n".join(f"> {line}" for line in wrapped(text).splitlines())
