"""Which secrets a run has, and who may read which. Pure but for chance; nothing is written here.

A *holder* is a kind of machine that reads the same secrets, all as files below `/run/secrets`:

- `spilo`, the nodes: the passwords that PostgreSQL and Patroni need, the cluster's certificate,
  the credentials of S3's user for them.
- `client`: what the superuser may; to look after the stand-in of S3, its administrator's too.
- `s3`: what MinIO starts with.
"""

import base64
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from harness.drivers.docker.authority import LOOPBACK, Authority
from harness.drivers.docker.machines import KMS_KEY, Machine

NODES = "spilo"
CLIENTS = "client"
S3 = "s3"
# Each image's own user.
UIDS: Mapping[str, int] = {NODES: 5432, CLIENTS: 7000, S3: 9000}
# The holder of each kind of machine that has one.
HOLDERS: Mapping[str, str] = {"node": NODES, "client": CLIENTS, "s3": S3}
# What a client calls when it means a node: the ELBs pass TLS on to one of them.
_SHOW_THE_NODES = ("node", "elb")

Draw: TypeAlias = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Share:
    """What one holder may read.

    Attributes:
        uid: the only user who may.
        files: contents by path below the holder's folder; not for anybody's eyes.
    """

    uid: int
    files: Mapping[str, str] = field(repr=False)


def shares(
    authority: Authority, machines: Iterable[Machine], draw: Draw = secrets.token_bytes
) -> Mapping[str, Share]:
    """Return the secrets of a run by their holder; those of S3 only if a machine serves it.

    Args:
        machines: all of the run's; their names and addresses go into the certificates.
        draw: returns so many bytes that nobody can guess.
    """
    known = list(machines)
    superuser, standby, rest = (_password(draw) for _ in range(3))
    nodes = {"superuser": superuser, "standby": standby, "rest": rest}
    clients = {"superuser": superuser, "rest": rest}
    found = {NODES: {**nodes, "ca.pem": authority.ca, **server_files(authority, known)}}
    found[CLIENTS] = {**clients, "ca.pem": authority.ca}
    if any(machine.kind == S3 for machine in known):
        user, root = _credentials(draw), _credentials(draw)
        found[NODES] |= {"s3-key": user[0], "s3-secret": user[1]}
        # It makes the user of the nodes, and shuts it out again (`s3: deny`).
        found[CLIENTS] |= {"s3-key": user[0], "s3-secret": user[1]}
        found[CLIENTS] |= {"s3-admin-key": root[0], "s3-admin-secret": root[1]}
        found[S3] = {
            "root-user": root[0],
            "root-password": root[1],
            "kms-key": f"{KMS_KEY}:{base64.b64encode(draw(32)).decode()}",
            **_s3_files(authority, known),
        }
    return {holder: Share(UIDS[holder], files) for holder, files in found.items()}


def server_files(authority: Authority, machines: Iterable[Machine]) -> Mapping[str, str]:
    """Return the one certificate that all nodes of a cluster show, and its key, as files.

    It is the same on every node, whatever instance it runs on, and good for the ELBs' names and
    addresses too: a client that called an ELB is shown a node's certificate.
    """
    served = [machine for machine in machines if machine.kind in _SHOW_THE_NODES]
    issued = authority.issue(
        (*(machine.name for machine in served), *LOOPBACK), (machine.address for machine in served)
    )
    return {"server.crt": issued.chain, "server.key": issued.key}


def _s3_files(authority: Authority, machines: Iterable[Machine]) -> Mapping[str, str]:
    """Return MinIO's certificate and key, under the names that it looks for."""
    served = [machine for machine in machines if machine.kind == S3]
    issued = authority.issue(
        (machine.name for machine in served), (machine.address for machine in served)
    )
    return {"certs/public.crt": issued.chain, "certs/private.key": issued.key}


def _password(draw: Draw) -> str:
    """Return a password of 32 characters."""
    return base64.urlsafe_b64encode(draw(24)).decode()


def _credentials(draw: Draw) -> tuple[str, str]:
    """Return an access key and its secret: 20 and 40 characters, the most that MinIO takes."""
    return draw(10).hex(), draw(20).hex()
