"""Sessions with PostgreSQL: deadlines that hold and outcomes that are true.

The server is a script on a local socket: it speaks just enough of the protocol to break at the
exact moment that a test is about. The real server is met in tests/conformance.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest

from harness.clock import NS, monotonic_ns
from harness.errors import DriverError
from harness.history import Json
from harness.wire.postgres import (
    Database,
    DeadlineError,
    PostgresSession,
    as_json,
    committed,
    deadline,
    decode_list,
    describe,
    outcome_of,
)
from tests.unit.trust import Trust, trust

ADDRESS = "127.0.0.1"
WARNING = "WARNING:  canceling wait for synchronous replication due to user request\nDETAIL:  ..."


# --- pure parts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "sqlstate", "outcome"),
    [
        ("open", None, "fail"),
        ("open", "57P03", "fail"),
        ("read", None, "fail"),
        ("read", "40001", "fail"),
        ("body", None, "fail"),  # a lost connection or silence, but COMMIT was never sent
        ("body", "25006", "fail"),
        ("body", "57P01", "fail"),
        ("body", "40001", "fail"),
        ("body", "40P01", "fail"),
        ("commit", "40001", "fail"),
        ("commit", "40P01", "fail"),
        ("commit", None, "info"),
        ("commit", "57P01", "info"),
        ("commit", "57P02", "info"),
        ("commit", "57014", "info"),
        ("commit", "25006", "info"),
        ("commit", "XX000", "info"),
    ],
)
def test_outcome_by_phase_and_error(phase, sqlstate, outcome):
    """Only what certainly did not commit is a fail."""
    assert outcome_of(phase, sqlstate) == outcome


def test_commit_is_ok_only_when_the_server_says_committed():
    """The transaction's own status decides, and a warning takes the certainty away."""
    assert committed("committed", []) == ("ok", None)
    assert committed("aborted", [])[0] == "fail"
    assert committed("in progress", [])[0] == "info"
    assert committed(None, [])[0] == "info"
    outcome, error = committed("committed", [WARNING])
    assert outcome == "info"
    assert error is not None
    assert error.startswith("committed locally: WARNING: canceling wait")


def test_errors_are_one_line_with_their_class():
    """The first line says it; the rest is for the server's log."""
    assert describe(DeadlineError("no answer within 2 s")) == "DeadlineError: no answer within 2 s"
    assert describe(psycopg2.OperationalError("a\nb")) == "OperationalError: a"
    assert describe(psycopg2.OperationalError()) == "OperationalError: "


def test_lists_are_stored_as_text():
    """No row is the empty list."""
    assert decode_list(None) == []
    assert decode_list("7") == [7]
    assert decode_list("7,8,4711230000000042") == [7, 8, 4711230000000042]


def test_columns_become_json():
    """Numbers stay numbers; what JSON lacks becomes text."""
    values = [
        None,
        True,
        3,
        1.5,
        "x",
        Decimal("16384"),
        Decimal("1.5"),
        [Decimal(1), None],
        {"a": 1},
    ]
    assert as_json(values) == [None, True, 3, 1.5, "x", 16384, 1.5, [1, None], {"a": 1}]
    assert as_json(b"x") == "b'x'"


def test_nodes_are_known_by_their_addresses():
    """An address that no node has stays visible."""
    database = Database("postgres", "", {"pg-1": "10.0.0.1"})
    assert database.node_at("10.0.0.1") == "pg-1"
    assert database.node_at("10.0.0.9") == "10.0.0.9"
    assert database.node_at(None) is None


# --- a scripted server -------------------------------------------------------------------------


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def text(*values: str) -> bytes:
    return b"".join(value.encode() + b"\0" for value in values)


