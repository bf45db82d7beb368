"""Planted defects of what keeps two nodes from both believing, and of what keeps promises safe.

The defects are those of the issue "AZ loss, DCS partition, ZooKeeper", planted in the local stack,
never in a checker. Each names its control: the scenario, run beside these, that passes without it.
The watchdog that is off is (a) of `test_teeth.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.stack import Stack
from harness.history import Json
from harness.protocols import Link
from harness.verdict import Verdict
from tests.mutants.planted import HERE, SCENARIOS, defect, finding, run

Configuration: TypeAlias = Mapping[str, Json]

pytestmark = pytest.mark.docker


def test_replica_elb_that_falls_back_to_the_primary(tmp_path: Path) -> None:
    """`routing` sees readers on the primary; control: routing/switchover-routing.yaml."""
    wrong = defect(stack=Stack(replica_check="/read-only"))  # 200 on a primary as well
    result = run(SCENARIOS / "routing" / "switchover-routing.yaml", tmp_path, make=wrong)
    routing = finding(result, "routing")
    assert result.verdict is Verdict.FAIL, result.note
    assert routing.verdict is Verdict.FAIL
    assert "replica-elb led to" in routing.note


def test_synchronous_commit_off(tmp_path: Path) -> None:
    """Commits are acknowledged before a standby has them: `lost_writes` and `anomalies` say so.

    The control is the same file without the defect, in `test_teeth.py`.
    """
    off: Configuration = {"postgresql": {"parameters": {"synchronous_commit": "off"}}}
    wrong = defect(stack=Stack(configuration=off))
    result = run(HERE / "isolated-then-lost.yaml", tmp_path, "sync=quorum", wrong)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "lost_writes").verdict is Verdict.FAIL
    assert finding(result, "anomalies").verdict is Verdict.FAIL
    assert finding(result, "writers").verdict is Verdict.PASS


class ForgetsTheLag(DockerDriver):
    """Lifts the bound on the lag of who may be promoted, once the cluster is cut apart."""

    def cut(self, links: Sequence[Link]) -> None:
        super().cut(links)
        body: Configuration = {"maximum_lag_on_failover": 1 << 60}
        for node in self.nodes:
            self.patroni(node.name, "/config", deadline_s=5, method="PATCH", body=body)


@pytest.mark.slow
def test_lag_without_bound(tmp_path: Path) -> None:
    """A replica without the last commits takes over; control: failover/lagging-survivor.yaml.

    The bound is lifted late: what a scenario asks of Patroni is read back before its first step.
    The run is an error, too: it waits for the moment at which nobody leads.
    """
    path = SCENARIOS / "failover" / "lagging-survivor.yaml"
    result = run(path, tmp_path, make=defect(ForgetsTheLag))
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "leader_changes").verdict is Verdict.FAIL


@pytest.mark.slow
def test_old_primary_that_nothing_brings_back(tmp_path: Path) -> None:
    """Neither pg_rewind nor a new copy: `rejoin` says so; control: failover/rejoin.yaml.

    The run is an error, too: it waits for a node that never streams.
    """
    by_hand: Configuration = {
        "bootstrap": {"dcs": {"postgresql": {"use_pg_rewind": False}}},
        "postgresql": {
            "remove_data_directory_on_diverged_timelines": False,
            "remove_data_directory_on_rewind_failure": False,
        },
    }
    wrong = defect(stack=Stack(configuration=by_hand))
    result = run(HERE / "diverged.yaml", tmp_path, make=wrong)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "rejoin").verdict is Verdict.FAIL
    assert finding(result, "failover").verdict is Verdict.PASS


def test_nothing_is_planted_where_settings_are_read_back(tmp_path: Path) -> None:
    """The control of the next two."""
    result = run(HERE / "as-configured.yaml", tmp_path)
    assert result.verdict is Verdict.PASS, (result.note, result.findings)


def test_retry_timeout_that_is_not_the_scenarios(tmp_path: Path) -> None:
    """What was drilled would be another cluster than the one asked for: an error that names it."""
    other: Configuration = {"bootstrap": {"dcs": {"retry_timeout": 9}}}
    result = run(
        HERE / "as-configured.yaml", tmp_path, make=defect(stack=Stack(configuration=other))
    )
    assert result.verdict is Verdict.ERROR, result.findings
    assert "retry_timeout is 9 in Patroni's /config; expected 5" in result.note


def test_synchronous_mode_outside_of_the_dcs(tmp_path: Path) -> None:
    """Each node's own configuration has it, the DCS does not: in fact asynchronous; an error.

    Patroni reads it from the DCS alone, and says nothing of a node that has it, too. As a variable,
    `PATRONI_SYNCHRONOUS_MODE`, the image refuses it before anything runs.
    """
    own: Configuration = {
        "synchronous_mode": "quorum",
        "bootstrap": {"dcs": {"synchronous_mode": False}},
    }
    result = run(HERE / "as-configured.yaml", tmp_path, make=defect(stack=Stack(configuration=own)))
    assert result.verdict is Verdict.ERROR, result.findings
    assert "synchronous_mode is False in Patroni's /config; expected 'quorum'" in result.note
