"""Tests for harness.together: side by side, to the end of all of it."""

import pytest

from harness.together import together
from tests.unit.virtual_stage import VirtualClock


def test_all_of_it_runs_at_once() -> None:
    """It takes as long as the longest."""
    clock = VirtualClock()
    together(clock, [lambda: clock.sleep(2), lambda: clock.sleep(3)], "x")
    assert clock.now_ns() == 3_000_000_000


def test_nothing_is_left_running_when_something_fails() -> None:
    """The first failure is raised, once the rest has ended."""
    clock = VirtualClock()
    ended: list[str] = []

    def fail(text: str, after: float) -> None:
        clock.sleep(after)
        ended.append(text)
        raise ValueError(text)

    with pytest.raises(ValueError, match="first"):
        together(
            clock,
            [lambda: fail("first", 2), lambda: fail("second", 1), lambda: clock.sleep(3)],
            "x",
        )
    assert ended == ["second", "first"]
    assert clock.now_ns() == 3_000_000_000


def test_nothing_to_do_is_done() -> None:
    """At once."""
    together(VirtualClock(), [], "x")
