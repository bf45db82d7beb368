"""One suite for all drivers: add a driver's name here and its tests exist."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from harness import conditions, drivers
from harness.clock import WallClock
from harness.protocols import Driver, Link
from harness.scenario import Cluster, Steady

CLUSTER = Cluster(nodes=2, azs=("a", "b"))


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the driver's run."""
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="package", params=["docker"])
def driver(request: pytest.FixtureRequest, folder: Path) -> Iterator[Driver]:
    """Yield a driver with a small running cluster; each test leaves it as it found it."""
    with running(request.param, CLUSTER, folder) as made:
        yield made


@contextmanager
def running(backend: str, cluster: Cluster, folder: Path) -> Iterator[Driver]:
    """Hold a steady cluster."""
    if backend not in drivers.available():
        pytest.skip(f"backend {backend}: no engine answers")
    made = drivers.make(backend, f"{Random().getrandbits(32):08x}", folder, WallClock())
    try:
        made.up(cluster)
        wait_steady(made, cluster)
        yield made
    finally:
        made.down()


def wait_steady(driver: Driver, cluster: Cluster = CLUSTER) -> None:
    """Wait until one node leads and the others stream."""
    clock = WallClock()
    lacks: list[str] = []

    def holds() -> bool:
        lacks[:] = conditions.steady(conditions.look(driver, clock), cluster, Steady()).lacks
        return not lacks

    clock.wait_for(holds, timeout_s=120, what="steady", every_s=0.25)


def wait_open(driver: Driver, links: Sequence[Link]) -> None:
    """Wait until each link is open; a machine that is busy may be too slow for one try."""
    WallClock().wait_for(
        lambda: not driver.dead(links), timeout_s=30, what=f"{len(links)} open links"
    )


def leader(driver: Driver) -> str:
    """Return who holds the leader key."""
    return driver.dcs(deadline_s=5)["leader"]


def replica(driver: Driver) -> str:
    """Return a node that does not lead."""
    return next(node.name for node in driver.nodes if node.name != leader(driver))
