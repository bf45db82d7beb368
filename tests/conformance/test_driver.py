"""What every driver promises: each verb's effect holds when it returns, and can be undone."""

from collections.abc import Callable

import pytest

from harness.clock import NS, WallClock
from harness.drivers.docker.driver import DockerDriver
from harness.errors import DriverError
from harness.protocols import Driver, Link, Process
from tests.conformance.conftest import leader, replica, wait_open, wait_steady

CLOCK = WallClock()


def seconds_of(call: object) -> float:
    """Return how long a call takes, whatever comes of it."""
    begun = CLOCK.now_ns()
    with pytest.raises(DriverError):
        call()  # type: ignore[operator]
    return (CLOCK.now_ns() - begun) / NS


def test_nodes_stand_in_their_azs(driver: Driver) -> None:
    """Nodes and DCS members are spread over the AZs in turn, with addresses of their own."""
    assert [(node.name, node.az) for node in driver.nodes] == [("pg-1", "a"), ("pg-2", "b")]
    assert [member.az for member in driver.dcs_members] == ["a", "b", "a"]
    everything = [*driver.nodes, *driver.dcs_members]
    assert len({machine.address for machine in everything}) == len(everything)


def test_versions_are_read_back(driver: Driver) -> None:
    """A run's record says what ran, as it says itself."""
    versions = driver.versions()
    assert versions["postgres"].startswith("17.")
    assert versions["patroni"].startswith("4.")
    assert versions["dcs"].startswith("etcd 3.")


def test_query_returns_rows(driver: Driver) -> None:
    """Values come back as JSON does."""
    rows = driver.query(leader(driver), "SELECT 1, 'a', true, null", deadline_s=5)
    assert [list(row) for row in rows] == [[1, "a", True, None]]


def test_a_wrong_statement_is_the_drivers_error(driver: Driver) -> None:
    """PostgreSQL's own words reach the reader."""
    with pytest.raises(DriverError, match="42703"):
        driver.query(leader(driver), "SELECT nonsense", deadline_s=5)


def test_a_session_without_tls_is_refused_by_every_node(driver: Driver) -> None:
    """By PostgreSQL itself, which has no line for it."""
    said = {node.name: driver.in_clear(node.name, deadline_s=5) for node in driver.nodes}
    assert set(said.values()) == {"28000"}, said


def test_query_ends_at_its_deadline(driver: Driver) -> None:
    """A statement that takes too long is given up in time."""
    assert seconds_of(lambda: driver.query(leader(driver), "SELECT pg_sleep(30)", deadline_s=1)) < 4


def test_dcs_names_leader_and_members(driver: Driver) -> None:
    """A quorum read shows the keys below the cluster's prefix."""
    keys = driver.dcs(deadline_s=5)
    assert {"leader", "config", "initialize", "members/pg-1", "members/pg-2"} <= set(keys)


@pytest.mark.parametrize("process", ["patroni", "postgres", "all"])
def test_freeze_stops_and_thaw_continues(driver: Driver, process: Process) -> None:
    """A frozen program answers nothing within any deadline, and goes on afterwards."""
    node = replica(driver)
    ask = (
        (lambda: driver.query(node, "SELECT 1", deadline_s=1))
        if process != "patroni"
        else (lambda: _answer(driver, node))
    )
    _wait_for_answer(ask)
    driver.freeze(node, process)
    try:
        assert seconds_of(ask) < 4
    finally:
        driver.thaw(node, process)
    _wait_for_answer(ask)


def _answer(driver: Driver, node: str) -> None:
    if not driver.patroni(node, "/liveness", deadline_s=1).status:
        raise DriverError("silent")


def _wait_for_answer(ask: Callable[[], object]) -> None:
    """Wait until a question is answered; a machine that is busy may be too slow for one."""

    def is_answered() -> bool:
        try:
            ask()
        except DriverError:
            return False
        return True

    CLOCK.wait_for(is_answered, timeout_s=60, what="an answer")


@pytest.mark.parametrize("process", ["patroni", "postgres"])
def test_kill_ends_the_process(driver: Driver, process: Process) -> None:
    """The process ids that were there are gone; a supervisor starts others."""
    node = replica(driver)
    before = set(driver.pids(node, process))
    assert before
    driver.kill(node, process, "KILL")
    CLOCK.wait_for(
        lambda: not before & set(driver.pids(node, process)), timeout_s=60, what="the end"
    )
    wait_steady(driver)


def test_kill_of_postgres_leaves_no_child_behind(driver: Driver) -> None:
    """What is forked between the look and the signal is killed, too.

    Such a child once waited for ever for a lock of one that was killed, and kept its node down.
    """
    if not isinstance(driver, DockerDriver):
        pytest.skip("other drivers have no way to let it fork without end")
    node = replica(driver)
    child = "exec -a 'postgres: forked' sleep 60"
    forks = f"for one in {{1..2000}}; do ({child}) & done; wait"
    driver._containers[node].exec_run(
        ["bash", "-c", 'exec -a /x/bin/postgres bash -c "$0" forks', forks], detach=True
    )
    CLOCK.wait_for(lambda: len(driver.pids(node, "postgres")) > 100, timeout_s=60, what="forks")
    driver.kill(node, "postgres", "KILL")
    assert [one.words for one in driver._running(node) if "forked" in one.words] == []
    wait_steady(driver)


@pytest.mark.parametrize("drop", ["blackhole", "reject"])
def test_cut_loses_one_direction_and_mend_brings_it_back(driver: Driver, drop: str) -> None:
    """A cut holds for new connections of its source, and for nobody else's."""
    source, destination = replica(driver), leader(driver)
    link = Link(source, destination, 5432, drop)  # type: ignore[arg-type]
    wait_open(driver, [link])
    driver.cut([link])
    try:
        assert driver.dead([link]) == [link]
        wait_open(driver, [Link(source, destination, 8008)])
    finally:
        driver.mend([link])
    wait_open(driver, [link])


def test_mend_twice_is_harmless(driver: Driver) -> None:
    """Undoing may be repeated: heal runs after a run that had undone half."""
    link = Link(replica(driver), leader(driver))
    driver.mend([link])
    driver.thaw(replica(driver), "patroni")
    driver.thaw(replica(driver), "all")


def test_power_off_is_silent_and_cuts_survive_the_restart(driver: Driver) -> None:
    """Peers see no closed socket; rules that were in force hold again after the start."""
    node, link = replica(driver), Link(replica(driver), leader(driver))
    driver.cut([link])
    try:
        with driver.is_silent(node) as silence:
            driver.power_off(node)
            assert silence.broken_within(2) is None
        assert driver.pids(node, "all") == []
        assert driver.patroni(node, "/liveness", deadline_s=1).status == 0
        driver.start(node)
        assert driver.dead([link]) == [link]
    finally:
        driver.mend([link])
    wait_steady(driver)


def test_a_closed_connection_is_noticed(driver: Driver) -> None:
    """The check of a power-off can fail: a process that dies closes its sockets."""
    node = replica(driver)
    with driver.is_silent(node) as silence:
        driver.kill(node, "patroni", "KILL")
        assert silence.broken_within(5) in ("eof", "reset")
    wait_steady(driver)


def test_unknown_machine_is_named(driver: Driver) -> None:
    """A verb for a machine that is not there says which ones are."""
    with pytest.raises(DriverError, match="pg-9"):
        driver.pids("pg-9", "all")
