"""What every expectation has in common: bounds, and the steps that it leans on.

A checker is a pydantic model whose fields are an expectation's own keys. (`when`, `unless` and
`report` belong to every expectation alike, so the plan takes them off first.) One without a bound
is a mistake unless it is only reported: `bounds` is then empty, and the plan decides.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness.history import History
from harness.scenario import Duration, Model
from harness.verdict import Measurement, Statistic, UndecidedError

# In the order in which they cannot exceed one another.
_ASCENDING: tuple[Statistic, ...] = ("min", "p50", "p90", "p95", "p99", "max")
_LEANS_ON = ("of", "since", "until")


class Expectation(Model):
    """One property of a history. A checker writes `examine`; `measure` is what is called."""

    unit: ClassVar[Literal["s", "count"]]
    # What `of:` names: a step's `as:`, a restored cluster, or a workload.
    of_names: ClassVar[Literal["step", "cluster", "workload"]] = "step"

    @abstractmethod
    def examine(self, history: History) -> Measurement:
        """Return what this history shows.

        Raises:
            UndecidedError: when it could not have shown a breach.
        """
        raise NotImplementedError

    def measure(self, history: History) -> Measurement:
        try:
            return self.examine(history)
        except UndecidedError as reason:
            return Measurement(None, str(reason))

    @property
    def bounds(self) -> Mapping[Statistic, float]:
        return {
            name: bound for name in _ASCENDING if (bound := getattr(self, name, None)) is not None
        }

    @property
    def time_bounds(self) -> Sequence[float]:
        """Return the spans of time (s) that this is held against: what a stall may spoil."""
        return [bound for bound in self.bounds.values() if bound > 0] if self.unit == "s" else []

    @property
    def refs(self) -> Sequence[str]:
        return self._named(*(key for key in _LEANS_ON if key != "of" or self.of_names == "step"))

    @property
    def clusters(self) -> Sequence[str]:
        return self._named("of") if self.of_names == "cluster" else ()

    @property
    def workloads(self) -> Sequence[str]:
        return self._named("of") if self.of_names == "workload" else ()

    @property
    def marks(self) -> Sequence[str]:
        return ()

    def _named(self, *keys: str) -> Sequence[str]:
        found = [getattr(self, key, None) for key in keys]
        return [name for name in found if isinstance(name, str)]

    @model_validator(mode="after")
    def _bounds_can_hold(self) -> Self:
        for (low, at_most), (high, bound) in pairwise(self.bounds.items()):
            if at_most > bound:
                raise ValueError(
                    f"{low} {at_most:g} is above {high} {bound:g}; expected {low} <= {high}, "
                    "or one of them can never decide anything"
                )
        return self


class TimeExpectation(Expectation):
    """An expectation on a span of time; the bounds are durations.

    Attributes:
        max, min: of every run.
        p50, p90, p95, p99: of all runs of one cell together.
    """

    unit: ClassVar[Literal["s", "count"]] = "s"

    max: Duration | None = None
    min: Duration | None = None
    p50: Duration | None = None
    p90: Duration | None = None
    p95: Duration | None = None
    p99: Duration | None = None


class CountExpectation(Expectation):
    """An expectation on a number of things.

    Attributes:
        max, min: of every run.
        p50, p90, p95, p99: of all runs of one cell together.
    """

    unit: ClassVar[Literal["s", "count"]] = "count"

    max: int | None = Field(None, ge=0, strict=True)
    min: int | None = Field(None, ge=0, strict=True)
    p50: int | None = Field(None, ge=0, strict=True)
    p90: int | None = Field(None, ge=0, strict=True)
    p95: int | None = Field(None, ge=0, strict=True)
    p99: int | None = Field(None, ge=0, strict=True)
