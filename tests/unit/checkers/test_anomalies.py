"""Tests for harness.checkers.anomalies: what each kind of session may be shown."""

from dataclasses import dataclass, field

import pytest

from harness.checkers.anomalies import Anomalies
from harness.history import Event, EventType, History, Json
from harness.verdict import Measurement

Transaction = list[list[Json]]


@dataclass
class Recorder:
    """Writes a history in which nothing overlaps, unless it is told so."""

    events: list[Event] = field(default_factory=list)

    def log(self, process: str, kind: EventType, f: str, value: Json, key: Json = None) -> None:
        at = len(self.events)
        self.events.append(Event(process, kind, f, at * 1000, value, key, index=at))

    def session(self, process: str, *, replica: bool = False) -> None:
        self.log(process, "invoke", "open", {"through": "replica-elb" if replica else "pg-1"})
        self.log(process, "ok", "open", {"in_recovery": replica})

    def txn(self, process: str, value: Transaction, kind: EventType = "ok") -> None:
        self.log(process, "invoke", "txn", value, "append")
        self.log(process, kind, "txn", value, "append")

    def final(self, value: Json) -> None:
        self.log("final", "invoke", "read", None, "append")
        self.log("final", "ok", "read", value, "append")

    def judged(self, model: str = "strict-serializable", **more: str) -> Measurement:
        asked = {"of": "append", "model": model, **more}
        return Anomalies.model_validate(asked).measure(History(tuple(self.events)))


@pytest.fixture
def seen() -> Recorder:
    """Two sessions on the primary and one on a replica; one append is acknowledged."""
    found = Recorder()
    found.session("append/0")
    found.session("append/1")
    found.session("reads/0", replica=True)
    found.txn("append/0", [["append", 1, 10]])
    found.txn("append/1", [["r", 1, [10]], ["append", 1, 11]])
    return found


def test_what_fits_one_order_is_no_anomaly(seen: Recorder) -> None:
    """The note says how much was judged."""
    seen.final([["r", 1, [10, 11]]])
    found = seen.judged()
    assert found.value == 0
    assert found.note == "strict-serializable on the primary, 3 transactions"


def test_a_stale_read_is_one_on_a_primary_alone(seen: Recorder) -> None:
    """A replica may be behind; a primary may not."""
    seen.txn("reads/0", [["r", 1, [10]]])
    assert seen.judged().value == 0
    assert seen.judged(replicas="read-committed").value == 0
    seen.txn("append/0", [["r", 1, [10]]])
    found = seen.judged()
    assert found.value == 1
    assert "found G-single-item-realtime on the primary" in found.note
    # Serializable it is: the read may come first in the order.
    assert seen.judged("serializable").value == 0


def test_a_session_outlives_the_promotion_of_its_replica(seen: Recorder) -> None:
    """What it wrote, and asked from then on, was on a primary; not what it read before."""
    seen.txn("reads/0", [["r", 1, []]])
    seen.txn("reads/0", [["append", 1, 12]])
    seen.txn("reads/0", [["append", 3, 30]], "info")
    seen.txn("append/0", [["r", 1, [10, 11, 12]], ["r", 3, [30]]])
    assert seen.judged().value == 0
    seen.txn("reads/0", [["r", 1, [10]]])
    assert seen.judged().value == 1


def test_a_replica_must_not_show_what_was_never_committed(seen: Recorder) -> None:
    """An aborted append, seen there, breaks read committed."""
    seen.txn("append/0", [["append", 2, 20]], "fail")
    seen.txn("reads/0", [["r", 2, [20]]])
    assert seen.judged().value == 0
    found = seen.judged(replicas="read-committed")
    assert found.value
    assert "found G1a with replicas" in found.note


def test_an_acknowledged_append_that_is_lost_is_an_anomaly_of_real_time(seen: Recorder) -> None:
    """The survivor is read after all of it, so what it lacks came later: a contradiction."""
    seen.final([["r", 1, [10]]])
    found = seen.judged()
    assert found.value == 1
    assert "realtime" in found.note
    assert found.evidence


def test_what_could_not_be_shown_is_undecided(seen: Recorder) -> None:
    """No transaction of that workload, none that a replica answered, nothing that succeeded."""
    assert seen.judged(of="other").note == "workload 'other' recorded no transaction"
    assert seen.judged(replicas="read-committed").note == "no replica answered a transaction"
    nothing = Recorder()
    nothing.session("append/0")
    nothing.txn("append/0", [["append", 1, 10]], "info")
    assert nothing.judged().value is None


def test_an_end_and_a_begin_in_one_nanosecond_are_not_in_order(seen: Recorder) -> None:
    """In virtual time they often tie, and then neither is known to be first."""
    at = len(seen.events) * 1000
    for process, kind, value in (
        ("append/0", "invoke", [["append", 3, 30]]),
        ("append/0", "ok", [["append", 3, 30]]),
        ("append/1", "invoke", [["r", 3, None]]),
        ("append/1", "ok", [["r", 3, []]]),
    ):
        seen.events.append(Event(process, kind, "txn", at, value, "append"))  # type: ignore[arg-type]
    seen.final([["r", 1, [10, 11]], ["r", 3, [30]]])
    assert seen.judged().value == 0
