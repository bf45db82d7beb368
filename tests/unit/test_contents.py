"""Tests for harness.contents: what a node holds, as it tells it in SQL."""

from collections.abc import Sequence

import pytest

from harness import contents
from harness.errors import DriverError
from harness.history import Json
from tests.unit.world import MemoryWorld


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


def test_each_table_has_a_digest(world: MemoryWorld) -> None:
    """Also an empty one; one more row changes that of its table alone."""
    before = contents.digests(world.driver, "pg-1")
    assert set(before) == {"drill.append", "drill.mark", "drill.probe"}
    world.driver.wal.commit("drill.probe", "1")
    after = contents.digests(world.driver, "pg-1")
    assert [name for name in before if before[name] != after[name]] == ["drill.probe"]


def test_a_database_without_tables_has_no_digest(world: MemoryWorld) -> None:
    """And no statement that joins nothing."""
    asked: list[str] = []

    def query(node: str, sql: str, *, deadline_s: float) -> Sequence[Sequence[Json]]:  # noqa: ARG001
        asked.append(sql)
        return []

    world.driver.query = query  # type: ignore[method-assign]
    assert contents.digests(world.driver, "pg-1") == {}
    assert len(asked) == 1


def test_a_table_that_is_not_told_of_is_an_error(world: MemoryWorld) -> None:
    """Two digests that lack the same table would be equal."""
    tell = world.driver.wal.answer

    def forget(sql: str, timeline: int) -> Sequence[Sequence[Json]] | None:
        rows = tell(sql, timeline)
        return rows[1:] if rows and "md5(" in sql else rows

    world.driver.wal.answer = forget  # type: ignore[method-assign]
    with pytest.raises(DriverError, match="pg-1: 2 digests of 3 tables; expected all"):
        contents.digests(world.driver, "pg-1")


def test_the_statement_reads_every_table_at_once(world: MemoryWorld) -> None:
    """In one snapshot, with the settings that a value's text depends on."""
    asked: list[str] = []
    ask = world.driver.query

    def query(node: str, sql: str, *, deadline_s: float) -> Sequence[Sequence[Json]]:
        asked.append(sql)
        return ask(node, sql, deadline_s=deadline_s)

    world.driver.query = query  # type: ignore[method-assign]
    contents.digests(world.driver, "pg-1")
    assert asked[-1].count(" UNION ALL ") == 2
    assert asked[-1].startswith("SET TimeZone TO 'UTC'; ")


def test_the_timeline_is_that_of_the_file_that_is_written(world: MemoryWorld) -> None:
    """Eight hexadecimal digits."""
    world.inside("pg-1").timeline = 17
    assert contents.timeline(world.driver, "pg-1") == 17


def test_the_system_identifier_is_text(world: MemoryWorld) -> None:
    """It has 63 bits, and a double keeps 53."""
    assert contents.system_identifier(world.driver, "pg-2") == "7300000000000000001"


def test_a_write_changes_no_table(world: MemoryWorld) -> None:
    """It is committed all the same; a standby takes none."""
    before = contents.digests(world.driver, "pg-1")
    contents.write(world.driver, "pg-1")
    assert contents.digests(world.driver, "pg-1") == before
    assert len(world.driver.wal.entries) == 1
    with pytest.raises(DriverError, match="recovery is in progress"):
        contents.write(world.driver, "pg-2")


def test_a_quote_is_doubled() -> None:
    """A name of a table may hold one."""
    assert contents.literal("it's") == "'it''s'"
