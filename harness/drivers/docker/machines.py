"""What each machine of a local cluster is: image, address, settings. Pure; nothing is started."""

import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from harness.drivers.docker.stack import Stack
from harness.drivers.docker.subnet import address
from harness.history import Json
from harness.protocols import RecoveryTarget
from harness.scenario import Backups, Cluster, DcsKind

SCOPE = "drill"
PREFIX = f"/service/{SCOPE}/"
REGION = "region"
GATE = "/run/spilo/gate"
S3 = "s3"
S3_PORT = 9000
BUCKET = "spilo"
KMS_KEY = "spilo"
AWS_REGION = "eu-central-1"
SECRETS = "/run/secrets"
SUPERUSER_SECRET = f"{SECRETS}/superuser"
REST_USER = "patroni"
REST_SECRET = f"{SECRETS}/rest"
CA = f"{SECRETS}/ca.pem"


@dataclass(frozen=True, slots=True)
class Machine:
    """One container before it exists.

    Attributes:
        kind: `node`, `dcs`, `elb`, `s3` or `client`; also the image's name but for nodes (`spilo`).
        az: empty for what stands outside all AZs.
        data: where its volume is mounted; empty for none.
        port: at which it serves.
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
    port: int = 5432


@dataclass(frozen=True, slots=True)
class Site:
    """One of a run's clusters: the scenario's own, or one that is restored beside it.

    Attributes:
        name: empty for the scenario's own.
        number: of its share of the addresses.
        source: the scope that it is restored from, and `target`, the state of it.
    """

    name: str = ""
    number: int = 0
    source: str = ""
    target: RecoveryTarget | None = None

    @property
    def scope(self) -> str:
        return self.name or SCOPE

    @property
    def certificates(self) -> str:
        """Return the folder of what its nodes show; all nodes of a run read the same volume."""
        return f"{SECRETS}/{self.name}" if self.name else SECRETS

    def called(self, machine: str) -> str:
        """Return a machine's name, unique in the run."""
        return f"{self.name}-{machine}" if self.name else machine


OWN = Site()


def machines(
    cluster: Cluster, stack: Stack, subnet: ipaddress.IPv4Network, site: Site = OWN
) -> Sequence[Machine]:
    """Return the machines of a cluster, the DCS first: the rest waits for it.

    S3 and the first client are the run's, and come with the scenario's own cluster.
    """

    def place(kind: str, number: int) -> str:
        return address(subnet, kind, number, site.number)

    azs, dcs_azs = cluster.azs, stack.dcs_azs or cluster.azs
    dcs = [
        (site.called(f"{cluster.dcs}-{n + 1}"), dcs_azs[n % len(dcs_azs)], place("dcs", n))
        for n in range(stack.dcs_members)
    ]
    nodes = [
        (site.called(f"pg-{n + 1}"), azs[n % len(azs)], place("node", n))
        for n in range(cluster.nodes)
    ]
    targets = ",".join(f"{name}={where}" for name, _, where in nodes)
    elbs = (("primary-elb", stack.primary_check), ("replica-elb", stack.replica_check))
    shared = () if site.name else (s3(subnet), client(REGION, cluster, subnet))
    return [
        *(_DCS[cluster.dcs](name, az, where, dcs, stack) for name, az, where in dcs),
        *shared,
        *(_node(name, az, where, dcs, cluster, stack, site) for name, az, where in nodes),
        *(
            Machine(
                name=site.called(name),
                kind="elb",
                image="elb",
                az="",  # regional
                address=place("elb", number),
                environment={
                    "ELB_TARGETS": targets,
                    "ELB_CHECK": check,
                    "ELB_CHECK_SSL": "on" if check.startswith("/") else "off",
                },
            )
            for number, (name, check) in enumerate(elbs)
        ),
    ]


