"""The reference stack's own numbers, as the local cluster reproduces them.

A planted defect (`tests/mutants/`) is one of these fields set wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.history import Json


@dataclass(frozen=True, slots=True)
class Stack:
    """What the CloudFormation template fixes, beside what a scenario asks for.

    Attributes:
        dcs_members: how many there are; one has no quorum to lose, and starts in half the time.
        dcs_azs: the AZs that they are spread over; None is those of the cluster.
        primary_check, replica_check: what each ELB asks of its targets: a path on Patroni's REST,
            or `tcp`, which takes whatever accepts connections.
        etcd_flags: Debian's etcd is tuned for two busy cores: with the defaults, 100 ms and
            1 s, it elects for no reason when both are full (traps 15).
        zookeeper_settings: lines of its configuration. Its members notice a lost leader after
            `syncLimit` ticks, as etcd's do after 3 to 6 s.
        environment: variables of the Spilo image that every node gets besides.
        configuration: what is laid over Patroni's configuration of every node, in its own words.
        clone_configuration: the same, of a cluster that is restored beside another.
    """

    dcs_members: int = 3
    dcs_azs: tuple[str, ...] | None = None
    primary_check: str = "/primary"
    replica_check: str = "/replica"
    etcd_flags: tuple[str, ...] = (
        "--heartbeat-interval=300",
        "--election-timeout=3000",
        # The page cache survives the death of a container, and nobody here pulls a plug.
        "--unsafe-no-fsync",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=10000",
        "--quota-backend-bytes=268435456",
    )
    zookeeper_settings: tuple[str, ...] = (
        # A session ends with the first tick after its time-out: how exactly Patroni's ttl is kept.
        "tickTime=1000",
        "initLimit=10",
        "syncLimit=4",
        # Patroni asks for its ttl; the defaults would grant at most 20 ticks of it.
        "minSessionTimeout=2000",
        "maxSessionTimeout=600000",
        "maxClientCnxns=0",
        # One member is a quorum of one, with epochs, as it is with etcd.
        "standaloneEnabled=false",
        "admin.enableServer=false",
        "4lw.commands.whitelist=srvr,mntr,ruok,stat",
        # As etcd's --unsafe-no-fsync.
        "forceSync=no",
        "preAllocSize=4096",
    )
    environment: Mapping[str, str] = field(
        default_factory=lambda: {
            # A local database is smaller than two segments of WAL, so by Spilo's 30 % no replica
            # would ever be made from S3.
            "WALE_BACKUP_THRESHOLD_PERCENTAGE": "2000",
        }
    )
    configuration: Mapping[str, Json] = field(default_factory=dict)
    clone_configuration: Mapping[str, Json] = field(default_factory=dict)
