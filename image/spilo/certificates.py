"""The certificates that PostgreSQL and Patroni's REST interface show.

Either all of them are given, with the CA that signed them, or each node signs its own: then nobody
listens in, but no peer can tell who it talks to.
"""

import hashlib
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from environment import Reader

FOLDER = Path("/run/spilo/tls")
# Which ones there were before Patroni read them.
SEAL = Path("/run/spilo/seal")
_DAYS = "3650"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Paths of one certificate, its key, and the CA that peers verify it by (None: they do not)."""

    certificate: str
    key: str
    ca: str | None


SELF_SIGNED = Certificate(str(FOLDER / "server.crt"), str(FOLDER / "server.key"), None)


def read_certificates(reader: Reader) -> tuple[Certificate, Certificate]:
    """Return PostgreSQL's certificate and the REST interface's, which is the same unless given."""
    postgres = _given(reader, "SSL_") or SELF_SIGNED
    return postgres, _given(reader, "SSL_RESTAPI_") or postgres


def _given(reader: Reader, prefix: str) -> Certificate | None:
    certificate, key, ca = (f"{prefix}{part}_FILE" for part in ("CERTIFICATE", "PRIVATE_KEY", "CA"))
    if not any(reader.given(name) for name in (certificate, key, ca)):
        return None
    for name in (certificate, key):
        if not reader.given(name):
            reader.refuse(name, "missing", f"a file, as another of {prefix}* is given")
    return Certificate(reader.path(certificate) or "", reader.path(key) or "", reader.path(ca))


def sign_own(name: str, address: str) -> None:
    """Make a key and a certificate for this node, anew at each start of the machine."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    names = f"subjectAltName=DNS:{name},DNS:localhost,IP:{address},IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-noenc", "-days", _DAYS, "-subj", f"/CN={name}", "-addext", names]
    command += ["-keyout", SELF_SIGNED.key, "-out", SELF_SIGNED.certificate]
    subprocess.run(command, check=True, capture_output=True)


def files_of(*certificates: Certificate) -> tuple[Path, ...]:
    """Return every file of these certificates once."""
    named = [name for one in certificates for name in (one.certificate, one.key, one.ca) if name]
    return tuple(Path(name) for name in dict.fromkeys(named))


def seal_of(files: Iterable[Path]) -> str:
    """Return what tells these contents from all others; empty when a file cannot be read."""
    try:
        sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    except OSError:
        return ""
    return " ".join(sums)
