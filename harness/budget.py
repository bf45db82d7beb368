"""What a cluster costs, what this machine has, and so how many clusters run side by side.

A cluster beside too many others is late for reasons of ours, and a bound would be judged by them.
The costs are of a run with the catalogue's default workload, on two cores, alone, read in each
container's control group (what `docker stats` reads) and in /proc/stat:

- `etcd-partition`, 3 nodes, etcd, quorum, 49 s: 30 CPU seconds in all. Its start took 14 of them in
  15 s, 6 for the containers and 8 in them; its end 3. In between its containers took 0.33 cores.
- A part, on average after the start: a node 0.07 cores, a member of etcd 0.01, a client in an AZ
  0.01, the one outside 0.06, MinIO 0.01, the ELBs 0.01. Of ZooKeeper a member took twice as much
  as of etcd. A restored cluster that nobody uses takes 0.01 a node; its restoring 0.11, for a tenth
  of a run.
- Memory: a node 82 to 122 MiB, a member of etcd 25, of ZooKeeper 54, a client in an AZ 23, the one
  outside 34 to 45, MinIO 137 to 160, an ELB 6; the harness 113, and the engine's supervisor of
  each container 13.

A part counts for its average once its cluster has started, rounded up. Clusters start one at a time
(`harness/turns.py`), with what the others leave (docs/adr/0021). The sum for a usual run is 0.45
cores, 0.48 on ZooKeeper: four on two cores. What a start does to a neighbour all the same shows in
that one's own delay (`harness/validity.py`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.scenario import Cluster, DcsKind


@dataclass(frozen=True, slots=True)
class Cost:
    """What runs on a machine takes of it; whole numbers, so that sums are exact."""

    millicores: int = 0
    mib: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.millicores + other.millicores, self.mib + other.mib)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.millicores * times, self.mib * times)

    def __str__(self) -> str:
        return f"{self.millicores / 1000:.1f} cores and {self.mib / 1024:.1f} GiB"


@dataclass(frozen=True, slots=True)
class Room:
    """What this machine has for clusters.

    Attributes:
        all: for all of them together.
        free_mib: memory that nobody uses at the moment, whoever that may be.
    """

    all: Cost
    free_mib: int

    def takes(self, cost: Cost, held: Iterable[Cost]) -> bool:
        """Return whether this much fits beside what is held; what fits nowhere fits alone."""
        beside = [*held]
        if not beside:
            return True
        whole = total([*beside, cost])
        fits = whole.millicores <= self.all.millicores and whole.mib <= self.all.mib
        # What began a moment ago has not taken its memory yet, so this asks for less than above.
        return fits and cost.mib <= self.free_mib


def total(costs: Iterable[Cost]) -> Cost:
    """Return what these cost together."""
    return sum(costs, Cost())


# --- what a cluster costs ----------------------------------------------------------------------

# The harness, the engine, MinIO and the client outside of all AZs.
_RUN = Cost(20, 115) + Cost(40, 0) + Cost(15, 220) + Cost(60, 60)
_CLIENT = Cost(15, 40)
_NODE, _QUIET_NODE = Cost(75, 140), Cost(20, 140)
_ELB, _ELBS = Cost(5, 20), 2
_MEMBER: Mapping[DcsKind, Cost] = {"etcd": Cost(10, 45), "zookeeper": Cost(20, 75)}
_MEMBERS = 3


def run_cost(
    cluster: Cluster, restored: Sequence[Cluster] = (), *, members: int = _MEMBERS
) -> Cost:
    """Return what a run takes: its cluster under load, and those that are restored beside it.

    They count from its beginning: whoever holds one cluster and waits for room for another one
    might wait for somebody who does the same.
    """
    used = _machines(cluster, _NODE, members) + _CLIENT * len(cluster.azs)
    return total([_RUN, used, *(_machines(other, _QUIET_NODE, members) for other in restored)])


def quiet_cost(cluster: Cluster, *, members: int = _MEMBERS) -> Cost:
    """Return what a cluster takes that nobody but its maker uses."""
    return _RUN + _machines(cluster, _QUIET_NODE, members)


def _machines(cluster: Cluster, node: Cost, members: int) -> Cost:
    return node * cluster.nodes + _MEMBER[cluster.dcs] * members + _ELB * _ELBS


def everything() -> Cost:
    """Return what leaves no room for anything else."""
    return machine().all


def workers() -> int:
    """Return how many of a session's tests may run at once: clusters of three nodes, mostly.

    The dearest of them, on ZooKeeper, has to fit as often.
    """
    room, cost = machine().all, run_cost(Cluster(dcs="zookeeper"))
    return max(1, min(room.millicores // cost.millicores, room.mib // cost.mib))


# --- what the machine has ----------------------------------------------------------------------

# The rest is for the system and for the page cache, without which every read goes to the disk.
_SHARE_OF_MEMORY = 0.75
_GROUPS = Path("/sys/fs/cgroup")


def machine(proc: Path = Path("/proc"), groups: Path = _GROUPS) -> Room:
    """Return what this machine has; less where a control group that we are in grants less.

    Clusters run in groups of the engine's own. But where somebody has limited us, the engine that
    we use mostly shares the limit.
    """
    facts = dict(line.split(":", 1) for line in _read(proc / "meminfo").splitlines())
    memory, free = (int(facts[name].split()[0]) // 1024 for name in ("MemTotal", "MemAvailable"))
    folders = [*_folders(_read(proc / "self" / "cgroup"), groups)]
    cores = min([len(os.sched_getaffinity(0)) * 1000, *_millicores(folders)])
    limited = min([memory, *_mib(folders)])
    return Room(Cost(cores, int(limited * _SHARE_OF_MEMORY)), min(free, limited))


def idle_s(proc: Path = Path("/proc")) -> float | None:
    """Return for how long the machine's cores have been idle, all together; None if it is untold.

    Source: proc_stat(5): the fourth and fifth column, idle and waiting for a disk.
    """
    columns = _read(proc / "stat").partition("\n")[0].split()[1:]
    if len(columns) < 5:
        return None
    return (int(columns[3]) + int(columns[4])) / os.sysconf("SC_CLK_TCK")


def _folders(memberships: str, groups: Path) -> Iterator[Path]:
    """Yield the folders of our control groups and of those above them, of either version.

    Source: cgroups(7), /proc/pid/cgroup; inside a container the names may be those of outside,
    and only the uppermost folder exists.
    """
    for line in memberships.splitlines():
        _, controllers, name = line.split(":", 2)
        for mount in {groups / one for one in controllers.split(",")}:
            folder = mount / name.lstrip("/")
            yield from (one for one in (folder, *folder.parents) if one.is_relative_to(mount))


def _millicores(folders: Iterable[Path]) -> Iterator[int]:
    """Yield each limit of CPU time: `cpu.max` of version 2, `cpu.cfs_*` of version 1."""
    for folder in folders:
        v1 = " ".join(_read(folder / f"cpu.cfs_{part}_us") for part in ("quota", "period"))
        for words in (_read(folder / "cpu.max").split(), v1.split()):
            if len(words) == 2 and all(map(str.isdigit, words)):  # neither `max` nor `-1`
                yield int(words[0]) * 1000 // int(words[1])


def _mib(folders: Iterable[Path]) -> Iterator[int]:
    """Yield each limit of memory: `memory.max` of version 2, `memory.limit_in_bytes` of 1."""
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _read(folder / name).strip()).isdigit():
                yield int(limit) >> 20


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
