"""Tests for harness.drivers.docker.machines: a cluster before it exists."""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.drivers.docker.machines import (
    Machine,
    Site,
    client,
    hosts,
    machines,
    overlay,
    package_root,
    rejoining,
)
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.subnet import SITES
from harness.history import Json
from harness.protocols import RecoveryTarget
from harness.scenario import Cluster, DcsKind, PatroniSettings, Sync

NET = ipaddress.IPv4Network("198.18.7.0/24")
SMALL: Mapping[str, Json] = {
    "parameters": {"shared_buffers": "32MB", "max_connections": 300, "scram_iterations": 1}
}
DEFAULTS: Mapping[str, Json] = {
    "ttl": 30,
    "loop_wait": 10,
    "retry_timeout": 10,
    "maximum_lag_on_failover": 1048576,
}
STORAGE = {
    "WAL_S3_BUCKET": "spilo",
    "WALG_S3_SSE_KMS_ID": "spilo",
    "AWS_REGION": "eu-central-1",
    "AWS_ENDPOINT": "https://s3:9000",
    "AWS_S3_FORCE_PATH_STYLE": "true",
    "AWS_CA_BUNDLE": "/run/secrets/ca.pem",
    "AWS_ACCESS_KEY_ID_FILE": "/run/secrets/s3-key",
    "AWS_SECRET_ACCESS_KEY_FILE": "/run/secrets/s3-secret",
    "BACKUP_SCHEDULE": "0 1 * * *",
    "BACKUP_INCREMENTALS": "6",
    "BACKUP_NUM_TO_RETAIN": "5",
    "ARCHIVE_TIMEOUT": "60",
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
        "s3",
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


def test_a_member_that_lost_its_disk_founds_no_cluster() -> None:
    """An etcd must be told that there is one; ZooKeeper's members ask."""
    member = made()["etcd-2"]
    assert rejoining(member).command == (*member.command, "--initial-cluster-state=existing")
    zookeeper = made(Cluster(dcs="zookeeper"))["zookeeper-2"]
    assert rejoining(zookeeper) == zookeeper


@pytest.mark.parametrize("dcs", ["etcd", "zookeeper"])
def test_nothing_in_a_nodes_configuration_is_its_own(dcs: DcsKind) -> None:
    """What an auto scaling group starts in its place is made of the same words."""
    nodes = [m for m in made(Cluster(nodes=5, dcs=dcs)).values() if m.kind == "node"]
    same = [replace(node, name="", az="", address="") for node in nodes]
    assert all(one == same[0] for one in same)
    own = {word for node in nodes for word in (node.name, node.address)}
    words = " ".join([*same[0].command, *same[0].environment.values()])
    assert not [word for word in own if word in words]


def test_one_dcs_member_knows_itself_alone() -> None:
    """Enough where no test is about the DCS."""
    found = made(stack=Stack(dcs_members=1))
    assert [m.name for m in found.values() if m.kind == "dcs"] == ["etcd-1"]
    assert "--initial-cluster=etcd-1=http://198.18.7.21:2380" in found["etcd-1"].command
    assert found["pg-1"].environment["ETCD3_HOSTS"] == "198.18.7.21:2379"


def test_dcs_members_stand_in_the_clusters_azs_unless_told() -> None:
    """One in each; a planted defect puts them together."""
    azs = {m.az for m in made().values() if m.kind == "dcs"}
    assert azs == {"a", "b", "c"}
    together = made(stack=Stack(dcs_azs=("b",)))
    assert [m.az for m in together.values() if m.kind == "dcs"] == ["b", "b", "b"]
    assert [m.az for m in together.values() if m.kind == "node"] == ["a", "b", "c"]


def test_a_zookeeper_member_knows_the_others_by_address() -> None:
    """Its own number among them, and what the stack sets; the nodes are told where they are."""
    found = made(Cluster(dcs="zookeeper"))
    member = found["zookeeper-2"]
    assert (member.image, member.az, member.address) == ("zookeeper", "b", "198.18.7.22")
    servers = [f"server.{n}=198.18.7.{20 + n}:2888:3888" for n in (1, 2, 3)]
    assert list(member.command) == [
        "myid=2",
        "clientPort=2181",
        *servers,
        *Stack().zookeeper_settings,
    ]
    environment = found["pg-1"].environment
    assert environment["ZOOKEEPER_HOSTS"] == "198.18.7.21:2181,198.18.7.22:2181,198.18.7.23:2181"
    assert "ETCD3_HOSTS" not in environment
    assert not any(name.startswith("etcd") for name in found)


def test_the_members_of_a_clone_know_one_another() -> None:
    """Numbered from one again, at addresses of their own."""
    site = Site("restored", 1, "drill", RecoveryTarget("latest"))
    found = {m.name: m for m in machines(Cluster(dcs="zookeeper"), Stack(), NET, site)}
    member = found["restored-zookeeper-3"]
    assert "myid=3" in member.command
    assert f"server.3={member.address}:2888:3888" in member.command


def test_each_machine_says_where_it_serves() -> None:
    """What a cut without a port is tried at."""
    ports = {name: machine.port for name, machine in made().items()}
    assert (ports["pg-1"], ports["etcd-1"], ports["s3"], ports["primary-elb"]) == (
        *(5432, 2379),
        *(9000, 5432),
    )
    assert made(Cluster(dcs="zookeeper"))["zookeeper-1"].port == 2181


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
        "RESTAPI_USERNAME": "patroni",
        "RESTAPI_PASSWORD_FILE": "/run/secrets/rest",
        "SSL_CA_FILE": "/run/secrets/ca.pem",
        "SSL_CERTIFICATE_FILE": "/run/secrets/server.crt",
        "SSL_PRIVATE_KEY_FILE": "/run/secrets/server.key",
        "WATCHDOG": "required",
        "START_GATE": "/run/spilo/gate",
        **STORAGE,
        "WALE_BACKUP_THRESHOLD_PERCENTAGE": "2000",
    }
    assert (node.image, node.data) == ("spilo", "/home/postgres/pgdata")
    assert set(node.tmpfs) == {"/run/spilo"}, "the gate must vanish with a restart"
    assert node.environment["START_GATE"].startswith("/run/spilo/")


