"""Transactions told in a line each, and inferences given edge by edge."""

from collections.abc import Iterator, Sequence

import numpy as np

from harness.answer import Answer
from harness.checks.elle import Elle
from harness.history import Json, Outcome
from harness.isolation.inference import NEVER, Inference, Kind
from harness.operations import Operation

Step = tuple[str, str, Outcome, Sequence[Json]]
Script = Sequence[Step]
Edge = tuple[int, int, Kind]


def a(key: Json, element: Json) -> Json:
    return ["append", key, element]


def r(key: Json, *elements: Json) -> Json:
    return ["r", key, list(elements)]


def tape(script: Script, key: Json = None) -> Iterator[Operation]:
    """Yield transactions from (process, "start end", outcome, micro-operations)."""
    for process, span, outcome, micros in script:
        start, end = (int(moment) for moment in span.split())
        completed = None if outcome == "info" else end
        yield Operation(
            process, "txn", outcome, key, None, list(micros), start, completed,
            start * 1_000_000, None if completed is None else completed * 1_000_000,
            "pg-1", None, None, None, None,
        )  # fmt: skip


def judge(script: Script, consistency: str = "strict-serializable") -> Answer:
    return Elle.model_validate({"consistency": consistency}).judge(tape(script))


def together(*transactions: Sequence[Json]) -> Script:
    """Return transactions of one client each that all ran at the same time."""
    return [(f"p{n}", f"{n} {100 + n}", "ok", micros) for n, micros in enumerate(transactions)]


def inferred(
    edges: Sequence[Edge], spans: Sequence[tuple[int, int | None]], process: Sequence[int] = ()
) -> Inference:
    """Return an inference of so many transactions as there are spans (invoked, completed)."""
    of = process or range(len(spans))
    return Inference(
        np.array(of, np.int32),
        np.array([start for start, _ in spans], np.int64),
        np.array([NEVER if end is None else end for _, end in spans], np.int64),
        np.array([source for source, _, _ in edges], np.int32),
        np.array([target for _, target, _ in edges], np.int32),
        np.array([kind for _, _, kind in edges], np.int8),
        lambda source, target, kind: f"T{source} {kind.name} T{target}",
        lambda number: {
            "process": int(of[number]), "node": None, "outcome": "ok", "start": None, "end": None,
            "operations": [],
        },
    )  # fmt: skip
