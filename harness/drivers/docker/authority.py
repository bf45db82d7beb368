"""The private CA of a run: who its machines prove to be. In memory, so it ends with its maker.

`trustme` makes the certificates: it is what Python's own network libraries test with, and keeps
up with what verifiers come to insist on, such as the key identifiers that Python 3.13 asks for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import trustme

# A cluster that is kept is reached from its own machine, through the edge.
LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server shows, and how it proves that it is its own.

    Attributes:
        chain: PEM, the server's own certificate first; without the root.
        key: PEM, an elliptic curve's (P-256): an RSA key would take a tenth of a second to make.
    """

    chain: str
    key: str = field(repr=False)


class Authority:
    """A CA that nobody else trusts; its key is never written anywhere."""

    def __init__(self) -> None:
        """Make the CA, under a name that no other has."""
        self._ca = trustme.CA()

    @property
    def ca(self) -> str:
        """Return the certificate to trust, as PEM."""
        return self._ca.cert_pem.bytes().decode()

    def issue(self, names: Iterable[str], addresses: Iterable[str]) -> Certificate:
        """Return a new certificate for a server that has these names and IP addresses.

        Both become subject alternative names, which is all that verifiers look at: the one kind is
        compared with what is called by name, the other with what is called by address.

        Raises:
            ValueError: for an address that is none, or when there is neither name nor address.
        """
        identities = dict.fromkeys((*names, *addresses))
        leaf = self._ca.issue_cert(*identities)
        chain = "".join(blob.bytes().decode() for blob in leaf.cert_chain_pems)
        return Certificate(chain, leaf.private_key_pem.bytes().decode())
