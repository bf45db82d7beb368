"""The DCS of a cluster, whichever it is: what it agreed on, and each change to it.

Run as a program, it prints who holds the leader key: `python -m harness.wire.dcs etcd
/service/demo/ etcd-1=198.18.7.21 ...`; nothing when nobody does.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from harness.errors import DriverError
from harness.protocols import Change
from harness.scenario import DcsKind
from harness.wire.etcd import Etcd
from harness.wire.zookeeper import ZooKeeper


class Dcs(Protocol):
    """The DCS of one cluster, as this client reaches it."""

    @property
    def members(self) -> Mapping[str, str]:
        """Return the members' addresses by name."""
        ...

    def read(self, *, deadline_s: float, member: str | None = None) -> Mapping[str, str]:
        """Return the cluster's keys as a quorum holds them, from the first member that answers.

        With a member, from this one alone.

        Raises:
            DriverError: when none answers in time; a member without a quorum does not answer.
        """
        ...

    def leader(self, *, deadline_s: float) -> str:
        """Return the member that leads the DCS itself.

        Raises:
            DriverError: when none that answers in time knows one.
        """
        ...

    def readmit(self, member: str, *, deadline_s: float) -> None:
        """Let the others take in a member anew that lost its disk, before it is started again.

        Each call is one try, and may be repeated: the others refuse until they know it is gone.

        Raises:
            HarnessError: when they refuse, or do not answer in time.
        """
        ...

    def changes(self, member: str, since: int | None = None) -> Iterator[Change | None]:
        """Yield what changes, as `Stage.dcs_changes` describes; end when the member is lost."""
        ...

    def version(self, *, deadline_s: float) -> str:
        """Return what runs, by its name: `etcd 3.5.16`.

        Raises:
            DriverError: when no member answers in time.
        """
        ...


_STORES: Mapping[DcsKind, type[Etcd | ZooKeeper]] = {"etcd": Etcd, "zookeeper": ZooKeeper}


def dcs_of(kind: DcsKind, members: Mapping[str, str], prefix: str, port: int | None = None) -> Dcs:
    """Return the DCS of this kind; without a port, at its usual one."""
    store = _STORES[kind]
    return store(members, prefix) if port is None else store(members, prefix, port)


def main(words: Sequence[str]) -> int:
    """Print who holds the leader key."""
    kind, prefix, *listed = words
    store = next(store for store in _STORES if store == kind)
    members = {name: address for name, _, address in (each.partition("=") for each in listed)}
    try:
        keys = dcs_of(store, members, prefix).read(deadline_s=2)
    except DriverError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever runs it
        return 1
    print(keys.get("leader", ""))  # noqa: T201 - its answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
