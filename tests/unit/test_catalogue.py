"""The scenarios of this project: what each says of itself, and what CI runs of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness import loader, registry
from harness.plan import plan
from harness.planned import Cell
from harness.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "scenarios").rglob("*.yaml"))
# What takes long, or is a cross product, has the mark; `./drill test` leaves it out.
NOT_IN_CI = "slow"
DRAWN = 2  # cells of each: its `--sample`


@pytest.fixture(scope="module")
def catalogue() -> Mapping[Path, Scenario]:
    return {path: loader.load(path) for path in FILES}


def cells(scenario: Scenario) -> Iterator[Cell]:
    yield from plan(scenario, "docker", seed=1).cells


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_says_what_is_claimed_and_what_would_refute_it(path: Path) -> None:
    """A reader must know what a red one means before it is red."""
    header = "".join(line for line in path.read_text().splitlines(keepends=True) if line[0] == "#")
    assert header.startswith("# Claim: ")
    assert "What would turn this red: " in header


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_fixed_time_is_explained(path: Path) -> None:
    """Where a condition could be awaited there is no sleep; for the others somebody says why."""
    text = path.read_text()
    asleep = [line for line in text.splitlines() if line.strip().startswith("- sleep:")]
    said = "sleep" in "".join(line for line in text.splitlines() if line.startswith("#")).lower()
    assert all("#" in line or said for line in asleep)


def test_everybody_asks_for_one_writer(catalogue: Mapping[Path, Scenario]) -> None:
    """In each cell, by acknowledged writes; where two may overlap, for how long is bounded."""
    for path, scenario in catalogue.items():
        for cell in cells(scenario):
            judged = {one.name for one in cell.expectations}
            assert judged & {"writers", "overlap"}, f"{path} {cell.id}"


def test_ci_runs_every_verb(catalogue: Mapping[Path, Scenario]) -> None:
    """Whichever cells it draws: fewer of a scenario's cells lack the verb than are drawn of it."""
    ran: set[str] = set()
    for scenario in catalogue.values():
        if NOT_IN_CI not in scenario.labels:
            each = [{step.verb.name for step in cell.steps} for cell in cells(scenario)]
            drawn = min(DRAWN, len(each))
            ran |= {
                verb for verb in set.union(*each) if sum(verb not in one for one in each) < drawn
            }
    assert sorted(set(registry.verbs()) - ran) == []


def test_safety_does_not_depend_on_the_store(catalogue: Mapping[Path, Scenario]) -> None:
    """Whatever asks for what must never happen asks it of both."""
    for path, scenario in catalogue.items():
        if "safety" in scenario.labels:
            asked = {cell.cluster.dcs for cell in cells(scenario)}
            assert asked == {"etcd", "zookeeper"}, path


@pytest.mark.parametrize("name", ["node-kill", "az-loss", "etcd-partition", "restore-from-s3"])
def test_the_named_scenarios_stand_at_the_top(name: str) -> None:
    """All others are in folders by question."""
    assert ROOT / "scenarios" / f"{name}.yaml" in FILES
