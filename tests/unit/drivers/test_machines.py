"""Tests for harness.drivers.docker.machines: a cluster before it exists."""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.drivers.docker.machines import Machine, client, hosts, machines, overlay, package_root
from harness.drivers.docker.stack import Stack
from harness.history import Json
from harness.scenario import Cluster, PatroniSettings, Sync

NET = ipaddress.IPv4Network("198.18.7.0/24")
SMALL: Mapping[str, Json] = {"parameters": {"shared_buffers": "32MB", "max_connections": 300}}
DEFAULTS: Mapping[str, Json] = {
    "ttl": 30,
    "loop_wait": 10,
    "retry_timeout": 10,
    "maximum_lag_on_failover": 1048576,
}


def made(cluster: Cluster | None = None, stack: Stack | None = None) -> Mapping[str, Machine]:
    return {m.name: m for m in machines(cluster or Cluster(), stack or Stack(), NET)}


def everything(cluster: Cluster) -> Sequence[Machine]:
    """Return all machines that a cluster can come to have."""
    clients = [client(az, cluster, NET) for az in cluster.azs]
    return [*made(cluster).values(), *clients]


@pytest.mark.parametrize("azs", [("a",), ("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("nodes", range(1, 8))
def test_every_size_has_its_machines(nodes: int, azs: tuple[str, ...]) -> None:
    """Nodes and DCS members are spread over the AZs in turn; addresses are unique."""
    found = everything(Cluster(nodes=nodes, azs=azs))
    by_kind = {
        kind: [m for m in found if m.kind == kind] for kind in ("node", "dcs", "elb", "client")
    }
    assert {kind: len(of) for kind, of in by_kind.items()} == {
        "node": nodes,
        "dcs": 3,
        "elb": 2,
        "client": 1 + len(azs),
    }
    for kind in ("node", "dcs"):
        assert [m.az for m in by_kind[kind]] == [
            azs[n % len(azs)] for n in range(len(by_kind[kind]))
        ]
    assert {m.az for m in by_kind["elb"]} == {""}
    assert [m.az for m in by_kind["client"]] == ["", *azs]
    assert len({m.address for m in found}) == len({m.name for m in found}) == len(found)
    assert all(ipaddress.IPv4Address(m.address) in NET for m in found)


def test_the_dcs_comes_first() -> None:
    """The rest waits for it."""
    assert [m.kind for m in made().values()] == [
        *["dcs"] * 3,
        "client",
        *["node"] * 3,
        *["elb"] * 2,
    ]


def test_an_etcd_member_knows_the_others_by_address() -> None:
    """Docker's DNS forgets a machine that is down."""
    command = made()["etcd-2"].command
    peers = ",".join(f"etcd-{n}=http://198.18.7.{20 + n}:2380" for n in (1, 2, 3))
    assert f"--initial-cluster={peers}" in command
    assert "--name=etcd-2" in command
    assert "--advertise-client-urls=http://198.18.7.22:2379" in command
    assert set(Stack().etcd_flags) <= set(command)


def test_a_nodes_environment_is_spilos() -> None:
    """Golden: names and values as the image reads them."""
    node = made(Cluster(nodes=2, watchdog="required"))["pg-2"]
    environment = dict(node.environment)
    assert json.loads(environment.pop("SPILO_CONFIGURATION")) == {
        "bootstrap": {"dcs": {**DEFAULTS, "synchronous_mode": False, "postgresql": SMALL}}
    }
    assert environment == {
        "SCOPE": "drill",
        "ETCD3_HOSTS": "198.18.7.21:2379,198.18.7.22:2379,198.18.7.23:2379",
        "PGPASSWORD_SUPERUSER_FILE": "/run/secrets/superuser",
        "PGPASSWORD_STANDBY_FILE": "/run/secrets/standby",
        "WATCHDOG": "required",
        "START_GATE": "/run/spilo/gate",
    }
    assert (node.image, node.data) == ("spilo", "/home/postgres/pgdata")
    assert set(node.tmpfs) == {"/run/spilo"}, "the gate must vanish with a restart"
    assert node.environment["START_GATE"].startswith("/run/spilo/")


def test_the_watchdog_is_off_unless_required() -> None:
    """The image knows no other word for it."""
    assert made()["pg-1"].environment["WATCHDOG"] == "off"


def test_the_elbs_know_every_node_and_what_to_ask() -> None:
    """Each has its own health check; a planted defect changes one."""
    found = made(Cluster(nodes=2), Stack(primary_check="/replica"))
    targets = "pg-1=198.18.7.11,pg-2=198.18.7.12"
    assert found["primary-elb"].environment == {"ELB_TARGETS": targets, "ELB_CHECK": "/replica"}
    assert found["replica-elb"].environment == {"ELB_TARGETS": targets, "ELB_CHECK": "/replica"}
    assert made()["primary-elb"].environment["ELB_CHECK"] == "/primary"


def test_the_stack_may_add_variables() -> None:
    """To every node, and to nothing else."""
    found = made(stack=Stack(environment={"SUPERVISE": "off"}))
    having = {name for name, machine in found.items() if "SUPERVISE" in machine.environment}
    assert having == {"pg-1", "pg-2", "pg-3"}


@pytest.mark.parametrize("sync", ["async", "sync", "strict", "quorum"])
def test_no_secret_is_in_any_variable(sync: Sync) -> None:
    """`docker inspect` shows the environment to everybody: secrets are files."""
    for machine in everything(Cluster(sync=sync)):
        for name, value in machine.environment.items():
            if re.search("PASS|SECRET|TOKEN|KEY", name):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/secrets/"), value
        assert "password" not in " ".join(machine.command).lower()


@pytest.mark.parametrize(
    ("sync", "words"),
    [
        ("async", {"synchronous_mode": False}),
        ("sync", {"synchronous_mode": True}),
        ("strict", {"synchronous_mode": True, "synchronous_mode_strict": True}),
        ("quorum", {"synchronous_mode": "quorum"}),
    ],
)
def test_the_overlay_of_each_way_of_replicating(sync: Sync, words: Mapping[str, Json]) -> None:
    """Golden: in Patroni's own words."""
    dcs = {**DEFAULTS, **words, "postgresql": SMALL}
    assert overlay(Cluster(sync=sync)) == {"bootstrap": {"dcs": dcs}}


def test_the_overlay_says_what_the_scenario_changes() -> None:
    """A default that Patroni has too is left to it."""
    patroni = PatroniSettings(ttl=20, loop_wait=1, retry_timeout=3, failsafe_mode=True)
    bootstrap = overlay(Cluster(patroni=patroni))["bootstrap"]
    assert isinstance(bootstrap, Mapping)
    assert bootstrap["dcs"] == {
        **DEFAULTS,
        "ttl": 20,
        "loop_wait": 1,
        "retry_timeout": 3,
        "failsafe_mode": True,
        "synchronous_mode": False,
        "postgresql": SMALL,
    }


def test_every_machine_is_known_by_name() -> None:
    """In /etc/hosts, whether it runs or not."""
    found = machines(Cluster(), Stack(), NET)
    assert hosts(found)["pg-1"] == "198.18.7.11"
    assert len(hosts(found)) == len(found)


def test_the_package_is_what_clients_run() -> None:
    """The folder that is mounted holds this very code."""
    assert (package_root() / "client.py").is_file()
    assert package_root() == Path(__file__).resolve().parents[3] / "harness"
