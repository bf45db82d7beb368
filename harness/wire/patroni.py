"""Patroni's REST interface.

Source: Patroni documentation, "Patroni REST API".
"""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from harness.history import Json
from harness.protocols import Answer, Reply
from harness.wire.http import FAILURES, exchange


@dataclass(frozen=True, slots=True)
class Patroni:
    """One node's REST interface.

    Attributes:
        login: user and password, asked for by the calls that change something; None sends none.
        tls: whom to trust, where the interface speaks HTTPS; None is plain HTTP.
    """

    address: str
    port: int = 8008
    login: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None

    def call(
        self, path: str, *, deadline_s: float, method: str = "GET", body: Json = None
    ) -> Reply:
        """Return the answer, its JSON decoded; status 0 and the reason when none came."""
        try:
            status, content = exchange(
                self.address,
                self.port,
                path,
                deadline_s=deadline_s,
                method=method,
                body=body,
                login=self.login,
                tls=self.tls,
            )
        except FAILURES as error:
            return Reply(0, f"{type(error).__name__}: {error}")
        return Reply(status, decode(content))

    def state(self, node: str, *, deadline_s: float) -> Answer:
        """Return what the node says of itself: the body of GET /patroni and its `"status"`."""
        reply = self.call("/patroni", deadline_s=deadline_s)
        if not reply.status:
            return Answer("fail", error=str(reply.body))
        body = reply.body if isinstance(reply.body, Mapping) else {"body": reply.body}
        return Answer("ok", {**body, "status": reply.status}, node=node)


def decode(content: bytes) -> Json:
    """Return the JSON that Patroni sent, or its text: some answers are plain sentences."""
    text = content.decode(errors="replace")
    try:
        decoded: Json = json.loads(text)
    except ValueError:
        return text
    return decoded
