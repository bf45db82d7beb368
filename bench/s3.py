"""What S3 costs in time: a restore to a moment, a new node, and a new node of 2 GB.

Each benchmark has a cluster of its own, in which only the first node begins. The others join one
after another, so that each is one that nobody has heard of before: of a machine that comes back
the leader still has the replication slot.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random

from bench.rows import CLOCK, show
from harness import contents, storage
from harness.clock import NS, wall_epoch_s
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.machines import Machine
from harness.errors import DriverError
from harness.protocols import RecoveryTarget
from harness.scenario import Cluster, PatroniSettings

FIRST = "pg-1"
LOOK_EVERY_S = 0.02
TIMEOUT_S = 300.0
# What the prototype ran with: rounds so short that nobody waits for the next one.
QUICK = PatroniSettings(ttl=20, loop_wait=1, retry_timeout=3)
CHUNKS = 16  # of the 2 GB, so that no statement and no transaction is long
CHUNK_ROWS = 490_000  # of 256 characters, 128 MiB with what PostgreSQL adds


class Growing(DockerDriver):
    """A cluster that begins with its first node; the others are made by `renew`.

    Attributes:
        opened: when each node's gate was told to open: (ns of our clock, seconds since 1970).
    """

    def __init__(self, run: str, folder: Path) -> None:
        """Make a driver; nothing is started before `up`."""
        super().__init__(run, folder, CLOCK)
        self.opened: dict[str, tuple[int, float]] = {}

    def _begin(self, planned: Sequence[Machine]) -> None:
        nodes = [machine.name for machine in planned if machine.kind == "node"]
        super()._begin([machine for machine in planned if machine.name not in nodes[1:]])

    def _open_gate(self, name: str) -> None:
        self.opened[name] = CLOCK.now_ns(), wall_epoch_s()
        super()._open_gate(name)

    def end(self, clone: "Growing") -> None:
        """Remove a clone and all its machines; its addresses are free for the next one."""
        clone._hang_up()  # noqa: SLF001 - our own kind
        own = [m for m in clone._machines.values() if m.name in self._containers]  # noqa: SLF001
        self._together(
            partial(self._containers.destroy, machine)
            for machine in own
            if machine.name not in self._machines
        )
        self._beside.remove(clone)

    def prefer_leader(self, node: str) -> None:
        """Let a node that is not made yet be copied from the leader, whatever S3 holds."""
        spec = self._machines[node]
        environment = {**spec.environment, "WALE_BACKUP_THRESHOLD_PERCENTAGE": "0"}
        self._machines[node] = replace(spec, environment=environment)

    def log(self, machine: str) -> "Log":
        """Return what a machine has said until now."""
        return Log(self._containers[machine].logs(timestamps=True).decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Log:
    """A container's log; each line begins with the engine's time."""

    text: str

    def at(self, words: str, after_s: float = 0.0) -> float:
        """Return when a line with these words was first written then (seconds since 1970).

        Raises:
            DriverError: when there is none.
        """
        for line in self.text.splitlines():
            stamp, _, said = line.partition(" ")
            if words in said and (at := _seconds(stamp)) >= after_s:
                return at
        raise DriverError(f"log: no line with {words!r}")

    def method(self) -> str:
        """Return how Patroni made this replica."""
        found = re.search(r"replica has been created using (\w+)", self.text)
        return found[1] if found else "nothing"


def _seconds(stamp: str) -> float:
    # As many digits as Python reads.
    return datetime.fromisoformat(f"{stamp[:26]}Z").timestamp()


@contextmanager
def _growing(cluster: Cluster) -> Iterator[Growing]:
    """Yield a cluster whose first node leads, and that has a base backup in S3."""
    with tempfile.TemporaryDirectory() as folder:
        driver = Growing(f"bench{CLOCK.now_ns() % 10**8:08d}", Path(folder))
        try:
            driver.up(cluster)
            _wait(partial(_acknowledges, driver, FIRST), "a write")
            _wait(partial(_has_backup, driver), "a base backup")
            yield driver
        finally:
            driver.down()


def _wait(condition: "partial[bool]", what: str) -> int:
    """Wait until it holds; return when that was seen."""
    CLOCK.wait_for(condition, timeout_s=TIMEOUT_S, what=what, every_s=LOOK_EVERY_S)
    return CLOCK.now_ns()


def _acknowledges(driver: DockerDriver, node: str) -> bool:
    """Return whether the node leads and acknowledged a write."""
    try:
        if driver.dcs(deadline_s=2).get("leader") != node:
            return False
        contents.write(driver, node)
    except DriverError:
        return False
    return True


def _has_backup(driver: DockerDriver) -> bool:
    folder = f"{driver.prefix}backup/"
    return bool(storage.finished_backups(driver.prefix, driver.objects(folder)))


def _streams(driver: DockerDriver, node: str) -> bool:
    sql = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
    return [node] in [[*row] for row in driver.query(FIRST, sql, deadline_s=5)]


def _archive(driver: DockerDriver) -> None:
    """Close the segment that is written now, and wait until it is in S3."""
    contents.write(driver, FIRST)  # one in which nothing stands would not be closed
    [(segment,)] = driver.query(
        FIRST, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", deadline_s=5
    )
    driver.query(FIRST, "SELECT pg_switch_wal()", deadline_s=5)
    _wait(partial(_has_archived, driver, str(segment)), f"{segment} in S3")


def _has_archived(driver: DockerDriver, segment: str) -> bool:
    sql = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    [(last,)] = driver.query(FIRST, sql, deadline_s=5)
    return str(last) >= segment


# --- a restore to a moment ----------------------------------------------------------------------


def pitr(times: int) -> None:
    """Time restores to a restore point, each into a new cluster of one node beside the source."""
    cluster = Cluster(nodes=1, azs=("a",))
    with _growing(cluster) as driver:
        driver.query(FIRST, "CREATE TABLE held AS SELECT generate_series(1, 1000)", deadline_s=5)
        driver.query(FIRST, "SELECT pg_create_restore_point('before')", deadline_s=5)
        driver.query(FIRST, "DROP TABLE held", deadline_s=5)
        _archive(driver)
        parts = [_one_restore(driver, f"r{number}", cluster) for number in range(1, times + 1)]
    title = "pitr by name, 1 node: gate opened to first write"
    show(title, [part["all"] for part in parts], "s", "p50 <= 5 s")
    show("  of it, until found.py begins", [part["before"] for part in parts], "s", "")
    show("  of it, found.py: restore, recovery, promotion", [p["found"] for p in parts], "s", "")
    show("  of it, Patroni's, from its PostgreSQL on", [part["after"] for part in parts], "s", "")
    show("  found.py's share", [100 * p["found"] / p["all"] for p in parts], "%", "")


def _one_restore(driver: Growing, name: str, cluster: Cluster) -> Mapping[str, float]:
    """Return the seconds of a restore and of its parts."""
    clone = driver.clone(name, cluster, RecoveryTarget("name", "before"))
    assert isinstance(clone, Growing)
    (node,) = (one.name for one in clone.nodes)
    acknowledged = _wait(partial(_acknowledges, clone, node), f"a write on {node}")
    [(rows,)] = clone.query(node, "SELECT count(*) FROM held", deadline_s=5)
    assert rows == 1000, f"{node}: {rows} rows; expected the moment before they were dropped"
    opened_ns, opened_s = driver.opened[node]
    log = clone.log(node)
    begun = log.at("Running custom bootstrap script", opened_s)
    found = log.at("starting PostgreSQL", begun)
    driver.end(clone)
    whole = (acknowledged - opened_ns) / NS
    return {
        "all": whole,
        "before": begun - opened_s,
        "found": found - begun,
        "after": whole - (found - opened_s),
    }


# --- a new node ---------------------------------------------------------------------------------


def join(times: int) -> None:
    """Time new nodes from S3 until they stream: with short rounds, and with the default ones."""
    _joins(times, QUICK, "p50 <= 5 s")
    slot = "no bound: the leader makes the newcomer's slot in its next round, up to 10 s later"
    _joins(times, PatroniSettings(), slot)


def _joins(times: int, settings: PatroniSettings, bound: str) -> None:
    with _growing(Cluster(nodes=times + 1, azs=("a", "b"), patroni=settings)) as driver:
        joined = [
            _one_join(driver, node.name, "pgbackrest", settings.loop_wait)
            for node in driver.nodes[1:]
        ]
    title = f"join from S3, ttl {settings.ttl}, loop_wait {settings.loop_wait}: renew to streaming"
    show(title, [one.seconds for one in joined], "s", bound)
    show("  of it, Docker's, until its gate opens", [one.made_s for one in joined], "s", "")
    show("  of it, Patroni's, until the restore", [one.before_s for one in joined], "s", "")
    show("  of it, the restore", [one.copied_s for one in joined], "s", "")
    show("  of it, from there to streaming", [one.after_s for one in joined], "s", "")


@dataclass(frozen=True, slots=True)
class Joined:
    """How a node joined, in seconds; what the leader sent meanwhile, in bytes."""

    seconds: float
    made_s: float
    before_s: float
    copied_s: float
    after_s: float
    sent: int


def _one_join(driver: Growing, node: str, method: str, loop_wait: float) -> Joined:
    """Let a node join, at any point of the leader's round, and remove it again.

    Raises:
        DriverError: when it was made in another way than by this method.
    """
    CLOCK.sleep(Random(node).uniform(0, loop_wait))
    sent = driver.sent_bytes(FIRST)
    begun = CLOCK.now_ns()
    driver.renew(node)
    streaming = _wait(partial(_streams, driver, node), f"{node} to stream")
    sent = driver.sent_bytes(FIRST) - sent
    opened_ns, opened_s = driver.opened[node]
    log = driver.log(node)
    driver.destroy(node)
    if log.method() != method:
        raise DriverError(f"{node}: made by {log.method()}; expected {method}")
    copy = log.at("trying to bootstrap from leader", opened_s)
    copied = log.at("replica has been created", copy)
    whole, made = (streaming - begun) / NS, (opened_ns - begun) / NS
    return Joined(
        seconds=whole,
        made_s=made,
        before_s=copy - opened_s,
        copied_s=copied - copy,
        after_s=whole - made - (copied - opened_s),
        sent=sent,
    )


# --- a new node of 2 GB -------------------------------------------------------------------------


def join_2gb(_: int) -> None:
    """Compare a node from S3 and one from the leader, of a database of 2 GB, backed up just now."""
    with _growing(Cluster(nodes=3, azs=("a", "b", "c"), patroni=QUICK)) as driver:
        size_gb = _fill(driver)
        _archive(driver)
        driver.backup(FIRST, "full")
        _archive(driver)
        from_s3 = _one_join(driver, "pg-2", "pgbackrest", QUICK.loop_wait)
        driver.prefer_leader("pg-3")
        from_leader = _one_join(driver, "pg-3", "basebackup", QUICK.loop_wait)
    rest = from_s3.seconds - from_leader.seconds
    word = f"S3 is slower by {rest:.1f} s" if rest > 0 else f"S3 is faster by {-rest:.1f} s"
    for name, one in (("S3", from_s3), ("the leader", from_leader)):
        title = f"join of {size_gb:.1f} GB from {name}: renew to streaming"
        show(title, [one.seconds], "s", word)
        show("  of it, the copy", [one.copied_s], "s", "")
        show("  sent by the leader", [one.sent / 1e6], "MB", "")


def _fill(driver: DockerDriver) -> float:
    """Write rows that hardly compress; return the size of the database in GB."""
    # A vacuum would write each page into the WAL once more, in the middle of a join.
    table = "CREATE TABLE bulk (v text) WITH (autovacuum_enabled = off)"
    driver.query(FIRST, table, deadline_s=5)
    digests = " || ".join(f"md5(n || '{letter}')" for letter in "abcdefgh")
    for chunk in range(CHUNKS):
        numbers = f"generate_series({chunk * CHUNK_ROWS + 1}, {(chunk + 1) * CHUNK_ROWS})"
        sql = f"INSERT INTO bulk SELECT {digests} FROM {numbers} AS n"  # noqa: S608 - our own
        driver.query(FIRST, sql, deadline_s=120)
    [(size,)] = driver.query(FIRST, "SELECT pg_database_size(current_database())", deadline_s=5)
    return int(str(size)) / 1e9
