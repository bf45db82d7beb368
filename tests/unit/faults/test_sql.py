"""Tests for harness.faults.sql: what an operator runs by hand."""

import pytest

from harness.errors import DriverError
from harness.faults.sql import Sql
from tests.unit.world import MemoryWorld


def sql(run: str, **target: object) -> Sql:
    return Sql.model_validate({"run": run, **(target or {"role": "leader"})})


def test_rows_are_recorded_by_node() -> None:
    """Each machine answers for itself."""
    done = sql("SELECT pg_is_in_recovery()", service="postgres").perform(MemoryWorld())
    assert done["rows"] == {"pg-1": [[False]], "pg-2": [[True]], "pg-3": [[True]]}
    assert done["nodes"] == ["pg-1", "pg-2", "pg-3"]


def test_it_acts() -> None:
    """A replica that is promoted by hand is primary."""
    world = MemoryWorld()
    sql("SELECT pg_promote()", node="pg-2").perform(world)
    assert not world.inside("pg-2").in_recovery


def test_a_wrong_statement_ends_the_run() -> None:
    """PostgreSQL's own words reach the reader."""
    with pytest.raises(DriverError, match="42703"):
        sql("SELECT nonsense").perform(MemoryWorld())


def test_a_silent_node_ends_the_run() -> None:
    """What was to be done was not."""
    world = MemoryWorld()
    world.inside("pg-2").frozen.add("postgres")
    with pytest.raises(DriverError, match="no answer within 10 s"):
        sql("CHECKPOINT", node="pg-2").perform(world)
