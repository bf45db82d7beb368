"""A CA for tests, with both ends of a connection that it stands for."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from harness.drivers.docker.authority import Authority
from harness.wire.http import trusting


@dataclass(frozen=True)
class Trust:
    """A server's side of one CA, and its clients' side."""

    server: ssl.SSLContext
    ca_file: Path

    @property
    def client(self) -> ssl.SSLContext:
        return trusting(self.ca_file)


def trust(folder: Path, *addresses: str) -> Trust:
    """Return a new CA, and a server that has a certificate for these addresses."""
    authority = Authority()
    issued = authority.issue(("localhost",), addresses)
    for name, text in (("ca.pem", authority.ca), ("crt", issued.chain), ("key", issued.key)):
        (folder / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return Trust(context, folder / "ca.pem")
