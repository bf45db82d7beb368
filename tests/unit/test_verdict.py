"""Tests for harness.verdict."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.verdict import (
    RUNS_NEEDED,
    Finding,
    Measurement,
    Statistic,
    Verdict,
    judge,
    of_cell,
    percentile,
)

PASS, FAIL, ERROR, SKIP = Verdict.PASS, Verdict.FAIL, Verdict.ERROR, Verdict.SKIP


def seen(*values: float | None, at_least: bool = False) -> list[Measurement]:
    return [Measurement(value, f"saw {value}", at_least=at_least) for value in values]


def held(measurements: list[Measurement], **bounds: float) -> Finding:
    by_name: dict[Statistic, float] = dict(bounds)  # type: ignore[assignment]
    return judge("failover", "s", by_name, measurements)


# --- verdicts -------------------------------------------------------------------------------------


def test_worst_is_fail_over_error_over_pass_over_skip() -> None:
    """The order is the law."""
    assert Verdict.worst([PASS, ERROR, FAIL, SKIP]) is FAIL
    assert Verdict.worst([PASS, ERROR, SKIP]) is ERROR
    assert Verdict.worst([SKIP, PASS]) is PASS
    assert Verdict.worst([SKIP]) is SKIP


def test_worst_of_nothing_is_error() -> None:
    """Nothing was judged, so nothing was proved."""
    assert Verdict.worst([]) is ERROR


@given(st.lists(st.sampled_from(Verdict), min_size=1, max_size=5), st.randoms())
def test_worst_is_commutative_idempotent_and_associative(found: list[Verdict], random) -> None:
    """However verdicts are grouped, ordered or repeated, they combine to the same."""
    shuffled = found * 2
    random.shuffle(shuffled)
    half = len(found) // 2
    grouped = [Verdict.worst(part) for part in (found[:half], found[half:]) if part]
    assert Verdict.worst(shuffled) is Verdict.worst(found) is Verdict.worst(grouped)


def test_a_cell_in_which_nothing_was_judged_is_an_error() -> None:
    """Only reports: nothing was promised, so nothing was proved."""
    reported = judge("a", "s", {}, seen(1.0), report_only=True)
    assert of_cell([reported]) is ERROR
    assert of_cell([reported, held(seen(1.0), max=2)]) is PASS
    assert of_cell([]) is ERROR


# --- percentiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "percent"), [("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)]
)
def test_runs_needed_is_the_smallest_that_reaches_95_percent(statistic: str, percent: int) -> None:
    """The table follows from 1 - q**n >= 0.95, in exact arithmetic."""
    q, n = Fraction(percent, 100), 1
    while 1 - q**n < Fraction(95, 100):
        n += 1
    assert RUNS_NEEDED[statistic] == n


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=130), st.sampled_from([7, 50, 55, 90, 95, 99])
)
def test_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(
    values: list[int], percent: int
) -> None:
    """Nearest rank, by its definition: at least q*n of the values are not larger."""
    enough = Fraction(percent, 100) * len(values)
    expected = min(v for v in values if sum(w <= v for w in values) >= enough)
    assert percentile(values, percent / 100) == expected


# --- judging --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "bounds", "verdict"),
    [
        ([30.0], {"max": 30}, PASS),
        ([30.1], {"max": 30}, FAIL),
        ([3.0], {"min": 3}, PASS),
        ([2.9], {"min": 3}, FAIL),
        ([2.0], {"min": 1, "max": 3}, PASS),
        ([0.5], {"min": 1, "max": 3}, FAIL),
        ([3.5], {"min": 1, "max": 3}, FAIL),
        ([1.0, 31.0], {"max": 30}, FAIL),
        ([1.0, None], {"max": 30}, ERROR),
        ([31.0, None], {"max": 30}, FAIL),
        ([None], {"max": 30}, ERROR),
        ([], {"max": 30}, ERROR),
        ([1.0], {}, ERROR),
        ([1.0] * 4, {"p50": 30}, ERROR),
        ([1.0] * 5, {"p50": 30}, PASS),
        ([1.0] * 2 + [31.0] * 3, {"p50": 30}, FAIL),
        ([1.0] * 3 + [31.0] * 2, {"p50": 30}, PASS),
        ([1.0] * 4, {"p50": 30, "max": 40}, PASS),
        ([41.0] * 4, {"p50": 30, "max": 40}, FAIL),
        ([1.0] * 5 + [None], {"p50": 30}, ERROR),
        ([31.0] * 5 + [None], {"p50": 30}, FAIL),
        ([1.0] * 2 + [31.0] * 3 + [None] * 2, {"p50": 30}, ERROR),
    ],
)
def test_judge(values: list[float | None], bounds: dict[str, float], verdict: Verdict) -> None:
    """A breach fails, doubt is an error, too few runs leave a percentile open."""
    assert held(seen(*values), **bounds).verdict is verdict


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"max": 9}, FAIL),
        ({"max": 10}, ERROR),
        ({"max": 11}, ERROR),
        ({"min": 10}, PASS),
        ({"min": 11}, ERROR),
        ({"min": 5, "max": 20}, ERROR),
    ],
)
def test_a_lower_bound_breaks_a_maximum_but_never_keeps_it(
    bounds: dict[str, float], verdict: Verdict
) -> None:
    """At least 10 s: more than 9, perhaps more than 11, surely not less than 10."""
    assert held(seen(10.0, at_least=True), **bounds).verdict is verdict


def test_a_lower_bound_beside_a_breach_does_not_hide_it() -> None:
    """One run broke the bound; another is not known."""
    assert held([*seen(12.0), *seen(1.0, at_least=True)], max=11).verdict is FAIL


def test_percentiles_with_lower_bounds_hold_only_when_they_must() -> None:
    """Three runs of five are known to be fast: the median is, whatever the others were."""
    fast, open_ = seen(1.0), seen(1.0, at_least=True)
    assert held(fast * 3 + open_ * 2, p50=5).verdict is PASS
    assert held(fast * 2 + open_ * 3, p50=5).verdict is ERROR


@pytest.mark.parametrize(
    ("value", "late", "bounds", "verdict"),
    [
        (33.0, 7.0, {"max": 28}, ERROR),  # with cores of its own it might have held
        (33.0, 4.0, {"max": 28}, FAIL),  # it would not have
        (33.0, 5.0, {"max": 28}, ERROR),
        (27.0, 27.0, {"max": 28}, PASS),  # who waits only lengthens
        (-1.0, 9.0, {"min": 0}, FAIL),  # two at once are two at once, on whatever machine
        (1.0, 9.0, {"min": 0}, PASS),
    ],
)
def test_late_nodes_excuse_a_span_that_was_too_long_and_nothing_else(
    value: float, late: float, bounds: dict[str, float], verdict: Verdict
) -> None:
    """By as much as they may have been late."""
    found = held([Measurement(value, "saw it", late=late)], **bounds)
    assert found.verdict is verdict
    if verdict is ERROR:
        assert found.note == (
            "max 33.00 s against 28.00 s: undecided, for no core of the nodes' machine was free "
            f"for up to {late} s of it; saw it"
        )


def test_late_nodes_are_no_reason_for_a_span_without_an_end() -> None:
    """However long it was, it is too short: the machine had no part in that."""
    found = held([Measurement(10.0, "saw it", at_least=True, late=10.0)], max=20)
    assert (found.verdict, found.note) == (ERROR, "max 10.00 s against 20.00 s: undecided; saw it")


def test_what_is_only_reported_is_no_pass() -> None:
    """Measured is a skip, not measured an error."""
    assert judge("a", "s", {"max": 1}, seen(5.0), report_only=True).verdict is SKIP
    assert judge("a", "s", {"max": 1}, seen(None), report_only=True).verdict is ERROR
    assert judge("a", "s", {}, [], report_only=True).verdict is ERROR


def test_the_note_says_what_broke_and_what_was_seen() -> None:
    """First the breach, then the rest; the measurement shown is the one that broke it."""
    found = held(seen(35.0, None, 41.5), max=40, p50=33)
    assert found.note == "max 41.50 s > 40.00 s; p50 not established (n=2 < 5); saw 41.5"
    assert held(seen(0.5, 2.0), min=1).note == "min 0.50 s < 1.00 s; saw 0.5"


def test_the_note_of_an_error_says_why_first() -> None:
    """What was not known is the news."""
    assert held(seen(1.0, None), max=40).note.startswith("saw None; max 1.00 s")
    assert judge("a", "s", {"max": 1}, []).note == "max not measured"


def test_a_pass_of_many_runs_tells_the_rule_of_three() -> None:
    """No failure in 20 runs: at most 3/20 of all runs fail, at 95 % confidence."""
    assert "0 of 20 runs failed: at most 15.0%" in held(seen(*[1.0] * 20), max=2).note
    assert "runs failed" not in held(seen(1.0), max=2).note


def test_the_finding_carries_the_evidence_of_the_breach() -> None:
    """Not that of a run that decided nothing."""
    broken = Measurement(50.0, "slow", evidence=["witness"])
    found = held([Measurement(None, "blind", evidence=["nothing"]), broken], max=40)
    assert found.evidence == ["witness"]
    assert (found.bound, found.values) == ("max 40.00 s", [None, 50.0])


def test_nan_is_our_own_mistake() -> None:
    """It compares false with every bound, so it would pass them all."""
    with pytest.raises(AssertionError):
        Measurement(math.nan, "")


MEASUREMENTS = st.builds(
    lambda value, at_least: Measurement(value, "", at_least=at_least),
    st.none() | st.integers(0, 20).map(float),
    st.booleans(),
)
BOUNDS = st.dictionaries(st.sampled_from(["max", "min", "p50"]), st.integers(0, 20), min_size=1)


@settings(max_examples=300, deadline=None)
@given(st.lists(MEASUREMENTS, max_size=9), BOUNDS, MEASUREMENTS)
def test_a_failing_measurement_never_mends_a_failure(
    measurements: list[Measurement], bounds: dict[Statistic, float], another: Measurement
) -> None:
    """Adding a run that breaks a bound by itself leaves a failure a failure."""
    alone = judge("a", "s", {k: b for k, b in bounds.items() if k != "p50"}, [another])
    above = "p50" not in bounds or another.least > bounds["p50"]
    before = judge("a", "s", bounds, measurements).verdict
    after = judge("a", "s", bounds, [*measurements, another]).verdict
    if before is FAIL and above:
        assert after is FAIL
    if alone.verdict is FAIL:
        assert after is FAIL


@settings(max_examples=300, deadline=None)
@given(st.lists(MEASUREMENTS, min_size=1, max_size=6), BOUNDS, st.integers(0, 30))
def test_pass_and_fail_hold_for_every_truth_behind_the_measurements(
    measurements: list[Measurement], bounds: dict[Statistic, float], truth: int
) -> None:
    """Put in for each unknown any value it allows: a pass stays one, and so does a fail."""
    verdict = judge("a", "s", bounds, measurements).verdict
    known = [
        m if m.value is not None and not m.at_least else Measurement(max(m.least, truth), "")
        for m in measurements
    ]
    # More is known of the truth, so a percentile may be judged that was not before.
    same = {k: b for k, b in bounds.items() if k != "p50" or _established(measurements)}
    if same and verdict in (PASS, FAIL):
        assert judge("a", "s", same, known).verdict is verdict


def _established(measurements: list[Measurement]) -> bool:
    return sum(m.value is not None for m in measurements) >= RUNS_NEEDED["p50"]