def s3(subnet: ipaddress.IPv4Network) -> Machine:
    """Return the machine that stands for S3: MinIO, over TLS, with a KMS of its own."""
    return Machine(
        name=S3,
        kind="s3",
        image="minio",
        az="",  # regional
        address=address(subnet, "s3", 0),
        command=("server", "/data", "--certs-dir", f"{SECRETS}/certs", "--address", ":9000"),
        port=S3_PORT,
        environment={
            "MINIO_ROOT_USER_FILE": f"{SECRETS}/root-user",
            "MINIO_ROOT_PASSWORD_FILE": f"{SECRETS}/root-password",
            "MINIO_KMS_SECRET_KEY_FILE": f"{SECRETS}/kms-key",
            "MINIO_REGION": AWS_REGION,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
    )


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


_Member: TypeAlias = tuple[str, str, str]  # name, AZ, address


def _etcd(name: str, az: str, where: str, members: Sequence[_Member], stack: Stack) -> Machine:
    peers = ",".join(f"{member}=http://{at}:2380" for member, _, at in members)
    return Machine(
        name=name,
        kind="dcs",
        image="etcd",
        az=az,
        address=where,
        port=2379,
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


def rejoining(member: Machine) -> Machine:
    """Return a DCS member whose disk is empty, but not that of the others."""
    # ZooKeeper's members ask one another what there is; an etcd founds a cluster unless told.
    flags = ("--initial-cluster-state=existing",) if member.image == "etcd" else ()
    return replace(member, command=(*member.command, *flags))


def _zookeeper(name: str, az: str, where: str, members: Sequence[_Member], stack: Stack) -> Machine:
    number = [member for member, _, _ in members].index(name) + 1
    return Machine(
        name=name,
        kind="dcs",
        image="zookeeper",
        az=az,
        address=where,
        port=2181,
        command=(
            f"myid={number}",
            "clientPort=2181",
            *(f"server.{n}={at}:2888:3888" for n, (_, _, at) in enumerate(members, 1)),
            *stack.zookeeper_settings,
        ),
    )


_DCS: Mapping[DcsKind, Callable[[str, str, str, Sequence[_Member], Stack], Machine]] = {
    "etcd": _etcd,
    "zookeeper": _zookeeper,
}


def _node(
    name: str,
    az: str,
    where: str,
    dcs: Sequence[_Member],
    cluster: Cluster,
    stack: Stack,
    site: Site,
) -> Machine:
    laid_over = {**stack.configuration, **(stack.clone_configuration if site.name else {})}
    return Machine(
        name=name,
        kind="node",
        image="spilo",
        az=az,
        address=where,
        environment={
            "SCOPE": site.scope,
            **_found_at(cluster.dcs, dcs),
            "PGPASSWORD_SUPERUSER_FILE": SUPERUSER_SECRET,
            "PGPASSWORD_STANDBY_FILE": f"{SECRETS}/standby",
            # One pair for all members: their failsafe mode asks one another by it.
            "RESTAPI_USERNAME": REST_USER,
            "RESTAPI_PASSWORD_FILE": REST_SECRET,
            "SSL_CA_FILE": CA,
            "SSL_CERTIFICATE_FILE": f"{site.certificates}/server.crt",
            "SSL_PRIVATE_KEY_FILE": f"{site.certificates}/server.key",
            **_storage(site, cluster.backups),
            "WATCHDOG": "required" if cluster.watchdog == "required" else "off",
            "START_GATE": GATE,
            "SPILO_CONFIGURATION": json.dumps(merged(overlay(cluster), laid_over)),
            **stack.environment,
        },
        # The gate must vanish with a restart, so that cuts are in place before Patroni runs.
        tmpfs={"/run/spilo": "uid=5432,gid=5432,mode=0755,size=16m"},
        data="/home/postgres/pgdata",
    )


def _found_at(kind: DcsKind, members: Sequence[_Member]) -> Mapping[str, str]:
    """Return the image's variable for where the DCS is."""
    name, port = {"etcd": ("ETCD3_HOSTS", 2379), "zookeeper": ("ZOOKEEPER_HOSTS", 2181)}[kind]
    return {name: ",".join(f"{at}:{port}" for _, _, at in members)}


def _storage(site: Site, backups: Backups) -> Mapping[str, str]:
    """Return the image's variables for S3, and for what a cluster is restored from."""
    own = {
        "WAL_S3_BUCKET": BUCKET,
        "WALG_S3_SSE_KMS_ID": KMS_KEY,
        "AWS_REGION": AWS_REGION,
        "AWS_ENDPOINT": f"https://{S3}:{S3_PORT}",
        "AWS_S3_FORCE_PATH_STYLE": "true",
        "AWS_CA_BUNDLE": CA,
        "AWS_ACCESS_KEY_ID_FILE": f"{SECRETS}/s3-key",
        "AWS_SECRET_ACCESS_KEY_FILE": f"{SECRETS}/s3-secret",
        "BACKUP_SCHEDULE": backups.schedule,
        "BACKUP_INCREMENTALS": str(backups.incrementals),
        "BACKUP_NUM_TO_RETAIN": str(backups.retain),
        "ARCHIVE_TIMEOUT": str(round(backups.archive_timeout)),
    }
    if site.target is None:
        return own
    clone = {"CLONE_SCOPE": site.source, "CLONE_WAL_S3_BUCKET": BUCKET}
    if site.target.kind != "latest":
        clone[f"CLONE_TARGET_{site.target.kind.upper()}"] = site.target.value
    if not site.target.inclusive:
        clone["CLONE_TARGET_INCLUSIVE"] = "false"
    return {**own, **clone}


def merged(below: Mapping[str, Json], above: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return `below` with `above` laid over it: mappings are merged, all else is replaced whole."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        result[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return result


def overlay(cluster: Cluster) -> Mapping[str, Json]:
    """Return the SPILO_CONFIGURATION that makes a node what the scenario asks for."""
    defaults = Cluster().dynamic_configuration
    asked = {
        name: value
        for name, value in cluster.dynamic_configuration.items()
        if value != defaults[name] or name in _ALWAYS
    }
    # Many clusters share a laptop: a quarter of its memory for each would not fit.
    # Connections: a COMMIT that waits for a standby keeps its backend after its client gave up,
    # 2 to 3 a second at the default rate, through an outage of a minute or two.
    small: dict[str, Json] = {"shared_buffers": "32MB", "max_connections": 300}
    if cluster.postgres >= _SCRAM_ITERATIONS_SINCE:
        # What makes a stolen hash dear to guess made each of a run's 300 and more new sessions cost
        # 5 ms of CPU, a neighbour's as well; these passwords are drawn by chance, and end with it.
        small["scram_iterations"] = 1
    return {
        "bootstrap": {"dcs": {**asked, "postgresql": {"parameters": small}}},
    }


_SCRAM_ITERATIONS_SINCE = 16
_ALWAYS = ("ttl", "loop_wait", "retry_timeout", "maximum_lag_on_failover", "synchronous_mode")


def hosts(all_machines: Iterable[Machine]) -> Mapping[str, str]:
    """Return name → address for /etc/hosts: Docker's DNS forgets a stopped machine (traps 1)."""
    return {machine.name: machine.address for machine in all_machines}


def package_root() -> Path:
    """Return the folder of the harness package, which the client container runs read-only."""
    return Path(__file__).resolve().parents[2]
