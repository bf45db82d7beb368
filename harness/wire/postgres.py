"""PostgreSQL through libpq: a hard deadline on every call, and outcomes that can be trusted.

A stopped server goes on accepting TCP connections and never answers, and libpq by itself waits
for ever. psycopg2's wait callback is the one place where all its waiting passes through; it is
process-global, switches `connect_timeout` off and cannot interrupt a name's look-up. So it is
set here for all sessions, bounds the connecting too, and addresses are numeric.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeAlias

import psycopg2
from psycopg2 import extensions
from psycopg2.sql import SQL, Composable, Identifier

from harness.clock import NS, monotonic_ns
from harness.errors import DriverError
from harness.history import Json, Outcome
from harness.protocols import Answer

# How far a call had come: `read` changes nothing at any point of it, `commit` is COMMIT sent.
Phase: TypeAlias = Literal["open", "read", "body", "commit"]
PROBE_TABLE = "probe"
_PROTOCOL = 3 << 16  # version 3.0

# Run at COMMIT, PostgreSQL's own word that the transaction is gone: its serialization checks and
# its deadlock check come before the commit record is written.
CERTAINLY_ROLLED_BACK = frozenset({"40001", "40P01"})

_SET_UP = (
    "CREATE SCHEMA IF NOT EXISTS drill",
    "CREATE TABLE IF NOT EXISTS drill.append (k bigint PRIMARY KEY, v text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS drill.probe (n bigint PRIMARY KEY, process text,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp())",
    "CREATE TABLE IF NOT EXISTS drill.mark (name text PRIMARY KEY,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp())",
    # Since PostgreSQL 15; an older one can be drilled, too, only not marked.
    "DO $$ BEGIN IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect')"
    " THEN CREATE EXTENSION IF NOT EXISTS pg_walinspect; END IF; END $$",
)
_APPEND = (
    "INSERT INTO drill.{table} AS had (k, v) VALUES (%s, %s)"
    " ON CONFLICT (k) DO UPDATE SET v = had.v || ',' || excluded.v"
)
_READ = "SELECT v FROM drill.{table} WHERE k = %s"
_PROBE = "INSERT INTO drill.probe (n, process) VALUES (%s, current_setting('application_name'))"
# The timeline comes from the WAL file that is written now: pg_control_checkpoint() still names
# the old timeline for a while after a promotion.
_BEFORE_COMMIT = (
    "SELECT pg_walfile_name(wal.at), pg_current_xact_id_if_assigned()::text, wal.at::text"
    " FROM pg_current_wal_insert_lsn() AS wal (at)"
)
# Goes in one round trip with COMMIT, so that the moment of the acknowledgement is not delayed.
_AFTER_COMMIT = "SELECT pg_current_wal_lsn()::text, pg_xact_status(%s::xid8)"
_LEVELS: Mapping[str, str] = {
    "read-committed": "BEGIN ISOLATION LEVEL READ COMMITTED",
    "repeatable-read": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "serializable": "BEGIN ISOLATION LEVEL SERIALIZABLE",
}


class DeadlineError(Exception):
    """The server did not answer in time; the connection is closed and must not be used again."""


_FAILURES = (psycopg2.Error, DeadlineError)


# --- deadlines ---------------------------------------------------------------------------------


class _Limit(threading.local):
    """When the call that this thread is in must end; None is never."""

    until_ns: int | None = None
    seconds: float = 0.0


_limit = _Limit()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound everything that this thread does with PostgreSQL inside the block, taken together."""
    _limit.until_ns, _limit.seconds = monotonic_ns() + int(seconds * NS), seconds
    try:
        yield
    finally:
        _limit.until_ns = None


def wait(connection: extensions.connection) -> None:
    """Let libpq work until its call is done: psycopg2's wait callback.

    Raises:
        DeadlineError: when the thread's deadline passes; psycopg2 then closes the connection.
    """
    while (state := connection.poll()) != extensions.POLL_OK:
        # A new poller each time: libpq may change its socket while it connects.
        poller = select.poll()
        wanted = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        poller.register(connection.fileno(), wanted)
        if not poller.poll(_left_ms()):
            raise DeadlineError(f"no answer within {_limit.seconds:g} s")


