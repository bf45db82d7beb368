"""Tests for harness.drivers.docker.subnet: addresses that nobody else has."""

import ipaddress
import subprocess
from random import Random

import pytest

from harness.drivers.docker import subnet


def test_candidates_are_all_free_24s_of_the_range() -> None:
    """Each once, and none that is taken."""
    found = subnet.candidates(Random(1), ["198.18.3.0/24", "10.0.0.0/8", ""])
    assert len(set(found)) == len(found) == 511
    assert all(net.prefixlen == 24 and net.subnet_of(subnet.RANGE) for net in found)
    assert ipaddress.IPv4Network("198.18.3.0/24") not in found


def test_order_is_the_seeds() -> None:
    """Parallel runs seldom begin with the same one; the same run always does."""
    first = [subnet.candidates(Random(seed), ())[0] for seed in range(20)]
    assert first == [subnet.candidates(Random(seed), ())[0] for seed in range(20)]
    assert len(set(first)) > 15


def test_addresses_of_all_kinds_never_meet() -> None:
    """Two ELBs, seven nodes, three DCS members, clients of the region and of many AZs."""
    net = ipaddress.IPv4Network("198.18.7.0/24")
    counts = {"elb": 2, "node": 7, "dcs": 3, "client": 60}
    found = [subnet.address(net, kind, n) for kind, count in counts.items() for n in range(count)]
    assert len(set(found)) == len(found)
    inside = [ipaddress.IPv4Address(one) for one in found]
    # The first is Docker's gateway.
    assert all(one in net and one > net[1] and one != net.broadcast_address for one in inside)


def test_the_shield_is_the_hosts_and_not_a_far_engines(monkeypatch) -> None:
    """Where the engine is elsewhere, a route on this machine protects nothing."""
    called: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda *words, **_: called.append(words))
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    subnet.shield(up=True)
    subnet.shield(up=False)
    assert called == []


@pytest.mark.parametrize(("up", "verb"), [(True, "replace"), (False, "del")])
def test_the_shield_is_one_route(monkeypatch, up: bool, verb: str) -> None:  # noqa: FBT001
    """Making it again changes nothing."""
    called: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: called.append(words))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/true")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    subnet.shield(up=up)
    assert called == [["/bin/true", "route", verb, "unreachable", "198.18.0.0/15"]]


def test_only_root_makes_routes(monkeypatch) -> None:
    """Who is not, relies on the internal networks."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("called"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    subnet.shield(up=True)
