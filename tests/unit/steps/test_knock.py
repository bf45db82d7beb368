"""Tests for harness.steps.knock: who would talk without TLS."""

from collections.abc import Mapping

import pytest

from harness.errors import DriverError
from harness.history import Json
from harness.steps.knock import Knock
from tests.unit.world import MemoryWorld


def knock(world: MemoryWorld, **where: object) -> Mapping[str, Json]:
    return Knock.model_validate(where or {"service": "postgres"}).perform(world)


def test_each_node_refuses() -> None:
    """For want of a line in pg_hba.conf: that is recorded, with the moment."""
    world = MemoryWorld()
    nodes = ["pg-1", "pg-2", "pg-3"]
    at = world.clock.now_ns()
    assert knock(world) == {"nodes": nodes, "at": at, "refused": nodes, "welcomed": []}


def test_a_welcome_is_recorded_not_judged() -> None:
    """Whether it is a breach, the checker says."""
    world = MemoryWorld()
    world.driver.in_the_clear["pg-2"] = None
    done = knock(world)
    assert (done["refused"], done["welcomed"]) == (["pg-1", "pg-3"], ["pg-2"])
    assert knock(world, role="leader")["nodes"] == ["pg-1"]


def test_another_refusal_is_no_answer() -> None:
    """A server that starts refuses everybody: with TLS it would have done the same."""
    world = MemoryWorld()
    world.driver.in_the_clear["pg-3"] = "57P03"
    with pytest.raises(DriverError, match="pg-3: 57P03; expected a welcome, or a refusal"):
        knock(world)


def test_silence_is_no_refusal() -> None:
    """A node without power keeps no line of pg_hba.conf."""
    world = MemoryWorld()
    world.inside("pg-2").powered = False
    with pytest.raises(DriverError, match="pg-2"):
        knock(world)


def test_only_nodes_are_asked() -> None:
    """A DCS member speaks another protocol."""
    with pytest.raises(DriverError, match=r"etcd-1.* no node; expected PostgreSQL"):
        knock(MemoryWorld(), service="dcs")
