"""Tests for harness.errors: the families, and what each tells the shell."""

from harness.errors import (
    AbortedError,
    DriverError,
    ExitCode,
    HarnessError,
    Mistake,
    NotSteadyError,
    ScenarioError,
)


def test_exit_codes_are_the_contract() -> None:
    """Scripts rely on these numbers."""
    assert [(code.name, code.value) for code in ExitCode] == [
        ("PASS", 0),
        ("FAIL", 1),
        ("USAGE", 2),
        ("ERROR", 3),
        ("BUG", 4),
    ]


def test_the_world_is_an_error_and_the_input_is_usage() -> None:
    """A broken Docker daemon is no split brain, and no mistake of the user's."""
    for kind in (HarnessError, DriverError, NotSteadyError, AbortedError):
        assert kind("x").exit_code is ExitCode.ERROR
    assert ScenarioError([]).exit_code is ExitCode.USAGE
    assert issubclass(AbortedError, DriverError)
    assert issubclass(NotSteadyError, DriverError)


def test_mistakes_are_told_once_and_in_the_order_of_the_file() -> None:
    """Line 9 comes before line 10."""
    late, early = Mistake("a.yaml", 10, 1, "late"), Mistake("a.yaml", 9, 2, "early")
    error = ScenarioError([late, early, late])
    assert error.mistakes == (early, late)
    assert str(error) == "a.yaml:9:2: early\na.yaml:10:1: late"


def test_a_mistake_without_a_place_names_the_file() -> None:
    """A missing file has no lines."""
    assert str(Mistake("a.yaml", 0, 0, "no such file")) == "a.yaml: no such file"
