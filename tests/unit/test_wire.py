"""Bare TCP, HTTP(S) and Patroni's REST interface, against servers that misbehave."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from harness.clock import NS, monotonic_ns
from harness.errors import HarnessError
from harness.wire.http import exchange, trusting
from harness.wire.patroni import Patroni, decode
from harness.wire.tcp import HeldConnection, reach
from tests.unit.trust import Trust, trust

ADDRESS = "127.0.0.1"


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection, yield the port."""
    with socket.create_server((ADDRESS, 0)) as listener:

        def accept() -> None:
            client, _ = listener.accept()
            with client:
                serve(client)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def reply_with(
    answer: bytes, received: list[bytes] | None = None
) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        request = client.recv(65536)
        if received is not None:
            received.append(request)
        client.sendall(answer)

    return serve


def test_answer_with_status_and_body():
    """Patroni answers in HTTP/1.0 and closes; a 503 is an answer too."""
    answer = b'HTTP/1.0 503 Service Unavailable\r\nServer: x\r\n\r\n{"role": "replica"}'
    with server(reply_with(answer)) as port:
        reply = Patroni(ADDRESS, port).call("/patroni", deadline_s=30)
    assert (reply.status, reply.body) == (503, {"role": "replica"})


def test_request_carries_body_and_login():
    """What changes the cluster is sent as JSON, by somebody."""
    seen: list[bytes] = []
    with server(reply_with(b"HTTP/1.0 200 OK\r\n\r\nok", seen)) as port:
        patroni = Patroni(ADDRESS, port, ("u", "p"))
        reply = patroni.call("/switchover", deadline_s=30, method="POST", body={"leader": "pg-1"})
    assert reply.body == "ok"
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /switchover HTTP/1.1\r\n")
    assert b"Authorization: Basic dTpw" in head
    assert b"Content-Length: 18" in head
    assert body == b'{"leader": "pg-1"}'


def test_chunked_answer():
    """The gateway of etcd may send its answer in pieces."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    with server(reply_with(answer)) as port:
        assert exchange(ADDRESS, port, "/", deadline_s=1) == (200, b"abcde")


def test_trickling_answer_ends_at_the_deadline():
    """Each byte comes in time, the answer never does: the deadline is for the whole."""

    def trickle(client: socket.socket) -> None:
        client.recv(65536)
        with suppress(OSError):  # until the other side has had enough
            while True:
                client.sendall(b"H")
                threading.Event().wait(0.01)

    begin_ns = monotonic_ns()
    with server(trickle) as port, pytest.raises(TimeoutError):
        exchange(ADDRESS, port, "/", deadline_s=0.05)
    assert (monotonic_ns() - begin_ns) / NS < 5


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"?\r\n"]
)
def test_broken_answer_is_none(answer):
    """A cut answer is no answer, and says why."""
    with server(reply_with(answer)) as port:
        reply = Patroni(ADDRESS, port).call("/patroni", deadline_s=30)
    assert reply.status == 0
    assert isinstance(reply.body, str)
    assert ": " in reply.body


def test_state_says_who_and_how():
    """The body of /patroni, and the status beside it."""
    with server(reply_with(b'HTTP/1.0 200 OK\r\n\r\n{"role": "primary"}')) as port:
        answer = Patroni(ADDRESS, port).state("pg-1", deadline_s=30)
    assert (answer.outcome, answer.node) == ("ok", "pg-1")
    assert answer.value == {"role": "primary", "status": 200}


def test_state_of_nobody_fails():
    """A node that does not answer said nothing."""
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    answer = Patroni(ADDRESS, port).state("pg-1", deadline_s=30)
    assert answer.outcome == "fail"
    assert answer.error is not None
    assert answer.error.startswith("ConnectionRefusedError")


def test_plain_sentences_are_kept():
    """Some of Patroni's answers are no JSON."""
    assert decode(b"Switchover failed") == "Switchover failed"
    assert decode(b'{"a": [1]}') == {"a": [1]}


def test_reach_open_and_refused():
    """A listening port and one where nobody listens."""
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
        assert reach(ADDRESS, port, deadline_s=1) == "open"
    assert reach(ADDRESS, port, deadline_s=1) == "refused"


