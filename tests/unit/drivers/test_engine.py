"""Tests for harness.drivers.docker.engine: removal, and engines that lose count or stand still."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from docker.errors import APIError
from requests.exceptions import ConnectionError as NobodyThere
from requests.exceptions import ReadTimeout

from harness.clock import WallClock
from harness.drivers.docker import engine
from harness.errors import DriverError

if TYPE_CHECKING:
    import docker

ENDS = {"5e6": {"Name": "drill-r1-pg-1"}}
MARKS = {"drill.run": "r1"}


@dataclass
class Api:
    """Has one network of run r1, which it refuses to remove."""

    ends: dict[str, dict[str, str]] = field(default_factory=dict)
    refusal: str = "network drill-r1 has active endpoints"

    def containers(self, **_: object) -> list[dict[str, object]]:
        return []

    def networks(self, **_: object) -> list[dict[str, object]]:
        return [{"Id": "a8b", "Labels": MARKS}]

    def volumes(self, **_: object) -> dict[str, object]:
        return {}

    def inspect_network(self, _: str) -> dict[str, object]:
        return {"Containers": self.ends}

    def remove_network(self, _: str) -> None:
        raise APIError(self.refusal)


@dataclass
class Client:
    """What is used of docker's client."""

    api: "Api | Jammed"


def removed(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Remove the run; return what is said."""
    monkeypatch.setattr(engine, "_REMOVAL_S", 0.4)
    monkeypatch.setattr(engine, "_MISCOUNTED_S", 0.2)
    said: list[str] = []
    assert engine.remove_run(cast("docker.DockerClient", Client(api)), "r1", said.append) == 0
    return said


def test_an_empty_network_that_the_engine_holds_is_left_and_told(monkeypatch) -> None:
    """Nothing but its restart removes it; no run is an error for that."""
    said = removed(Api(), monkeypatch)
    assert said == ["r1: the engine holds an empty network until it is restarted (moby#42119)"]


@pytest.mark.parametrize(
    "api", [Api(ends=ENDS), Api(refusal="the engine is on fire")], ids=["ends", "another refusal"]
)
def test_any_other_refusal_is_an_error(api: Api, monkeypatch) -> None:
    """Somebody is in it, or it is another trouble."""
    with pytest.raises(DriverError, match="r1: not all removed: network a8b: "):
        removed(api, monkeypatch)


@dataclass
class Jammed:
    """Has a whole run, and stands still for ever when two are removed at once (moby#42545)."""

    left: list[str] = field(default_factory=lambda: ["c1", "c2", "c3", "n1", "v1", "v2"])
    order: list[str] = field(default_factory=list)
    busy: bool = False

    def _listed(self, kind: str) -> list[dict[str, object]]:
        facts = {"Labels": MARKS, "State": "running", "Created": 0}
        return [{"Id": one, "Name": one, **facts} for one in self.left if one[0] == kind]

    def containers(self, **_: object) -> list[dict[str, object]]:
        return self._listed("c")

    def networks(self, **_: object) -> list[dict[str, object]]:
        return self._listed("n")

    def volumes(self, **_: object) -> dict[str, object]:
        return {"Volumes": self._listed("v")}

    def inspect_network(self, _: str) -> dict[str, object]:
        return {}

    def _remove(self, name: str) -> None:
        if self.busy:
            raise ReadTimeout("Read timed out.")
        self.busy = True
        WallClock().sleep(0.01)  # another would come now
        self.left.remove(name)
        self.order.append(name)
        self.busy = False

    def remove_container(self, name: str, **_: object) -> None:
        self._remove(name)

    def remove_network(self, name: str) -> None:
        self._remove(name)

    def remove_volume(self, name: str) -> None:
        self._remove(name)


def test_a_run_is_removed_one_by_one_senders_first(monkeypatch) -> None:
    """Two containers that leave one network at once may stop an engine before 20.10.27."""
    monkeypatch.setattr(engine, "_lower_shield", lambda _: None)
    api = Jammed()
    assert engine.remove_run(cast("docker.DockerClient", Client(api)), "r1") == 6
    assert api.order == ["c1", "c2", "c3", "n1", "v1", "v2"]


def test_an_engine_that_stands_still_is_asked_no_more(monkeypatch) -> None:
    """Each of a run's machines would cost two minutes more before anybody is told."""
    api = Jammed()
    asked: list[str] = []

    def stands_still(name: str, **_: object) -> None:
        asked.append(name)
        raise ReadTimeout("Read timed out.")

    monkeypatch.setattr(api, "remove_container", stands_still)
    with pytest.raises(DriverError, match=r"r1: not all removed: container c1 did not answer"):
        engine.remove_run(cast("docker.DockerClient", Client(api)), "r1")
    assert asked == ["c1"]


def test_an_engine_that_stands_still_is_named_with_what_to_do() -> None:
    """`Read timed out` helps nobody; another trouble keeps its own words."""
    with (
        pytest.raises(DriverError, match=r"pg-1: .* within 120 s; .* restart it, .* \./drill reap"),
        engine.obeying("pg-1"),
    ):
        raise ReadTimeout("Read timed out.")
    with pytest.raises(DriverError, match="pg-1: the Docker engine: gone"), engine.obeying("pg-1"):
        raise NobodyThere("gone")
