"""Verdicts, how they combine, and how measurements are held against a bound."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from harness.history import Json


class Verdict(StrEnum):
    """What a run says of the system's promise (docs/adr/0003)."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"

    @classmethod
    def worst(cls, verdicts: Iterable["Verdict"]) -> "Verdict":
        """Return fail over error over pass over skip; of nothing at all, error."""
        return max(verdicts, key=_SEVERITY.__getitem__, default=cls.ERROR)


_SEVERITY = {Verdict.SKIP: 0, Verdict.PASS: 1, Verdict.ERROR: 2, Verdict.FAIL: 3}

Statistic = Literal["max", "min", "p50", "p90", "p95", "p99"]

_AS_LATE = ", for no core of the nodes' machine was free for up to {:.1f} s of it"
# Runs needed before the sample percentile may be claimed with 95 % confidence: the smallest n
# with 1 - q**n >= 0.95, the distribution-free bound of Wilks (1941) at the sample's maximum.
RUNS_NEEDED: Mapping[str, int] = {"p50": 5, "p90": 29, "p95": 59, "p99": 299}


class UndecidedError(Exception):
    """A history could not have shown a breach, so it decides nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one checker found in one history.

    Attributes:
        value: seconds or a count, by the checker's unit; None when the history decides nothing.
        note: one sentence: what was seen, or why nothing could be decided.
        parts: named pieces of the value that sum to it (`detect`, `elect`, `promote`).
        evidence: the operations or observations that show it.
        at_least: the true value may be larger: what was waited for never came into sight.
        late: of a span of seconds: it may be longer by this much because its nodes waited for a
            core. It excuses no cluster from `min`.
    """

    value: float | None
    note: str
    parts: Mapping[str, float] = field(default_factory=dict)
    evidence: Sequence[Json] = ()
    at_least: bool = False
    late: float = 0.0

    def __post_init__(self) -> None:
        # NaN compares false with every bound, so it would pass them all.
        assert self.value is None or not math.isnan(self.value), "a measurement is NaN"

    @property
    def least(self) -> float:
        """Return the smallest value that this measurement allows."""
        return -math.inf if self.value is None else self.value

    @property
    def most(self) -> float:
        """Return the largest value that this measurement allows."""
        return math.inf if self.value is None or self.at_least else self.value


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation of one cell, judged.

    Attributes:
        name: of the expectation. verdict: pass, fail or error; skip when it is only reported.
        bound: as the scenario wrote it, for people.
        values: one a repeat, in order; None where that history decided nothing.
        note: why, in one line.
    """

    name: str
    verdict: Verdict
    bound: str
    unit: Literal["s", "count"]
    values: Sequence[float | None]
    note: str
    parts: Sequence[Mapping[str, float]] = ()
    evidence: Sequence[Json] = ()


def of_cell(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict of a cell; one in which nothing was judged proved nothing: error."""
    worst = Verdict.worst(finding.verdict for finding in findings)
    return Verdict.ERROR if worst is Verdict.SKIP else worst


def percentile(values: Sequence[float], q: float) -> float:
    """Return the sample percentile by the nearest-rank method: the ceil(q*n)-th smallest."""
    # Rounded, because 0.07 * 100 is a little more than 7 and its ceiling would be 8.
    rank = math.ceil(round(q * len(values), 9))
    return sorted(values)[max(0, rank - 1)]


@dataclass(frozen=True, slots=True)
class _Claim:
    """One bound held against all measurements; `holds` None when they cannot settle it."""

    statistic: Statistic
    holds: bool | None
    text: str


