"""What each machine of a local cluster is: image, address, settings. Pure; nothing is started."""

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.drivers.docker.stack import Stack
from harness.drivers.docker.subnet import address
from harness.history import Json
from harness.scenario import Cluster

SCOPE = "drill"
PREFIX = f"/service/{SCOPE}/"
REGION = "region"
GATE = "/run/spilo/gate"
SECRETS = "/run/secrets"
SUPERUSER_SECRET = f"{SECRETS}/superuser"


@dataclass(frozen=True, slots=True)
class Machine:
    """One container before it exists.

    Attributes:
        kind: `node`, `dcs`, `elb` or `client`; also the image's name but for nodes (`spilo`).
        az: empty for what stands outside all AZs.
        data: where its volume is mounted; empty for none.
    """

    name: str
    kind: str
    image: str
    az: str
    address: str
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    data: str = ""


def machines(cluster: Cluster, stack: Stack, subnet: ipaddress.IPv4Network) -> Sequence[Machine]:
    """Return the machines of a cluster, the DCS first: the rest waits for it."""
    azs = cluster.azs
    dcs = [(f"etcd-{n + 1}", azs[n % len(azs)], address(subnet, "dcs", n)) for n in range(3)]
    nodes = [
        (f"pg-{n + 1}", azs[n % len(azs)], address(subnet, "node", n)) for n in range(cluster.nodes)
    ]
    targets = ",".join(f"{name}={where}" for name, _, where in nodes)
    elbs = (("primary-elb", stack.primary_check), ("replica-elb", stack.replica_check))
    return [
        *(_etcd(name, az, where, dcs, stack) for name, az, where in dcs),
        client(REGION, cluster, subnet),
        *(_node(name, az, where, dcs, cluster, stack) for name, az, where in nodes),
        *(
            Machine(
                name=name,
                kind="elb",
                image="elb",
                az="",  # regional
                address=address(subnet, "elb", number),
                environment={"ELB_TARGETS": targets, "ELB_CHECK": check},
            )
            for number, (name, check) in enumerate(elbs)
        ),
    ]


def client(vantage: str, cluster: Cluster, subnet: ipaddress.IPv4Network) -> Machine:
    """Return the machine that clients in this AZ, or outside all of them, run on."""
    places = (REGION, *cluster.azs)
    return Machine(
        name=f"client-{vantage}",
        kind="client",
        image="client",
        az="" if vantage == REGION else vantage,
        address=address(subnet, "client", places.index(vantage)),
    )


def _etcd(
    name: str, az: str, where: str, members: Sequence[tuple[str, str, str]], stack: Stack
) -> Machine:
    peers = ",".join(f"{member}=http://{at}:2380" for member, _, at in members)
    return Machine(
        name=name,
        kind="dcs",
        image="etcd",
        az=az,
        address=where,
        command=(
            f"--name={name}",
            "--data-dir=/var/lib/etcd/data",
            "--listen-peer-urls=http://0.0.0.0:2380",
            "--listen-client-urls=http://0.0.0.0:2379",
            f"--advertise-client-urls=http://{where}:2379",
            f"--initial-advertise-peer-urls=http://{where}:2380",
            f"--initial-cluster={peers}",
            "--log-level=warn",
            *stack.etcd_flags,
        ),
    )


def _node(
    name: str,
    az: str,
    where: str,
    dcs: Sequence[tuple[str, str, str]],
    cluster: Cluster,
    stack: Stack,
) -> Machine:
    return Machine(
        name=name,
        kind="node",
        image="spilo",
        az=az,
        address=where,
        environment={
            "SCOPE": SCOPE,
            "ETCD3_HOSTS": ",".join(f"{at}:2379" for _, _, at in dcs),
            "PGPASSWORD_SUPERUSER_FILE": SUPERUSER_SECRET,
            "PGPASSWORD_STANDBY_FILE": f"{SECRETS}/standby",
            "WATCHDOG": "required" if cluster.watchdog == "required" else "off",
            "START_GATE": GATE,
            "SPILO_CONFIGURATION": json.dumps(overlay(cluster)),
            **stack.environment,
        },
        # The gate must vanish with a restart, so that cuts are in place before Patroni runs.
        tmpfs={"/run/spilo": "uid=5432,gid=5432,mode=0755,size=16m"},
        data="/home/postgres/pgdata",
    )


def overlay(cluster: Cluster) -> Mapping[str, Json]:
    """Return the SPILO_CONFIGURATION that makes a node what the scenario asks for."""
    patroni: dict[str, Json] = {
        name: value
        for name, value in cluster.patroni.model_dump().items()
        if value != type(cluster.patroni).model_fields[name].default or name in _ALWAYS
    }
    # Patroni's names; `strict` is `on` that rather stops than writes alone.
    mode: Mapping[str, Json] = {
        "async": {"synchronous_mode": False},
        "sync": {"synchronous_mode": True},
        "strict": {"synchronous_mode": True, "synchronous_mode_strict": True},
        "quorum": {"synchronous_mode": "quorum"},
    }
    chosen = mode[cluster.sync]
    assert isinstance(chosen, Mapping)
    # Many clusters share a laptop: a quarter of its memory for each would not fit.
    # Connections: a COMMIT that waits for a standby keeps its backend after its client gave up,
    # 2 to 3 a second at the default rate, through an outage of a minute or two.
    small: Mapping[str, Json] = {"shared_buffers": "32MB", "max_connections": 300}
    return {
        "bootstrap": {"dcs": {**patroni, **chosen, "postgresql": {"parameters": small}}},
    }


_ALWAYS = ("ttl", "loop_wait", "retry_timeout", "maximum_lag_on_failover")


def hosts(all_machines: Iterable[Machine]) -> Mapping[str, str]:
    """Return name → address for /etc/hosts: Docker's DNS forgets a stopped machine (traps 1)."""
    return {machine.name: machine.address for machine in all_machines}


def package_root() -> Path:
    """Return the folder of the harness package, which the client container runs read-only."""
    return Path(__file__).resolve().parents[2]
