"""The reference pages: what each word of a scenario means, made from the code that reads it.

`pages` returns the text of every page by its name. Prose comes from docstrings, types and defaults
from the models, examples from the scenarios. What has no words of its own is refused: a field is
described under `Attributes:` of its class's docstring, by the name it has in YAML.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from typer.core import TyperGroup

from harness.reference.catalogue import catalogue_page
from harness.reference.command_line import command_line_page
from harness.reference.docstrings import prose, prose_of
from harness.reference.environment import REQUIRED, VARIABLES, environment_page
from harness.reference.examples import Examples
from harness.reference.fields import fields_table
from harness.reference.history import history_page
from harness.reference.plugins import (
    checks_page,
    expectations_page,
    probes_page,
    verbs_page,
    workloads_page,
)
from harness.reference.scenario import scenario_page

__all__ = [
    "FOLDER",
    "MARK",
    "REQUIRED",
    "VARIABLES",
    "Examples",
    "fields_table",
    "pages",
    "prose",
    "prose_of",
    "stale",
    "write",
]

FOLDER = "docs/reference"
MARK = "<!-- Made by `./drill docs` from the code; a change made here is lost. -->"


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
        "catalogue.md": catalogue_page(root),
        "verbs.md": verbs_page(examples),
        "expectations.md": expectations_page(examples),
        "checks.md": checks_page(),
        "workloads.md": workloads_page(examples),
        "probes.md": probes_page(),
        "scenario.md": scenario_page(),
        "history.md": history_page(),
        "cli.md": command_line_page(command),
        "environment.md": environment_page(root),
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
