"""The page of the scenarios: what each claims, and what would turn it red."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from harness import loader
from harness.errors import HarnessError
from harness.plan import plan
from harness.reference.markdown import as_table, joined, wrapped
from harness.scenario import Scenario

_CLAIM, _FALSIFIER = "Claim:", "What would turn this red:"
# What `./drill test` leaves out.
_SLOW = "slow"


def catalogue_page(root: Path) -> str:
    """Return what is asked of a cluster, by folder, with the number of cells.

    Raises:
        HarnessError: for a file whose header lacks its claim, or what would refute it.
    """
    folder = root / "scenarios"
    files = sorted(folder.rglob("*.yaml"), key=lambda path: (path.parent != folder, path))
    scenarios = {path: loader.load(path) for path in files}
    cells = {path: _cells(scenario) for path, scenario in scenarios.items()}
    parts = [
        "# The catalogue: what is asked",
        wrapped(
            f"{len(files)} scenarios, {sum(cells.values())} cells. `./drill test` runs those "
            "without the label `slow`, at most two cells of each; `./drill run scenarios --jobs 8` "
            "runs all."
        ),
    ]
    for parent, group in groupby(files, key=lambda path: path.parent):
        parts.append(f"## {parent.relative_to(root)}")
        for path in group:
            parts += _told(path, root, scenarios[path], cells[path])
    return joined(*parts)


def _cells(scenario: Scenario) -> int:
    return len(plan(scenario, "docker", seed=0).cells)


def _told(path: Path, root: Path, scenario: Scenario, cells: int) -> Sequence[str]:
    name = str(path.relative_to(root))
    header = header_of(path.read_text(encoding="utf-8"))
    for wanted in (_CLAIM, _FALSIFIER):
        if wanted not in header:
            raise HarnessError(f"{name}: no {wanted!r} in its first comment; expected one")
    axes = ", ".join(f"`{key}`" for key in scenario.matrix) or "-"
    left_out = "no: `slow`" if _SLOW in scenario.labels else "yes"
    facts = [[f"[{name}](../../{name})", str(cells), axes, left_out]]
    return [
        f"### {scenario.name}",
        wrapped(f"{scenario.title}."),
        as_table(["file", "cells", "axes", "in `./drill test`"], facts),
        wrapped(f"**Claim.** {_sentence(header[_CLAIM])}"),
        wrapped(f"**What would turn it red.** {_sentence(header[_FALSIFIER])}"),
    ]


def header_of(text: str) -> Mapping[str, str]:
    """Return the paragraphs of a file's first comment by the words that open them."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    found = {}
    for paragraph in re.split(r"\n{2,}", "\n".join(lines)):
        opening = re.match(rf"({_CLAIM}|{_FALSIFIER}) ", paragraph)
        if opening:
            found[opening[1]] = " ".join(paragraph[opening.end() :].split())
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
