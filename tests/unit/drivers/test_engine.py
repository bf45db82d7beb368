"""Tests for harness.drivers.docker.engine: an engine that lost count of a network's ends."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from docker.errors import APIError

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

    api: Api


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
