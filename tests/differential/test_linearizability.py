"""Our verdicts on linearizability beside Porcupine's, and beside all orders of a few operations.

DRILL_FUZZ sets how many histories a family has here; 1,000 is what a release is held to.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import operations
from harness.answer import UNKNOWN, Valid
from harness.checks.linearizable import Linearizable
from harness.engines import porcupine
from harness.history import Json
from harness.linearizability.models import ModelName
from harness.operations import Operation
from tests.databases.objects import DEFECTS, Recipe, is_linearizable, record, save

# Of fewer the share of broken ones would say nothing.
EACH = max(40, int(os.environ.get("DRILL_FUZZ", "40")))
TIME_LIMIT_S = 5.0
INVALID = 0.3  # of the histories of a family at least
# Either may run out of time on a hard history; then there is nothing to compare.
UNDECIDED = 0.02


@pytest.fixture(scope="session")
def engine() -> Path:
    """Return Porcupine; in CI it must be there."""
    if shutil.which("go") is None and os.environ.get("CI") != "true":
        pytest.skip("no Go on the PATH, so Porcupine cannot be built")
    return porcupine.program()


def recipe(model: ModelName, rng: random.Random) -> Recipe:
    """Return what to record: small and large, sound and broken in every way."""
    return Recipe(
        model,
        clients=rng.randint(2, 8),
        # Porcupine does not look ahead to what is read next: long strings are beyond it.
        operations=rng.randint(5, 40 if model == "kv-string" else 80),
        keys=rng.choice([1, 1, 3]),
        values=rng.choice([1, 2, 4, 20]),
        registers=rng.randint(1, 4),
        info=rng.choice([0.0, 0.05, 0.3]),
        defect=rng.choice([None, *DEFECTS[model], *DEFECTS[model]]),
    )


def tiny(model: ModelName, rng: random.Random) -> Recipe:
    """Return what to record where all orders are tried."""
    # Reading null constrains nothing, so a map must be written before anything can be wrong.
    is_map = model == "multi-register"
    return Recipe(
        model,
        clients=2 if is_map else rng.randint(2, 4),
        operations=9 if is_map else rng.randint(5, 7),
        values=3 if is_map else 2,
        registers=rng.randint(1, 2),
        info=rng.choice([0.0, 0.2]),
        fail=rng.choice([0.0, 0.2]),
        impatience=0.05,
        defect="nowhere" if is_map and rng.random() < 0.5 else rng.choice(DEFECTS[model]),
        errs=0.5 if is_map else 0.9,
    )


@pytest.mark.parametrize("model", DEFECTS)
def test_agrees_with_porcupine(model: ModelName, engine: Path, tmp_path: Path):
    """Not one verdict differs, and enough histories are broken for that to mean something."""
    assert engine.is_file()
    said: Counter[Valid] = Counter()
    undecided = 0
    check = Linearizable(model=model, time_limit=TIME_LIMIT_S)
    for number in range(EACH):
        rng = random.Random(f"{model}/{number}")
        path = save(record(recipe(model, rng), rng), tmp_path / "history.jsonl")
        ours = check.judge(operations.read(path))
        theirs = porcupine.judge(path, check)
        assert UNKNOWN in (ours.valid, theirs.valid) or ours.valid == theirs.valid, (
            f"{model}/{number}: we say {ours.valid} ({ours.reason}), Porcupine {theirs.valid}"
        )
        said[ours.valid] += 1
        undecided += "undecided" in ours.detail
    assert said[False] >= INVALID * EACH, said
    assert undecided <= UNDECIDED * EACH, said


def until(lines: int, history: Sequence[Operation]) -> Sequence[Operation]:
    """Return what is to be explained up to a line: what returns later may have happened by then.

    It is known how it ended, so it can have happened only in that way.
    """
    begun = (op for op in history if op.invoked < lines and op.outcome != "fail")
    return [
        op if op.completed is None or op.completed < lines else op._replace(completed=None)
        for op in begun
    ]


def one_object(history: Sequence[Operation], line: int) -> Sequence[Operation]:
    """Return what of a map is connected with the operation that returns on a line.

    Registers that nothing connects are objects of their own, and another may have broken earlier.
    A read of null constrains nothing, so it connects nothing.
    """
    said = {
        op.invoked: [m for m in micros(op) if m[0] == "write" or m[2] is not None] for op in history
    }
    tied = {m[1] for op in history if op.completed == line - 1 for m in said[op.invoked]}
    while True:
        more = {m[1] for ms in said.values() if tied & {m[1] for m in ms} for m in ms} - tied
        if not more:
            break
        tied |= more
    ours = {at: [m for m in ms if m[1] in tied] for at, ms in said.items()}
    return [
        op._replace(argument=ours[op.invoked], value=ours[op.invoked])
        for op in history
        if ours[op.invoked]
    ]


def micros(op: Operation) -> list[list[Json]]:
    assert isinstance(op.value, list)
    return op.value


@pytest.mark.parametrize("model", DEFECTS)
def test_agrees_with_all_orders(model: ModelName, tmp_path: Path):
    """On a few operations the search says what trying every order says, and where it breaks."""
    said: Counter[Valid] = Counter()

    for number in range(EACH):
        rng = random.Random(f"tiny/{model}/{number}")
        path = save(record(tiny(model, rng), rng), tmp_path / "history.jsonl")
        history = [*operations.read(path)]
        answer = Linearizable(model=model).judge(history)
        said[answer.valid] += 1
        if answer.valid != UNKNOWN:
            assert answer.valid is is_linearizable(model, history), f"tiny/{model}/{number}"
        if answer.valid is False:
            line = answer.detail["line"]
            assert isinstance(line, int)
            if model == "multi-register":
                history = [*one_object(history, line)]
            assert is_linearizable(model, until(line - 1, history)), f"tiny/{model}/{number}"
            assert not is_linearizable(model, until(line, history)), f"tiny/{model}/{number}"
    assert said[False] >= INVALID * EACH, said
