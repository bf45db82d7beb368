"""Tests for harness.registry: plug-ins are found by their files."""

from pathlib import Path

import pytest
from pydantic import BaseModel

import harness
from harness import registry

ROOT = Path(harness.__file__).parent


def files(kind: str) -> set[str]:
    return {path.stem for path in (ROOT / kind).glob("[!_]*.py")}


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("faults", registry.faults),
        ("workloads", registry.workloads),
        ("probes", registry.probes),
        ("checkers", registry.checkers),
    ],
)
def test_each_file_is_a_plugin_of_its_name(kind: str, found: object) -> None:
    """A new one is one file: nothing else names it."""
    plugins = found()  # type: ignore[operator]
    assert set(plugins) == files(kind)
    assert list(plugins) == sorted(plugins)
    for name, cls in plugins.items():
        assert cls.name == name
        assert cls.__module__ == f"harness.{kind}.{name}"
        assert issubclass(cls, BaseModel)
        assert cls.__doc__


def test_steps_may_use_faults_and_steps() -> None:
    """Only the faults disturb."""
    assert set(registry.verbs()) == files("faults") | files("steps")
    assert "wait" not in registry.faults()


def test_registering_the_same_class_again_is_harmless() -> None:
    """A module may be imported twice."""
    kill = registry.faults()["kill"]
    assert registry.register(kill) is kill


def test_two_of_one_name_are_a_bug() -> None:
    """The second would hide the first."""

    class Other:
        name = "kill"

    Other.__module__ = "harness.faults.other"
    with pytest.raises(AssertionError, match="two faults are named 'kill'"):
        registry.register(Other)
