"""image/spilo/certificates.py: what a node signs for itself, and which files are watched.

What is given: test_settings.py. What becomes of the seal: test_keeper.py.
"""

import stat
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from certificates import Certificate, files_of, sign_own
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Where the node's own certificate lies."""
    folder = tmp_path / "tls"
    own = Certificate(str(folder / "server.crt"), str(folder / "server.key"), None)
    monkeypatch.setattr("certificates.FOLDER", folder)
    monkeypatch.setattr("certificates.SELF_SIGNED", own)
    return own


def test_it_names_the_node_by_name_and_address(own):
    """Patroni calls its peers by address, so an address has to be among the names."""
    sign_own("pg-1", "198.18.7.11")
    certificate = x509.load_pem_x509_certificate(Path(own.certificate).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pg-1", "localhost"]
    addresses = [IPv4Address("198.18.7.11"), IPv4Address("127.0.0.1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert certificate.subject.rfc4514_string() == "CN=pg-1"
    certificate.verify_directly_issued_by(certificate)


def test_its_key_fits_and_is_its_owners_alone(own):
    """PostgreSQL refuses to start with a key that others may read."""
    sign_own("pg-1", "198.18.7.11")
    key = load_pem_private_key(Path(own.key).read_bytes(), password=None)
    certificate = x509.load_pem_x509_certificate(Path(own.certificate).read_bytes())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate.public_key()
    assert stat.S_IMODE(Path(own.key).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(own.key).parent.stat().st_mode) == 0o700


def test_each_start_signs_anew(own):
    """What an earlier start left is no obstacle, and no longer trusted."""
    sign_own("pg-1", "198.18.7.11")
    before = Path(own.certificate).read_bytes()
    sign_own("pg-1", "198.18.7.11")
    assert Path(own.certificate).read_bytes() != before


def test_files_are_watched_once_each():
    """PostgreSQL and the REST interface mostly share one certificate."""
    both = Certificate("/c/server.crt", "/c/server.key", "/c/ca.crt")
    rest = Certificate("/c/rest.crt", "/c/rest.key", "/c/ca.crt")
    own = Certificate("/o/server.crt", "/o/server.key", None)
    assert files_of(both, both) == tuple(map(Path, ("/c/server.crt", "/c/server.key", "/c/ca.crt")))
    assert len(files_of(both, rest)) == 5
    assert files_of(own) == (Path("/o/server.crt"), Path("/o/server.key"))
