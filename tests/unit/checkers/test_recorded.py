"""Every checker against recorded histories, one a verdict: `tests/histories/<checker>.<verdict>`.

`undecided` is what ends as an error: the history could not have shown a breach.
"""

from pathlib import Path

import pytest

from harness.expectation import Expectation
from harness.history import History
from harness.registry import checkers
from harness.verdict import judge

FOLDER = Path(__file__).parents[2] / "histories"
RECORDED = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
VERDICTS = {"pass": "pass", "fail": "fail", "undecided": "error"}

ASKED: dict[str, dict[str, object]] = {
    "acknowledged": {"since": "crash", "until": "back", "max": 0},
    "anomalies": {
        "of": "append",
        "model": "strict-serializable",
        "replicas": "read-committed",
    },
    "archive": {"of": "restored", "resumes_within": "10s", "source_untouched": True},
    "backups": {"min": 2, "max": 2},
    "cleartext": {},
    "client_outage": {"max": "8s"},
    "demotion": {"since": "crash", "max": "5s"},
    "digest": {"of": "restored", "equals": "before"},
    "encryption": {"min_objects": 5},
    "failover": {"since": "crash", "max": "6s"},
    "gap": {"from": "old-leader-demoted", "to": "new-leader-promoted", "min": "0s"},
    "leader_changes": {"max": 1},
    "lost_writes": {"max": 0},
    "overlap": {"since": "thawed", "max": "1s"},
    "pitr": {"of": "restored"},
    "rejoin": {"of": "crash", "max": "4s"},
    "routing": {"primary-elb": "3s"},
    "rpo": {"of": "restored", "since": "loss", "max": "5s"},
    "rto": {"of": "restored", "since": "loss", "max": "15s"},
    "sent_bytes": {"of": "joined", "max": 16777216},
    "wal_gaps": {},
    "writers": {"max": 1},
}


@pytest.mark.parametrize("recorded", RECORDED)
def test_the_verdict_is_the_one_in_the_name(recorded: str) -> None:
    """A stored history is judged again, the same."""
    name, verdict = recorded.split(".")
    checker = checkers()[name]
    assert issubclass(checker, Expectation)
    expectation = checker.model_validate(ASKED[name])
    found = expectation.measure(History.load(FOLDER / f"{recorded}.jsonl"))
    finding = judge(name, expectation.unit, expectation.bounds, [found])
    assert finding.verdict == VERDICTS[verdict], finding.note


def test_every_checker_has_one_history_a_verdict() -> None:
    """A new checker is not done without them."""
    assert {f"{name}.{verdict}" for name in checkers() for verdict in VERDICTS} <= set(RECORDED)
