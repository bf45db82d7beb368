"""What a cluster holds, asked of one node: for comparing a restored cluster with its source."""

from collections.abc import Mapping

from harness.errors import DriverError
from harness.protocols import Driver

_DEADLINE_S = 30.0
# Tables that a backup and the WAL bring back: no unlogged or temporary ones. Quoted, and with the
# schema, so that the name can stand in a statement as it is.
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
 ORDER BY 1
"""
# How a value reads as text depends on these; the digest must not.
_SETTINGS = (
    "SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO, YMD'; SET IntervalStyle TO 'iso_8601'; "
    "SET extra_float_digits TO 3; SET bytea_output TO 'hex'"
)
# Each row's own sum first: what is then joined stays far below the gigabyte that text may be.
_DIGEST = (
    "SELECT {name}, md5(coalesce(string_agg(one, '' ORDER BY one COLLATE \"C\"), ''))"
    " FROM (SELECT md5((held.*)::text) AS one FROM ONLY {table} AS held) AS each_row"
)


def digests(driver: Driver, node: str) -> Mapping[str, str]:
    """Return the MD5 of each ordinary table's rows, in an order of their own, by its name.

    All tables are read in one statement, so in one snapshot. An empty table has a digest, too.

    Raises:
        DriverError: when the node does not answer.
    """
    names = [str(name) for (name,) in driver.query(node, _TABLES, deadline_s=_DEADLINE_S)]
    if not names:
        return {}
    parts = [_DIGEST.format(name=literal(name), table=name) for name in names]
    statement = f"{_SETTINGS}; {' UNION ALL '.join(parts)}"
    rows = driver.query(node, statement, deadline_s=_DEADLINE_S)
    found = {str(name): str(digest) for name, digest in rows}
    if set(found) != set(names):
        raise DriverError(f"{node}: {len(found)} digests of {len(names)} tables; expected all")
    return found


def timeline(driver: Driver, node: str) -> int:
    """Return the timeline that the node writes now.

    From the WAL file's name: `pg_control_checkpoint()` lags after a promotion.
    """
    name = _one(driver, node, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    return int(name[:8], 16)


def system_identifier(driver: Driver, node: str) -> str:
    """Return what PostgreSQL calls this cluster; as text, for it is too long for some numbers."""
    return _one(driver, node, "SELECT system_identifier::text FROM pg_control_system()")


def write(driver: Driver, node: str) -> None:
    """Commit a transaction that changes no table; return when it is acknowledged.

    One that only draws an id would not do: without any WAL of its own PostgreSQL neither
    flushes its commit nor waits for a standby.
    Source: PostgreSQL, src/backend/access/transam/xact.c, RecordTransactionCommit.
    """
    driver.query(node, "SELECT pg_logical_emit_message(true, 'drill', '')", deadline_s=5)


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _one(driver: Driver, node: str, sql: str) -> str:
    return str(driver.query(node, sql, deadline_s=5)[0][0])
