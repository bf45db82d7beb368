"""Tests for harness.drivers.docker.vault: who may read which secret."""

import base64
import ipaddress
from collections.abc import Mapping
from itertools import count

import pytest
from cryptography import x509

from harness.drivers.docker.authority import Authority
from harness.drivers.docker.machines import Machine, machines
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.vault import HOLDERS, Share, server_files, shares
from harness.scenario import Cluster

NET = ipaddress.IPv4Network("198.18.7.0/24")
KNOWN = machines(Cluster(nodes=2, azs=("a", "b")), Stack(), NET)


def drawn() -> Mapping[str, Share]:
    """Return the shares where each draw is another, but known beforehand."""
    numbers = count(1)
    return shares(Authority(), KNOWN, lambda size: bytes([next(numbers)] * size))


@pytest.fixture(scope="module")
def found() -> Mapping[str, Share]:
    return drawn()


def names(pem: str) -> tuple[list[str], list[str]]:
    """Return the names and the addresses that a certificate is for."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = alternative.get_values_for_type(x509.IPAddress)
    return alternative.get_values_for_type(x509.DNSName), [str(one) for one in addresses]


def test_each_holder_has_what_it_needs_and_no_more(found: Mapping[str, Share]) -> None:
    """Golden: a file more is a secret more that a broken machine gives away."""
    assert {holder: (share.uid, set(share.files)) for holder, share in found.items()} == {
        "spilo": (
            5432,
            {
                *("ca.pem", "server.crt", "server.key"),
                *("superuser", "standby", "rest", "s3-key", "s3-secret"),
            },
        ),
        "client": (
            7000,
            {
                *("ca.pem", "superuser", "rest"),
                *("s3-key", "s3-secret", "s3-admin-key", "s3-admin-secret"),
            },
        ),
        "s3": (
            9000,
            {"root-user", "root-password", "kms-key", "certs/public.crt", "certs/private.key"},
        ),
    }
    assert set(HOLDERS.values()) == set(found)


def test_what_two_holders_share_is_the_same(found: Mapping[str, Share]) -> None:
    """And what is not meant to be shared differs."""
    nodes, clients, s3 = (found[holder].files for holder in ("spilo", "client", "s3"))
    for name in ("ca.pem", "superuser", "rest", "s3-key", "s3-secret"):
        assert nodes[name] == clients[name]
    assert clients["s3-admin-key"] == s3["root-user"]
    assert clients["s3-admin-secret"] == s3["root-password"]
    every = [text for share in found.values() for text in share.files.values()]
    assert len(every) - len(set(every)) == 7


def test_the_forms_that_are_asked_for(found: Mapping[str, Share]) -> None:
    """MinIO: a key of 3 to 20 characters, a secret of 8 to 40, a KMS key of 32 bytes."""
    s3 = found["s3"].files
    assert (len(s3["root-user"]), len(s3["root-password"])) == (20, 40)
    name, _, key = s3["kms-key"].partition(":")
    assert (name, len(base64.b64decode(key, validate=True))) == ("spilo", 32)
    for holder, secret in (("spilo", "superuser"), ("spilo", "standby"), ("client", "rest")):
        assert len(found[holder].files[secret]) == 32


def test_the_clusters_certificate_is_for_all_its_doors(found: Mapping[str, Share]) -> None:
    """Nodes, the ELBs in front of them, and the loopback of those who play."""
    of_names, of_addresses = names(found["spilo"].files["server.crt"])
    assert of_names == ["pg-1", "pg-2", "primary-elb", "replica-elb", "localhost"]
    assert of_addresses == ["127.0.0.1", "198.18.7.11", "198.18.7.12", "198.18.7.5", "198.18.7.6"]


def test_s3_is_itself_alone(found: Mapping[str, Share]) -> None:
    """It cannot pass for a node, nor a node for it."""
    assert names(found["s3"].files["certs/public.crt"]) == (["s3"], ["198.18.7.3"])


def test_without_s3_nobody_has_its_secrets() -> None:
    """Two holders, and none of their files is about S3."""
    found = shares(Authority(), [machine for machine in KNOWN if machine.kind != "s3"])
    assert set(found) == {"spilo", "client"}
    assert not any("s3" in name for share in found.values() for name in share.files)


def test_a_cluster_beside_it_gets_a_certificate_of_the_same_authority() -> None:
    """For its own machines only."""
    authority = Authority()
    other = Machine("pg-1-restored", "node", "spilo", "a", "198.18.7.61")
    of_names, of_addresses = names(server_files(authority, [other])["server.crt"])
    assert (of_names, of_addresses) == (
        ["pg-1-restored", "localhost"],
        ["127.0.0.1", other.address],
    )


def test_chance_is_drawn_anew_for_each_run() -> None:
    """Without a seed: nobody can repeat a run's passwords."""
    one, two = (shares(Authority(), KNOWN) for _ in range(2))
    for holder, share in one.items():
        assert not set(share.files.values()) & set(two[holder].files.values())


def test_a_share_does_not_show_its_secrets(found: Mapping[str, Share]) -> None:
    """A traceback or a log line of it gives nothing away."""
    assert repr(found["s3"]) == "Share(uid=9000)"
