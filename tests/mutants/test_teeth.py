"""Planted defects: each must turn the verdict, by the check that claims it; its control passes.

Letters are those of the issue "Node kill": (a) to (d) must fail, (e) to (g) must be errors, (h) is
refused. The controls of (a) and (c) are scenarios, run beside these:
`process/patroni-frozen.yaml` and `routing/switchover-routing.yaml`.
"""

from pathlib import Path

import pytest

from harness import cli
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.stack import Stack
from harness.errors import ExitCode
from harness.protocols import Process, Signal
from harness.verdict import Verdict
from tests.mutants.planted import HERE, SCENARIOS, defect, finding, run

pytestmark = pytest.mark.docker


def test_a_hung_patroni_without_watchdog_is_two_writers(tmp_path: Path) -> None:
    """(a) A frozen Patroni past the ttl leaves a second writer: `writers` says so."""
    result = run(HERE / "hung-without-watchdog.yaml", tmp_path)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "writers").verdict is Verdict.FAIL


def test_b_async_isolation_loses_writes(tmp_path: Path) -> None:
    """(b) `lost_writes` names what the lonely primary had acknowledged."""
    result = run(HERE / "isolated-then-lost.yaml", tmp_path, "sync=async")
    lost = finding(result, "lost_writes")
    assert result.verdict is Verdict.FAIL, result.note
    assert lost.verdict is Verdict.FAIL
    assert lost.values[0]
    assert lost.evidence
    # The same, seen by transactions: the survivor's state contradicts what was acknowledged.
    assert finding(result, "anomalies").verdict is Verdict.FAIL


@pytest.mark.control
def test_b_quorum_isolation_loses_nothing(tmp_path: Path) -> None:
    """(b) With quorum commit the lonely primary acknowledges nothing, so nothing is lost."""
    result = run(HERE / "isolated-then-lost.yaml", tmp_path, "sync=quorum")
    assert result.verdict is Verdict.PASS, (result.note, result.findings)


@pytest.mark.slow
def test_commits_that_are_cancelled_while_they_wait(tmp_path: Path) -> None:
    """What readers were shown of them is lost with the primary: `anomalies` says so."""
    result = run(HERE / "cancelled-by-hand.yaml", tmp_path)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "anomalies").verdict is Verdict.FAIL
    assert finding(result, "writers").verdict is Verdict.PASS


def test_isolation_that_is_lower_than_promised(tmp_path: Path) -> None:
    """Clients at READ COMMITTED read and write past each other: `anomalies` says so."""
    result = run(HERE / "isolation-lowered.yaml", tmp_path)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "anomalies").verdict is Verdict.FAIL
    assert finding(result, "writers").verdict is Verdict.PASS


def test_c_primary_elb_that_asks_for_replicas(tmp_path: Path) -> None:
    """(c) An ELB that health-checks /replica sends writers to replicas: `routing` says so."""
    wrong = defect(stack=Stack(primary_check="/replica"))
    result = run(SCENARIOS / "routing" / "switchover-routing.yaml", tmp_path, make=wrong)
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "routing").verdict is Verdict.FAIL


def test_d_promoted_stranger_is_two_writers(tmp_path: Path) -> None:
    """(d) A replica promoted by hand while the leader lives: `writers` says so."""
    result = run(HERE / "promoted-stranger.yaml", tmp_path, "statement=SELECT pg_promote()")
    assert result.verdict is Verdict.FAIL, result.note
    assert finding(result, "writers").verdict is Verdict.FAIL


@pytest.mark.control
def test_d_without_promotion_passes(tmp_path: Path) -> None:
    """(d) The same statement's harmless twin passes."""
    cell = "statement=SELECT pg_is_in_recovery()"
    result = run(HERE / "promoted-stranger.yaml", tmp_path, cell)
    assert result.verdict is Verdict.PASS, (result.note, result.findings)


def test_e_workload_that_cannot_write_proves_nothing(tmp_path: Path) -> None:
    """(e) An idle workload is an error, never a pass."""
    result = run(HERE / "idle-workload.yaml", tmp_path)
    assert result.verdict is Verdict.ERROR
    assert "append" in result.note


class HarmlessKill(DockerDriver):
    """Returns from both ways of killing with nothing done."""

    def power_off(self, node: str) -> None:
        """Leave the node as it is."""

    def kill(self, node: str, process: Process, signal: Signal) -> None:
        """Leave the process as it is."""


@pytest.mark.parametrize("how", ["power-off", "process"])
def test_f_kill_that_does_not_kill_proves_nothing(tmp_path: Path, how: str) -> None:
    """(f) A fault that did not bite is an error, never a pass."""
    result = run(HERE / "harmless-kill.yaml", tmp_path, f"how={how}", defect(HarmlessKill))
    assert result.verdict is Verdict.ERROR
    assert "kill" in result.note or "end of postgres" in result.note


class LeavesOneOut(DockerDriver):
    """Never lets the second node start."""

    def _open_gate(self, name: str) -> None:
        if name != "pg-2":
            super()._open_gate(name)


def test_g_cluster_never_steady_proves_nothing(tmp_path: Path) -> None:
    """(g) Steps against a cluster that was never steady are not even begun."""
    result = run(HERE / "never-steady.yaml", tmp_path, make=defect(LeavesOneOut))
    assert result.verdict is Verdict.ERROR
    assert "not steady before the first step" in result.note
    assert "pg-2" in result.note


@pytest.mark.parametrize("expect", ["", "expect: {}\n"])
def test_h_no_expectation_is_refused_before_anything_starts(
    tmp_path: Path, expect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """(h) A scenario that expects nothing could only pass: exit 2, with its place."""
    path = tmp_path / "hopeful.yaml"
    path.write_text(
        f"scenario: hopeful\ntitle: Nothing is asked\nsteps:\n  - sleep: 1s\n{expect}",
        encoding="utf-8",
    )
    assert cli.main(["run", str(path), "--out", str(tmp_path / "out")]) == ExitCode.USAGE
    assert f"{path}:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
