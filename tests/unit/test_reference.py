"""The reference pages: what is on disk is what the code says, and nothing goes without a word."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import yaml
from pydantic import Field
from typer.core import TyperGroup
from typer.main import get_command

from harness import cli, reference, registry
from harness.errors import ExitCode, HarnessError
from harness.history import Json
from harness.reference.catalogue import catalogue_page
from harness.scenario import Cluster, Duration, Model, Name, Size, Target

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages():
    """The pages as the code writes them now."""
    command = get_command(cli.app)
    assert isinstance(command, TyperGroup)
    return reference.pages(ROOT, command)


# --- the pages as they are ---------------------------------------------------------------------


def test_pages_on_disk_are_what_the_code_says(pages) -> None:
    """After a change of a plug-in, a model or a scenario: `./drill docs`."""
    assert reference.stale(ROOT, pages) == []


def test_every_scenario_is_told_with_its_claim(pages) -> None:
    """By its name, with what would refute it."""
    page = pages["catalogue.md"]
    names = {path.stem for path in (ROOT / "scenarios").rglob("*.yaml")}
    assert set(re.findall(r"^### (\S+)$", page, re.MULTILINE)) == names
    assert page.count("**Claim.** ") == page.count("**What would turn it red.** ") == len(names)


def test_a_scenario_without_a_claim_is_refused(tmp_path: Path) -> None:
    """The page would have nothing to say of it."""
    text = (ROOT / "scenarios" / "node-kill.yaml").read_text(encoding="utf-8")
    (tmp_path / "scenarios").mkdir()
    bare = tmp_path / "scenarios" / "node-kill.yaml"
    bare.write_text(text.replace("# Claim:", "# Maybe:"), encoding="utf-8")
    with pytest.raises(HarnessError, match=r"scenarios/node-kill.yaml: no 'Claim:'"):
        catalogue_page(tmp_path)


def test_every_plugin_is_told(pages) -> None:
    """Each name that a scenario may use has its own heading."""
    for page, names in (
        ("verbs.md", registry.verbs()),
        ("expectations.md", registry.checkers()),
        ("workloads.md", registry.workloads()),
        ("probes.md", registry.probes()),
    ):
        headings = set(re.findall(r"^##+ (\S+)$", pages[page], re.MULTILINE))
        assert set(names) <= headings, page


def test_every_expectation_says_what_a_pass_does_not_show(pages) -> None:
    """One caveat for each checker, set apart from the rest."""
    caveats = re.findall(r"(?:^> .*\n)+", pages["expectations.md"], re.MULTILINE)
    assert len(caveats) == len(registry.checkers())
    assert all(caveat.startswith("> A pass ") for caveat in caveats)


def test_keys_are_those_of_the_file(pages) -> None:
    """The page shows what is written in YAML, not what Python calls it."""
    target = "[target](scenario.md#target)"
    assert f"| `from` | {target} or list of {target} | required |" in pages["verbs.md"]
    assert "| `for` | duration |" in pages["verbs.md"]
    assert "`{old-leader: read-only}`" in pages["verbs.md"]
    assert "| `primary-elb`, `replica-elb` | duration |" in pages["expectations.md"]
    assert not re.search(r"\b(from_|for_|old_leader|primary_elb)\b", "".join(pages.values()))


def test_every_command_is_told(pages) -> None:
    """The page of the command line leaves none out."""
    for name in cli.command_names():
        assert f"## drill {name}" in pages["cli.md"], name


def test_links_lead_somewhere(pages) -> None:
    """Each link names a page that is written, a heading on it, or a file of the checkout."""
    for page, text in pages.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            file, _, anchor = target.partition("#")
            if file.startswith("../"):
                assert (ROOT / reference.FOLDER / file).is_file(), f"{page}: {target}"
                continue
            headings = re.findall(r"^#+ (.+)$", pages[file or page], re.MULTILINE)
            anchors = {heading.lower().replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, f"{page}: {target}"


def test_examples_are_yaml(pages) -> None:
    """What a reader copies can be read by the loader."""
    for page in ("verbs.md", "expectations.md", "workloads.md"):
        examples = re.findall(r"```yaml\n(.*?)```", pages[page], re.DOTALL)
        assert examples, page
        for text in examples:
            assert yaml.safe_load(text), text


@pytest.mark.parametrize(("name", "cls"), [*registry.verbs().items(), *registry.checkers().items()])
def test_examples_of_docstrings_are_accepted(name, cls) -> None:
    """An example that no scenario gives is one that the class takes."""
    if text := reference.prose_of(cls).example:
        assert cls.model_validate(yaml.safe_load(text)[name])


# --- what is not documented is refused ---------------------------------------------------------


class Documented(Model):
    """Does one thing.

    More of it.

    Attributes:
        old-name: what it
            was called.
        low, high: the two ends.
    """

    name: ClassVar[str] = "documented"

    old_name: str = Field(alias="old-name")
    low: int = Field(1, ge=0)
    high: int = Field(1, ge=0)


class Silent(Documented):
    """Says nothing of what it adds."""

    added: Duration = 1.5


class Wordless(Model):
    added: int = 1


def test_a_field_without_a_word_is_refused() -> None:
    """The planted defect: the message names the class, the field and the cure."""
    with pytest.raises(HarnessError, match=r"Silent: no word about the field 'added'; expected"):
        reference.fields_table(Silent)


def test_a_class_without_a_docstring_is_refused() -> None:
    """Pydantic's own docstring, or the parent's, does not count."""
    with pytest.raises(HarnessError, match="Wordless: no docstring"):
        reference.prose_of(Wordless)


def test_a_plugin_without_an_example_is_refused() -> None:
    """Neither a scenario nor the docstring shows how it is written."""
    with pytest.raises(HarnessError, match="Documented: no scenario uses it"):
        reference.Examples({}).of("steps", Documented, "documented")


def test_fields_are_told_with_alias_default_and_meaning() -> None:
    """Names that share one description, type and default share one row."""
    assert reference.fields_table(Documented).splitlines()[2:] == [
        "| `old-name` | text | required | what it was called. |",
        "| `low`, `high` | whole number, 0 or more | `1` | the two ends. |",
    ]


# --- parts -------------------------------------------------------------------------------------


def test_docstrings_come_apart() -> None:
    """Summary, body, caveat, fields and example each go to their place; the cost goes nowhere."""
    told = reference.prose(
        "Count it.\n\nHow it\nis counted.\n\nA pass does not show `this`.\n\n"
        "O(n log n) in the writes. Source: the book.\n\n"
        "Attributes:\n    of: the step.\n\nExample:\n    count: {of: crash}"
    )
    assert told.summary == "Count it."
    assert told.body == ["How it\nis counted.", "Source: the book."]
    assert told.caveat == "A pass does not show `this`."
    assert told.fields == {"of": "the step."}
    assert told.example == "count: {of: crash}"


class Kinds(Model):
    """One field of each kind.

    Attributes:
        span: one.
        size: two.
        word: three.
        either: four.
        flag: five.
        names: six.
        where: seven.
        whole: eight.
        free: nine.
    """

    span: Duration | None = 90.0
    size: Size = 1 << 20
    word: Literal["a", "b"] = "a"
    either: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    flag: bool = False
    names: tuple[Name, ...] = ("a", "b")
    where: Target | None = None
    whole: Cluster = Cluster()
    free: Mapping[str, Json] = {}


def test_types_are_words() -> None:
    """No JSON Schema, no regular expression and no number without its unit reaches a reader."""
    assert reference.fields_table(Kinds).splitlines() == [
        "| key | value | default | meaning |",
        "| --- | --- | --- | --- |",
        "| `span` | duration | `1m30s` | one. |",
        "| `size` | size | `1MiB` | two. |",
        "| `word` | one of `a`, `b` | `a` | three. |",
        "| `either` | `all`; or whole number, 1 or more | `all` | four. |",
        "| `flag` | `true` or `false` | `false` | five. |",
        "| `names` | list of lower-case words joined by '-' | `[a, b]` | six. |",
        "| `where` | [target](scenario.md#target) |  | seven. |",
        "| `whole` | [cluster](scenario.md#cluster) |  | eight. |",
        "| `free` | mapping |  | nine. |",
    ]


SCENARIO = """\
workload: {append: {rate: 20/s}}     # the load
steps:
  - kill: {role: leader}
    as: crash                        # a name
  - wait: {until: "${x}"}            # the matrix fills it in
  - wait: {until: healthy,
           timeout: 5m}