def _left_ms() -> int | None:
    if _limit.until_ns is None:
        return None
    return max(0, -(-(_limit.until_ns - monotonic_ns()) // 1_000_000))


extensions.set_wait_callback(wait)


# --- outcomes ----------------------------------------------------------------------------------


def outcome_of(phase: Phase, sqlstate: str | None) -> Outcome:
    """Return what an error says of the transaction that it ended.

    Before COMMIT is sent nothing can have been committed, whatever broke. From then on only the
    server's word that it rolled back makes it a `fail`; silence, a lost connection and a server
    that shuts down all leave it open.
    """
    if phase != "commit" or sqlstate in CERTAINLY_ROLLED_BACK:
        return "fail"
    return "info"


def committed(status: str | None, notices: Sequence[str]) -> tuple[Outcome, str | None]:
    """Return the outcome of a COMMIT that came back without an error, and what was odd about it.

    COMMIT succeeds with a warning when its wait for a synchronous standby was cancelled: the
    transaction is committed here and may be on no other node. Its text depends on the server's
    language, and no COMMIT of ours has another reason to say anything, so any notice counts.
    Source: PostgreSQL, src/backend/replication/syncrep.c, SyncRepWaitForLSN.
    """
    if status == "aborted":
        return "fail", "rolled back: COMMIT ended an aborted transaction"
    if notices:
        return "info", "committed locally: " + " ".join(notices[0].split())
    if status != "committed":
        return "info", f"pg_xact_status: {status!r} after COMMIT; expected 'committed'"
    return "ok", None


def describe(error: Exception) -> str:
    """Return `<SQLSTATE or class>: <first line>`."""
    name = getattr(error, "pgcode", None) or type(error).__name__
    lines = str(error).strip().splitlines() or [""]
    return f"{name}: {lines[0]}"


# --- values ------------------------------------------------------------------------------------


def decode_list(text: str | None) -> list[int]:
    """Return the elements of a stored list; no row is the empty list."""
    return [int(element) for element in text.split(",")] if text else []


def as_json(value: object) -> Json:
    """Return a column's value as JSON: numbers as numbers, what JSON lacks as its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list | tuple):
        return [as_json(member) for member in value]
    if isinstance(value, dict):
        return {str(key): as_json(member) for key, member in value.items()}
    return str(value)


# --- sessions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Database:
    """How to get into the cluster; the same for all sessions of one client.

    Attributes:
        nodes: addresses by the nodes' names: a session knows who answered by the address.
        ca_file: the CA whose certificate, for the very address, a server must show; None is no TLS.
    """

    user: str
    password: str
    nodes: Mapping[str, str]
    name: str = "postgres"
    port: int = 5432
    ca_file: Path | None = None

    def connect(self, address: str, process: str) -> extensions.connection:
        """Connect within the deadline that is set; each statement is then its own transaction."""
        connection = psycopg2.connect(
            host=address,  # what the certificate must be for; libpq compares addresses since 15
            hostaddr=address,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.name,
            application_name=process,
            gssencmode="disable",  # spares the question, which costs a round trip
            sslmode="verify-full" if self.ca_file else "disable",
            sslrootcert=str(self.ca_file) if self.ca_file else None,
        )
        connection.autocommit = True  # BEGIN and COMMIT are ours, so that we know what was sent
        return connection

    def node_at(self, address: str | None) -> str | None:
        """Return the name of the node with this address; an unknown one keeps its address."""
        return next((name for name, its in self.nodes.items() if its == address), address)

    def query(self, address: str, text: str, *, deadline_s: float) -> list[list[Json]]:
        """Run statements over a new connection and return the rows of the last one.

        Raises:
            DriverError: when they fail, or are not done within `deadline_s`.
        """
        try:
            with deadline(deadline_s):
                connection = self.connect(address, "drill")
                try:
                    rows = _Script(connection).add(SQL(text), plain=True).run()
                finally:
                    connection.close()
        except _FAILURES as error:
            where = self.node_at(address)
            raise DriverError(f"{where}: {text[:60]!r} failed: {describe(error)}") from None
        return [[as_json(value) for value in row] for row in rows]

    def in_clear(self, address: str, *, deadline_s: float) -> str | None:
        """Ask for a session without TLS; return the SQLSTATE of the refusal, None for a welcome.

        Spoken by hand, for libpq keeps the SQLSTATE of a refused connection to itself. No password
        is sent: a server that asks for one has taken the connection.

        Raises:
            DriverError: when it does not answer within `deadline_s`.
        """
        words = b"".join(
            f"{word}\0".encode() for word in ("user", self.user, "database", self.name)
        )
        hello = struct.pack("!ii", 9 + len(words), _PROTOCOL) + words + b"\0"
        try:
            with socket.create_connection((address, self.port), timeout=deadline_s) as plain:
                plain.sendall(hello)
                with plain.makefile("rb") as answer:
                    head = answer.read(5)
                    kind, length = struct.unpack("!ci", head) if len(head) == 5 else (b"", 4)
                    fields = answer.read(length - 4).split(b"\0")
        except OSError as error:
            raise DriverError(f"{self.node_at(address)}: no TLS: {describe(error)}") from None
        if kind == b"R":  # Authentication...
            return None
        codes = [field[1:].decode() for field in fields if field.startswith(b"C")]
        if kind != b"E" or not codes:
            raise DriverError(
                f"{self.node_at(address)}: no TLS: found {kind + b' '.join(fields)[:60]!r}; "
                "expected a refusal or a question for the password"
            )
        return codes[0]

    def prepare(self, address: str, *, deadline_s: float) -> None:
        """Create the tables of the workloads and probes where they are missing.

        Raises:
            DriverError: when the node does not take writes.
        """
        self.query(address, "; ".join(_SET_UP), deadline_s=deadline_s)


class _Script:
    """Statements that go to the server in one round trip, once an answer is needed."""

    def __init__(self, connection: extensions.connection) -> None:
        self._connection = connection
        self._statements: list[Composable] = []
        self._arguments: list[Json] | None = []

    def add(self, statement: Composable, *arguments: Json, plain: bool = False) -> "_Script":
        """Add a statement; a `plain` one takes no arguments and may hold percent signs."""
        self._statements.append(statement)
        self._arguments = None if plain else [*(self._arguments or []), *arguments]
        return self

    def run(self) -> list[tuple[object, ...]]:
        """Send what was added and return the rows of the last statement."""
        text, arguments = SQL("; ").join(self._statements), self._arguments
        self._statements, self._arguments = [], []
        with self._connection.cursor() as cursor:
            cursor.execute(text, arguments)
            return cursor.fetchall() if cursor.description else []


class PostgresSession:
    """A `Session` with a real server. Single-threaded; every call ends within its deadline."""

    def __init__(
        self,
        database: Database,
        through: str,
        address: str,
        *,
        process: str,
        open_s: float,
        call_s: float,
    ) -> None:
        """Prepare a session with `address`, which the history calls `through`; `open` connects.

        The server shows `process` as `application_name`. `open_s` and `call_s` bound `open` and
        each call after it, in seconds.
        """
        self._database = database
        self._through = through
        self._address = address
        self._process = process
        self._open_s = open_s
        self._call_s = call_s
        self._connection: extensions.connection | None = None
        self._node: str | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def open(self) -> Answer:
        self.close()
        try:
            with deadline(self._open_s):
                self._connection = self._database.connect(self._address, self._process)
                question = "SELECT pg_is_in_recovery(), host(inet_server_addr())"
                [(in_recovery, address)] = _Script(self._connection).add(SQL(question)).run()
        except _FAILURES as error:
            self.close()
            return Answer(outcome_of("open", None), error=describe(error))
        self._node = self._database.node_at(str(address))
        value: Json = {"through": self._through, "in_recovery": bool(in_recovery)}
        return Answer("ok", value, node=self._node)

    def txn(self, table: str, ops: Sequence[Sequence[Json]], isolation: str) -> Answer:
        name = Identifier(table)

        def fill(script: _Script) -> Json:
            script.add(SQL(_LEVELS[isolation]))
            done: list[Json] = []
            for verb, key, value in ops:
                if verb == "append":
                    script.add(SQL(_APPEND).format(table=name), key, str(value))
                    done.append(["append", key, value])
                else:
                    rows = script.add(SQL(_READ).format(table=name), key).run()
                    done.append(["r", key, decode_list(str(rows[0][0]) if rows else None)])
            return done

        return self._transact(fill, writes=any(op[0] == "append" for op in ops))

    def probe(self, number: int) -> Answer:
        def fill(script: _Script) -> Json:
            script.add(SQL(_LEVELS["read-committed"])).add(SQL(_PROBE), number)
            return number

        return self._transact(fill, writes=True)

    def final_read(self, table: str) -> Answer:
        def fill(script: _Script) -> Json:
            script.add(SQL(_LEVELS["read-committed"]))
            if table == PROBE_TABLE:
                rows = script.add(SQL("SELECT n FROM drill.probe ORDER BY n")).run()
                return [as_json(number) for (number,) in rows]
            every = SQL("SELECT k, v FROM drill.{table} ORDER BY k").format(table=Identifier(table))
            return [["r", as_json(k), decode_list(str(v))] for k, v in script.add(every).run()]

        return self._transact(fill, writes=False)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _transact(self, fill: Callable[[_Script], Json], *, writes: bool) -> Answer:
        """Run one transaction: `fill` sends or adds its statements and returns its value."""
        phase: Phase = "body" if writes else "read"
        with deadline(self._call_s):
            try:
                connection = self._connected()
                script = _Script(connection)
                value = fill(script)
                if not writes:
                    script.add(SQL("COMMIT")).run()
                    return Answer("ok", value, node=self._node)
                [(wal_file, xid, low)] = script.add(SQL(_BEFORE_COMMIT)).run()
                # Whatever the statements had to say is not about the COMMIT.
                connection.notices.clear()
                phase = "commit"
                after = script.add(SQL("COMMIT")).add(SQL(_AFTER_COMMIT), str(xid))
                [(high, status)] = after.run()
            except _FAILURES as error:
                outcome = outcome_of(phase, getattr(error, "pgcode", None))
                self._leave(outcome)
                return Answer(outcome, node=self._node, error=describe(error))
        outcome, odd = committed(str(status), connection.notices)
        if odd:
            self.close()
        return Answer(
            outcome,
            value if outcome == "ok" else None,
            node=self._node,
            tli=int(str(wal_file)[:8], 16),
            xid=int(str(xid)),
            lsn=[str(low), str(high)],
            error=odd,
        )

    def _connected(self) -> extensions.connection:
        if self._connection is None:
            raise psycopg2.InterfaceError("the session is not open")
        return self._connection

    def _leave(self, outcome: Outcome) -> None:
        """Make the session fit for its next transaction, or close it."""
        if self._connection is None or outcome == "info":
            self.close()
            return
        try:
            _Script(self._connection).add(SQL("ROLLBACK")).run()
        except _FAILURES:
            self.close()