READY = message(b"Z", b"I")
GREETING = (
    message(b"R", struct.pack("!i", 0))
    + b"".join(
        message(b"S", text(name, value))
        for name, value in (
            ("server_version", "17.0"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("standard_conforming_strings", "on"),
        )
    )
    + READY
)


BOOLEAN, TEXT = 16, 25


def rows(*values: str, first: int = TEXT) -> bytes:
    """Return one row of text columns, the first of that type, and that the server is ready."""
    types = [first] + [TEXT] * (len(values) - 1)
    described = b"".join(
        text("column") + struct.pack("!ihihih", 0, 0, of, -1, -1, 0) for of in types
    )
    data = b"".join(struct.pack("!i", len(v)) + v.encode() for v in values)
    count = struct.pack("!h", len(values))
    row = message(b"T", count + described) + message(b"D", count + data)
    return row + message(b"C", text("SELECT 1")) + READY


def refusal(sqlstate: str) -> bytes:
    fields = [("S", "ERROR"), ("C", sqlstate), ("M", "refused")]
    return message(b"E", b"".join(k.encode() + text(v) for k, v in fields) + b"\0") + READY


def warning() -> bytes:
    fields = [("S", "WARNING"), ("C", "01000"), ("M", "canceling wait for synchronous replication")]
    return message(b"N", b"".join(k.encode() + text(v) for k, v in fields) + b"\0")


WHO = rows("f", ADDRESS, first=BOOLEAN)
MARKS = rows("0000000A0000000000000003", "731", "0/3000060")
AFTER = rows("0/3000088", "committed")
SILENT = None
HANG_UP = b""


def answer_with(**changed: bytes | None) -> Callable[[str], bytes | None]:
    """Return a server's script: healthy but for the changed answers."""

    def answer(query: str) -> bytes | None:
        kind, healthy = "read", rows("1,2")
        if "pg_is_in_recovery" in query:
            kind, healthy = "who", WHO
        elif query.startswith("COMMIT"):
            kind, healthy = "commit", AFTER
        elif query.startswith("ROLLBACK"):
            kind, healthy = "rollback", message(b"C", text("ROLLBACK")) + READY
        elif "pg_walfile_name" in query:
            kind, healthy = "body", MARKS
        return changed.get(kind, healthy)

    return answer


def greet(client: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    """Answer what comes before the start-up message; return the connection, in TLS if asked for."""
    while True:
        # Looked at, and left there: what follows an answer may be the handshake already.
        length, code = struct.unpack("!ii", client.recv(8, socket.MSG_PEEK | socket.MSG_WAITALL))
        if code == 3 << 16:
            assert tls is None, "the start-up message, with the user's name, came in the clear"
            return client
        client.recv(length, socket.MSG_WAITALL)
        client.sendall(b"S" if tls else b"N")
        if tls:
            return tls.wrap_socket(client, server_side=True)


@contextmanager
def server(
    answer: Callable[[str], bytes | None],
    tls: ssl.SSLContext | None = None,
    ca_file: Path | None = None,
) -> Iterator[PostgresSession]:
    """Run a server and yield a session for it, with deadlines of 100 ms."""
    listener = socket.create_server((ADDRESS, 0))
    ended = threading.Event()

    def serve(plain: socket.socket) -> None:
        # Whatever breaks is a client that does not want to go on.
        with suppress(OSError, struct.error), plain, greet(plain, tls) as client:
            talk(client)

    def talk(client: socket.socket) -> None:
        with client.makefile("rb") as received:
            (length,) = struct.unpack("!i", received.read(4))
            received.read(length - 4)  # the start-up message
            client.sendall(GREETING)
            while received.read(1) == b"Q":
                (length,) = struct.unpack("!i", received.read(4))
                reply = answer(received.read(length - 4).decode())
                if reply == HANG_UP:
                    return
                if reply is SILENT:
                    ended.wait(2)
                    return
                client.sendall(reply)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            serve(client)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    database = Database("postgres", "secret", {"pg-1": ADDRESS}, port=port, ca_file=ca_file)
    session = PostgresSession(
        # With TLS a connection costs more; only what is to time out is given little time.
        database,
        "primary-elb",
        ADDRESS,
        process="append/0.0",
        open_s=5.0 if ca_file else 0.1,
        call_s=5.0 if ca_file else 0.1,
    )
    yield session
    session.close()
    ended.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


APPEND: list[Json] = ["append", 1, 10]
READ: list[Json] = ["r", 1, None]


def test_write_that_is_acknowledged():
    """The answer names the node, its timeline, the transaction and the commit's bounds."""
    with server(answer_with()) as session:
        opened = session.open()
        assert opened.outcome == "ok"
        assert opened.value == {"through": "primary-elb", "in_recovery": False}
        answer = session.txn("append", [READ, APPEND], "serializable")
    assert answer.outcome == "ok"
    assert answer.value == [["r", 1, [1, 2]], ["append", 1, 10]]
    assert (answer.node, answer.tli, answer.xid) == ("pg-1", 10, 731)
    assert answer.lsn == ["0/3000060", "0/3000088"]


@pytest.mark.parametrize(
    ("changed", "outcome", "stays_open"),
    [
        ({"commit": HANG_UP}, "info", False),
        ({"commit": SILENT}, "info", False),
        ({"commit": refusal("57014")}, "info", False),
        ({"commit": refusal("40001")}, "fail", True),
        ({"commit": rows("0/3000088", "aborted")}, "fail", False),
        ({"commit": rows("0/3000088", "in progress")}, "info", False),
        ({"commit": warning() + AFTER}, "info", False),
        ({"body": HANG_UP}, "fail", False),
        ({"body": SILENT}, "fail", False),
        ({"body": refusal("25006")}, "fail", True),
        ({"body": refusal("40001"), "rollback": SILENT}, "fail", False),
        ({"body": warning() + MARKS}, "ok", True),  # not about the commit
    ],
)
def test_write_whose_server_breaks(changed, outcome, stays_open):
    """The outcome follows from how far the write had come when it broke."""
    with server(answer_with(**changed)) as session:
        assert session.open().outcome == "ok"
        answer = session.probe(5)
        assert (answer.outcome, session.is_open) == (outcome, stays_open)
        assert answer.value == (5 if outcome == "ok" else None)
        assert outcome == "ok" or answer.error


@pytest.mark.parametrize("broken", [HANG_UP, SILENT, refusal("40001")])
def test_read_whose_server_breaks(broken):
    """A read that failed changed nothing, at COMMIT too."""
    for kind in ("read", "commit"):
        with server(answer_with(**{kind: broken})) as session:
            session.open()
            assert session.txn("append", [READ], "serializable").outcome == "fail"


def test_session_can_be_used_again_after_an_error():
    """A refused transaction leaves nothing behind."""
    answers = iter([refusal("40001"), MARKS])
    healthy = answer_with()

    def once(query: str) -> bytes | None:
        return next(answers) if "pg_walfile_name" in query else healthy(query)

    with server(once) as session:
        session.open()
        assert session.probe(1).outcome == "fail"
        assert session.probe(2).outcome == "ok"


def test_use_before_open_fails():
    """No connection, no effect."""
    session = PostgresSession(
        Database("postgres", "", {}), "pg-1", ADDRESS, process="p", open_s=0.1, call_s=0.1
    )
    assert not session.is_open
    assert session.probe(1).outcome == "fail"
    session.close()


def test_silent_server_ends_open_within_its_deadline():
    """A stopped server's kernel accepts the connection and nobody ever answers."""
    with socket.create_server((ADDRESS, 0)) as listener:
        database = Database("postgres", "", {}, port=listener.getsockname()[1])
        session = PostgresSession(database, "pg-1", ADDRESS, process="p", open_s=0.05, call_s=60)
        begin_ns = monotonic_ns()
        answer = session.open()
        took_s = (monotonic_ns() - begin_ns) / NS
    assert answer.outcome == "fail"
    assert answer.error == "DeadlineError: no answer within 0.05 s"
    assert 0.05 <= took_s < 10
    assert not session.is_open


def test_query_obeys_its_deadline_and_names_the_node():
    """One deadline for connecting and asking together."""
    with socket.create_server((ADDRESS, 0)) as listener:
        database = Database("postgres", "", {"pg-1": ADDRESS}, port=listener.getsockname()[1])
        with pytest.raises(DriverError, match=r"pg-1: 'SELECT 1' failed: DeadlineError"):
            database.query(ADDRESS, "SELECT 1", deadline_s=0.03)


def test_refused_connection_fails():
    """Nobody listens: the answer comes at once."""
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    session = PostgresSession(
        Database("postgres", "", {}, port=port), "pg-1", ADDRESS, process="p", open_s=1, call_s=1
    )
    answer = session.open()
    assert answer.outcome == "fail"
    assert answer.error is not None
    assert answer.error.startswith("OperationalError")


def test_deadline_ends_with_its_block():
    """A later call of the thread is not held to it."""
    with server(answer_with()) as session:
        session.open()
        with deadline(0):
            pass
        assert session.txn("append", [READ], "read-committed").outcome == "ok"


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return trust(tmp_path_factory.mktemp("ours"), ADDRESS)


def test_session_over_tls(ours):
    """The certificate is for the address, which is what nodes and ELBs are called by."""
    with server(answer_with(), ours.server, ours.ca_file) as session:
        opened = session.open()
        assert (opened.outcome, opened.error, opened.node) == ("ok", None, "pg-1")
        assert session.probe(5).outcome == "ok"


def test_large_answer_over_tls(ours):
    """A record is more than libpq reads at a time; its rest is then no longer in the socket."""
    elements = ",".join(str(number) for number in range(20_000))
    with server(answer_with(read=rows(elements)), ours.server, ours.ca_file) as session:
        session.open()
        answer = session.txn("append", [READ], "serializable")
    assert answer.outcome == "ok"
    assert answer.value == [["r", 1, list(range(20_000))]]


@pytest.mark.parametrize(
    ("addresses", "is_ours", "said"),
    [
        ((ADDRESS,), False, "certificate verify failed"),
        (("198.18.7.11",), True, f'does not match host name "{ADDRESS}"'),
    ],
)
def test_wrong_certificate_fails_at_once(ours, tmp_path, addresses, is_ours, said):
    """No password goes to a stranger, and the reason is in the history."""
    other = trust(tmp_path, *addresses)
    ca_file = other.ca_file if is_ours else ours.ca_file
    with server(answer_with(), other.server, ca_file) as session:
        opened = session.open()
    assert opened.outcome == "fail"
    assert opened.error is not None
    assert said in opened.error


def test_server_without_tls_is_refused(ours):
    """A client that was given a CA never falls back to plain text."""
    with server(answer_with(), None, ours.ca_file) as session:
        opened = session.open()
    assert opened.outcome == "fail"
    assert "server does not support SSL" in str(opened.error)


@pytest.mark.parametrize(
    "said",
    [b"", b"S", b"S\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"],
    ids=["no word", "no handshake", "half a handshake"],
)
def test_deadline_holds_through_the_handshake(ours, said):
    """Silence before TLS is agreed on, before the handshake, and in the middle of it."""
    begin_ns = monotonic_ns()
    with socket.create_server((ADDRESS, 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(8)
                client.sendall(said)
                client.settimeout(30)
                while client.recv(65536):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        database = Database("postgres", "", {}, port=port, ca_file=ours.ca_file)
        session = PostgresSession(database, "pg-1", ADDRESS, process="p", open_s=0.05, call_s=60)
        answer = session.open()
        took_s = (monotonic_ns() - begin_ns) / NS
        thread.join()
    assert answer.outcome == "fail"
    assert answer.error == "DeadlineError: no answer within 0.05 s"
    assert 0.05 <= took_s < 10
    assert not session.is_open


def test_tls_is_spoken_only_with_a_ca(monkeypatch):
    """Without one nothing is asked for, whatever this machine's own environment says."""
    monkeypatch.setenv("PGSSLMODE", "require")
    with server(answer_with()) as session:
        assert session.open().outcome == "ok"


@contextmanager
def saying(answer: bytes, heard: list[bytes]) -> Iterator[Database]:
    """Answer one client's first words, and yield the way there."""
    with socket.create_server((ADDRESS, 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                heard.append(client.recv(4096))
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Database("me", "secret", {"pg-1": ADDRESS}, "db", listener.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (message(b"E", b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry\0\0"), "28000"),
        (message(b"E", b"SFATAL\0VFATAL\0C57P03\0Mstarting up\0\0"), "57P03"),
        (message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"), None),
    ],
    ids=["no line", "starting", "welcome"],
)
def test_what_a_server_says_to_a_client_without_tls(answer: bytes, found: str | None) -> None:
    """The SQLSTATE, or None for a question for the password, which is not sent."""
    heard: list[bytes] = []
    with saying(answer, heard) as database:
        assert database.in_clear(ADDRESS, deadline_s=5) == found
    assert heard == [struct.pack("!ii", 29, 3 << 16) + b"user\0me\0database\0db\0\0"]


@pytest.mark.parametrize(
    "answer",
    [b"", b"E", message(b"E", b"Mno code\0\0"), b"HTTP/1.0 400 Bad Request\r\n"],
    ids=["nothing", "cut off", "no code", "another protocol"],
)
def test_what_is_no_answer_without_tls(answer: bytes) -> None:
    """Neither a refusal nor a welcome: it names the node."""
    with saying(answer, []) as database, pytest.raises(DriverError, match="pg-1: no TLS: found"):
        database.in_clear(ADDRESS, deadline_s=5)


def test_silence_without_tls_ends_at_the_deadline() -> None:
    """A stopped server's kernel accepts the connection and nobody ever answers."""
    with socket.create_server((ADDRESS, 0)) as listener:
        database = Database("me", "", {"pg-1": ADDRESS}, port=listener.getsockname()[1])
        with pytest.raises(DriverError, match="pg-1: no TLS: TimeoutError"):
            database.in_clear(ADDRESS, deadline_s=0.05)