def test_reach_timeout():
    """A full backlog drops the connection's packets, as a cut link does."""
    with socket.create_server((ADDRESS, 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fill = [socket.create_connection((ADDRESS, port), timeout=1)]
        assert "timeout" in [reach(ADDRESS, port, deadline_s=0.03) for _ in range(3)]
        for one in fill:
            one.close()


@pytest.mark.parametrize(("linger", "seen"), [(False, "eof"), (True, "reset")])
def test_held_connection_tells_how_it_ended(linger, seen):
    """A process that dies closes its sockets, and its kernel says so."""
    connected = threading.Event()

    def end(client: socket.socket) -> None:
        connected.wait(1)  # a reset during the handshake would be a connection refused
        if linger:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with server(end) as port:
        held = HeldConnection(ADDRESS, port, deadline_s=1)
        connected.set()
        assert held.broken_within(1) == seen
        held.close()


def test_held_connection_that_is_silent():
    """Silence is what a machine without power leaves; data is no end either."""
    release = threading.Event()

    def talk(client: socket.socket) -> None:
        client.sendall(b"hello")
        release.wait(1)

    with server(talk) as port:
        held = HeldConnection(ADDRESS, port, deadline_s=1)
        begin_ns = monotonic_ns()
        assert held.broken_within(0.03) is None
        assert 0.02 < (monotonic_ns() - begin_ns) / NS < 1  # then the other side would end it
        held.close()
        release.set()


# --- TLS ---------------------------------------------------------------------------------------

OK = b"HTTP/1.0 200 OK\r\n\r\nok"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return trust(tmp_path_factory.mktemp("ours"), ADDRESS)


def over_tls(
    trust: Trust, serve: Callable[[socket.socket], None], *, bye: bool = True
) -> Callable[[socket.socket], None]:
    """Return a server that shakes hands first, if its client does, and says bye at the end."""

    def secured(client: socket.socket) -> None:
        with suppress(OSError), trust.server.wrap_socket(client, server_side=True) as channel:
            serve(channel)
            if bye:
                channel.unwrap()  # as Patroni does

    return secured


@pytest.mark.parametrize("bye", [True, False])
def test_https_answer(ours, bye):
    """Whether or not the server ends TLS before it ends the connection."""
    seen: list[bytes] = []
    with server(over_tls(ours, reply_with(OK, seen), bye=bye)) as port:
        patroni = Patroni(ADDRESS, port, ("u", "p"), ours.client)
        reply = patroni.call("/switchover", deadline_s=30, method="POST", body={})
    assert (reply.status, reply.body) == (200, "ok")
    assert b"Authorization: Basic dTpw" in seen[0]


def test_large_https_answer(ours):
    """More than one TLS record, in more than one read."""
    body = b"x" * 100_000
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n" + body
    with server(over_tls(ours, reply_with(answer))) as port:
        assert exchange(ADDRESS, port, "/", deadline_s=2, tls=ours.client) == (200, body)


@pytest.mark.parametrize(
    ("addresses", "is_ours", "said"),
    [
        ((ADDRESS,), False, "unable to get local issuer certificate"),
        (("198.18.7.11",), True, "IP address mismatch"),
        ((), True, "IP address mismatch"),  # a name is not enough: the address was called
    ],
)
def test_wrong_certificate_is_said_at_once(ours, tmp_path, addresses, is_ours, said):
    """Nothing is sent to a stranger; the reason is the answer, and it needs no deadline."""
    other = trust(tmp_path, *addresses)
    seen: list[bytes] = []
    trusted = other.client if is_ours else ours.client
    begin_ns = monotonic_ns()
    with server(over_tls(other, reply_with(OK, seen))) as port:
        reply = Patroni(ADDRESS, port, ("u", "p"), trusted).call("/", deadline_s=60)
    assert (monotonic_ns() - begin_ns) / NS < 10
    assert reply.status == 0
    assert isinstance(reply.body, str)
    assert reply.body.startswith("SSLCertVerificationError: ")
    assert said in reply.body
    assert seen == []


def test_server_without_tls_is_refused(ours):
    """What a client was told to speak, it does not unlearn."""
    with server(reply_with(OK)) as port:
        reply = Patroni(ADDRESS, port, None, ours.client).call("/", deadline_s=30)
    assert reply.status == 0
    assert "SSLError: " in str(reply.body)


def silence(client: socket.socket) -> None:
    with suppress(OSError):
        while client.recv(65536):
            pass


def trickle_handshake(client: socket.socket) -> None:
    """Send, byte by byte, a handshake record that would be 16 KiB long."""
    client.recv(65536)
    with suppress(OSError):
        client.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
        while True:
            client.sendall(b"\x03")
            threading.Event().wait(0.01)


def trickle_answer(client: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client.sendall(b"H")
            threading.Event().wait(0.01)


@pytest.mark.parametrize("where", ["silent handshake", "endless handshake", "endless answer"])
def test_deadline_holds_through_tls(ours, where):
    """Frozen before, in or after the handshake: no server holds a client any longer."""
    serve = {
        "silent handshake": silence,
        "endless handshake": trickle_handshake,
        "endless answer": over_tls(ours, trickle_answer, bye=False),
    }[where]
    client = ours.client  # made before, for its making takes time too
    begin_ns = monotonic_ns()
    with server(serve) as port, pytest.raises(TimeoutError):
        exchange(ADDRESS, port, "/", deadline_s=0.08, tls=client)
    assert 0.08 <= (monotonic_ns() - begin_ns) / NS < 5


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_ca_that_is_none_is_named(tmp_path, text):
    """A client must not go on with an empty list of whom to trust, nor with the system's."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HarnessError, match=r"ca_file: '.*ca\.pem': .*; expected PEM of a CA"):
        trusting(path)


def test_only_the_given_ca_is_trusted(ours):
    """Not those that the system came with."""
    assert len(ours.client.get_ca_certs()) == 1
    assert ours.client.check_hostname
