"""Checks, timed as whole processes: start, parsing, verdict, the names of what was found.

Beside ours stands the second opinion on the same file, in turn, so that the ratio holds while the
machine's speed drifts. It is asked through `--engine`: our reader, then the other program.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import orjson

from bench.rows import CLOCK
from harness.clock import NS
from harness.history import Json
from tests.databases import histories, objects

Event = dict[str, Json]
_COPIES = 10
_APART = 10**9  # between the keys of two copies


@dataclass(frozen=True, slots=True)
class Question:
    """One row: a file, and what it is asked."""

    name: str
    make: Callable[[], Iterable[Event]]
    words: Sequence[str]
    engine: str
    bound: str
    times: int = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    seconds: float
    mebibytes: float
    exit_code: int


def checks(times: int) -> None:
    """Time each question, ours and the second opinion's in turn; print both and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        for one in _QUESTIONS:
            path = Path(folder) / "history.jsonl"
            with path.open("wb") as file:
                file.writelines(orjson.dumps(event) + b"\n" for event in one.make())
            _row(one, path, min(times, one.times))


def _row(one: Question, path: Path, times: int) -> None:
    pairs = [(_cost(one, path, "python"), _cost(one, path, one.engine)) for _ in range(times)]
    ours, theirs = ([pair[at] for pair in pairs] for at in (0, 1))
    ratio = statistics.median(a.seconds / b.seconds for a, b in pairs)
    size = f"{path.stat().st_size >> 20} MiB"
    print(f"{one.name} ({size}, exit {ours[0].exit_code})")  # noqa: T201
    print(f"  ours      {_spread(ours)}  {one.bound}")  # noqa: T201
    print(f"  {one.engine:<9} {_spread(theirs)}  ours/{one.engine} {ratio:.2f}", flush=True)  # noqa: T201


def _spread(costs: Sequence[Cost]) -> str:
    seconds = [cost.seconds for cost in costs]
    memory = max(cost.mebibytes for cost in costs)
    middle = statistics.median(seconds)
    told = f"{min(seconds):.2f} / {middle:.2f} / {max(seconds):.2f} s"
    return f"n={len(costs)}  {told:<24} {memory:5.0f} MiB"


def _cost(one: Question, path: Path, engine: str) -> Cost:
    """Run one check as a process of its own.

    The memory is its own at most, not its children's; it is never told less than what this process
    had when it made the child.
    """
    words = [sys.executable, "-m", "harness", "check", str(path), *one.words, "--engine", engine]
    begun = CLOCK.now_ns()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = (CLOCK.now_ns() - begun) / NS
    assert child.returncode in (0, 1), f"{' '.join(words)}: exit {child.returncode}"
    return Cost(seconds, usage.ru_maxrss / 1024, child.returncode)


# --- the files ---------------------------------------------------------------------------------


def _append(kind: str, transactions: int) -> Sequence[Event]:
    return histories.history(
        kind, "list-append", 1, transactions=transactions, processes=10, keys=8, info=0.001
    )


def _million() -> Iterable[Event]:
    """Ten times the same 100,000 transactions, one after another, each time on other keys."""
    once = _append("serializable", 100_000)
    for copy in range(_COPIES):
        for event in once:
            value = event["value"]
            assert isinstance(value, list)
            moved: Json = [[f, int(key) + copy * _APART, v] for f, key, v in value]
            yield {**event, "value": moved, "index": int(str(event["index"])) + copy * len(once)}


def _registers(defect: objects.Defect | None = None) -> Iterable[Event]:
    """100 keys, 10 clients, one unknown outcome in 1,000; values repeat, as cas needs."""
    recipe = objects.Recipe(
        "cas-register",
        clients=10,
        operations=100_000,
        keys=100,
        values=5,
        info=0.001,
        fail=0.01,
        impatience=0,
        defect=defect,
        errs=0.001,
    )
    return objects.record(recipe, Random(1))


def _one_register(defect: objects.Defect | None = None) -> Iterable[Event]:
    """One key, five clients, and about 50 operations that may take effect at any later time."""
    recipe = objects.Recipe(
        "register",
        clients=5,
        operations=1_000,
        values=5,
        info=0.05,
        impatience=0,
        defect=defect,
        errs=0.1,
    )
    return objects.record(recipe, Random(1))


_ELLE = ("--checker", "elle")
_REGISTER = ("--checker", "linearizable", "--model")
_QUESTIONS = (
    Question(
        "append, 100k transactions, valid",
        lambda: _append("serializable", 100_000),
        _ELLE,
        "adya",
        "<= 2 s",
    ),
    Question(
        "append, 100k transactions, write skew",
        lambda: _append("snapshot-isolation", 100_000),
        _ELLE,
        "adya",
        "<= 2 s",
    ),
    Question("append, 1M transactions", _million, _ELLE, "adya", "<= 20 s, <= 4096 MiB", 1),
    Question(
        "cas-register, 100k operations, 100 keys",
        _registers,
        (*_REGISTER, "cas-register"),
        "porcupine",
        "<= 5 s",
    ),
    Question(
        "cas-register, 100k operations, 100 keys, stale reads",
        lambda: _registers("stale"),
        (*_REGISTER, "cas-register"),
        "porcupine",
        "<= 5 s",
    ),
    Question(
        "register, one key, 50 unknown operations, a stale read",
        lambda: _one_register("stale"),
        (*_REGISTER, "register"),
        "porcupine",
        "<= 1 s",
    ),
    Question(
        "register, one key, 50 unknown operations",
        _one_register,
        (*_REGISTER, "register"),
        "porcupine",
        "<= 1 s",
    ),
)
