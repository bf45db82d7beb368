"""A cluster has room before it is made, and gives it back when it is down."""

import threading
from pathlib import Path
from random import Random

import pytest

from harness import budget, drivers, turns
from harness.budget import Cost, Room
from harness.clock import WallClock
from harness.drivers.docker.driver import DockerDriver
from harness.protocols import Driver
from harness.scenario import Cluster
from harness.turns import Turns
from tests.conformance.conftest import CLUSTER

CLOCK = WallClock()


def test_a_cluster_made_by_hand_has_room_until_it_is_down(driver: Driver) -> None:
    """Others wait for it; this process does not."""
    assert isinstance(driver, DockerDriver)
    assert driver._turn is not None
    held = driver._turn.ticket
    assert (held.by_hand, held.begun, held.cost) == (True, True, budget.quiet_cost(CLUSTER))
    assert turns.of_user().folder.is_dir()


@pytest.mark.docker
def test_a_run_waits_for_room_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its own cluster and those beside it; with a sentence. No cluster has to be made."""
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
    small = Turns(tmp_path / "turns", lambda: Room(Cost(900, 4000), 4000))
    monkeypatch.setattr(turns, "of_user", lambda: small)
    said = threading.Event()
    first, second = (
        DockerDriver(f"{Random().getrandbits(32):08x}", tmp_path, CLOCK, says=says)
        for says in (pytest.fail, lambda _: said.set())
    )

    def run() -> None:
        with second.room(Cluster(), [Cluster(nodes=1)]):
            assert second._turn is not None
            wanted = budget.run_cost(Cluster(), [Cluster(nodes=1)])
            assert second._turn.ticket.cost == wanted

    try:
        with first.room(Cluster()):
            task = CLOCK.spawn(run, "second")
            assert said.wait(60)
        task.join()
        assert [path.name for path in small.folder.iterdir()] == ["lock"]
    finally:
        first.down()
        second.down()


def _shares(driver: DockerDriver, kind: str) -> set[int]:
    """Return the shares of the CPU that the machines of one kind have, as the engine tells."""
    names = [machine.name for machine in driver._of_kind(kind)]
    containers = [driver._containers[name] for name in names]
    for container in containers:
        container.reload()
    return {container.attrs["HostConfig"]["CpuShares"] for container in containers}


def test_a_cluster_made_by_hand_weighs_as_usual(driver: Driver) -> None:
    """Nobody says of it that it has started."""
    assert isinstance(driver, DockerDriver)
    assert _shares(driver, "node") == {1024}


@pytest.mark.docker
def test_nodes_that_start_go_last_and_who_measures_first(tmp_path: Path) -> None:
    """Until the run says that its cluster is steady; twice is as good as once."""
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
    cluster = Cluster(nodes=1, azs=("a",))
    made = DockerDriver(f"{Random().getrandbits(32):08x}", tmp_path, CLOCK)
    try:
        with made.room(cluster) as start:
            made.up(cluster)
            assert _shares(made, "node") == {128}
            start.leads()
            assert _shares(made, "node") == {128}
            start.steady()
            start.steady()
            assert _shares(made, "node") == {1024}
            assert _shares(made, "client") | _shares(made, "dcs") == {8192}
    finally:
        made.down()