def judge(
    name: str,
    unit: Literal["s", "count"],
    bounds: Mapping[Statistic, float],
    measurements: Sequence[Measurement],
    *,
    report_only: bool = False,
) -> Finding:
    """Hold one cell's measurements against the bounds of one expectation.

    Each measurement allows a range of values: a point, everything from a lower bound upwards, or
    (undecided) anything. A bound is broken when no value in the ranges could keep it, and kept
    when none could break it. So a measurement that breaks `max` or `min` fails whatever the
    others say. Otherwise one that decided nothing makes the finding an error, as does a finding
    whose every bound is a percentile that this many runs cannot establish.

    What is only reported is never a pass: it is a skip, or an error where nothing was measured.
    """
    undecided = [m.note for m in measurements if m.value is None]
    claims = [_hold(statistic, bound, measurements, unit) for statistic, bound in bounds.items()]
    broken = [claim for claim in claims if claim.holds is False]
    judged = [claim for claim in claims if claim.holds is not None]
    # A percentile that too few runs were made for is told, but is no doubt about the runs made.
    doubtful = [c for c in claims if c.holds is None and _established(c.statistic, measurements)]
    if report_only:
        verdict = Verdict.ERROR if undecided or not measurements else Verdict.SKIP
    elif broken:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.ERROR if undecided or doubtful or not judged else Verdict.PASS
    shown = _shown(measurements, broken, bounds)
    return Finding(
        name=name,
        verdict=verdict,
        bound=", ".join(f"{s} {_show(b, unit)}" for s, b in bounds.items()) or "report",
        unit=unit,
        values=[m.value for m in measurements],
        note=_note(verdict, claims, undecided, measurements, shown),
        parts=[m.parts for m in measurements],
        evidence=shown.evidence if shown else (),
    )


def _established(statistic: Statistic, measurements: Sequence[Measurement]) -> bool:
    known = sum(m.value is not None for m in measurements)
    return known >= RUNS_NEEDED.get(statistic, 1)


def _hold(
    statistic: Statistic,
    bound: float,
    measurements: Sequence[Measurement],
    unit: Literal["s", "count"],
) -> _Claim:
    known = sum(m.value is not None for m in measurements)
    if not _established(statistic, measurements):
        if statistic not in RUNS_NEEDED:
            return _Claim(statistic, None, f"{statistic} not measured")
        text = f"{statistic} not established (n={known} < {RUNS_NEEDED[statistic]})"
        return _Claim(statistic, None, text)
    late = statistic != "min"
    least = _statistic(statistic, [m.least - m.late * late for m in measurements])
    most = _statistic(statistic, [m.most for m in measurements])
    if statistic == "min":
        holds = False if most < bound else True if least >= bound else None
    else:
        holds = False if least > bound else True if most <= bound else None
    seen = _statistic(statistic, [m.value for m in measurements if m.value is not None])
    sign = {"min": "<>="}.get(statistic, "><=")
    relation = {False: sign[0], True: sign[1:], None: "against"}[holds]
    text = f"{statistic} {_show(seen, unit)} {relation} {_show(bound, unit)}"
    if holds is None:
        waited = max(m.late for m in measurements)
        too_long = late and _statistic(statistic, [m.least for m in measurements]) > bound
        text += f": undecided{_AS_LATE.format(waited) if too_long else ''}"
    return _Claim(statistic, holds, text)


def _statistic(statistic: Statistic, values: Sequence[float]) -> float:
    if statistic == "max":
        return max(values)
    if statistic == "min":
        return min(values)
    return percentile(values, int(statistic[1:]) / 100)


def _shown(
    measurements: Sequence[Measurement],
    broken: Sequence[_Claim],
    bounds: Mapping[Statistic, float],
) -> Measurement | None:
    """Return the measurement that a reader should see first: what failed, then what is unknown."""
    known = [m for m in measurements if m.value is not None]
    unknown = [m for m in measurements if m.value is None]
    if unknown and not broken:
        return unknown[0]
    low = broken[0].statistic == "min" if broken else set(bounds) == {"min"}
    pick = min if low else max
    # Of two equal values the one that may be larger says more.
    return pick(known, key=lambda m: (m.value, m.at_least), default=None)


def _note(
    verdict: Verdict,
    claims: Sequence[_Claim],
    undecided: Sequence[str],
    measurements: Sequence[Measurement],
    shown: Measurement | None,
) -> str:
    order = {False: 0, None: 1, True: 2}
    words = [claim.text for claim in sorted(claims, key=lambda c: order[c.holds])]
    if verdict is not Verdict.FAIL:
        words = [*undecided, *words]
    if shown and shown.note:
        words.append(shown.note)
    runs = len(measurements)
    if verdict is Verdict.PASS and runs > _RULE_OF_THREE_RUNS:
        # No failure in n runs: with 95 % confidence the true rate is at most 3/n.
        words.append(f"0 of {runs} runs failed: at most {3 / runs:.1%} do, at 95 % confidence")
    return "; ".join(dict.fromkeys(words)) or "nothing was measured"


_RULE_OF_THREE_RUNS = 3  # up to here it would say "at most 100 %"


def _show(value: float, unit: Literal["s", "count"]) -> str:
    return f"{value:.2f} s" if unit == "s" else f"{value:g}"
