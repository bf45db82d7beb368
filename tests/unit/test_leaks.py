"""tests/unit/leaks.py: a planted leak is found, in whatever it is carried."""

import base64
import ipaddress
import json
from urllib.parse import urlencode

import pytest

from harness.drivers.docker.authority import Authority
from harness.drivers.docker.machines import machines
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.vault import shares
from harness.scenario import Cluster
from tests.unit.leaks import leaking, needles, secrets_in

SECRET = "a+secret/word-of~mine"
LOOKED_FOR = needles([SECRET])
USERS = ["", "u", "us", "use", "patroni"]


@pytest.mark.parametrize(
    "carried",
    [
        f"password={SECRET}\n".encode(),
        json.dumps({"Env": [f"PGPASSWORD={SECRET}"]}).encode(),
        f"https://u@host/?{urlencode({'key': SECRET})}".encode(),
        b"\x00binary\xff" + SECRET.encode() + b"\xfe",
        *(f"Basic {base64.b64encode(f'{u}:{SECRET}'.encode()).decode()}".encode() for u in USERS),
        *(base64.urlsafe_b64encode(f"{u}{SECRET}, and more".encode()) for u in USERS),
    ],
)
def test_a_planted_leak_is_found(carried: bytes) -> None:
    """In plain text, JSON, a URL, among other bytes; and in base64, whatever stands beside it."""
    places = {"log": b"nothing to see", "file": b"x" * 5000 + carried}
    assert leaking(places, LOOKED_FOR) == ["file"]


@pytest.mark.parametrize(
    "harmless",
    [
        SECRET[:-1].encode(),
        base64.b64encode(f"u:{SECRET[:-3]}".encode()),
        b"/run/secrets/superuser",
        b"authorization: <redacted>",
    ],
)
def test_what_is_no_secret_is_no_leak(harmless: bytes) -> None:
    assert leaking({"log": harmless}, LOOKED_FOR) == []


def test_nothing_looked_at_and_nothing_looked_for_are_errors() -> None:
    """Neither may read as: no secret is anywhere."""
    with pytest.raises(ValueError, match="0 places, all empty"):
        leaking({}, LOOKED_FOR)
    with pytest.raises(ValueError, match="2 places, all empty"):
        leaking({"log": b"", "file": b""}, LOOKED_FOR)
    with pytest.raises(ValueError, match="0 secrets; expected some"):
        needles([])
    with pytest.raises(ValueError, match="1 secrets; expected some, of 12 characters"):
        needles(["short"])


def test_all_that_a_run_hands_out_is_looked_for() -> None:
    """Passwords, S3's secrets, the KMS key, and the private keys line by line; no certificate."""
    made = machines(Cluster(), Stack(), ipaddress.IPv4Network("198.18.7.0/24"))
    handed = shares(Authority(), made)
    files = {f"{who}/{name}": text for who, share in handed.items() for name, text in
             share.files.items()}  # fmt: skip
    found = secrets_in(files)
    for name in ("superuser", "standby", "rest", "s3-secret"):
        assert files[f"spilo/{name}"] in found
    assert files["client/s3-admin-secret"] in found
    assert files["s3/kms-key"].partition(":")[2] in found
    for name in ("spilo/server.key", "s3/certs/private.key"):
        lines = files[name].splitlines()
        assert set(lines[1:-1]) - set(found) <= {lines[-2]}, "but the short end of it"
    shown = "".join(files[name] for name in ("spilo/ca.pem", "spilo/server.crt"))
    assert not any(secret in shown for secret in found)
    assert needles(found)
