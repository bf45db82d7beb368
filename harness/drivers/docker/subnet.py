"""Addresses: one /24 a cluster, out of a range that belongs to nobody's network."""

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from random import Random

# Reserved for benchmarks of network devices, so no real network uses it. Source: RFC 2544, C.2.2.
RANGE = ipaddress.IPv4Network("198.18.0.0/15")

_FIRST = {"s3": 3, "elb": 5, "node": 11, "dcs": 21, "client": 31}
# Clusters that are restored beside the first one, each with its own share of the /24.
_SITE = 40
SITES = 5


def candidates(random: Random, taken: Collection[str]) -> list[ipaddress.IPv4Network]:
    """Return the free /24s in random order, so that parallel runs seldom meet."""
    free = [net for net in RANGE.subnets(new_prefix=24) if str(net) not in taken]
    random.shuffle(free)
    return free


def address(subnet: ipaddress.IPv4Network, kind: str, number: int, site: int = 0) -> str:
    """Return the fixed address of the n-th machine of a kind, in the n-th cluster of a run.

    Fixed, because a container that restarts could otherwise come back under another's address
    (traps 2).
    """
    return str(subnet[_FIRST[kind] + number + _SITE * site])


def shield(*, up: bool) -> None:
    """Keep packets for a cluster that is gone on this machine, by an `unreachable` route.

    Only root on the Docker host can; elsewhere the internal networks alone keep them in.
    """
    program = shutil.which("ip") or "/usr/sbin/ip"
    if os.geteuid() != 0 or not Path(program).exists() or "DOCKER_HOST" in os.environ:
        return
    verb = "replace" if up else "del"
    # `del` of a route that is not there fails; both are as wanted.
    subprocess.run(
        [program, "route", verb, "unreachable", str(RANGE)],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
