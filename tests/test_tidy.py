"""The rules of the house that a machine can hold: layout, imports, names, documents."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HARNESS = ROOT / "harness"
MODULES = sorted(HARNESS.rglob("*.py"))
PLUGIN_FOLDERS = ("faults", "steps", "workloads", "probes", "checkers", "checks")

# Lower floors first; a module imports from its own floor or from a lower one.
FLOORS = (
    ("errors", "units", "cache", "apart"),
    ("clock", "history", "answer"),
    ("verdict", "places", "seeds", "covering", "operations", "evidence", "membership", "timelines"),
    ("isolation", "linearizability"),
    ("scenario", "result"),
    ("expectation", "protocols", "sightings", "check"),
    (
        *("registry", "conditions", "contents", "cuts", "document", "journal", "power"),
        *("reaper", "storage", "targets", "together", "validity", "wire", "budget", "turns"),
    ),
    (*PLUGIN_FOLDERS, "client"),
    ("engines",),
    ("validation", "cells", "rules", "schema", "planned"),
    ("drafting", "plan", "loader", "drivers"),
    ("record", "traffic", "worlds", "trial", "runner"),
    ("report", "reference", "judging"),
    ("recorded",),
    ("launch",),
    ("pytest_plugin", "cli", "__main__"),
)
BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "base", "misc"}


def room(path: Path) -> str:
    """Return a module's place in the listing: its folder below harness, or its own name."""
    parts = path.relative_to(HARNESS).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> Iterator[str]:
    """Yield the harness modules that a file imports, dotted, wherever in it they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "harness":
                yield from (f"harness.{alias.name}" for alias in node.names)
            elif node.module.startswith("harness."):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("harness."))


def floor(name: str) -> int:
    """Return how high a room lies."""
    return next(height for height, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_has_a_floor(path: Path) -> None:
    """A new room must be given its place in the flow."""
    assert room(path) == "__init__" or any(room(path) in names for names in FLOORS), path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    """Nothing imports from a higher floor, and plug-ins do not import one another."""
    if room(path) == "__init__":
        return
    for target in imports(path):
        name = target.split(".")[1]
        if name == "__init__" or name == "__version__":
            continue
        assert floor(name) <= floor(room(path)), f"{path.relative_to(ROOT)} imports {target}"
        if room(path) in PLUGIN_FOLDERS and name in PLUGIN_FOLDERS:
            pytest.fail(f"{path.relative_to(ROOT)}: a plug-in imports {target}")


def test_no_import_cycles() -> None:
    """The graph of rooms has no loop, so it can be read from the bottom up."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[dotted] = set(imports(path)) - {dotted}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"a cycle: {' -> '.join((*trail, name))}"
        if name in graph and name not in state:
            state[name] = 1
            for target in graph[name]:
                visit(target, (*trail, name))
            state[name] = 2

    for name in graph:
        visit(name, ())


def test_only_the_clock_knows_the_time() -> None:
    """Virtual time is possible only while nobody else imports `time`."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert "time" not in names or path.stem == "clock", path


def test_checkers_know_no_world() -> None:
    """Any stored history can be judged again, without a driver or a clock."""
    for path in (HARNESS / "checkers").glob("*.py"):
        for target in imports(path):
            assert target.split(".")[1] not in ("drivers", "runner", "conditions"), path


@pytest.mark.parametrize("kind", ["faults", "steps", "workloads", "probes", "checkers"])
def test_plugins_know_no_backend(kind: str) -> None:
    """No workload, probe, fault or checker branches on the world it runs in."""
    for path in (HARNESS / kind).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
        assert not re.search(r"\b(docker|aws|simulator)\b|backend", code), path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_say_something(path: Path) -> None:
    """A file is named for what it holds."""
    assert not BANNED_NAMES & set(path.relative_to(HARNESS).with_suffix("").parts)


def test_each_plugin_has_a_test() -> None:
    """A new fault, step, workload, probe or checker is one file and its test."""
    tests = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    for kind in PLUGIN_FOLDERS:
        for path in sorted((HARNESS / kind).glob("[!_]*.py")):
            assert f"harness.{kind}.{path.stem}" in tests, (
                f"no test imports harness.{kind}.{path.stem}"
            )


def test_decisions_have_one_form() -> None:
    """An ADR states its status, context, decision and consequences."""
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for part in ("Status:", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{path.name}: no {part!r}"
        assert text.startswith(f"# {path.name[:4]}. "), path.name


def test_decisions_that_are_cited_exist() -> None:
    """A docstring that points to an ADR points to a page."""
    known = {path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")}
    for path in MODULES:
        for number in re.findall(r"docs/adr/(\d{4})", path.read_text(encoding="utf-8")):
            assert number in known, f"{path.relative_to(ROOT)} cites ADR {number}"


def test_readme_commands_exist() -> None:
    """Every `./drill <command>` that the documents name is a command."""
    from harness.cli import command_names

    known = command_names()
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        for command in re.findall(r"\./drill ([a-z]+)", page.read_text(encoding="utf-8")):
            assert command in known, f"{page.name}: ./drill {command}"


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_style_and_types_hold(command: list[str]) -> None:
    """The linter, the formatter and the type checker have nothing to say."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
