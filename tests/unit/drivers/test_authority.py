"""Tests for harness.drivers.docker.authority: certificates that real verifiers take."""

import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.drivers.docker.authority import Authority, Certificate

NAMES = ("pg-1", "primary-elb", "localhost")
ADDRESSES = ("198.18.7.11", "198.18.7.5", "127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Certificate:
    return authority.issue(NAMES, ADDRESSES)


def shake_hands(shown: Certificate, trusted: Authority, called: str, folder: Path) -> None:
    """Let a client that trusts one CA call a server with this certificate, in memory."""
    (folder / "chain").write_text(shown.chain)
    (folder / "key").write_text(shown.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "chain", folder / "key")
    client = ssl.create_default_context(cadata=trusted.ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=called),
        server.wrap_bio(there, back, server_side=True),
    ]
    while ends:
        ends = [end for end in ends if not _done(end.do_handshake)]


def _done(step: Callable[[], None]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True


def test_names_and_addresses_are_alternative_names(issued: Certificate) -> None:
    """An address as text would be a name, which no verifier compares with an address."""
    certificate = x509.load_pem_x509_certificate(issued.chain.encode())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == list(NAMES)
    addresses = [ipaddress.ip_address(one) for one in ADDRESSES]
    assert found.get_values_for_type(x509.IPAddress) == addresses


def test_the_key_is_the_certificates(issued: Certificate) -> None:
    """Of an elliptic curve: RSA keys take a tenth of a second each."""
    key = load_pem_private_key(issued.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    shown = x509.load_pem_x509_certificate(issued.chain.encode())
    assert key.public_key() == shown.public_key()


def test_the_chain_is_the_certificate_alone(authority: Authority, issued: Certificate) -> None:
    """The root signs by itself; whoever trusts it has it."""
    assert issued.chain.count("BEGIN CERTIFICATE") == authority.ca.count("BEGIN CERTIFICATE") == 1
    root = x509.load_pem_x509_certificate(authority.ca.encode())
    x509.load_pem_x509_certificate(issued.chain.encode()).verify_directly_issued_by(root)


@pytest.mark.parametrize("called", [*NAMES, *ADDRESSES])
def test_a_strict_client_takes_it(
    authority: Authority, issued: Certificate, called: str, tmp_path: Path
) -> None:
    """By each name and each address."""
    shake_hands(issued, authority, called, tmp_path)


@pytest.mark.parametrize(
    ("called", "said"),
    [("pg-9", "Hostname mismatch"), ("198.18.7.99", "IP address mismatch")],
)
def test_another_name_is_refused(
    authority: Authority, issued: Certificate, called: str, said: str, tmp_path: Path
) -> None:
    """A machine cannot pass for another."""
    with pytest.raises(ssl.SSLCertVerificationError, match=said):
        shake_hands(issued, authority, called, tmp_path)


def test_two_runs_do_not_trust_each_other(issued: Certificate, tmp_path: Path) -> None:
    """Each has a CA of its own, with a name of its own."""
    other = Authority()
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(issued, other, "pg-1", tmp_path)


def test_nothing_to_certify_is_an_error(authority: Authority) -> None:
    """And no key is shown where a certificate is."""
    with pytest.raises(ValueError, match="at least one identity"):
        authority.issue((), ())
    assert "PRIVATE" not in repr(authority.issue(("s3",), ()))
