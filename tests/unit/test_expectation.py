"""Tests for harness.expectation, and of what every checker must have."""

import pytest
from pydantic import ValidationError

from harness.expectation import CountExpectation, Expectation, TimeExpectation
from harness.history import History
from harness.registry import checkers
from harness.verdict import Measurement, UndecidedError

OWN = {
    "anomalies": {"of": "append", "model": "serializable"},
    "archive": {"of": "restored"},
    "client_outage": {},
    "acknowledged": {"since": "alone", "until": "back"},
    "cleartext": {},
    "demotion": {"since": "cut"},
    "digest": {"of": "restored", "equals": "before"},
    "backups": {},
    "encryption": {},
    "failover": {"since": "cut"},
    "gap": {"from": "old-leader-demoted", "to": "new-leader-promoted"},
    "leader_changes": {},
    "lost_writes": {},
    "overlap": {"since": "thawed"},
    "pitr": {"of": "restored"},
    "rejoin": {"of": "cut"},
    "routing": {"primary-elb": "15s", "replica-elb": "15s"},
    "rpo": {"of": "restored", "since": "loss"},
    "rto": {"of": "restored", "since": "loss"},
    "sent_bytes": {"of": "joined"},
    "wal_gaps": {},
    "writers": {},
}


class Took(TimeExpectation):
    """A span of time for tests."""

    since: str | None = None

    def examine(self, history: History) -> Measurement:
        if not history.events:
            raise UndecidedError("nothing happened")
        return Measurement(1.0, "it took a second")


class Things(CountExpectation):
    """A count for tests."""

    def examine(self, history: History) -> Measurement:
        return Measurement(len(history.events), "")


def test_bounds_are_durations_or_counts_by_statistic() -> None:
    """Only what was written is a bound."""
    assert dict(Took.model_validate({"max": "1m", "p50": "250ms"}).bounds) == {
        "p50": 0.25,
        "max": 60,
    }
    assert dict(Things.model_validate({"max": 0}).bounds) == {"max": 0}
    assert not Took.model_validate({}).bounds


@pytest.mark.parametrize(
    ("model", "own", "says"),
    [
        (Took, {"max": 30}, "expected a duration"),
        (Took, {"mx": "30s"}, "Extra inputs"),
        (Took, {"p50": "40s", "max": "30s"}, "p50 40 is above max 30"),
        (Took, {"min": "40s", "max": "30s"}, "min 40 is above max 30"),
        (Things, {"max": "0"}, "valid integer"),
        (Things, {"max": True}, "valid integer"),
        (Things, {"max": -1}, "greater than or equal"),
    ],
)
def test_mistakes_are_refused(model: type[Expectation], own: dict[str, object], says: str) -> None:
    """A bound without a unit, an unknown key, a bound that can never decide."""
    with pytest.raises(ValidationError, match=says):
        model.model_validate(own)


def test_refs_are_the_steps_it_leans_on() -> None:
    """So that the plan can refuse names of no step."""
    assert Took.model_validate({"since": "crash"}).refs == ["crash"]
    assert Took.model_validate({}).refs == []


def test_time_bounds_leave_out_zero_and_counts() -> None:
    """No stall is shorter than a tenth of nothing."""
    assert Took.model_validate({"min": "0s", "max": "5s"}).time_bounds == [5]
    assert Things.model_validate({"max": 3}).time_bounds == []


def test_undecided_becomes_a_measurement_without_a_value() -> None:
    """The reason is the note."""
    assert Took.model_validate({}).measure(History(())) == Measurement(None, "nothing happened")


def test_every_checker_is_covered_here() -> None:
    """A new checker must say what it says of an empty history."""
    assert set(checkers()) == set(OWN)


@pytest.mark.parametrize("name", OWN)
def test_an_empty_history_decides_nothing(name: str) -> None:
    """No checker passes on nothing."""
    checker = checkers()[name].model_validate(OWN[name])  # type: ignore[attr-defined]
    assert checker.measure(History(())).value is None


@pytest.mark.parametrize("name", OWN)
def test_every_checker_says_what_a_pass_does_not_show(name: str) -> None:
    """And what it costs, and where its definition is from."""
    told = checkers()[name].__doc__ or ""
    assert "A pass " in told
    assert "O(n" in told
    assert "Source: " in told
