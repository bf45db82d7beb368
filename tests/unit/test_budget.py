"""Tests for harness.budget: what clusters cost, and what a machine has."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import budget
from harness.budget import Cost, Room
from harness.scenario import Cluster

MEMINFO = "MemTotal:       8388608 kB\nMemFree:    100 kB\nMemAvailable:   4194304 kB\n"
COSTS = st.builds(Cost, st.integers(0, 3000), st.integers(0, 3000))


def machine(tmp_path: Path, membership: str = "0::/\n", **files: str) -> Room:
    """Return what a machine has, of 8 GiB and with these files of control groups."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(MEMINFO)
    (proc / "self" / "cgroup").write_text(membership)
    for name, text in files.items():
        path = groups / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return budget.machine(proc, groups)


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 4, 5})


# --- what a cluster costs ----------------------------------------------------------------------


def test_four_clusters_fill_two_cores() -> None:
    """On either store, as measured; three, where each has another one restored beside it."""
    two_cores = Room(Cost(2000, 18000), 18000)
    for usual in (budget.run_cost(Cluster()), budget.run_cost(Cluster(dcs="zookeeper"))):
        assert two_cores.takes(usual, [usual] * 3)
        assert not two_cores.takes(usual, [usual] * 4)
    restoring = budget.run_cost(Cluster(), [Cluster()])
    assert two_cores.takes(restoring, [restoring] * 2)
    assert not two_cores.takes(restoring, [restoring] * 3)


@pytest.mark.parametrize(
    "more",
    [
        Cluster(nodes=4),
        Cluster(dcs="zookeeper"),
        Cluster(azs=("a", "b", "c", "d")),
    ],
)
def test_more_machines_cost_more(more: Cluster) -> None:
    """Nodes, clients, and ZooKeeper instead of etcd; more so if restored as well."""
    usual, dearer = budget.run_cost(Cluster()), budget.run_cost(more)
    assert dearer.millicores > usual.millicores
    assert dearer.mib > usual.mib
    assert budget.run_cost(more, [more]).millicores > dearer.millicores


def test_a_cluster_that_nobody_uses_costs_less() -> None:
    """No workload, no probes, no clients in the AZs; and still less with one member of the DCS."""
    quiet = budget.quiet_cost(Cluster())
    assert quiet.millicores < budget.run_cost(Cluster()).millicores
    assert budget.quiet_cost(Cluster(), members=1).millicores < quiet.millicores


def test_a_cost_in_words() -> None:
    """For whoever waits."""
    assert str(Cost(830, 1095)) == "0.8 cores and 1.1 GiB"


# --- what fits ---------------------------------------------------------------------------------


@given(COSTS, st.lists(COSTS, max_size=4), COSTS, st.integers(0, 3000))
def test_never_over_the_budget_unless_alone(
    cost: Cost, held: list[Cost], whole: Cost, free: int
) -> None:
    """Neither of cores nor of memory; and alone always, so that nothing waits for ever."""
    taken = Room(whole, free).takes(cost, held)
    together = budget.total([*held, cost])
    within = together.millicores <= whole.millicores and together.mib <= whole.mib
    if not held:
        assert taken
    else:
        assert taken == (within and cost.mib <= free)


# --- what the machine has ----------------------------------------------------------------------


def test_a_machine_without_limits(tmp_path: Path) -> None:
    """The cores that we may run on, and three quarters of the memory."""
    assert machine(tmp_path) == Room(Cost(4000, 6144), 4096)


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/a/b\n", {"a__b__cpu_of_max": "150000 100000\n"}, 1500),
        ("0::/a/b\n", {"a__cpu_of_max": "50000 100000\n", "a__b__cpu_of_max": "max 100000\n"}, 500),
        ("0::/\n", {"cpu_of_max": "200000 100000\n"}, 2000),
        (
            "4:cpu,cpuacct:/a\n1:name=systemd:/\n0::/\n",
            {"cpu__a__cpu_of_cfs_quota_us": "250000\n", "cpu__a__cpu_of_cfs_period_us": "100000\n"},
            2500,
        ),
        # In a container the name is that of outside, and only the top is there.
        (
            "4:cpu,cpuacct:/docker/123\n",
            {"cpu__cpu_of_cfs_quota_us": "100000\n", "cpu__cpu_of_cfs_period_us": "100000\n"},
            1000,
        ),
        (
            "4:cpu:/\n",
            {"cpu__cpu_of_cfs_quota_us": "-1\n", "cpu__cpu_of_cfs_period_us": "100000\n"},
            4000,
        ),
        ("0::/a\n", {"cpu_of_max": "900000 100000\n"}, 4000),
    ],
)
def test_a_limit_of_cores(
    tmp_path: Path, membership: str, files: dict[str, str], cores: int
) -> None:
    """The tightest of all groups that we are in, of either version; never more than there is."""
    assert machine(tmp_path, membership, **files).all.millicores == cores


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/a\n", {"a__memory_of_max": f"{2 << 30}\n", "memory_of_max": "max\n"}),
        ("4:memory:/a\n", {"memory__a__memory_of_limit_in_bytes": f"{2 << 30}\n"}),
    ],
)
def test_a_limit_of_memory(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    """2 GiB of them are granted; without a limit version 1 shows a huge number."""
    assert machine(tmp_path, membership, **files) == Room(Cost(4000, 1536), 2048)


@pytest.mark.parametrize(
    ("cores", "mib", "workers"),
    [(2000, 18000, 4), (4000, 18000, 8), (500, 18000, 1), (4000, 2500, 2)],
)
def test_workers(cores: int, mib: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there is room for usual clusters; one at least."""
    monkeypatch.setattr(budget, "machine", lambda: Room(Cost(cores, mib), mib))
    assert budget.workers() == workers


def test_this_machine_has_something() -> None:
    """Whatever it is."""
    found = budget.machine()
    assert found.all.millicores > 0
    assert found.all.mib > 0
    assert found.free_mib > 0


def test_idle_time_is_of_all_cores_together(tmp_path: Path) -> None:
    """Idle and waiting for a disk, in hundredths; where it is not told, nothing is."""
    assert budget.idle_s(tmp_path) is None
    (tmp_path / "stat").write_text("cpu  9 9 9 250 50 9 9 0 0 0\ncpu0 9 9 9 9 9 9 9\n")
    assert budget.idle_s(tmp_path) == 300 / os.sysconf("SC_CLK_TCK")
    assert (budget.idle_s() or 0) > 0
