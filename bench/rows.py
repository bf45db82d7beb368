"""The rows that benchmarks print, and the clock that they go by."""

import statistics
from collections.abc import Sequence

from harness.clock import WallClock

CLOCK = WallClock()


def show(name: str, values: Sequence[float], unit: str, bound: str) -> None:
    """Print one row."""
    spread = f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f} {unit}"
    print(f"{name:<52} n={len(values):<3} {spread:<28} {bound}", flush=True)  # noqa: T201