CLONES: list[tuple[RecoveryTarget, Mapping[str, str]]] = [
    (RecoveryTarget("latest"), {}),
    (
        RecoveryTarget("time", "2026-11-23 10:00:00+00"),
        {"CLONE_TARGET_TIME": "2026-11-23 10:00:00+00"},
    ),
    (RecoveryTarget("xid", "742"), {"CLONE_TARGET_XID": "742"}),
    (
        RecoveryTarget("lsn", "0/3000060", inclusive=False),
        {"CLONE_TARGET_LSN": "0/3000060", "CLONE_TARGET_INCLUSIVE": "false"},
    ),
    (RecoveryTarget("name", "before"), {"CLONE_TARGET_NAME": "before"}),
]


@pytest.mark.parametrize(("target", "words"), CLONES)
def test_a_clone_reads_the_sources_place_and_has_its_own(
    target: RecoveryTarget, words: Mapping[str, str]
) -> None:
    """Golden: in Spilo's names, and nothing of it on the source's nodes."""
    site = Site("restored", 1, "drill", target)
    found = {m.name: m for m in machines(Cluster(nodes=1), Stack(), NET, site)}
    environment = found["restored-pg-1"].environment
    assert environment["SCOPE"] == "restored"
    assert environment["SSL_CERTIFICATE_FILE"] == "/run/secrets/restored/server.crt"
    clone = {name: value for name, value in environment.items() if name.startswith("CLONE_")}
    assert clone == {"CLONE_SCOPE": "drill", "CLONE_WAL_S3_BUCKET": "spilo", **words}
    assert not any("CLONE" in name for name in made()["pg-1"].environment)


def test_clusters_of_one_run_share_nothing_but_s3_and_the_clients() -> None:
    """Neither a name nor an address; and a clone brings no S3 of its own."""
    target = RecoveryTarget("latest")
    every = [*made(Cluster(nodes=7)).values()]
    for number in range(1, SITES):
        site = Site(f"c-{number}", number, "drill", target)
        every += machines(Cluster(nodes=7), Stack(), NET, site)
    assert len({m.name for m in every}) == len({m.address for m in every}) == len(every)
    assert all(ipaddress.IPv4Address(m.address) in NET for m in every)
    assert [m.name for m in every if m.kind in ("s3", "client")] == ["s3", "client-region"]


def test_what_the_stack_lays_over_the_configuration_wins() -> None:
    """On all nodes, or on those of a clone alone: how defects are planted."""
    lie: Mapping[str, Json] = {"postgresql": {"parameters": {"archive_command": "/bin/true"}}}
    everywhere = made(stack=Stack(configuration=lie))["pg-1"]
    assert (
        json.loads(everywhere.environment["SPILO_CONFIGURATION"])["postgresql"] == lie["postgresql"]
    )
    stack = Stack(clone_configuration=lie)
    assert "archive_command" not in made(stack=stack)["pg-1"].environment["SPILO_CONFIGURATION"]
    site = Site("restored", 1, "drill", RecoveryTarget("latest"))
    clone = {m.name: m for m in machines(Cluster(), stack, NET, site)}["restored-pg-1"]
    assert "/bin/true" in clone.environment["SPILO_CONFIGURATION"]


def test_the_watchdog_is_off_unless_required() -> None:
    """The image knows no other word for it."""
    assert made()["pg-1"].environment["WATCHDOG"] == "off"


def test_the_elbs_know_every_node_and_what_to_ask() -> None:
    """Each has its own health check; a planted defect changes one."""
    found = made(Cluster(nodes=2), Stack(primary_check="/replica"))
    targets = "pg-1=198.18.7.11,pg-2=198.18.7.12"
    wanted = {"ELB_TARGETS": targets, "ELB_CHECK": "/replica", "ELB_CHECK_SSL": "on"}
    assert found["primary-elb"].environment == wanted
    assert found["replica-elb"].environment == wanted
    assert made()["primary-elb"].environment["ELB_CHECK"] == "/primary"
    bare = made(stack=Stack(replica_check="tcp"))["replica-elb"].environment
    assert (bare["ELB_CHECK"], bare["ELB_CHECK_SSL"]) == ("tcp", "off")


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


def test_an_older_postgresql_has_no_say_in_what_a_login_costs() -> None:
    """`scram_iterations` is there since 16; before it, PostgreSQL would refuse to start."""
    told = overlay(Cluster(postgres=15))["bootstrap"]
    assert "scram_iterations" not in str(told)


def test_every_machine_is_known_by_name() -> None:
    """In /etc/hosts, whether it runs or not."""
    found = machines(Cluster(), Stack(), NET)
    assert hosts(found)["pg-1"] == "198.18.7.11"
    assert len(hosts(found)) == len(found)


def test_the_package_is_what_clients_run() -> None:
    """The folder that is mounted holds this very code."""
    assert (package_root() / "client.py").is_file()
    assert package_root() == Path(__file__).resolve().parents[3] / "harness"
