"""Planted defects of backups and restores: each turns the verdict by the check that claims it.

The defects are those of the issue "S3", its item 8, planted in the local stack, never in a
checker. The controls are the scenarios that claim to catch them, run beside these; where such a
scenario is long, a short one stands here, and what a defect leaves alone must pass in it.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.machines import REGION
from harness.drivers.docker.stack import Stack
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import RecoveryTarget
from harness.scenario import Cluster
from harness.verdict import Verdict
from tests.mutants.planted import HERE, defect, finding, run, said, verdicts

PUSH = 'pgbackrest --config={config} --stanza=drill archive-push "%p"'
OWN_STORE, SOURCE_STORE = "/run/spilo/pgbackrest.conf", "/run/spilo/clone.conf"

pytestmark = pytest.mark.docker


def archiving(command: str) -> dict[str, Json]:
    """Return what is laid over a node's configuration to archive by another command."""
    return {"postgresql": {"parameters": {"archive_command": command}}}


@pytest.mark.slow
def test_archive_command_that_stores_nothing(tmp_path: Path) -> None:
    """`wal_gaps` misses what the archiver was told is archived.

    It lies only once a base backup is there: who lies before never has one, for pgBackRest waits
    for its WAL in S3, and `wait: {until: backup-done}` is the error that ends the run.
    """
    lies = "/run/spilo/lies"
    push = PUSH.format(config=OWN_STORE)
    command = f"[ -e {lies} ] || {{ {push} && case %f in *.backup) touch {lies};; esac; }}"
    wrong = defect(stack=Stack(configuration=archiving(command)))
    result = run(HERE / "archive-lies.yaml", tmp_path, make=wrong)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "wal_gaps").verdict is Verdict.FAIL
    assert not result.note  # the run itself was whole


class IgnoresTarget(DockerDriver):
    """Restores whatever is newest."""

    def clone(self, name: str, cluster: Cluster, target: RecoveryTarget) -> DockerDriver:  # noqa: ARG002
        return super().clone(name, cluster, RecoveryTarget("latest"))


def test_restore_that_ignores_its_target(tmp_path: Path) -> None:
    """`digest` sees what was written, and truncated, after the mark."""
    result = run(HERE / "restored-beside.yaml", tmp_path, make=defect(IgnoresTarget))
    assert result.verdict is Verdict.FAIL, result.note
    assert verdicts(result) == {
        "digest": Verdict.FAIL,
        "archive": Verdict.PASS,
        "encryption": Verdict.PASS,
    }


@pytest.mark.slow
def test_clone_that_archives_to_its_source(tmp_path: Path) -> None:
    """`archive` sees a segment of the clone's timeline below the source's prefix."""
    stack = Stack(clone_configuration=archiving(PUSH.format(config=SOURCE_STORE)))
    result = run(HERE / "restored-beside.yaml", tmp_path, make=defect(stack=stack))
    assert result.verdict is Verdict.FAIL, result.note
    assert verdicts(result) == {
        "digest": Verdict.PASS,
        "archive": Verdict.FAIL,
        "encryption": Verdict.PASS,
    }


def test_segments_that_are_not_encrypted(tmp_path: Path) -> None:
    """`encryption` sees objects that were stored without a key of KMS."""
    bare = "/run/spilo/bare.conf"
    made = f"[ -e {bare} ] || (umask 077; sed /kms/d {OWN_STORE} > {bare})"
    stack = Stack(
        configuration=archiving(f"{made}; {PUSH.format(config=bare)}"),
        clone_configuration={"postgresql": {}},  # its stanza has another name
    )
    result = run(HERE / "restored-beside.yaml", tmp_path, make=defect(stack=stack))
    assert result.verdict is Verdict.FAIL, result.note
    assert verdicts(result) == {
        "digest": Verdict.PASS,
        "archive": Verdict.PASS,
        "encryption": Verdict.FAIL,
    }


ACROSS = HERE / "restored-across.yaml"


class LosesHistory(DockerDriver):
    """Removes from S3, before a restore, what tells how the source changed its timeline."""

    def clone(self, name: str, cluster: Cluster, target: RecoveryTarget) -> DockerDriver:
        keys = [one.key for one in self.objects(self.prefix) if one.key.endswith(".history")]
        if not keys:
            raise DriverError(f"{self.prefix}: no history in S3; expected one to remove")
        for key in keys:
            self._console(REGION).call("s3_remove", key=key)
        return super().clone(name, cluster, target)


def test_history_that_is_missing(tmp_path: Path) -> None:
    """The image refuses to make a cluster that ends where the branch began: `rto` says so.

    What would come of it is in the next test. The run is an error, too, since nothing was
    restored: the image's own words are looked for, to tell it from one that was too slow.
    """
    result = run(ACROSS, tmp_path, "within=8s-timeout=45s", defect(LosesHistory))
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "rto").verdict is Verdict.FAIL
    assert finding(result, "wal_gaps").verdict is Verdict.PASS  # it had been archived
    assert re.search(r"refused: .*00000002\.history is missing", said(result, "restored-pg-1"))


class StaysOnBranch(DockerDriver):
    """Restores the timeline that the backup was made on, not the newest one."""

    def clone(self, name: str, cluster: Cluster, target: RecoveryTarget) -> DockerDriver:
        environment = {**self._stack.environment, "CLONE_TARGET_TIMELINE": "current"}
        self._stack = replace(self._stack, environment=environment)
        return super().clone(name, cluster, target)


@pytest.mark.slow
def test_restore_of_the_wrong_branch(tmp_path: Path) -> None:
    """`digest` sees a cluster that ends at the switchover, as without the branch's history."""
    result = run(ACROSS, tmp_path, "within=60s-timeout=60s", defect(StaysOnBranch))
    assert result.verdict is Verdict.FAIL, result.note
    assert verdicts(result) == {
        "digest": Verdict.FAIL,
        "rto": Verdict.PASS,
        "wal_gaps": Verdict.PASS,
    }


@pytest.mark.slow
def test_retention_that_gives_up_a_needed_backup(tmp_path: Path) -> None:
    """`backups` counts too few; and no restore gets to the moment that was to be kept.

    That restore never ends by itself (the image refuses, and Patroni tries again), so the run is
    an error, too: the image's own words are looked for, to tell it from one that was too slow.
    """
    stack = Stack(environment={"BACKUP_NUM_TO_RETAIN": "1"})
    result = run(HERE / "retention-too-short.yaml", tmp_path, make=defect(stack=stack))
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "backups").verdict is Verdict.FAIL
    assert finding(result, "backups").values == [1]
    assert "no write was acknowledged" in result.note
    assert re.search("refused: .*before the first backup", said(result, "restored-pg-1"))
