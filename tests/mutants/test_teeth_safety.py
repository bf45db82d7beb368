"""Planted defects of what keeps two nodes from both believing, and of what keeps promises safe.

The defects are those of the issue "AZ loss, DCS partition, ZooKeeper", planted in the local stack,
never in a checker. Each names its control: the scenario, run beside these, that passes without it.
The watchdog that is off is (a) of `test_teeth.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.subnet import address
from harness.history import Json
from harness.protocols import Link
from harness.verdict import Verdict
from tests.mutants.planted import HERE, SCENARIOS, defect, finding, run, said, verdicts

POSTGRESQL = "/usr/lib/postgresql/17/bin"
PGDATA = "/home/postgres/pgdata/pgroot/data"

Configuration: TypeAlias = Mapping[str, Json]

pytestmark = pytest.mark.docker


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        pytest.param(Stack(replica_check="/read-only"), "replica-elb led to", id="falls-back"),
        pytest.param(
            Stack(primary_check="tcp"), "primary-elb led to", id="connects", marks=pytest.mark.slow
        ),
    ],
)
def test_elb_that_takes_the_wrong_role(tmp_path: Path, wrong: Stack, seen: str) -> None:
    """`routing` sees readers on the primary (/read-only is 200 there, too), or writers on replicas.

    Control: routing/switchover-routing.yaml.
    """
    path = SCENARIOS / "routing" / "switchover-routing.yaml"
    result = run(path, tmp_path, make=defect(stack=wrong))
    routing = finding(result, "routing")
    assert result.verdict is Verdict.FAIL, result.note
    assert routing.verdict is Verdict.FAIL
    assert seen in routing.note


@pytest.mark.slow
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


@pytest.mark.control
def test_nothing_is_planted_and_the_cluster_is_as_asked(tmp_path: Path) -> None:
    """The control of the next three."""
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


class SharesTheScope(DockerDriver):
    """Lets the second node come from a cluster of its own, which has the same scope and DCS."""

    def _open_gate(self, name: str) -> None:
        if name == "pg-2":
            self._clock.wait_for(
                # Empty while it bootstraps: a node with data of its own would then take it over.
                lambda: bool(self.dcs(deadline_s=5).get("initialize")),
                timeout_s=90,
                what="the first cluster",
            )
            self._containers.exec(name, [f"{POSTGRESQL}/initdb", "-N", "-D", PGDATA])
        super()._open_gate(name)


def test_two_clusters_with_one_scope(tmp_path: Path) -> None:
    """Patroni refuses the node with the other data: never steady, an error that names it.

    That a clone archives to its source's place is found by `archive` (`test_teeth_s3.py`); given
    its source's scope, the image refuses it.
    """
    result = run(HERE / "as-configured.yaml", tmp_path, make=defect(SharesTheScope))
    assert result.verdict is Verdict.ERROR, result.findings
    # Its Patroni answers until it has compared the two, ends, and is started again: what the last
    # look met of it is a matter of chance.
    assert "not steady before the first step: pg-2 " in result.note
    assert "system ID mismatch, node pg-2 belongs to a different cluster" in said(result, "pg-2")


def test_pg_hba_that_is_open_to_plain_connections(tmp_path: Path) -> None:
    """`cleartext` names the nodes; control: security/cleartext-refused.yaml."""
    lines = [
        "local all all peer map=spilo",
        "local replication all peer map=spilo",
        "host replication standby all scram-sha-256",
        "host all all all scram-sha-256",
    ]
    wrong = defect(stack=Stack(configuration={"postgresql": {"pg_hba": lines}}))
    result = run(SCENARIOS / "security" / "cleartext-refused.yaml", tmp_path, make=wrong)
    assert result.verdict is Verdict.FAIL, result.note
    assert verdicts(result) == {"writers": Verdict.PASS, "cleartext": Verdict.FAIL}
    assert finding(result, "cleartext").values == [4]  # each of two nodes, twice


@pytest.mark.slow
def test_dcs_members_all_in_one_az(tmp_path: Path) -> None:
    """The DCS is lost with the AZ, and nobody leads: `failover` says so; control: az-loss.yaml."""
    wrong = defect(stack=Stack(dcs_azs=("a",)))
    result = run(SCENARIOS / "az-loss.yaml", tmp_path, "lost=dcs-leader-dcs=etcd", wrong)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "failover").verdict is Verdict.FAIL
    assert finding(result, "writers").verdict is Verdict.PASS


class KeepsAnAddress(DockerDriver):
    """Makes machines anew from one that is gone: they announce its address, where nobody is."""

    def renew(self, machine: str) -> None:
        spec = self._machines[machine]
        gone = address(self._subnet, "node", self._cluster.nodes)
        environment = {**spec.environment, "PG_CONNECT_ADDRESS": f"{gone}:5432"}
        self._machines[machine] = replace(spec, environment=environment)
        super().renew(machine)


@pytest.mark.slow
@pytest.mark.control
def test_replacement_that_leads(tmp_path: Path) -> None:
    """The control of the next."""
    result = run(HERE / "replaced-then-leads.yaml", tmp_path)
    assert result.verdict is Verdict.PASS, (result.note, result.findings)


def test_address_of_another_machine_in_the_configuration(tmp_path: Path) -> None:
    """Nobody can stream from a replacement that leads: `rejoin` says so.

    The run is an error, too: it waits for that.
    """
    result = run(HERE / "replaced-then-leads.yaml", tmp_path, make=defect(KeepsAnAddress))
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "rejoin").verdict is Verdict.FAIL