# The end.
expect:
  writers: {max: 1}  # one
"""


def test_examples_are_the_lines_of_the_file(tmp_path) -> None:
    """Whole steps, without their comments; one that the matrix fills in is passed over."""
    folder = tmp_path / "scenarios" / "deep"
    folder.mkdir(parents=True)
    (folder / "x.yaml").write_text(SCENARIO, encoding="utf-8")
    found = reference.Examples.found_in(tmp_path).found
    assert {key: text for key, (_, text) in found.items()} == {
        ("workload", "append"): "append: {rate: 20/s}",
        ("steps", "kill"): "- kill: {role: leader}\n  as: crash",
        ("steps", "as"): "- kill: {role: leader}\n  as: crash",
        ("steps", "wait"): "- wait: {until: healthy,\n         timeout: 5m}",
        ("expect", "writers"): "writers: {max: 1}",
    }


def test_scenarios_at_the_top_come_first(tmp_path) -> None:
    """A reader is sent to the scenarios that everybody knows; planted defects come last."""
    for place, role in (("scenarios/a", "deep"), ("scenarios", "top"), ("tests/mutants", "tooth")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        text = f"steps:\n  - kill: {{role: {role}}}\n"
        (tmp_path / place / f"{role}.yaml").write_text(text, encoding="utf-8")
    file, _ = reference.Examples.found_in(tmp_path).found["steps", "kill"]
    assert file == "scenarios/top.yaml"


# --- on disk -----------------------------------------------------------------------------------


def test_stale_pages_are_found_and_written(tmp_path) -> None:
    """Changed, missing and left over are stale; a page that somebody wrote by hand is not ours."""
    folder = tmp_path / reference.FOLDER
    folder.mkdir(parents=True)
    (folder / "changed.md").write_text("old", encoding="utf-8")
    (folder / "gone.md").write_text(f"{reference.MARK}\n", encoding="utf-8")
    (folder / "by-hand.md").write_text("ours", encoding="utf-8")
    wanted = {"changed.md": "new", "missing.md": "new"}
    names = [f"{reference.FOLDER}/{name}.md" for name in ("changed", "gone", "missing")]
    assert reference.stale(tmp_path, wanted) == names
    assert reference.write(tmp_path, wanted) == names
    assert reference.stale(tmp_path, wanted) == []
    assert {path.name for path in folder.iterdir()} == {"changed.md", "missing.md", "by-hand.md"}


def test_the_command_checks_and_writes(monkeypatch, tmp_path, capsys) -> None:
    """`--check` names each stale page and ends with 1; once they are written it is silent."""
    monkeypatch.setattr(reference, "FOLDER", str(tmp_path))
    assert cli.main(["docs", "--check"]) == ExitCode.FAIL
    assert f"stale: {tmp_path}/verbs.md\n" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert cli.main(["docs"]) == ExitCode.PASS
    assert f"{tmp_path}/verbs.md\n" in capsys.readouterr().out
    assert cli.main(["docs", "--check"]) == ExitCode.PASS
    assert capsys.readouterr().out == ""
