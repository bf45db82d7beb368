"""What a driver that keeps backups promises: each effect holds on return, and can be undone."""

import pytest

from harness.clock import WallClock
from harness.errors import DriverError
from harness.protocols import Driver, Keeps, RecoveryTarget, S3State
from tests.conformance.conftest import CLUSTER, leader, replica, wait_steady

CLOCK = WallClock()


@pytest.fixture
def keeper(driver: Driver) -> Keeps:
    if not isinstance(driver, Keeps):
        pytest.skip(f"{driver.name} keeps no backups")
    CLOCK.wait_for(lambda: manifests(driver), timeout_s=60, what="the first backup")
    return driver


def manifests(keeper: Keeps) -> list[str]:
    return [
        stored.key
        for stored in keeper.objects(f"{keeper.prefix}backup/")
        if stored.key.endswith("/backup.manifest")
    ]


def archive(driver: Driver) -> bool:
    """Close the segment that is written now; return whether it is in S3 a while later."""
    node = leader(driver)
    [[segment]] = driver.query(
        node, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", deadline_s=5
    )
    sql = "SELECT pg_logical_emit_message(true, 'drill', 'a'); SELECT pg_switch_wal()"
    driver.query(node, sql, deadline_s=5)
    look = "SELECT last_archived_wal >= '{}' FROM pg_stat_archiver"

    def archived() -> bool:
        [[done]] = driver.query(node, look.format(segment), deadline_s=5)
        return bool(done)

    try:
        CLOCK.wait_for(archived, timeout_s=6, what="the archive", every_s=0.2)
    except DriverError:
        return False
    return True


def wait_archived(driver: Driver) -> None:
    """Wait until a segment is in S3 soon after it was closed, and with it all before it."""
    CLOCK.wait_for(lambda: archive(driver), timeout_s=90, what="the archive to catch up")


def test_everything_in_s3_is_encrypted_and_below_the_clusters_prefix(
    driver: Driver, keeper: Keeps
) -> None:
    """By what S3 itself says of each object."""
    wait_archived(driver)
    everything = keeper.objects("")
    assert {stored.sse for stored in everything} == {"aws:kms"}
    assert all(stored.kms_key for stored in everything)
    assert [stored.key for stored in everything if not stored.key.startswith(keeper.prefix)] == []


@pytest.mark.parametrize("state", ["outage", "deny"])
def test_s3_is_away_and_comes_back(driver: Driver, keeper: Keeps, state: S3State) -> None:
    """Nothing is archived meanwhile, and all of it afterwards; made well twice is made well."""
    wait_archived(driver)
    keeper.s3(state)
    try:
        assert not archive(driver)
    finally:
        keeper.s3("well")
    keeper.s3("well")
    wait_archived(driver)


def test_s3_is_slow_and_fast_again(keeper: Keeps) -> None:
    """The driver itself shows that it bites, or raises."""
    keeper.s3("slow")
    keeper.s3("well")
    before = len(manifests(keeper))
    assert before


def test_a_backup_is_named_and_listed(driver: Driver, keeper: Keeps) -> None:
    """An incremental one belongs to a full one."""
    label = keeper.backup(leader(driver), "incr")
    assert any(f"/{label}/" in key for key in manifests(keeper))


def test_a_backup_of_a_replica_is_refused(driver: Driver, keeper: Keeps) -> None:
    """In the image's own words."""
    with pytest.raises(DriverError, match="does not lead"):
        keeper.backup(replica(driver), "full")


def test_a_destroyed_machine_is_gone_and_a_renewed_one_is_new(
    driver: Driver, keeper: Keeps
) -> None:
    """Its disk is empty: it has to be filled again, from S3."""
    node = replica(driver)
    keeper.destroy(node)
    assert driver.pids(node, "all") == []
    keeper.destroy(node)
    keeper.renew(node)
    wait_steady(driver)
    assert leader(driver) != node


def test_what_a_node_sends_is_counted(driver: Driver, keeper: Keeps) -> None:
    """A megabyte asked for is a megabyte sent."""
    node = leader(driver)
    before = keeper.sent_bytes(node)
    driver.query(node, "SELECT repeat('x', 1 << 20)", deadline_s=10)
    assert keeper.sent_bytes(node) - before > 1 << 20


def test_a_clone_is_a_cluster_of_its_own(driver: Driver, keeper: Keeps) -> None:
    """Another leader, other machines, another prefix; and the same rows."""
    node = leader(driver)
    driver.query(node, "CREATE TABLE cloned AS SELECT 42 AS n", deadline_s=5)
    driver.query(node, "SELECT pg_create_restore_point('cloned')", deadline_s=5)
    wait_archived(driver)
    smaller = CLUSTER.model_copy(update={"nodes": 1})
    clone = keeper.clone("restored", smaller, RecoveryTarget("name", "cloned"))
    assert isinstance(clone, Keeps)
    try:
        expect_own_cluster(driver, clone, node)
    finally:
        for machine in (*clone.nodes, *clone.dcs_members):
            clone.destroy(machine.name)


def expect_own_cluster(driver: Driver, clone: Driver, source_leader: str) -> None:
    CLOCK.wait_for(lambda: "leader" in clone.dcs(deadline_s=5), timeout_s=60, what="its leader")
    assert leader(clone) == "restored-pg-1"
    assert leader(driver) == source_leader
    rows = clone.query("restored-pg-1", "SELECT n, pg_is_in_recovery() FROM cloned", deadline_s=5)
    assert [list(row) for row in rows] == [[42, False]]
    assert isinstance(clone, Keeps)
    assert clone.prefix == "spilo/restored/"
    assert {machine.name for machine in driver.nodes}.isdisjoint(
        machine.name for machine in clone.nodes
    )
