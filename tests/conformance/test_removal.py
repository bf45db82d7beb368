"""Removing what a run made: all of it, whatever state it is in, and saying what stays."""

import gc
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from harness import drivers, reaper
from harness.drivers.docker import engine as removal
from harness.drivers.docker import images
from harness.drivers.docker.engine import connect, containers_of, remove_run, things
from harness.errors import DriverError

pytestmark = pytest.mark.docker

NAP = ["sleep", "600"]


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    """Yield a client of the engine."""
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
    client = connect()
    yield client
    client.close()


@pytest.fixture
def run(engine: docker.DockerClient, tmp_path: Path) -> Iterator[str]:
    """Yield the name of a run that has a network, a volume, and machines in three states."""
    name = f"rm-{tmp_path.parent.name.rpartition('-')[2]}-{Path('/proc/self').resolve().name}"
    marks = reaper.labels(name, tmp_path / "journal.jsonl")
    image = images.ensure(engine, lambda _: None, ["etcd"])["etcd"]
    engine.networks.create(f"drill-{name}", internal=True, labels=marks)
    engine.volumes.create(f"drill-{name}-data", labels=marks)
    for machine in ("running", "paused", "created"):
        container = engine.containers.create(
            image,
            entrypoint=NAP,
            name=f"drill-{name}-{machine}",
            network=f"drill-{name}",
            volumes=[f"drill-{name}-data:/data"],
            labels={**marks, reaper.LABEL_MACHINE: machine},
        )
        if machine != "created":
            container.start()
        if machine == "paused":
            container.pause()
    yield name
    remove_run(engine, name)


def test_everything_goes_once(engine: docker.DockerClient, run: str) -> None:
    """A frozen machine and one that never started too; a second removal finds nothing."""
    found = containers_of(engine, run)
    assert {name: container.status for name, container in found.items()} == {
        name: name for name in ("running", "paused", "created")
    }
    assert remove_run(engine, run) == 5
    assert things(engine, run) == []
    assert remove_run(engine, run) == 0


def test_what_cannot_be_removed_is_named(
    engine: docker.DockerClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger in the network keeps it; the rest goes, and the error says what stays."""
    monkeypatch.setattr(removal, "_REMOVAL_S", 1.0)
    image = containers_of(engine, run)["running"].image
    assert image is not None
    assert image.id is not None
    stranger = engine.containers.run(
        image.id, entrypoint=NAP, network=f"drill-{run}", detach=True, name=f"drill-{run}-stranger"
    )
    try:
        with pytest.raises(
            DriverError, match=f"{run}: not all removed: network .*active endpoints"
        ):
            remove_run(engine, run)
        assert [thing.kind for thing in things(engine, run)] == ["network"]
    finally:
        stranger.remove(force=True)
    assert remove_run(engine, run) == 1


# Docker's client leaves the socket of a failed attempt to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_dies_is_the_drivers_error() -> None:
    """Not a traceback: the run proved nothing, and says why."""
    client = docker.DockerClient(base_url="unix:///nonexistent/docker.sock", version="1.41")
    try:
        with pytest.raises(DriverError, match="the Docker engine"):
            things(client)
    finally:
        client.close()
        gc.collect()
