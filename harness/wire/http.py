"""One HTTP request with a deadline that holds for all of it, and an answer read to its end."""

import base64
import io
import json
import socket
from http.client import HTTPException, HTTPResponse

from harness.clock import NS, monotonic_ns
from harness.history import Json

# What a caller must expect of a request to a machine that may be dead, frozen or cut off.
FAILURES = (OSError, HTTPException, ValueError)


def exchange(
    address: str,
    port: int,
    path: str,
    *,
    deadline_s: float,
    method: str = "GET",
    body: Json = None,
    login: tuple[str, str] | None = None,
) -> tuple[int, bytes]:
    """Send one request and return the answer's status and body.

    `http.client` bounds each read but not their sum, so the bytes are read here and only parsed
    there. A body is sent as JSON (None sends none), a login as basic authentication.

    Raises:
        TimeoutError: when the answer is not complete within `deadline_s`.
        OSError, HTTPException: when there is none, or it is no HTTP.
    """
    until_ns = monotonic_ns() + int(deadline_s * NS)
    with socket.create_connection((address, port), timeout=deadline_s) as connection:
        connection.settimeout(_left_s(until_ns))
        connection.sendall(_request(address, path, method, body, login))
        received = bytearray()
        while True:
            connection.settimeout(_left_s(until_ns))
            piece = connection.recv(1 << 16)
            if not piece:
                return _parse(bytes(received), method)
            received += piece


def _left_s(until_ns: int) -> float:
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
