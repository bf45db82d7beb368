"""One HTTP request with a deadline that holds for all of it, and an answer read to its end.

With a TLS context it is HTTPS: the peer must show a certificate, of a CA that the context trusts,
for the very address that was called.
"""

import base64
import io
import json
import socket
import ssl
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from harness.clock import NS, monotonic_ns
from harness.errors import HarnessError
from harness.history import Json

# What a caller must expect of a request to a machine that may be dead, frozen or cut off.
FAILURES = (OSError, HTTPException, ValueError)


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Return what to connect with where only this CA's certificates are good.

    It takes milliseconds to make, so it is made once and shared by all threads.

    Raises:
        HarnessError: when the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an SSLError is one
        raise HarnessError(f"ca_file: {str(ca_file)!r}: {error}; expected PEM of a CA") from None


def exchange(
    address: str,
    port: int,
    path: str,
    *,
    deadline_s: float,
    method: str = "GET",
    body: Json = None,
    login: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    """Send one request and return the answer's status and body.

    `http.client` bounds each read but not their sum, so the bytes are read here and only parsed
    there. A body is sent as JSON (None sends none), a login as basic authentication.

    Raises:
        TimeoutError: when the answer is not complete within `deadline_s`.
        OSError, HTTPException: when there is none, or it is no HTTP; an SSLCertVerificationError,
            which is an OSError, when the peer is not known to be who was called.
    """
    until_ns = monotonic_ns() + int(deadline_s * NS)
    with _connected(address, port, tls, until_ns) as connection:
        connection.settimeout(left_s(until_ns))
        connection.sendall(_request(address, path, method, body, login))
        received = bytearray()
        while True:
            connection.settimeout(left_s(until_ns))
            piece = connection.recv(1 << 16)
            if not piece:
                return _parse(bytes(received), method)
            received += piece


def _connected(address: str, port: int, tls: ssl.SSLContext | None, until_ns: int) -> socket.socket:
    """Return a connection, the TLS handshake done where there is to be one."""
    connection = socket.create_connection((address, port), timeout=left_s(until_ns))
    if tls is None:
        return connection
    try:
        # The handshake as a whole obeys the socket's time-out, however many reads it takes.
        connection.settimeout(left_s(until_ns))
        return tls.wrap_socket(connection, server_hostname=address)
    except BaseException:
        connection.close()
        raise


def left_s(until_ns: int) -> float:
    """Return how long it is until then.

    Raises:
        TimeoutError: when it is over.
    """
    left_ns = until_ns - monotonic_ns()
    if left_ns <= 0:
        raise TimeoutError("timed out")
    return left_ns / NS


def _request(
    address: str, path: str, method: str, body: Json, login: tuple[str, str] | None
) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", "Connection: close"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    if login:
        lines.append("Authorization: Basic " + base64.b64encode(":".join(login).encode()).decode())
    return "\r\n".join([*lines, "", ""]).encode() + content


class _Received(socket.socket):
    """What was received, in the shape that `HTTPResponse` reads from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, *_args: object, **_options: object) -> io.BytesIO:  # type: ignore[override]
        return io.BytesIO(self._content)


def _parse(received: bytes, method: str) -> tuple[int, bytes]:
    response = HTTPResponse(_Received(received), method=method)
    response.begin()
    return response.status, response.read()
