"""An S3 in memory, over TLS: enough of MinIO for what the harness asks of one."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from harness.wire.s3 import S3, Keys
from tests.unit.trust import Trust

BUCKET, HOST = "drill", "localhost"
NODES, ROOT = Keys("nodes", "nodes-secret"), Keys("root", "root-secret")
SSE = "x-amz-server-side-encryption"
STATUS_OF = {"InvalidAccessKeyId": 403, "NoSuchKey": 404, "SlowDown": 503}
STATUS_OF |= {"BucketAlreadyOwnedByYou": 409, "XMinioAdminNoSuchUser": 404}


class Kept(NamedTuple):
    content: bytes
    sse: str | None = None
    kms_key: str | None = None

    @property
    def etag(self) -> str:
        return md5(self.content, usedforsecurity=False).hexdigest()


@dataclass
class MemoryS3:
    """What the server holds, whom it refuses, and what it was asked.

    Attributes:
        users: access keys and whether each is served.
        failing: so many requests are still to be answered by `SlowDown`.
        silent: while it is set, no request is answered.
        asked: method and path of each request; put_bodies: what came to MinIO's admin API.
    """

    has_bucket: bool = True
    objects: dict[str, Kept] = field(default_factory=dict)
    users: dict[str, bool] = field(default_factory=lambda: {ROOT.access: True, NODES.access: True})
    failing: int = 0
    silent: Event = field(default_factory=Event)
    awake: Event = field(default_factory=Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    put_bodies: dict[str, bytes] = field(default_factory=dict)


class _Request(BaseHTTPRequestHandler):
    s3: MemoryS3

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        self.s3.asked.append((self.command, url.path))
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.s3.silent.is_set():
            self.s3.awake.wait()
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if refusal := self._refusal():
            self._refuse(refusal)
        elif url.path.startswith("/minio/admin/"):
            self._administer(url.path.rpartition("/")[2], query, content)
        elif url.path.rstrip("/") == f"/{BUCKET}":
            self._bucket(query.get("prefix", ""))
        else:
            self._object(unquote(url.path.removeprefix(f"/{BUCKET}/")), content)

    do_GET = do_HEAD = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _refusal(self) -> str | None:
        if self.s3.failing:
            self.s3.failing -= 1
            return "SlowDown"
        who = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        return None if who and self.s3.users.get(who[1]) else "InvalidAccessKeyId"

    def _administer(self, command: str, query: dict[str, str], content: bytes) -> None:
        self.s3.put_bodies[command] = content
        user = query.get("accessKey", "")
        if command == "set-user-status" and user not in self.s3.users:
            code = "XMinioAdminNoSuchUser"
            said = f'{{"Code":"{code}","Message":"The specified user does not exist."}}'
            self._answer(STATUS_OF[code], said.encode())
            return
        if user:
            self.s3.users[user] = query.get("status", "enabled") == "enabled"
        self._answer(200)

    def _bucket(self, prefix: str) -> None:
        if self.command == "PUT":
            had, self.s3.has_bucket = self.s3.has_bucket, True
            return self._refuse("BucketAlreadyOwnedByYou") if had else self._answer(200)
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(kept.content)}</Size>"
            f'<ETag>"{kept.etag}"</ETag></Contents>'
            for key, kept in sorted(self.s3.objects.items())
            if key.startswith(prefix)
        )
        xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
        listed = f"<Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>{found}"
        self._answer(200, f'<ListBucketResult xmlns="{xmlns}">{listed}</ListBucketResult>'.encode())
        return None

    def _object(self, key: str, content: bytes) -> None:
        if self.command == "PUT":
            sse, kms_key = self.headers.get(SSE), self.headers.get(f"{SSE}-aws-kms-key-id")
            self.s3.objects[key] = Kept(content, sse, kms_key)
        kept = self.s3.objects.get(key)
        if self.command == "DELETE":
            self.s3.objects.pop(key, None)
            self._answer(204)
        elif kept is None:
            self._refuse("NoSuchKey")
        else:
            shown = {"ETag": f'"{kept.etag}"', SSE: kept.sse}
            shown[f"{SSE}-aws-kms-key-id"] = kept.kms_key and f"arn:aws:kms:{kept.kms_key}"
            body = b"" if self.command == "PUT" else kept.content
            self._answer(200, body, {name: value for name, value in shown.items() if value})

    def _refuse(self, code: str) -> None:
        said = f"<Error><Code>{code}</Code><Message>That is {code}.</Message></Error>"
        self._answer(STATUS_OF[code], said.encode())

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/xml", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(s3: MemoryS3, trust: Trust) -> Iterator[int]:
    """Serve it, and yield the port."""
    handler = type("Request", (_Request,), {"s3": s3})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = trust.server.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            s3.awake.set()
            server.shutdown()
            thread.join()


def bucket(port: int, ca_file: Path, *, keys: Keys = NODES, timeout_s: float = 5.0) -> S3:
    """Return the client's side of it, without an admin."""
    return S3(HOST, port, "eu-central-1", BUCKET, keys, ca_file, timeout_s=timeout_s)
