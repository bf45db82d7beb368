"""The oracle on cases of the literature, and the toy databases on what they are made for."""

from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from harness.history import Json, Outcome
from harness.operations import Operation, read
from tests.databases.histories import WORKLOADS, history, holds
from tests.databases.oracle import Oracle
from tests.databases.stores import STORES

Step = tuple[str, str, Outcome, Sequence[Json]]


def models(workload: str, script: Sequence[Step], *options: str) -> set[str]:
    """Return what holds of transactions (process, "start end", outcome, micro-operations)."""
    operations = []
    for process, span, outcome, micros in script:
        start, end = (int(moment) for moment in span.split())
        completed = None if outcome == "info" else end
        operations.append(
            Operation(
                process, "txn", outcome, None, None, list(micros), start, completed,
                start, completed, None, None, None, None, None,
            )
        )  # fmt: skip
    return {model for model, held in Oracle(operations, workload, options).models().items() if held}


STRONG = {"strong-snapshot-isolation", "strict-serializable"}
SESSION = {"strong-session-snapshot-isolation", "strong-session-serializable"}
SNAPSHOT = {
    "read-committed",
    "snapshot-isolation",
    "strong-session-snapshot-isolation",
    "strong-snapshot-isolation",
}
EVERY = {*STRONG, *SESSION, *SNAPSHOT, "serializable", "repeatable-read"}


def test_one_after_the_other() -> None:
    """Everything holds of transactions that never met."""
    script: Sequence[Step] = [
        ("a", "0 1", "ok", [["append", 1, 1]]),
        ("b", "2 3", "ok", [["r", 1, [1]], ["append", 1, 2], ["r", 1, [1, 2]]]),
    ]
    assert models("list-append", script) == EVERY


def test_write_skew() -> None:
    """Berenson et al., A5B: snapshots allow it."""
    script: Sequence[Step] = [
        ("a", "0 2", "ok", [["r", 1, []], ["append", 2, 1]]),
        ("b", "1 3", "ok", [["r", 2, []], ["append", 1, 1]]),
    ]
    assert models("list-append", script) == SNAPSHOT


def test_lost_update() -> None:
    """Berenson et al., P4: of two that read one state, one commits; read committed allows both."""
    script: Sequence[Step] = [
        ("a", "0 2", "ok", [["r", 1, None], ["w", 1, 1]]),
        ("b", "1 3", "ok", [["r", 1, None], ["w", 1, 2]]),
    ]
    assert models("rw-register", script) == {"read-committed"}


def test_long_fork() -> None:
    """Two readers that see two writes in different orders: no snapshots, but read committed."""
    script: Sequence[Step] = [
        ("a", "0 4", "ok", [["append", 1, 1]]),
        ("b", "1 5", "ok", [["append", 2, 1]]),
        ("c", "2 6", "ok", [["r", 1, [1]], ["r", 2, []]]),
        ("d", "3 7", "ok", [["r", 1, []], ["r", 2, [1]]]),
    ]
    assert models("list-append", script) == {"read-committed"}


@pytest.mark.parametrize(
    ("process", "kept"), [("b", EVERY - STRONG), ("a", EVERY - STRONG - SESSION)]
)
def test_stale_read(process: str, kept: set[str]) -> None:
    """The past may be read, unless it is another client's and time counts, or one's own."""
    script: Sequence[Step] = [
        ("a", "0 1", "ok", [["append", 1, 1]]),
        (process, "2 3", "ok", [["r", 1, []]]),
    ]
    assert models("list-append", script) == kept


def test_unknown_outcomes_may_be_either() -> None:
    """What is of unknown outcome happened if it was read, and not if it was not."""
    doubt: Step = ("a", "0 1", "info", [["append", 1, 1]])
    for found in ([], [1]):
        assert models("list-append", [doubt, ("b", "2 3", "ok", [["r", 1, found]])]) == EVERY
    both: Sequence[Step] = [
        ("b", "2 3", "ok", [["r", 1, [1]]]),
        ("c", "4 5", "ok", [["r", 1, []]]),
    ]
    assert not models("list-append", [doubt, *both]) & STRONG


def test_aborted_and_intermediate_reads() -> None:
    """Neither what failed nor what was overwritten is ever committed."""
    reader: Step = ("b", "2 3", "ok", [["r", 1, 1]])
    failed: Step = ("a", "0 1", "fail", [["w", 1, 1]])
    twice: Step = ("a", "0 1", "ok", [["w", 1, 1], ["w", 1, 2]])
    assert not models("rw-register", [failed, reader])
    assert not models("rw-register", [twice, reader])


def test_assumptions_about_keys() -> None:
    """With linearizable keys, a read of the past that would be serializable is none any more."""
    script: Sequence[Step] = [
        ("a", "0 1", "ok", [["w", 1, 1]]),
        ("b", "2 3", "ok", [["r", 1, None]]),
    ]
    assert "serializable" in models("rw-register", script, "sequential-keys?")
    assert not models("rw-register", script, "linearizable-keys?")


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("kind", STORES)
def test_promises_hold_by_definition(kind: str, workload: str, tmp_path: Path) -> None:
    """What a kind of database promises, brute force confirms; and one seed gives one history."""
    for seed in range(5):
        events = history(kind, workload, seed, transactions=5, processes=3, keys=2)
        assert events == history(kind, workload, seed, transactions=5, processes=3, keys=2)
        path = tmp_path / "history.jsonl"
        path.write_bytes(b"\n".join(map(orjson.dumps, events)))
        truth = Oracle(read(path), workload).models()
        assert all(truth[model] for model in holds(kind, workload) - {"read-uncommitted"})
