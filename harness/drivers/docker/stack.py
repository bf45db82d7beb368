"""The reference stack's own numbers, as the local cluster reproduces them.

A planted defect (`tests/mutants/`) is one of these fields set wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stack:
    """What the CloudFormation template fixes, beside what a scenario asks for.

    Attributes:
        primary_check, replica_check: the path on Patroni's REST that each ELB polls.
        etcd_flags: Debian's etcd is tuned for two busy cores: with the defaults, 100 ms and
            1 s, it elects for no reason when both are full (traps 15).
        environment: variables of the Spilo image that every node gets besides.
    """

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
    environment: Mapping[str, str] = field(default_factory=dict)
